/* SPDX-License-Identifier: MIT
 * test_proxy.c: headers of the PROXY protocol, by a table, by every cut of each, and there and back.
 */
#include "base/addr.h"
#include "proto/proxy.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define S(text) text, sizeof(text) - 1
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\300\0\2\1\300\0\2\2\4\0\0\120"
#define V6 "\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\2\4\0\0\120"

struct row {
    const char *in;
    size_t len;
    int expect;              /* its length, or -1 */
    const char *client, *to; /* NULL: local */
};

static const struct row rows[] = {
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\nGET"), 40, "192.0.2.1:1024", "192.0.2.2:80"},
    {S("PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n"), 44, "[2001:db8::1]:65535",
     "[2001:db8::2]:0"},
    {S("PROXY UNKNOWN\r\n"), 15, NULL, NULL},
    {S("PROXY UNKNOWN ffff::1 what ever 1 2\r\n"), 37, NULL, NULL},
    {S("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), 37, "192.0.2.1:1", "[::1]:2"},
    {S("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"), 50, "192.0.2.1:1", "192.0.2.2:2"},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 80 9\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 80 \r\n"), -1, NULL, NULL},
    {S("PROXY TCP4  192.0.2.1 192.0.2.2 1024 80\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 1024 65536\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 01024 80\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 192.0.2.1 192.0.2.2 -1 80\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 ::1 192.0.2.2 1 80\r\n"), -1, NULL, NULL},
    {S("PROXY TCP6 [::1] ::1 1 80\r\n"), -1, NULL, NULL},
    {S("PROXY TCP4 a.example 192.0.2.2 1 80\r\n"), -1, NULL, NULL},
    {S("PROXY UDP4 192.0.2.1 192.0.2.2 1 80\r\n"), -1, NULL, NULL},
    {S("PROXY\r\n"), -1, NULL, NULL},
    {S("PROXYTCP4"), -1, NULL, NULL},
    {S("GET / HTTP/1.0\r\n\r\n"), -1, NULL, NULL},
    {S("\5\1\0"), -1, NULL, NULL},
    {S(SIG "\41\21\0\14" V4 "\5\1\0"), 28, "192.0.2.1:1024", "192.0.2.2:80"},
    {S(SIG "\41\41\0\44" V6), 52, "[2001:db8::1]:1024", "[2001:db8::2]:80"},
    {S(SIG "\41\21\0\21" V4 "\3\0\2xx"), 33, "192.0.2.1:1024", "192.0.2.2:80"},
    {S(SIG "\40\0\0\0"), 16, NULL, NULL},
    {S(SIG "\40\21\0\14" V4), 28, NULL, NULL},
    {S(SIG "\41\0\0\0"), 16, NULL, NULL},
    {S(SIG "\41\22\0\14" V4), 28, NULL, NULL},  /* datagrams */
    {S(SIG "\41\61\0\0"), 16, NULL, NULL},      /* a unix socket */
    {S(SIG "\41\23\0\14" V4), -1, NULL, NULL},  /* not assigned: such a transport, */
    {S(SIG "\41\101\0\14" V4), -1, NULL, NULL}, /* and such a family; but then */
    {S(SIG "\40\377\0\14" V4), 28, NULL, NULL}, /* it is not looked at */
    {S(SIG "\41\21\0\13" V4), -1, NULL, NULL},
    {S(SIG "\41\41\0\14" V4), -1, NULL, NULL},
    {S(SIG "\42\21\0\14" V4), -1, NULL, NULL},
    {S(SIG "\21\21\0\14" V4), -1, NULL, NULL},
    {S(SIG "\41\21\2\11" V4), -1, NULL, NULL}, /* longer than is read */
    {S("\r\n\r\n\0\r\nQUIX"), -1, NULL, NULL},
};

static int header(const void *in, size_t len, struct proxy_header *h)
{
    uint8_t *copy = malloc(len ? len : 1);
    cr_assert_not_null(copy);
    memcpy(copy, in, len);
    int n = proxy_read(copy, len, h);
    free(copy);
    return n;
}

Test(proxy, headers_and_every_cut_of_them)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        const struct row *row = &rows[i];
        struct proxy_header h;
        char text[ADDR_TEXT];
        int n = header(row->in, row->len, &h);
        cr_expect(eq(int, n, row->expect), "row %zu", i);
        if (n > 0)
            cr_expect(h.local == !row->client, "row %zu", i);
        if (n > 0 && row->client) {
            cr_expect(eq(str, (char *)addr_text(&h.client, text), (char *)row->client));
            cr_expect(eq(str, (char *)addr_text(&h.dest, text), (char *)row->to));
        }
        for (size_t cut = 0; cut < row->len; cut++) {
            int got = header(row->in, cut, &h);
            bool whole = n > 0 && cut >= (size_t)n;
            cr_assert(whole ? got == n : got == 0 || (n < 0 && got == n), "row %zu cut at %zu: %d",
                      i, cut, got);
        }
    }
}

/* A line without an end is none after 107 bytes. */
Test(proxy, the_longest_line)
{
    char in[200];
    struct proxy_header h;
    memset(in, 'x', sizeof in);
    memcpy(in, "PROXY UNKNOWN ", 14);
    cr_expect(eq(int, header(in, 106, &h), 0));
    cr_expect(eq(int, header(in, 107, &h), -1));
    in[105] = '\r';
    in[106] = '\n';
    cr_expect(eq(int, header(in, 107, &h), 107));
}

Test(proxy, there_and_back)
{
    static const struct {
        const char *client, *dest;
        bool known;
    } table[] = {
        {"192.0.2.1:1024", "192.0.2.2:80", true},
        {"[2001:db8::1]:1", "[2001:db8::2]:65535", true},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535", true},
        {"192.0.2.1:1024", "[2001:db8::2]:80", false},
        {"192.0.2.1:1024", "a.example:80", false},
    };
    for (size_t i = 0; i < LENGTH(table); i++)
        for (unsigned version = 1; version <= 2; version++) {
            struct dp_addr client, dest;
            struct proxy_header h;
            uint8_t out[PROXY_OUT_MAX];
            cr_assert(addr_parse_endpoint(&client, table[i].client, strlen(table[i].client)) == 0);
            cr_assert(addr_parse_endpoint(&dest, table[i].dest, strlen(table[i].dest)) == 0);
            size_t len = proxy_write(out, version, &client, &dest);
            cr_assert(eq(int, header(out, len, &h), (int)len), "row %zu version %u", i, version);
            cr_expect(h.local == !table[i].known, "row %zu version %u", i, version);
            if (!h.local)
                cr_expect(addr_equal(&h.client, &client) && addr_equal(&h.dest, &dest));
        }
}
