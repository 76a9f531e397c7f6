/* SPDX-License-Identifier: MIT
 * test_http_request.c: heads of HTTP requests, by tables and by every cut of every head.
 */
#include "base/addr.h"
#include "proto/http.h"
#include "proto/http_answer.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

struct row {
    const char *in; /* up to its NUL */
    int expect;     /* 0: all of it is the head; else -(status) */
    int form;
    const char *to, *path;
    int body;
    uint64_t body_len;
};

#define H "Host: a\r\n"
#define END "\r\n"

static const struct row rows[] = {
    /* CONNECT */
    {"CONNECT a.example:443 HTTP/1.1\r\n" H END, 0, HTTP_AUTHORITY, "a.example:443", NULL, 0, 0},
    {"CONNECT a.example:443 HTTP/1.0\r\n" END, 0, HTTP_AUTHORITY, "a.example:443", NULL, 0, 0},
    {"CONNECT 192.0.2.1:1 HTTP/1.0\r\n" END, 0, HTTP_AUTHORITY, "192.0.2.1:1", NULL, 0, 0},
    {"CONNECT [2001:db8::1]:65535 HTTP/1.0\r\n" END, 0, HTTP_AUTHORITY, "[2001:db8::1]:65535", NULL,
     0, 0},
    {"CONNECT [::ffff:127.0.0.1]:80 HTTP/1.0\r\n" END, 0, HTTP_AUTHORITY, "127.0.0.1:80", NULL, 0,
     0},
    {"CONNECT a:1 HTTP/1.1\r\nhost:b\r\nX-y: \t z \t\r\nEmpty:\r\n" END, 0, HTTP_AUTHORITY, "a:1",
     NULL, 0, 0},
    {"\r\n\r\nCONNECT a:1 HTTP/1.1\r\n" H END, 0, HTTP_AUTHORITY, "a:1", NULL, 0, 0},
    {"CONNECT a:1 HTTP/1.1\r\n" H "Content-Length: 0\r\n" END, 0, HTTP_AUTHORITY, "a:1", NULL, 0,
     0},
    /* ... whose target is none */
    {"CONNECT a HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a: HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:0 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:70000 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:0443 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:65616 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:-1 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:+1 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:0x50 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:1:2 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT :1 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT ::1:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT [::1:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT [::1]x:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT [a]:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT u@a:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT http://a:80/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a%00b:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT 127.1:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a\xe4:80 HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    /* absolute form */
    {"GET http://a/b?c HTTP/1.1\r\n" H END, 0, HTTP_ABSOLUTE, "a:80", "/b?c", 0, 0},
    {"GET HTTP://a HTTP/1.0\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "", 0, 0},
    {"GET http://a? HTTP/1.0\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "?", 0, 0},
    {"GET http://a:/ HTTP/1.0\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/", 0, 0},
    {"GET http://[::1]:8080/x HTTP/1.0\r\n" END, 0, HTTP_ABSOLUTE, "[::1]:8080", "/x", 0, 0},
    {"GET http://[::1]/ HTTP/1.0\r\n" END, 0, HTTP_ABSOLUTE, "[::1]:80", "/", 0, 0},
    {"GET http://a:0/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a:080/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http:///x HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://u:p@a/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/#f HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET https://a/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET ftp://a/ HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET a HTTP/1.0\r\n" END, -400, 0, NULL, NULL, 0, 0},
    /* for this port itself */
    {"GET / HTTP/1.1\r\n" H END, 0, HTTP_ORIGIN, NULL, NULL, 0, 0},
    {"OPTIONS * HTTP/1.1\r\n" H END, 0, HTTP_ASTERISK, NULL, NULL, 0, 0},
    {"connect a:1 HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    /* bodies */
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 12\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/",
     HTTP_LENGTH, 12},
    {"PUT http://a/ HTTP/1.1\r\n" H "content-length:9223372036854775807\r\n" END, 0, HTTP_ABSOLUTE,
     "a:80", "/", HTTP_LENGTH, INT64_MAX},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n" END, 0, HTTP_ABSOLUTE, "a:80",
     "/", HTTP_CHUNKED, 0},
    /* ... of two lengths, or of none that all agree on */
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, -400,
     0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5, 6\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: +5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: -1\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 0x5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 5 5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length:\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length : 5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n" END, -501, 0, NULL, NULL, 0,
     0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n" END, -400, 0, NULL, NULL,
     0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n" END, -400, 0, NULL, NULL,
     0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding:\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n" END, -400, 0, NULL, NULL, 0,
     0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding\t: chunked\r\n" END, -400, 0, NULL, NULL, 0,
     0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content_Length: 5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "transfer+encoding: chunked\r\n" END, -400, 0, NULL, NULL, 0,
     0},
    {"PUT http://a/ HTTP/1.1\r\n" H "ContentLength: 5\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/", 0,
     0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Content-Length: 010\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/",
     HTTP_LENGTH, 10},
    {"PUT http://a/ HTTP/1.1\r\n" H "X: y\r\n Transfer-Encoding: chunked\r\n" END, -400, 0, NULL,
     NULL, 0, 0},
    {"PUT http://a/ HTTP/1.1\r\n" H "Transfer-Encoding:\x0b chunked\r\n" END, -400, 0, NULL, NULL,
     0, 0},
    {"PUT http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:1 HTTP/1.1\r\n" H "Content-Length: 5\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"CONNECT a:1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n" END, -400, 0, NULL, NULL, 0, 0},
    /* lines */
    {"GET http://a/ HTTP/1.1\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "Host: b\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.0\r\n" H "Host: b\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost:\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/", 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost: [::1]:80\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/", 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost: a b\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost: a/b\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost: u@a\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\nHost: \xe4\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET  http://a/ HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/  HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET\thttp://a/ HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1 \r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ http/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/2.0\r\n" H END, -505, 0, NULL, NULL, 0, 0},
    {"PRI * HTTP/2.0\r\n" END, -505, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/0.9\r\n" END, -505, 0, NULL, NULL, 0, 0},
    {"G(T http://a/ HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "no colon\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H ": empty\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "a b: c\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "X: a\rb\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "X: a\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\n", -400, 0, NULL, NULL, 0, 0},
    {"\nGET http://a/ HTTP/1.1\r\n" H END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "X: a\x01\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "X: a\x7f\r\n" END, -400, 0, NULL, NULL, 0, 0},
    {"GET http://a/ HTTP/1.1\r\n" H "X: \xe4\xff\r\n" END, 0, HTTP_ABSOLUTE, "a:80", "/", 0, 0},
};

/* In a block of its own length, so that a read past it is seen. */
static int request(const void *in, size_t len, struct http_scan *scan, struct http_request *r,
                   uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    cr_assert_not_null(*copy);
    memcpy(*copy, in, len);
    return http_request(*copy, len, scan, r);
}

static void expect_row(const struct row *row, const struct http_request *r, size_t i)
{
    char text[ADDR_TEXT];
    cr_expect(eq(int, (int)r->form, row->form), "row %zu", i);
    if (row->to)
        cr_expect(eq(str, (char *)addr_text(&r->to, text), (char *)row->to), "row %zu", i);
    if (row->path)
        cr_expect(r->path.len == strlen(row->path) &&
                      memcmp(r->path.p, row->path, r->path.len) == 0,
                  "row %zu: %.*s", i, (int)r->path.len, r->path.p);
    cr_expect(eq(int, (int)r->body, row->body), "row %zu", i);
    cr_expect(eq(u64, r->body_len, row->body_len), "row %zu", i);
}

Test(http_request, requests)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct http_scan scan = {0};
        struct http_request r;
        uint8_t *copy;
        size_t len = strlen(rows[i].in);
        int n = request(rows[i].in, len, &scan, &r, &copy);
        cr_expect(eq(int, n, rows[i].expect ? rows[i].expect : (int)len), "row %zu: %s", i,
                  rows[i].in);
        if (n > 0)
            expect_row(&rows[i], &r, i);
        free(copy);
    }
}

/* However a head is cut, it comes to the same: nothing before it is whole, but a mistake at once. */
Test(http_request, every_cut_of_every_head)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        size_t len = strlen(rows[i].in);
        struct http_scan scan = {0}; /* byte by byte */
        int whole = rows[i].expect ? rows[i].expect : (int)len, last = 0;
        for (size_t cut = 0; cut <= len && last >= 0; cut++) {
            struct http_request r;
            uint8_t *copy;
            last = request(rows[i].in, cut, &scan, &r, &copy);
            cr_assert(last == whole || (last == 0 && cut < len), "row %zu cut at %zu: %d", i, cut,
                      last);
            free(copy);
        }
        cr_expect(eq(int, last, whole), "row %zu", i);
    }
}

Test(http_request, what_follows_the_head_is_not_of_it)
{
    static const char in[] = "CONNECT a:1 HTTP/1.0\r\n\r\n\r\n\r\nGET";
    struct http_scan scan = {0};
    struct http_request r;
    cr_expect(eq(int, http_request((const uint8_t *)in, sizeof in - 1, &scan, &r), 24));
}

Test(http_request, nul_bytes)
{
    static const char first[] = "GET http://a\0b/ HTTP/1.0\r\n\r\n";
    static const char field[] = "GET http://a/ HTTP/1.0\r\nX: a\0b\r\n\r\n";
    struct http_scan scan = {0}, again = {0};
    struct http_request r;
    cr_expect(eq(int, http_request((const uint8_t *)first, sizeof first - 1, &scan, &r), -400));
    cr_expect(eq(int, http_request((const uint8_t *)field, sizeof field - 1, &again, &r), -400));
}

Test(http_request, the_largest_heads)
{
    static uint8_t in[HTTP_HEAD_MAX + 10];
    struct http_scan scan = {0};
    struct http_request r;
    memset(in, 'x', sizeof in);
    cr_expect(eq(int, http_request(in, HTTP_HEAD_MAX - 1, &scan, &r), 0));
    cr_expect(eq(int, http_request(in, HTTP_HEAD_MAX, &scan, &r), -HTTP_TARGET_TOO_LONG));

    static const char start[] = "GET / HTTP/1.0\r\nX: ";
    scan = (struct http_scan){0};
    memcpy(in, start, sizeof start - 1);
    cr_expect(eq(int, http_request(in, HTTP_HEAD_MAX, &scan, &r), -HTTP_FIELDS_TOO_LARGE));
    scan = (struct http_scan){0};
    memcpy(in + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
    cr_expect(eq(int, http_request(in, HTTP_HEAD_MAX, &scan, &r), HTTP_HEAD_MAX));
    scan = (struct http_scan){0};
    memset(in + HTTP_HEAD_MAX - 4, 'x', 4);
    memcpy(in + HTTP_HEAD_MAX - 3, "\r\n\r\n", 4);
    cr_expect(eq(int, http_request(in, HTTP_HEAD_MAX + 1, &scan, &r), -HTTP_FIELDS_TOO_LARGE));
}

Test(http_request, the_most_fields)
{
    char in[2048];
    for (int fields = HTTP_FIELDS_MAX; fields <= HTTP_FIELDS_MAX + 1; fields++) {
        struct http_scan scan = {0};
        struct http_request r;
        size_t len = (size_t)sprintf(in, "GET / HTTP/1.0\r\n");
        for (int i = 0; i < fields; i++)
            len += (size_t)sprintf(in + len, "X%d: y\r\n", i);
        len += (size_t)sprintf(in + len, "\r\n");
        int n = http_request((const uint8_t *)in, len, &scan, &r);
        cr_expect(eq(int, n, fields > HTTP_FIELDS_MAX ? -HTTP_FIELDS_TOO_LARGE : (int)len));
    }
}

Test(http_request, fields_by_name)
{
    static const char in[] = "GET / HTTP/1.0\r\nhOsT:  x \r\nTwo: 1\r\ntwo: 2\r\n\r\n";
    struct http_scan scan = {0};
    struct http_request r;
    cr_assert(http_request((const uint8_t *)in, sizeof in - 1, &scan, &r) > 0);
    const struct http_field *host = http_field(&r.fields, "Host");
    cr_assert(host != NULL);
    cr_expect(host->value.len == 1 && host->value.p[0] == 'x');
    cr_expect(http_field(&r.fields, "Two") == NULL);
    cr_expect(http_field(&r.fields, "Three") == NULL);
}

/* No bytes whatever take it past the end, and cuts never change what comes of them. */
Test(http_request, garbage)
{
    static const char *const bits[] = {
        "GET ", "CONNECT ", "a:1",      "http://a/", " HTTP/1.1",         "\r\n", "\n", "\r",
        ":",    "Host: a",  "\r\n\r\n", " ",         "Content-Length: 1", "\0x"};
    unsigned seed = 1;
    for (int i = 0; i < 100000; i++) {
        char in[200];
        size_t len = 0;
        for (int k = rand_r(&seed) % 12; k > 0; k--) {
            const char *bit = bits[(size_t)rand_r(&seed) % LENGTH(bits)];
            size_t n = *bit ? strlen(bit) : 1;
            memcpy(in + len, bit, n);
            len += n;
        }
        struct http_scan scan = {0}, cut_scan = {0};
        struct http_request r;
        uint8_t *copy;
        size_t cut = len ? (size_t)rand_r(&seed) % len : 0;
        int first = request(in, cut, &cut_scan, &r, &copy);
        free(copy);
        int then = first ? first : request(in, len, &cut_scan, &r, &copy);
        if (!first)
            free(copy);
        int whole = request(in, len, &scan, &r, &copy);
        free(copy);
        cr_assert(whole <= (int)len);
        cr_assert(eq(int, then, whole), "%.*s cut at %zu", (int)len, in, cut);
    }
}

Test(http_request, answers)
{
    char out[300];
    const struct http_answer get = {.status = HTTP_BAD_GATEWAY, .body = "why\n"};
    const struct http_answer head = {
        .status = HTTP_OK, .body = "page", .head = true, .type = "a/b"};
    size_t n = http_answer(&get, out, sizeof out);
    cr_expect(n == strlen(out) && strncmp(out, "HTTP/1.1 502 Bad Gateway\r\n", 26) == 0);
    cr_expect(strstr(out, "\r\nContent-Length: 4\r\n") != NULL);
    cr_expect(strstr(out, "\r\n\r\nwhy\n") != NULL);
    n = http_answer(&head, out, sizeof out);
    cr_expect(n == strlen(out) && strstr(out, "\r\nContent-Type: a/b; charset=utf-8\r\n") != NULL);
    cr_expect(strcmp(out + n - 4, "\r\n\r\n") == 0, "no body");
    cr_expect(eq(sz, http_answer(&get, out, 20), 20), "it does not fit");
}
