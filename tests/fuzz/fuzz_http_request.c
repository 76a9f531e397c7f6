/* SPDX-License-Identifier: MIT
 * fuzz_http_request.c: the head of a request. The first byte says how the rest is cut; what is
 * passed on to a server must be one request, to the same host, with the same body, also to a reader
 * of its own.
 */
#include "base/addr.h"
#include "fuzz/cuts.h"
#include "fuzz/plain.h"
#include "proto/http_rewrite.h"

static int read_in_pieces(const uint8_t *p, size_t len, uint32_t seed, struct http_request *r)
{
    struct http_scan scan = {0};
    int n = 0;
    for (size_t have = 0; n == 0 && have < len;) {
        have += cut_next(&seed, len - have);
        n = http_request(p, have, &scan, r);
    }
    return n;
}

static int same(struct dp_str a, struct dp_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static void require_same(const struct http_request *a, const struct http_request *b)
{
    require(same(a->method, b->method) && same(a->target, b->target) && same(a->host, b->host));
    require(same(a->path, b->path) && a->minor == b->minor && a->form == b->form);
    require(a->body == b->body && a->body_len == b->body_len && addr_equal(&a->to, &b->to));
    require(a->fields.n == b->fields.n);
    for (size_t i = 0; i < a->fields.n; i++)
        require(same(a->fields.field[i].name, b->fields.field[i].name) &&
                same(a->fields.field[i].value, b->fields.field[i].value));
}

/* RFC 9110, sections 7.6.1 and 11.7; RFC 9112, appendix C.2.2. */
static bool is_for_us(const struct http_request *r, struct dp_str name)
{
    static const char *const names[] = {
        "Connection", "Keep-Alive",        "Proxy-Connection", "Proxy-Authorization",
        "TE",         "Transfer-Encoding", "Upgrade"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (http_same(name, names[i]))
            return true;
    bool stays = http_same(name, "Content-Length") || http_same(name, "Host");
    return !stays && http_list_has(&r->fields, "Connection", name);
}

/* Nothing that concerns one connection but what is said anew. */
static void check_fields(const struct http_request *r, const struct http_request *passed)
{
    for (size_t i = 0; i < passed->fields.n; i++) {
        struct dp_str name = passed->fields.field[i].name;
        bool framing = http_same(name, "Transfer-Encoding") && r->body == HTTP_CHUNKED;
        bool upgrade = http_same(name, "Upgrade") || http_same(name, "Connection");
        bool anew = framing || (upgrade && http_is_upgrade(r)) || http_same(name, "Via");
        require(anew || !is_for_us(r, name));
    }
}

static void check_rewritten(const struct http_request *r, size_t head_len)
{
    static uint8_t out[HTTP_REWRITE_MAX + 1];
    struct http_request passed;
    struct http_scan scan = {0};
    struct dp_addr to;
    size_t len = http_rewrite_request(r, out);
    require(len <= head_len + HTTP_REWRITE_GROWTH);
    out[len] = '\0';
    const struct plain_head plain = plain_request((const char *)out);
    require(plain.codings == (r->body == HTTP_CHUNKED) && plain.length == r->body_len);
    if (len >= HTTP_HEAD_MAX || r->fields.n > HTTP_FIELDS_MAX - 5)
        return; /* more than we would take ourselves */
    require(http_request(out, len, &scan, &passed) == (int)len);
    require(passed.form == HTTP_ORIGIN || (passed.form == HTTP_ASTERISK && r->path.len == 0));
    require(passed.minor == 1 && same(passed.method, r->method));
    require(passed.body == r->body && passed.body_len == r->body_len);
    require(http_authority(http_field(&passed.fields, "Host")->value, 80, &to) == 0);
    require(addr_equal(&to, &r->to));
    check_fields(r, &passed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct http_request whole, cut;
    struct http_scan scan = {0};
    if (len < 2)
        return 0;
    uint32_t seed = data[0];
    int n = http_request(++data, --len, &scan, &whole);
    require(read_in_pieces(data, len, seed, &cut) == n);
    require(n <= (int)len && n <= HTTP_HEAD_MAX && (n >= 0 || (n <= -400 && n > -600)));
    if (n <= 0)
        return 0;
    require_same(&whole, &cut);
    if (whole.form == HTTP_ABSOLUTE)
        check_rewritten(&whole, (size_t)n);
    return 0;
}
