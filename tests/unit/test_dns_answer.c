/* SPDX-License-Identifier: MIT
 * test_dns_answer.c: messages of name servers, whole, cut at each byte, and broken.
 */
#include "route/dns_answer.h"
#include <ares.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dispatch-plugin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { A = 1, CNAME = 5, SOA = 6, NS = 2, AAAA = 28 };

static struct {
    uint8_t byte[1024];
    size_t len;
} msg;

static void put(uint32_t value, size_t n)
{
    while (n--)
        msg.byte[msg.len++] = (uint8_t)(value >> 8 * n);
}

static void put_bytes(const void *data, size_t n)
{
    memcpy(msg.byte + msg.len, data, n);
    msg.len += n;
}

/* The question is for x.test; 0xc00c points to that name. */
static void begin(uint16_t type, uint16_t answers, uint16_t authorities)
{
    memset(&msg, 0, sizeof msg);
    put(0x12348180, 4);
    put(1, 2);
    put(answers, 2);
    put(authorities, 2);
    put(0, 2);
    put_bytes("\1x\4test", 8);
    put(type, 2);
    put(1, 2);
}

static void record(uint16_t type, uint32_t ttl, const void *data, uint16_t len)
{
    put(0xc00c, 2);
    put(type, 2);
    put(1, 2);
    put(ttl, 4);
    put(len, 2);
    put_bytes(data, len);
}

static void soa(uint32_t ttl, uint32_t minimum)
{
    uint8_t data[] = "\2ns\xc0\x0e\2me\xc0\x0e"
                     "0000111122223333....";
    for (int i = 0; i < 4; i++)
        data[sizeof data - 2 - i] = (uint8_t)(minimum >> 8 * i);
    record(SOA, ttl, data, sizeof data - 1);
}

static struct dns_answer answer(int family, int status)
{
    struct dns_answer a;
    dns_answer_read(&a, family, status, msg.byte, msg.len);
    return a;
}

Test(dns_answer, addresses)
{
    static const uint8_t v6[16] = {0x20, 1, [15] = 9};
    begin(A, 2, 0);
    record(A, 300, "\12\1\1\1", 4);
    record(A, 60, "\12\1\1\2", 4);
    struct dns_answer a = answer(AF_INET, ARES_SUCCESS);
    cr_expect(eq(int, a.err, DP_OK));
    cr_expect(eq(sz, a.n, 2));
    cr_expect(eq(u32, a.ttl_s, 60), "the least of all");
    cr_expect(eq(int, memcmp(a.ip[0], "\12\1\1\1", 4), 0));
    cr_expect(eq(int, memcmp(a.ip[1], "\12\1\1\2", 4), 0));

    begin(AAAA, 1, 0);
    record(AAAA, 5, v6, 16);
    a = answer(AF_INET6, ARES_SUCCESS);
    cr_expect(eq(sz, a.n, 1));
    cr_expect(eq(u32, a.ttl_s, 5));
    cr_expect(eq(int, memcmp(a.ip[0], v6, 16), 0));
}

Test(dns_answer, an_alias_limits_the_time)
{
    begin(A, 2, 0);
    record(CNAME, 7, "\1y\xc0\x0e", 4);
    put_bytes("\1y\xc0\x0e", 4);
    put(A, 2);
    put(1, 2);
    put(300, 4);
    put(4, 2);
    put_bytes("\12\1\1\1", 4);
    struct dns_answer a = answer(AF_INET, ARES_SUCCESS);
    cr_expect(eq(sz, a.n, 1));
    cr_expect(eq(u32, a.ttl_s, 7));
}

Test(dns_answer, bounds)
{
    static const struct {
        uint32_t ttl, expect;
    } table[] = {{0, 0},         {1, 1}, {86400, 86400}, {86401, 86400}, {0x7fffffff, 86400},
                 {0x80000000, 0}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        begin(A, 1, 0);
        record(A, table[i].ttl, "\12\1\1\1", 4);
        cr_expect(eq(u32, answer(AF_INET, ARES_SUCCESS).ttl_s, table[i].expect), "%u",
                  table[i].ttl);
    }
    begin(A, 40, 0);
    for (int i = 0; i < 40; i++)
        record(A, 10, "\12\1\1\1", 4);
    cr_expect(eq(sz, answer(AF_INET, ARES_SUCCESS).n, DNS_ADDRESSES_MAX));
}

