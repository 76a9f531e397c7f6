/* SPDX-License-Identifier: MIT
 * test_random.c: balancer-random: shares by weight, and nobody who is not allowed.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

enum { PICKS = 100000 };

static const struct dp_plugin *plugin(void)
{
    static const struct dp_plugin *loaded;
    return loaded ? loaded : (loaded = fake_load("balancer-random.so"));
}

static void count(struct fake_pool *p, uint32_t *of)
{
    for (int i = 0; i < PICKS; i++) {
        uint32_t m = fake_pool_pick(p);
        cr_assert(lt(u32, m, p->view.n));
        of[m]++;
    }
}

/* Not one of the links is further from its share than five standard deviations of a fair throw. */
Test(random, shares)
{
    enum { OFF = 1, TRIED = 2, LIMIT = 4 };
    static const struct {
        uint32_t n, weight[4], state[4], share[4]; /* expected, of 100 */
    } table[] = {
        {2, {1, 1}, {0}, {50, 50}},
        {2, {3, 1}, {0}, {75, 25}},
        {4, {1, 2, 3, 4}, {0}, {10, 20, 30, 40}},
        {4, {65535, 65535, 65535, 65535}, {0}, {25, 25, 25, 25}},
        {4, {4, 1, 3, 2}, {0, OFF, TRIED, LIMIT}, {100, 0, 0, 0}},
        {4, {4, 6, 60, 7}, {0, 0, TRIED, OFF}, {40, 60, 0, 0}},
        {1, {7}, {0}, {100}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        uint32_t of[4] = {0};
        fake_pool_open(&p, plugin(), NULL, table[i].weight, table[i].n);
        for (uint32_t m = 0; m < table[i].n; m++) {
            p.member[m].usable = !(table[i].state[m] & OFF);
            p.member[m].limit = p.stat[m].active = table[i].state[m] & LIMIT ? 1 : 0;
            p.tried |= (table[i].state[m] & TRIED ? UINT64_C(1) : 0) << m;
        }
        count(&p, of);
        for (uint32_t m = 0; m < table[i].n; m++) {
            uint32_t expected = table[i].share[m] * (PICKS / 100);
            uint32_t margin = table[i].share[m] % 100 ? 800 : 0; /* 5 * sqrt(n / 4) = 790 */
            cr_expect(le(u32, of[m], expected + margin), "row %zu member %u", i, m);
            cr_expect(ge(u32, of[m] + margin, expected), "row %zu member %u", i, m);
        }
        fake_pool_close(&p);
    }
}

Test(random, none)
{
    struct fake_pool p;
    fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
    p.tried = 3;
    cr_expect(eq(u32, fake_pool_pick(&p), DP_NONE));
    fake_pool_close(&p);
    fake_pool_open(&p, plugin(), NULL, NULL, 0);
    cr_expect(eq(u32, fake_pool_pick(&p), DP_NONE));
    fake_pool_close(&p);
}

/* The next link does not follow from the last one: each of the four pairs is as likely. */
Test(random, no_order)
{
    struct fake_pool p;
    uint32_t pair[2][2] = {{0}};
    fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
    uint32_t last = fake_pool_pick(&p);
    for (int i = 0; i < PICKS; i++) {
        uint32_t m = fake_pool_pick(&p);
        pair[last][m]++;
        last = m;
    }
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            cr_expect(gt(u32, pair[a][b], PICKS / 4 - 800), "%d after %d", b, a);
            cr_expect(lt(u32, pair[a][b], PICKS / 4 + 800), "%d after %d", b, a);
        }
    fake_pool_close(&p);
}

/* The same count at another time is another throw: two runs are not the same. */
Test(random, runs_differ)
{
    uint64_t run[2] = {0};
    for (int r = 0; r < 2; r++) {
        struct fake_pool p;
        fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
        p.flow.now = 1000000 + r;
        for (int i = 0; i < 64; i++)
            run[r] = run[r] << 1 | fake_pool_pick(&p);
        fake_pool_close(&p);
    }
    cr_expect(ne(u64, run[0], run[1]));
}
