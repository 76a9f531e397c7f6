/* SPDX-License-Identifier: MIT
 * test_http_response.c: heads of HTTP answers, and heads as they are passed on.
 */
#include "proto/http_response.h"
#include "proto/http_rewrite.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

struct row {
    const char *in;
    bool head;  /* asked for by HEAD */
    int status; /* -1: refused */
    enum http_body body;
    uint64_t len;
    bool persists;
};

#define OK "HTTP/1.1 200 OK\r\n"
#define END "\r\n"

static const struct row rows[] = {
    {OK "Content-Length: 5\r\n" END, false, 200, HTTP_LENGTH, 5, true},
    {OK "Content-Length: 0\r\n" END, false, 200, HTTP_LENGTH, 0, true},
    {OK "Transfer-Encoding: CHUNKED\r\n" END, false, 200, HTTP_CHUNKED, 0, true},
    {OK END, false, 200, HTTP_TO_END, 0, false},
    {"HTTP/1.1 200\r\nContent-Length: 1\r\n" END, false, 200, HTTP_LENGTH, 1, true},
    {"HTTP/1.1 999 \xe4\r\nContent-Length: 1\r\n" END, false, 999, HTTP_LENGTH, 1, true},
    /* does the connection go on? */
    {OK "Content-Length: 5\r\nConnection: x, Close\r\n" END, false, 200, HTTP_LENGTH, 5, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n" END, false, 200, HTTP_LENGTH, 5, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n" END, false, 200,
     HTTP_LENGTH, 5, true},
    /* where there is no body */
    {OK "Content-Length: 5\r\n" END, true, 200, HTTP_NO_BODY, 0, true},
    {OK "Transfer-Encoding: chunked\r\n" END, true, 200, HTTP_NO_BODY, 0, true},
    {OK END, true, 200, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" END, false, 304, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 204 No Content\r\n" END, false, 204, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n" END, false, 204, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n" END, false, 204, HTTP_NO_BODY, 0, false},
    {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n" END, false, 204, HTTP_NO_BODY, 0,
     false},
    {"HTTP/1.1 100 Continue\r\n" END, false, 100, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n" END, false, 103, HTTP_NO_BODY, 0, true},
    {"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n" END, false, -1, 0, 0, false},
    /* two answers where one was asked for */
    {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: 5\r\nContent-Length: 5\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: 5, 5\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: +5\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: -5\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: \r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length : 5\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: 18446744073709551616\r\n" END, false, -1, 0, 0, false},
    {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, true, -1, 0, 0, false},
    {OK "Transfer-Encoding: gzip, chunked\r\n" END, false, -1, 0, 0, false},
    {OK "Transfer-Encoding: identity\r\n" END, false, -1, 0, 0, false},
    {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" END, false, -1, 0, 0, false},
    /* lines */
    {"HTTP/1.1 99 OK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 099 OK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 2000 OK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 +20 OK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1  200 OK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 200 O\x01K\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 200 O\rK\r\n" END, false, -1, 0, 0, false},
    {"HTTP/1.1 200 OK\n\r\n", false, -1, 0, 0, false},
    {"HTTP/2 200\r\n" END, false, -1, 0, 0, false},
    {"HTTP/2.0 200 OK\r\n" END, false, -1, 0, 0, false},
    {"http/1.1 200 OK\r\n" END, false, -1, 0, 0, false},
    {"ICY 200 OK\r\n" END, false, -1, 0, 0, false},
    {"\r\n" OK END, false, -1, 0, 0, false},
    {OK "no colon\r\n" END, false, -1, 0, 0, false},
    {OK "X: y\r\n z\r\n" END, false, -1, 0, 0, false},
    {OK "X: y\n" END, false, -1, 0, 0, false},
};

static void expect(const struct row *row, int n, const struct http_response *r, size_t i)
{
    if (row->status < 0) {
        cr_expect(n < 0, "row %zu: %s", i, row->in);
        return;
    }
    cr_assert(eq(int, n, (int)strlen(row->in)), "row %zu: %s", i, row->in);
    cr_expect(eq(int, r->status, row->status), "row %zu: %s", i, row->in);
    cr_expect(eq(int, (int)r->body, (int)row->body), "row %zu: %s", i, row->in);
    cr_expect(eq(u64, r->body_len, row->len), "row %zu: %s", i, row->in);
    cr_expect(eq(int, r->persists, row->persists), "row %zu: %s", i, row->in);
}

Test(http_response, rows_and_every_cut_of_them)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        size_t len = strlen(rows[i].in);
        struct http_scan whole = {0}, scan = {0};
        struct http_response r;
        int n = http_response((const uint8_t *)rows[i].in, len, &whole, rows[i].head, &r), last = 0;
        expect(&rows[i], n, &r, i);
        for (size_t cut = 1; cut <= len && last == 0; cut++) {
            uint8_t *copy = malloc(cut);
            cr_assert_not_null(copy);
            memcpy(copy, rows[i].in, cut);
            last = http_response(copy, cut, &scan, rows[i].head, &r);
            free(copy);
        }
        cr_expect(eq(int, last, n), "row %zu: %s", i, rows[i].in);
    }
}

/* ---- as they are passed on ---- */

#define GROWN(s) (strlen(s) + HTTP_REWRITE_GROWTH)

static void expect_request(const char *in, const char *out)
{
    static struct http_request r;
    static uint8_t bytes[HTTP_REWRITE_MAX + 1];
    struct http_scan scan = {0};
    int n = http_request((const uint8_t *)in, strlen(in), &scan, &r);
    cr_assert(eq(int, n, (int)strlen(in)), "%s", in);
    size_t len = http_rewrite_request(&r, bytes);
    bytes[len] = '\0';
    cr_expect(eq(str, (char *)bytes, (char *)out));
    cr_expect(len < GROWN(in));
}

#define VIA "Via: 1.1 dispatch\r\n"

Test(http_rewrite, requests)
{
    expect_request("GET http://a/b?c HTTP/1.1\r\nHost: x\r\n\r\n",
                   "GET /b?c HTTP/1.1\r\nHost: a\r\n" VIA "\r\n");
    expect_request("GET http://A:80 HTTP/1.1\r\nHost: x\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: A:80\r\n" VIA "\r\n");
    expect_request("GET http://a:?b HTTP/1.0\r\n\r\n",
                   "GET /?b HTTP/1.1\r\nHost: a\r\nVia: 1.0 dispatch\r\n\r\n");
    expect_request("GET http://[::1]:8080/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: [::1]:8080\r\nVia: 1.0 dispatch\r\n\r\n");
    expect_request("OPTIONS http://a HTTP/1.1\r\nHost: x\r\nMax-Forwards: 10\r\n\r\n",
                   "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 9\r\n" VIA "\r\n");
    expect_request("OPTIONS http://a/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: x\r\n\r\n",
                   "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n" VIA "\r\n");
    expect_request("PUT http://a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n"
                   "Connection: transfer-encoding, host\r\n\r\n",
                   "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" VIA "\r\n");
    expect_request("PUT http://a/ HTTP/1.1\r\nHost: x\r\ncontent-length: 010\r\n\r\n",
                   "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n" VIA "\r\n");
    expect_request("PUT http://a/ HTTP/1.1\r\nHost: x\r\nContent-Length:3\r\n"
                   "Connection: Content-Length,,X\r\nX: y\r\nXX: z\r\n\r\n",
                   "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nXX: z\r\n" VIA "\r\n");
}

Test(http_rewrite, upgrades)
{
    expect_request("GET http://a/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" VIA
                   "\r\n");
    /* none: not named, of HTTP/1.0, HTTP/2, with a body */
    expect_request("GET http://a/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: a\r\n" VIA "\r\n");
    expect_request("GET http://a/ HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 dispatch\r\n\r\n");
    expect_request("GET http://a/ HTTP/1.1\r\nHost: x\r\nUpgrade: x, H2C\r\n"
                   "Connection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: y\r\n\r\n",
                   "GET / HTTP/1.1\r\nHost: a\r\n" VIA "\r\n");
    expect_request("PUT http://a/ HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\n"
                   "Content-Length: 1\r\n\r\n",
                   "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n" VIA "\r\n");
}

static void expect_response(const char *in, bool close, bool no_chunks, const char *out)
{
    static struct http_response r;
    static uint8_t bytes[HTTP_REWRITE_MAX + 1];
    struct http_scan scan = {0};
    cr_assert(http_response((const uint8_t *)in, strlen(in), &scan, false, &r) > 0, "%s", in);
    const struct http_rewriting rewriting = {.close = close, .no_chunks = no_chunks};
    size_t len = http_rewrite_response(&r, &rewriting, bytes);
    bytes[len] = '\0';
    cr_expect(eq(str, (char *)bytes, (char *)out));
    cr_expect(len < GROWN(in));
}

Test(http_rewrite, responses)
{
    expect_response("HTTP/1.0 404 Not Found\r\nConnection: X\r\nX: y\r\nZ:z\r\n\r\n", true, false,
                    "HTTP/1.1 404 Not Found\r\nZ: z\r\nConnection: close\r\n"
                    "Via: 1.0 dispatch\r\n\r\n");
    expect_response(OK "Transfer-Encoding: chunked\r\n\r\n", false, false,
                    OK "Transfer-Encoding: chunked\r\n" VIA "\r\n");
    expect_response(OK "Transfer-Encoding: chunked\r\n\r\n", true, true,
                    OK "Connection: close\r\n" VIA "\r\n");
    expect_response("HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n", false, false,
                    "HTTP/1.1 204 \r\n" VIA "\r\n");
    expect_response(OK "Content-Length: 007\r\n\r\n", false, false,
                    OK "Content-Length: 7\r\n" VIA "\r\n");
    expect_response("HTTP/1.1 304 N\r\nContent-Length: 7\r\n\r\n", false, false,
                    "HTTP/1.1 304 N\r\nContent-Length: 7\r\n" VIA "\r\n");
    expect_response("HTTP/1.1 100 Go\r\n\r\n", true, false, "HTTP/1.1 100 Go\r\n" VIA "\r\n");
    expect_response("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", true, false,
                    "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n" VIA "\r\n");
}

/* The largest heads there are, of fields that grow most. */
Test(http_rewrite, heads_grow_by_little)
{
    static char in[HTTP_HEAD_MAX + 1];
    static uint8_t out[HTTP_REWRITE_MAX];
    static struct http_response r;
    struct http_scan scan = {0};
    size_t len = (size_t)sprintf(in, "HTTP/1.1 200\r\nTransfer-Encoding:chunked\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX - 2; i++)
        len += (size_t)sprintf(in + len, "X:y\r\n");
    len += (size_t)sprintf(in + len, "Z:");
    memset(in + len, 'z', HTTP_HEAD_MAX - 4 - len);
    memcpy(in + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    int n = http_response((const uint8_t *)in, HTTP_HEAD_MAX, &scan, false, &r);
    cr_assert(eq(int, n, HTTP_HEAD_MAX));
    const struct http_rewriting rewriting = {.close = true};
    size_t grown = http_rewrite_response(&r, &rewriting, out);
    cr_expect(grown > HTTP_HEAD_MAX && grown < HTTP_REWRITE_MAX);
}
