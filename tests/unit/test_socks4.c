/* SPDX-License-Identifier: MIT
 * test_socks4.c: the server's side of SOCKS4 and SOCKS4a, by a table and by every cut of every
 * request.
 */
#include "base/addr.h"
#include "proto/socks4.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define S(text) text, sizeof(text) - 1

struct row {
    const char *in;
    size_t len;
    int expect;
    const char *to, *user;
};

static const struct row rows[] = {
    {S("\4\1\0\120\300\0\2\1\0"), 9, "192.0.2.1:80", ""},
    {S("\4\1\0\120\300\0\2\1me\0"), 11, "192.0.2.1:80", "me"},
    {S("\4\1\0\120\300\0\2\1me\0GET"), 11, "192.0.2.1:80", "me"},
    {S("\4\1\0\120\0\0\0\0\0"), 9, "0.0.0.0:80", ""},
    {S("\4\1\1\273\0\0\0\1\0a.example\0"), 19, "a.example:443", ""},
    {S("\4\1\1\273\0\0\0\377me\0a.example\0x"), 21, "a.example:443", "me"},
    {S("\4\1\0\120\0\0\0\1\0"
       "127.0.0.1\0"),
     19, "127.0.0.1:80", ""},
    {S("\4\1\0\120\0\0\0\1\0::1\0"), 13, "[::1]:80", ""},
    {S("\4\1\0\120\0\0\1\0\0"), 9, "0.0.1.0:80", ""}, /* not 4a's mark */
    {S("\4\1\0\120\0\0\0\1\0\0"), SOCKS4_BAD_NAME, NULL, NULL},
    {S("\4\1\0\120\0\0\0\1\0a b\0"), SOCKS4_BAD_NAME, NULL, NULL},
    {S("\4\1\0\120\0\0\0\1\0"
       "127.1\0"),
     SOCKS4_BAD_NAME, NULL, NULL},
    {S("\4\2\0\120\300\0\2\1\0"), SOCKS4_BAD_COMMAND, NULL, NULL},
    {S("\4\0"), SOCKS4_BAD_COMMAND, NULL, NULL},
    {S("\5\1\0"), SOCKS4_MALFORMED, NULL, NULL},
};

static int request(const void *in, size_t len, char to[ADDR_TEXT], char user[256])
{
    struct socks4_request r;
    uint8_t *copy = malloc(len ? len : 1);
    cr_assert(copy != NULL);
    memcpy(copy, in, len);
    int n = socks4_request(copy, len, &r);
    if (n > 0) {
        addr_text(&r.to, to);
        snprintf(user, 256, "%.*s", (int)r.user.len, r.user.p);
    }
    free(copy);
    return n;
}

Test(socks4, requests_and_every_cut_of_them)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        const struct row *row = &rows[i];
        char to[ADDR_TEXT] = "", user[256] = "";
        int n = request(row->in, row->len, to, user);
        cr_expect(eq(int, n, row->expect), "row %zu", i);
        if (row->to) {
            cr_expect(eq(str, to, (char *)row->to), "row %zu", i);
            cr_expect(eq(str, user, (char *)row->user), "row %zu", i);
        }
        for (size_t cut = 0; cut < row->len; cut++) {
            int got = request(row->in, cut, to, user);
            bool whole = n > 0 && cut >= (size_t)n;
            cr_assert(whole ? got == n : got == 0 || (n < 0 && got == n), "row %zu cut at %zu: %d",
                      i, cut, got);
        }
    }
}

/* A user id, or a name, that does not end. */
Test(socks4, lengths)
{
    for (int named = 0; named <= 1; named++)
        for (size_t len = 0; len <= 256; len++) {
            uint8_t in[SOCKS4_REQUEST_MAX + 10] = {4, 1, 0, 80, 0, 0, 0, 1};
            char to[ADDR_TEXT], user[256];
            size_t at = 8;
            in[7] = (uint8_t)named;
            if (named)
                at++; /* no user */
            memset(in + at, 'n', len);
            at += len;
            int n = request(in, at, to, user);
            cr_assert(eq(int, n, len > 255 ? SOCKS4_MALFORMED : 0), "%zu", len);
            n = request(in, at + 1, to, user);
            int whole = named && len == 0 ? SOCKS4_BAD_NAME : (int)at + 1;
            cr_assert(eq(int, n, len > 255 ? SOCKS4_MALFORMED : whole), "%zu", len);
        }
}

Test(socks4, replies)
{
    uint8_t out[SOCKS4_REPLY_MAX];
    struct dp_addr bound = {0};
    cr_assert(eq(int, addr_parse_endpoint(&bound, S("192.0.2.1:8080")), 0));
    cr_expect(eq(sz, socks4_reply(out, SOCKS4_GRANTED, &bound), 8));
    cr_expect(memcmp(out, "\0\132\37\220\300\0\2\1", 8) == 0);
    cr_assert(eq(int, addr_parse_endpoint(&bound, S("[::1]:8080")), 0));
    socks4_reply(out, SOCKS4_GRANTED, &bound);
    cr_expect(memcmp(out, "\0\132\37\220\0\0\0\0", 8) == 0);
    socks4_reply(out, SOCKS4_REJECTED, NULL);
    cr_expect(memcmp(out, "\0\133\0\0\0\0\0\0", 8) == 0);
}
