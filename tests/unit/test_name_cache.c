/* SPDX-License-Identifier: MIT
 * test_name_cache.c: what is kept of names, for whom, how long, and what is pushed out.
 */
#include "base/clock.h"
#include "route/name_cache.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dispatch-plugin.h>
#include <stdio.h>
#include <string.h>

#define START NS_PER_S
#define V4 AF_INET

static struct name_cache cache = {.entries_max = 4, .bytes_max = 1 << 20};

static struct dns_answer answer(int err, uint32_t ttl_s, size_t n)
{
    struct dns_answer a = {.err = err, .ttl_s = ttl_s, .n = n};
    for (size_t i = 0; i < n; i++)
        memset(a.ip[i], (int)i + 1, 16);
    return a;
}

static struct name_entry *take(const char *name, int64_t now)
{
    return name_cache_take(&cache, 1, V4, name, now);
}

/* An entry with an answer, unused. */
static void put(const char *name, uint32_t ttl_s)
{
    struct dns_answer a = answer(DP_OK, ttl_s, 1);
    struct name_entry *e = take(name, START);
    if (!e->known)
        name_cache_answer(&cache, e, &a, START);
    name_cache_give_back(&cache, e);
}

/* Would somebody who wants it now be answered? Leaves no trace but the use. */
static bool knows(uint64_t source, int family, const char *name, int64_t now)
{
    struct name_entry *e = name_cache_take(&cache, source, family, name, now);
    bool known = e->known;
    name_cache_give_back(&cache, e);
    return known;
}

static void deinit(void)
{
    name_cache_deinit(&cache);
    cr_expect(eq(sz, cache.bytes, 0), "all bytes are accounted for");
    cr_expect(cache.all == NULL && cache.unused == NULL);
}

TestSuite(name_cache, .fini = deinit);

Test(name_cache, an_answer_holds_for_its_ttl)
{
    put("x", 10);
    cr_expect(knows(1, V4, "x", START));
    cr_expect(knows(1, V4, "x", START + 10 * NS_PER_S - 1));
    cr_expect(not(knows(1, V4, "x", START + 10 * NS_PER_S)));
    cr_expect(not(knows(1, V4, "x", START)), "it is gone, and the new one was not answered");
}

Test(name_cache, an_answer_is_for_who_asked)
{
    put("x", 10);
    cr_expect(not(knows(2, V4, "x", START)), "another source");
    cr_expect(not(knows(1, AF_INET6, "x", START)), "another family");
    cr_expect(not(knows(1, V4, "xx", START)), "another name");
    cr_expect(not(knows(1, V4, "", START)), "no name");
    cr_expect(knows(1, V4, "x", START));
}

Test(name_cache, addresses_are_packed_and_whole)
{
    static const uint8_t all[12] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    struct dns_answer a = answer(DP_OK, 10, 3);
    struct name_entry *e = take("x", START);
    name_cache_answer(&cache, e, &a, START);
    cr_expect(eq(sz, e->n, 3));
    cr_expect(eq(int, memcmp(e->ip, all, sizeof all), 0));
    name_cache_give_back(&cache, e);
}

Test(name_cache, what_is_asked_for_is_found_by_others)
{
    struct name_entry *e = take("x", START), *same = take("x", START);
    struct dns_answer a = answer(DP_OK, 0, 1);
    cr_expect(eq(ptr, e, same));
    name_cache_answer(&cache, e, &a, START);
    cr_expect(same->known && same->n == 1, "a TTL of 0 is for those who wait");
    struct name_entry *after = take("x", START);
    cr_expect(after != same && !after->known, "and for nobody after");
    name_cache_give_back(&cache, after);
    name_cache_give_back(&cache, e);
    name_cache_give_back(&cache, same);
}

Test(name_cache, errors)
{
    static const struct {
        int err;
        uint32_t ttl_s;
        bool kept;
    } table[] = {
        {DP_ERR_NO_HOST, 10, true},
        {DP_ERR_NO_HOST, 0, false},
        {DP_ERR_HOST_UNREACH, 10, false}, /* is no answer, whatever it says */
        {DP_ERR_LOCAL, 10, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char name[2] = {(char)('a' + i)};
        struct dns_answer a = answer(table[i].err, table[i].ttl_s, 0);
        struct name_entry *e = take(name, START);
        name_cache_answer(&cache, e, &a, START);
        cr_expect(eq(int, e->err, table[i].err));
        name_cache_give_back(&cache, e);
        cr_expect(eq(int, knows(1, V4, name, START), table[i].kept), "row %zu", i);
    }
}

Test(name_cache, the_one_used_least_recently_goes)
{
    put("a", 10);
    put("b", 10);
    put("c", 10);
    put("d", 10);
    put("a", 10); /* used again */
    put("e", 10);
    cr_expect(eq(uint, HASH_COUNT(cache.all), 4));
    struct name_entry *e;
    char left[8] = "";
    for (e = cache.unused; e; e = e->next)
        strncat(left, e->key.name, 1);
    cr_expect(eq(str, left, "cdae"));
}

Test(name_cache, bytes_are_bounded_too)
{
    struct dns_answer a = answer(DP_OK, 10, DNS_ADDRESSES_MAX);
    cache.entries_max = 1000;
    cache.bytes_max = 4096;
    for (int i = 0; i < 1000; i++) {
        char name[200];
        snprintf(name, sizeof name, "%0199d", i);
        struct name_entry *e = take(name, START);
        name_cache_answer(&cache, e, &a, START);
        name_cache_give_back(&cache, e);
        cr_assert(cache.bytes <= cache.bytes_max, "%zu", cache.bytes);
    }
    cr_expect(gt(uint, HASH_COUNT(cache.all), 8));
}

Test(name_cache, what_is_in_use_stays)
{
    struct name_entry *e[6];
    struct dns_answer a = answer(DP_OK, 1, 2);
    for (int i = 0; i < 6; i++) {
        char name[2] = {(char)('a' + i)};
        e[i] = take(name, START);
        name_cache_answer(&cache, e[i], &a, START);
    }
    cr_expect(eq(uint, HASH_COUNT(cache.all), 6), "more than there may be");
    cr_expect(not(knows(1, V4, "a", START + 2 * NS_PER_S)), "expired, and still whole:");
    cr_expect(eq(sz, e[0]->n, 2));
    for (int i = 0; i < 6; i++)
        name_cache_give_back(&cache, e[i]);
    cr_expect(eq(uint, HASH_COUNT(cache.all), 4));
}