/* RFC 2308: 0 is not to be remembered. */
Test(dns_answer, no)
{
    static const struct {
        const char *what;
        int status;
        bool soa, exists;
        uint32_t ttl, minimum, expect;
    } table[] = {
        {"minimum", ARES_ENOTFOUND, true, false, 100, 20, 20},
        {"TTL", ARES_ENOTFOUND, true, false, 10, 200, 10},
        {"the most", ARES_ENOTFOUND, true, false, 9000, 9000, 300},
        {"at once", ARES_ENODATA, true, true, 9000, 0, 0},
        {"no record", ARES_ENODATA, true, true, 100, 20, 20},
        {"unsigned, no name", ARES_ENOTFOUND, false, false, 0, 0, 0},
        {"unsigned, no record", ARES_ENODATA, false, true, 0, 0, 30},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        begin(A, 0, table[i].soa ? 2 : 0);
        if (table[i].soa) {
            record(NS, 1, "\2ns\xc0\x0e", 5);
            soa(table[i].ttl, table[i].minimum);
        }
        struct dns_answer a = answer(AF_INET, table[i].status);
        cr_expect(eq(int, a.err, DP_ERR_NO_HOST), "%s", table[i].what);
        cr_expect(eq(int, a.exists, table[i].exists), "%s", table[i].what);
        cr_expect(eq(u32, a.ttl_s, table[i].expect), "%s", table[i].what);
    }
}

/* Only an alias: the name exists, and its target has no address. */
Test(dns_answer, an_alias_of_nothing)
{
    begin(A, 1, 1);
    record(CNAME, 300, "\1y\xc0\x0e", 4);
    soa(50, 40);
    struct dns_answer a = answer(AF_INET, ARES_SUCCESS);
    cr_expect(eq(int, a.err, DP_ERR_NO_HOST));
    cr_expect(eq(u32, a.ttl_s, 40));
}

Test(dns_answer, failures)
{
    static const struct {
        int status, err;
    } table[] = {
        {ARES_EBADNAME, DP_ERR_NO_HOST},      {ARES_ESERVFAIL, DP_ERR_HOST_UNREACH},
        {ARES_EREFUSED, DP_ERR_HOST_UNREACH}, {ARES_ETIMEOUT, DP_ERR_HOST_UNREACH},
        {ARES_ENOMEM, DP_ERR_LOCAL},          {ARES_ECANCELLED, DP_ERR_LOCAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct dns_answer a;
        dns_answer_read(&a, AF_INET, table[i].status, NULL, 0);
        cr_expect(eq(int, a.err, table[i].err), "%zu", i);
        cr_expect(eq(sz, a.n, 0));
        cr_expect(not(a.exists));
    }
}

/* In memory of exactly that size, for the sanitizers. */
static struct dns_answer answer_cut(int family, int status, size_t len)
{
    struct dns_answer a;
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, msg.byte, len);
    dns_answer_read(&a, family, status, copy, len);
    free(copy);
    return a;
}

Test(dns_answer, cut_at_each_byte)
{
    begin(A, 0, 2);
    record(NS, 1, "\2ns\xc0\x0e", 5);
    soa(100, 20);
    for (size_t len = 0; len < msg.len; len++)
        cr_expect(eq(u32, answer_cut(AF_INET, ARES_ENOTFOUND, len).ttl_s, 0), "%zu bytes", len);
    cr_expect(eq(u32, answer_cut(AF_INET, ARES_ENOTFOUND, msg.len).ttl_s, 20));

    begin(A, 1, 0);
    record(A, 10, "\12\1\1\1", 4);
    for (size_t len = 0; len < msg.len; len++)
        cr_expect(answer_cut(AF_INET, ARES_SUCCESS, len).err != DP_OK, "%zu bytes", len);
}

/* Each byte wrong in turn: whatever comes of it, it is an answer within its bounds. */
Test(dns_answer, broken_at_each_byte)
{
    begin(A, 1, 1);
    record(A, 10, "\12\1\1\1", 4);
    soa(100, 20);
    for (size_t i = 0; i < msg.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            msg.byte[i] ^= (uint8_t)(1 << bit);
            struct dns_answer a = answer_cut(AF_INET, ARES_SUCCESS, msg.len);
            cr_assert(a.n <= DNS_ADDRESSES_MAX && a.ttl_s <= 86400);
            a = answer_cut(AF_INET, ARES_ENOTFOUND, msg.len);
            cr_assert(a.n == 0 && a.ttl_s <= 300);
            msg.byte[i] ^= (uint8_t)(1 << bit);
        }
}
