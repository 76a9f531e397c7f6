/* SPDX-License-Identifier: MIT
 * fuzz_http_body.c: where a body ends. The first byte says of which kind it is, and how the rest
 * is cut; of chunks, those who get what is passed on must find the same data in them.
 */
#include "fuzz/cuts.h"
#include "proto/http_body.h"

#define BODY_MAX 20000

struct taken {
    struct http_body_reader body;
    size_t used, data_len, passed_len;
    enum http_piece last;
    uint8_t data[BODY_MAX], passed[BODY_MAX];
};

static void put(uint8_t *to, size_t *len, const uint8_t *p, size_t n)
{
    require(*len + n <= BODY_MAX);
    memcpy(to + *len, p, n);
    *len += n;
}

static int is_over(const struct taken *t)
{
    return t->last == HTTP_PIECE_END || t->last == HTTP_PIECE_BAD ||
           t->last == HTTP_PIECE_TOO_LARGE;
}

/* Data that is known to be ahead is the next piece, and need not be looked at. */
static void check_ahead(const struct taken *t, size_t have)
{
    enum http_piece piece;
    struct http_body_reader blind = t->body;
    uint64_t ahead = http_body_ahead(&blind);
    size_t n = have - t->used < ahead ? have - t->used : (size_t)ahead;
    if (n > 0)
        require(http_body_next(&blind, NULL, n, &piece) == n && piece == HTTP_PIECE_DATA);
}

/* All pieces there are in the first `have` bytes. */
static void take(struct taken *t, const uint8_t *p, size_t have)
{
    size_t n;
    do {
        check_ahead(t, have);
        n = http_body_next(&t->body, p + t->used, have - t->used, &t->last);
        require(t->used + n <= have);
        require((n == 0) == (t->last == HTTP_PIECE_MORE || is_over(t)));
        if (t->last == HTTP_PIECE_DATA)
            put(t->data, &t->data_len, p + t->used, n);
        if (t->last == HTTP_PIECE_DATA || t->last == HTTP_PIECE_FRAMING)
            put(t->passed, &t->passed_len, p + t->used, n);
        t->used += n;
    } while (n > 0);
}

static void require_same(const struct taken *a, const struct taken *b)
{
    require(a->last == b->last && a->used == b->used);
    require(a->data_len == b->data_len && memcmp(a->data, b->data, a->data_len) == 0);
    require(a->passed_len == b->passed_len && memcmp(a->passed, b->passed, a->passed_len) == 0);
}

/* ---- chunks as the simplest of readers has them ---- */

/* A line that ends in CRLF, which is cut off. */
static size_t line_len(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
    require(lf && lf > p && lf[-1] == '\r');
    return (size_t)(lf - p) - 1;
}

static void check_chunks(const struct taken *t)
{
    const uint8_t *p = t->passed, *end = p + t->passed_len, *data = t->data;
    size_t size = 1;
    while (size > 0) {
        size_t digits = line_len(p, end);
        char text[20] = "", *rest;
        require(digits > 0 && digits < sizeof text && (*p != '0' || digits == 1));
        memcpy(text, p, digits);
        size = strtoul(text, &rest, 16);
        require(*rest == '\0');
        p += digits + 2;
        if (size == 0)
            break;
        require((size_t)(end - p) >= size + 2 && memcmp(p, data, size) == 0);
        require(p[size] == '\r' && p[size + 1] == '\n');
        p += size + 2;
        data += size;
    }
    for (size_t len = 1; len > 0; p += len + 2)
        len = line_len(p, end);
    require(p == end && data == t->data + t->data_len);
}

/* ---- the target ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct taken whole, cut;
    static const enum http_body kinds[] = {HTTP_CHUNKED, HTTP_LENGTH, HTTP_TO_END, HTTP_NO_BODY};
    if (len < 1)
        return 0;
    uint32_t seed = data[0];
    enum http_body kind = seed < 0xc0 ? HTTP_CHUNKED : kinds[seed % 4];
    uint64_t most = seed % 8 == 1 ? seed : UINT64_MAX;
    len = len - 1 < BODY_MAX ? len - 1 : BODY_MAX;
    data++;
    whole.used = whole.data_len = whole.passed_len = 0;
    cut.used = cut.data_len = cut.passed_len = 0;
    http_body_begin(&whole.body, kind, seed, most);
    http_body_begin(&cut.body, kind, seed, most);
    take(&whole, data, len);
    cut.last = HTTP_PIECE_MORE;
    size_t have = 0;
    do {
        have += cut_next(&seed, len - have);
        take(&cut, data, have);
    } while (have < len && !is_over(&cut));
    require_same(&whole, &cut);
    require(kind == HTTP_TO_END || whole.data_len <= most);
    require(most == UINT64_MAX ? whole.last != HTTP_PIECE_TOO_LARGE
                               : kind != HTTP_LENGTH || whole.last != HTTP_PIECE_BAD);
    if (kind == HTTP_CHUNKED && whole.last == HTTP_PIECE_END)
        check_chunks(&whole);
    return 0;
}
