/* SPDX-License-Identifier: MIT
 * test_sticky.c: what connections are known by, and how long their link is remembered.
 */
#include "base/addr.h"
#include "base/clock.h"
#include "route/sticky.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define TTL (10 * NS_PER_S)

static struct arena *arena;

static struct sticky *table(void)
{
    arena = arena_new((size_t)4 << 20, -1);
    cr_assert(arena != NULL);
    struct sticky *s = sticky_join(arena, 1);
    cr_assert(s != NULL);
    return s;
}

/* From this client to this host: an address, or else a name. */
static uint64_t key(unsigned by, const char *client, const char *host)
{
    struct dp_flow flow = {.size = sizeof flow};
    if (*client)
        cr_assert(eq(i32, addr_parse_ip(&flow.client, client, strlen(client)), 0));
    if (addr_parse_ip(&flow.dest, host, strlen(host)) < 0)
        addr_from_name(&flow.dest, host, strlen(host), 443);
    addr_set_port(&flow.client, (uint16_t)rand());
    return sticky_key(by, &flow);
}

Test(sticky, keys)
{
    enum { C = STICKY_CLIENT, H = STICKY_HOST, CH = C | H };
    static const struct {
        unsigned by;
        const char *client, *host, *other_client, *other_host;
        bool same;
    } row[] = {
        {C, "10.0.0.1", "a.example", "10.0.0.1", "b.test", true},
        {C, "10.0.0.1", "a.example", "10.0.0.2", "a.example", false},
        {C, "10.0.0.1", "a.example", "::ffff:10.0.0.1", "a.example", true},
        {C, "fd00::1", "a.example", "fd00::2", "a.example", false},
        {H, "10.0.0.1", "a.example", "10.0.0.2", "a.example", true},
        {H, "10.0.0.1", "a.example", "10.0.0.1", "other.test", false},
        {H, "10.0.0.1", "A.Example.", "10.0.0.1", "a.example", true},
        {H, "10.0.0.1", "192.0.2.1", "10.0.0.1", "192.0.2.2", false},
        {H, "10.0.0.1", "192.0.2.1", "10.0.0.1", "192.0.2.1", true},
        {CH, "10.0.0.1", "a.example", "10.0.0.1", "a.example", true},
        {CH, "10.0.0.1", "a.example", "10.0.0.2", "a.example", false},
        {CH, "10.0.0.1", "a.example", "10.0.0.1", "b.test", false},
#ifdef HAVE_LIBPSL
        {H, "10.0.0.1", "www.shop.co.uk", "10.0.0.1", "img.shop.co.uk", true},
        {H, "10.0.0.1", "www.shop.co.uk", "10.0.0.1", "www.other.co.uk", false},
#endif
    };
    table();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint64_t one = key(row[i].by, row[i].client, row[i].host);
        uint64_t two = key(row[i].by, row[i].other_client, row[i].other_host);
        cr_expect(one != 0 && two != 0, "row %zu", i);
        cr_expect(eq(i32, one == two, row[i].same), "row %zu", i);
    }
    cr_expect(eq(u64, key(C, "", "a.example"), 0), "a client that is not known");
    cr_expect(eq(u64, sticky_key(H, &(struct dp_flow){0}), 0), "a host that is not known");
    arena_destroy(arena);
}

#ifdef HAVE_LIBPSL
Test(sticky, more_names_than_are_known_at_a_time)
{
    uint64_t of_site[50] = {0};
    table();
    for (unsigned i = 0; i < 10000; i++) {
        char name[64];
        snprintf(name, sizeof name, "w%u.site%u.co.uk", i % 5000, i % 50);
        uint64_t seen = key(STICKY_HOST, "10.0.0.1", name), *site = &of_site[i % 50];
        cr_assert(i < 50 || seen == *site, "%s", name);
        *site = seen;
    }
    for (unsigned i = 1; i < 50; i++)
        cr_expect(of_site[i] != of_site[i - 1]);
    arena_destroy(arena);
}
#endif

/* Pools of one name, one after another and at a time. */
Test(sticky, tables_by_name)
{
    struct sticky *first = table(), *again = sticky_join(arena, 1), *other = sticky_join(arena, 2);
    cr_expect(again == first && other && other != first);
    sticky_put(first, 5, 77, 0, TTL);
    for (unsigned i = 0; i < 1000; i++) {
        sticky_leave(arena, first);
        first = sticky_join(arena, 1);
        cr_assert(first == again, "round %u", i);
    }
    cr_expect(eq(u64, sticky_get(first, 5, 1), 77), "what the one knew, the next knows");
    cr_expect(eq(u64, sticky_get(other, 5, 1), 0));
    cr_expect(sticky_join(arena, 3) == NULL, "no memory");
    sticky_leave(arena, first);
    sticky_leave(arena, again);
    struct sticky *third = sticky_join(arena, 3);
    cr_assert(third != NULL, "the last one has freed it");
    cr_expect(eq(u64, sticky_get(third, 5, 1), 0), "and nothing is left of it");
    sticky_leave(arena, other);
    sticky_leave(arena, third);
    sticky_leave(arena, NULL);
    arena_destroy(arena);
}

Test(sticky, tables_that_processes_share)
{
    arena = arena_new_shared((size_t)4 << 20);
    cr_assert(arena != NULL);
    struct sticky *s = sticky_join(arena, 1);
    cr_assert(s != NULL);
    sticky_put(s, 5, 77, 0, TTL);
    sticky_leave(arena, s);
    cr_expect(sticky_join(arena, 1) == s && sticky_get(s, 5, 1) == 77, "never freed");
    arena_destroy(arena);
}

Test(sticky, remembered_for_its_time)
{
    struct sticky *s = table();
    int64_t now = 100 * NS_PER_S;
    cr_expect(eq(u64, sticky_get(s, 5, now), 0));
    sticky_put(s, 5, 77, now, TTL);
    cr_expect(eq(u64, sticky_get(s, 5, now + TTL - 1), 77));
    cr_expect(eq(u64, sticky_get(s, 5, now + TTL), 0), "its time is over");
    sticky_put(s, 5, 77, now + TTL / 2, TTL);
    cr_expect(eq(u64, sticky_get(s, 5, now + TTL), 77), "used again");
    sticky_put(s, 5, 78, now + TTL / 2, TTL);
    cr_expect(eq(u64, sticky_get(s, 5, now + TTL), 78), "moved");
    cr_expect(eq(u64, sticky_get(s, 6, now), 0), "another key");
    arena_destroy(arena);
}

/* More keys than there is room for: what is oldest goes, nothing is ever mixed up. */
Test(sticky, full)
{
    enum { KEYS = 500000 };
    struct sticky *s = table();
    unsigned kept = 0, wrong = 0, newest = 0;
    for (uint64_t k = 1; k <= KEYS; k++)
        sticky_put(s, k * UINT64_C(0x9e3779b97f4a7c15), k, (int64_t)k, TTL);
    for (uint64_t k = 1; k <= KEYS; k++) {
        uint64_t link = sticky_get(s, k * UINT64_C(0x9e3779b97f4a7c15), KEYS);
        kept += link != 0;
        wrong += link && link != k;
        newest += link && k > KEYS - 10000;
    }
    cr_expect(eq(u32, wrong, 0));
    cr_expect(kept > 60000 && kept <= 65536, "%u", kept);
    cr_expect(newest > 9900, "%u of the last 10000", newest);
    arena_destroy(arena);
}
