/* SPDX-License-Identifier: MIT
 * test_proto.c: the server's side of SOCKS5 and the answers to clients of other protocols, by tables
 * and by every cut of every message.
 */
#include "base/addr.h"
#include "proto/sniff.h"
#include "proto/socks5.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

struct bytes {
    const char *p;
    size_t len;
};
#define B(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

/* In a block of its own length, so that a read past it is seen. */
static uint8_t *exact(const void *p, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    cr_assert(copy != NULL);
    memcpy(copy, p, len);
    return copy;
}

static int greeting(const void *p, size_t len, uint8_t method, bool *offered)
{
    uint8_t *copy = exact(p, len);
    int n = socks5_greeting(copy, len, method, offered);
    free(copy);
    return n;
}

/* A name in `to` is gone when this returns. */
static int request(const void *p, size_t len, char text[ADDR_TEXT])
{
    uint8_t *copy = exact(p, len);
    struct dp_addr to = {0};
    int n = socks5_request(copy, len, &to);
    if (n > 0)
        addr_text(&to, text);
    free(copy);
    return n;
}

Test(proto, greetings)
{
    static const struct {
        struct bytes in;
        int expect;
        bool offered;
    } table[] = {
        {B("\5\1\0"), 3, true},
        {B("\5\2\1\0"), 4, true},
        {B("\5\2\1\2"), 4, false},
        {B("\5\0"), 2, false},
        {B("\5\0\0"), 2, false}, /* what follows is not a method */
        {B("\5\1\0\5\1\0\1"), 3, true},
        {B("\5"), 0, false},
        {B("\5\1"), 0, false},
        {B("\5\2\0"), 0, false},
        {B(""), 0, false},
        {B("\4"), SOCKS5_MALFORMED, false},
        {B("\4\1\0"), SOCKS5_MALFORMED, false},
        {B("\0\1\0"), SOCKS5_MALFORMED, false},
        {B("\6\1\0"), SOCKS5_MALFORMED, false},
        {B("GET / HTTP/1.1\r\n"), SOCKS5_MALFORMED, false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        bool offered = false;
        int n = greeting(table[i].in.p, table[i].in.len, SOCKS5_NO_AUTH, &offered);
        cr_expect(eq(int, n, table[i].expect), "row %zu", i);
        cr_expect(n <= 0 || offered == table[i].offered, "row %zu", i);
    }

    uint8_t most[SOCKS5_GREETING_MAX] = {5, 255};
    bool offered = false;
    memset(most + 2, 0x80, 255);
    cr_expect(eq(int, greeting(most, sizeof most - 1, 0, &offered), 0));
    cr_expect(eq(int, greeting(most, sizeof most, 0, &offered), SOCKS5_GREETING_MAX));
    cr_expect(not(offered));
    most[SOCKS5_GREETING_MAX - 1] = 0;
    cr_expect(eq(int, greeting(most, sizeof most, 0, &offered), SOCKS5_GREETING_MAX));
    cr_expect(offered, "the last of 255 methods");
}

struct request_row {
    struct bytes in;
    int expect; /* the length, 0, or -(reply code) */
    const char *to;
};

static const struct request_row requests[] = {
    {B("\5\1\0\1\300\0\2\1\0\120"), 10, "192.0.2.1:80"},
    {B("\5\1\0\1\300\0\2\1\0\120GET"), 10, "192.0.2.1:80"},
    {B("\5\1\0\1\377\377\377\377\377\377"), 10, "255.255.255.255:65535"},
    {B("\5\1\0\1\0\0\0\0\0\0"), 10, "0.0.0.0:0"},
    {B("\5\1\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\1\273"), 22, "[2001:db8::1]:443"},
    {B("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\377\377\177\0\0\1\0\120"), 22, "127.0.0.1:80"},
    {B("\5\1\0\3\13example.com\1\273"), 18, "example.com:443"},
    {B("\5\1\0\3\1a\0\1"), 8, "a:1"},
    {B("\5\1\0\3\3\303\274x\0\1"), 10, "\\xc3\\xbcx:1"},
    {B("\5\1\0\3\5a:b/c\0\1"), 12, "a:b/c:1"}, /* odd, but a name server's matter */
    /* names that are addresses */
    {B("\5\1\0\3\11"
       "127.0.0.1\0\120"),
     16, "127.0.0.1:80"},
    {B("\5\1\0\3\3::1\0\120"), 10, "[::1]:80"},
    {B("\5\1\0\3\5[::1]\0\120"), 12, "[::1]:80"},
    {B("\5\1\0\3\20::ffff:127.0.0.1\0\120"), 23, "127.0.0.1:80"},
    {B("\5\1\0\3\22[::ffff:127.0.0.1]\0\120"), 25, "127.0.0.1:80"},
    {B("\5\1\0\3\7"
       "0.0.0.0\0\120"),
     14, "0.0.0.0:80"},
    /* addresses to some, names to others */
    {B("\5\1\0\3\5"
       "127.1\0\120"),
     -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\12"
       "0177.0.0.1\0\120"),
     -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\12"
       "0x7f000001\0\120"),
     -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\6"
       "a.123.\0\120"),
     -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\6"
       "123.a1\0\120"),
     13, "123.a1:80"},
    /* names that are none */
    {B("\5\1\0\3\0\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\13exampl\0.com\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\3a\r\n\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\3a\nb\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\3a b\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\1\177\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    {B("\5\1\0\3\1\t\0\120"), -SOCKS5_HOST_UNREACH, NULL},
    /* not for us */
    {B("\5\2\0\1\300\0\2\1\0\120"), -SOCKS5_BAD_COMMAND, NULL},
    {B("\5\3\0\1\300\0\2\1\0\120"), -SOCKS5_BAD_COMMAND, NULL},
    {B("\5\0\0\1\300\0\2\1\0\120"), -SOCKS5_BAD_COMMAND, NULL},
    {B("\5\377\0\3\1a\0\120"), -SOCKS5_BAD_COMMAND, NULL},
    {B("\5\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\120"), -SOCKS5_BAD_COMMAND, NULL},
    {B("\5\1\0\0\300\0\2\1\0\120"), -SOCKS5_BAD_ADDRESS, NULL},
    {B("\5\1\0\2\300\0\2\1\0\120"), -SOCKS5_BAD_ADDRESS, NULL},
    {B("\5\1\0\5"), -SOCKS5_BAD_ADDRESS, NULL},
    {B("\5\1\0\377\300\0\2\1\0\120"), -SOCKS5_BAD_ADDRESS, NULL},
    /* no SOCKS5 */
    {B("\4\1\0\1\300\0\2\1\0\120"), -SOCKS5_FAILURE, NULL},
    {B("\0"), -SOCKS5_FAILURE, NULL},
    {B("\5\1\1\1\300\0\2\1\0\120"), -SOCKS5_FAILURE, NULL},
    {B("\5\1\377\1\300\0\2\1\0\120"), -SOCKS5_FAILURE, NULL},
};

/* However a message is cut, it is not read before it is whole, and then as it always is. */
Test(proto, requests_and_every_cut_of_them)
{
    for (size_t i = 0; i < LENGTH(requests); i++) {
        const struct request_row *row = &requests[i];
        char text[ADDR_TEXT] = "";
        int n = request(row->in.p, row->in.len, text);
        cr_expect(eq(int, n, row->expect), "row %zu", i);
        if (n > 0 && row->to)
            cr_expect(eq(str, text, (char *)row->to));
        for (size_t cut = 0; cut < row->in.len; cut++) {
            int got = request(row->in.p, cut, text);
            bool whole = n > 0 && cut >= (size_t)n;
            cr_assert(whole ? got == n : got == 0 || (n < 0 && got == n), "row %zu cut at %zu: %d",
                      i, cut, got);
        }
    }
}

Test(proto, name_lengths)
{
    for (size_t len = 1; len <= 255; len++) {
        uint8_t in[SOCKS5_REQUEST_MAX] = {5, 1, 0, 3, (uint8_t)len};
        struct dp_addr to;
        int expect = (int)len + 7;
        memset(in + 5, 'n', len);
        in[5 + len] = 0x12;
        in[6 + len] = 0x34;
        uint8_t *copy = exact(in, (size_t)expect);
        cr_assert(eq(int, socks5_request(copy, (size_t)expect - 1, &to), 0));
        cr_assert(eq(int, socks5_request(copy, (size_t)expect, &to), expect));
        cr_assert(eq(u16, to.name_len, len));
        cr_assert(eq(ptr, (void *)to.name, copy + 5));
        cr_assert(eq(u16, to.port, 0x1234));
        free(copy);
    }
}

/* No bytes whatever take it past the end, or make it take what is not there. */
Test(proto, garbage)
{
    unsigned seed = 1;
    for (int i = 0; i < 200000; i++) {
        uint8_t in[40];
        char text[ADDR_TEXT];
        bool offered = false;
        size_t len = (size_t)rand_r(&seed) % sizeof in;
        for (size_t k = 0; k < len; k++)
            in[k] = (uint8_t)(k < 4 ? rand_r(&seed) % 6 : rand_r(&seed));
        if (len && rand_r(&seed) % 4)
            in[0] = 5;
        int n = greeting(in, len, SOCKS5_NO_AUTH, &offered);
        cr_assert(n >= SOCKS5_MALFORMED && n <= (int)len);
        n = request(in, len, text);
        cr_assert(n >= -SOCKS5_BAD_ADDRESS && n <= (int)len);
    }
}

Test(proto, replies)
{
    static const struct {
        const char *bound; /* as an endpoint; NULL: none */
        int code;
        struct bytes expect;
    } table[] = {
        {NULL, SOCKS5_OK, B("\5\0\0\1\0\0\0\0\0\0")},
        {NULL, SOCKS5_BAD_ADDRESS, B("\5\10\0\1\0\0\0\0\0\0")},
        {"192.0.2.1:8080", SOCKS5_OK, B("\5\0\0\1\300\0\2\1\37\220")},
        {"[2001:db8::1]:443", SOCKS5_OK, B("\5\0\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\1\273")},
        {"name.example:65535", SOCKS5_OK, B("\5\0\0\1\0\0\0\0\377\377")},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        uint8_t out[SOCKS5_REPLY_MAX];
        struct dp_addr bound = {0};
        const char *text = table[i].bound;
        if (text)
            cr_assert(eq(int, addr_parse_endpoint(&bound, text, strlen(text)), 0));
        size_t len = socks5_reply(out, table[i].code, text ? &bound : NULL);
        cr_expect(eq(sz, len, table[i].expect.len), "row %zu", i);
        cr_expect(memcmp(out, table[i].expect.p, table[i].expect.len) == 0, "row %zu", i);
    }
}

Test(proto, first_byte_of_a_client)
{
    for (int c = 0; c < 256; c++) {
        enum sniff expect = SNIFF_UNKNOWN;
        if (c == 4 || c == 5)
            expect = c == 4 ? SNIFF_SOCKS4 : SNIFF_SOCKS5;
        else if (c == 0x16)
            expect = SNIFF_TLS;
        else if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '\r' || c == '\n')
            expect = SNIFF_HTTP;
        cr_assert(eq(int, (int)sniff_first_byte((uint8_t)c), (int)expect), "%d", c);
    }
    cr_expect(strncmp(sniff_mistake(SNIFF_HTTP), "speaks HTTP", 11) == 0);
    cr_expect(strncmp(sniff_mistake(SNIFF_SOCKS4), "speaks SOCKS4", 13) == 0);
    cr_expect(strncmp(sniff_mistake(SNIFF_TLS), "speaks TLS", 10) == 0);
}

Test(proto, refusals)
{
    size_t len;
    const char *text = sniff_refusal(SNIFF_HTTP, &len);
    cr_assert(eq(sz, strlen(text), len), "no NUL in it");
    cr_expect(strncmp(text, "HTTP/1.1 501 ", 13) == 0);
    cr_expect(strstr(text, "\r\nConnection: close\r\n") != NULL);
    const char *length = strstr(text, "\r\nContent-Length: "), *body = strstr(text, "\r\n\r\n");
    cr_assert(length != NULL && body != NULL && length < body);
    cr_expect(eq(i32, atoi(length + strlen("\r\nContent-Length: ")), (int)strlen(body + 4)));

    text = sniff_refusal(SNIFF_SOCKS4, &len);
    cr_expect(eq(sz, len, 8));
    cr_expect(memcmp(text, "\0\133\0\0\0\0\0\0", 8) == 0);
    text = sniff_refusal(SNIFF_UNKNOWN, &len);
    cr_expect(eq(sz, len, 2));
    cr_expect(memcmp(text, "\5\377", 2) == 0);
    sniff_refusal(SNIFF_TLS, &len);
    cr_expect(eq(sz, len, 0), "nothing a TLS client could read");
}
