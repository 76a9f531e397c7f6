/* SPDX-License-Identifier: MIT
 * fuzz_http_response.c: the head of an answer. The first byte says how the rest is cut, and what
 * the request was; what is passed on to the client must be one answer with the same body.
 */
#include "fuzz/cuts.h"
#include "proto/http_rewrite.h"

static int read_in_pieces(const uint8_t *p, size_t len, uint32_t seed, bool head,
                          struct http_response *r)
{
    struct http_scan scan = {0};
    int n = 0;
    for (size_t have = 0; n == 0 && have < len;) {
        have += cut_next(&seed, len - have);
        n = http_response(p, have, &scan, head, r);
    }
    return n;
}

static void require_same(const struct http_response *a, const struct http_response *b)
{
    require(a->status == b->status && a->minor == b->minor && a->persists == b->persists);
    require(a->reason.p == b->reason.p && a->reason.len == b->reason.len);
    require(a->body == b->body && a->body_len == b->body_len && a->fields.n == b->fields.n);
    for (size_t i = 0; i < a->fields.n; i++) {
        const struct http_field *x = &a->fields.field[i], *y = &b->fields.field[i];
        require(x->name.p == y->name.p && x->name.len == y->name.len);
        require(x->value.p == y->value.p && x->value.len == y->value.len);
    }
}

/* Upgrade with 101 alone; to whom no chunks are understood the body ends with the connection. */
static void check_rewritten(const struct http_response *r, size_t head_len, bool head,
                            const struct http_rewriting *rewriting)
{
    static uint8_t out[HTTP_REWRITE_MAX];
    static struct http_response passed;
    struct http_scan scan = {0};
    size_t len = http_rewrite_response(r, rewriting, out);
    require(len <= head_len + HTTP_REWRITE_GROWTH);
    if (len >= HTTP_HEAD_MAX || r->fields.n > HTTP_FIELDS_MAX - 5)
        return; /* more than we would take ourselves */
    require(http_response(out, len, &scan, head, &passed) == (int)len);
    require(passed.status == r->status && passed.minor == 1 && passed.body_len == r->body_len);
    bool opened = r->body == HTTP_CHUNKED && rewriting->no_chunks;
    require(passed.body == (opened ? HTTP_TO_END : r->body));
    require(!rewriting->close || r->status < HTTP_OK || !passed.persists);
    const struct http_field *upgrade;
    require(http_fields_named(&passed.fields, "Upgrade", &upgrade) == 0 ||
            r->status == HTTP_SWITCHING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct http_response whole, cut;
    struct http_scan scan = {0};
    if (len < 2)
        return 0;
    bool head = data[0] & 0x80;
    struct http_rewriting rewriting = {.close = data[0] & 0x40, .no_chunks = data[0] & 0x20};
    uint32_t seed = data[0];
    int n = http_response(++data, --len, &scan, head, &whole);
    require(read_in_pieces(data, len, seed, head, &cut) == n);
    require(n <= (int)len && n <= HTTP_HEAD_MAX);
    if (n <= 0)
        return 0;
    require_same(&whole, &cut);
    check_rewritten(&whole, (size_t)n, head, &rewriting);
    return 0;
}
