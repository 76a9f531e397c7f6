/* SPDX-License-Identifier: MIT
 * test_quota.c: connections counted by link and destination.
 */
#include "base/addr.h"
#include "route/quota.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static const struct link one = {.name = "one", .hash = 1}, two = {.name = "two", .hash = 2};

static uint64_t key(const struct link *link, const char *dest)
{
    struct dp_addr addr;
    cr_assert(eq(i32, addr_parse_endpoint(&addr, dest, strlen(dest)), 0), "%s", dest);
    return quota_key(link, &addr);
}

Test(quota, keys)
{
    static const struct {
        const char *a, *b;
        bool same;
    } row[] = {
        {"a.example:80", "A.Example:80", true},
        {"a.example:80", "a.example.:80", true},
        {"a.example:80", "a.example:81", false},
        {"a.example:80", "b.example:80", false},
        {"192.0.2.1:80", "192.0.2.1:80", true},
        {"192.0.2.1:80", "192.0.2.2:80", false},
        {"192.0.2.1:80", "192.0.2.1:443", false},
        {"[::ffff:192.0.2.1]:80", "192.0.2.1:80", true},
        {"[2001:db8::1]:80", "[2001:db8::1]:80", true},
        {"[2001:db8::1]:80", "[2001:db8::2]:80", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        cr_expect(eq(i32, key(&one, row[i].a) == key(&one, row[i].b), row[i].same), "row %zu", i);
        cr_expect(key(&one, row[i].a) != key(&two, row[i].a), "row %zu", i);
    }
    cr_expect(eq(u64, quota_key(&one, &(struct dp_addr){0}), 0), "a destination that is not known");
}

Test(quota, counts)
{
    struct arena *arena = arena_new((size_t)1 << 20, -1);
    cr_assert(quota_of(arena, false) == NULL);
    struct quota *q = quota_of(arena, true);
    uint32_t cell[4];
    cr_assert(q && quota_of(arena, false) == q && quota_of(arena, true) == q);
    uint64_t a = key(&one, "a.example:80"), b = key(&one, "b.example:80");
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            cr_expect(not(quota_met(q, a, 3)));
            cr_expect(quota_take(q, a, 3, &cell[i]) && cell[i] != 0);
        }
        cr_expect(quota_met(q, a, 3));
        cr_expect(not(quota_take(q, a, 3, &cell[3])));
        cr_expect(eq(u32, cell[3], 0));
        cr_expect(quota_take(q, b, 1, &cell[3]), "another destination");
        quota_give(q, cell[3]);
        quota_give(q, cell[1]);
        cr_expect(quota_take(q, a, 3, &cell[1]), "a place again");
        cr_expect(quota_met(q, a, 2), "the limit was lowered");
        for (int i = 0; i < 3; i++)
            quota_give(q, cell[i]);
        quota_give(q, 0);
        cr_expect(not(quota_met(q, a, 1)));
    }
    arena_destroy(arena);
}

/* More destinations in one line than it has cells: the last are not limited, and hold nothing. */
Test(quota, a_full_line)
{
    struct arena *arena = arena_new((size_t)1 << 20, -1);
    struct quota *q = quota_of(arena, true);
    uint32_t cell[10];
    for (uint64_t i = 0; i < 10; i++) {
        cr_expect(quota_take(q, (i + 1) << 40, 1, &cell[i]));
        cr_expect(eq(i32, cell[i] != 0, i < 8), "%ju", (uintmax_t)i);
        cr_expect(eq(i32, quota_met(q, (i + 1) << 40, 1), i < 8), "%ju", (uintmax_t)i);
    }
    quota_give(q, cell[3]);
    cr_expect(quota_take(q, UINT64_C(10) << 40, 1, &cell[9]) && cell[9] == cell[3]);
    cr_expect(quota_met(q, UINT64_C(10) << 40, 1));
    arena_destroy(arena);
}
