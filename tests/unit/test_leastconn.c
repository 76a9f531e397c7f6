/* SPDX-License-Identifier: MIT
 * test_leastconn.c: balancer-leastconn by tables: weights, loads, expected picks.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static const struct dp_plugin *leastconn(void)
{
    static const struct dp_plugin *plugin;
    return plugin ? plugin : (plugin = fake_load("balancer-leastconn.so"));
}

static char letter(uint32_t member)
{
    return member == DP_NONE ? '-' : (char)('A' + (int)member);
}

/* Each pick is claimed, as a host does. */
static void claims(struct fake_pool *p, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t m = fake_pool_pick(p);
        out[i] = letter(m);
        if (m != DP_NONE)
            p->stat[m].active++;
    }
    out[n] = '\0';
}

Test(leastconn, one_pick)
{
    enum { OFF = 1, TRIED = 2, LIMIT = 4 };
    static const struct {
        uint32_t n, weight[3], active[3], state[3];
        char expect;
    } table[] = {
        {2, {1, 1}, {1, 0}, {0}, 'B'},
        {2, {1, 1}, {0, 0}, {0}, 'A'},
        {2, {3, 2}, {2, 1}, {0}, 'B'}, /* 2/3 against 1/2 */
        {2, {3, 2}, {3, 2}, {0}, 'A'}, /* a tie */
        {2, {3, 2}, {0, 0}, {0}, 'A'}, /* idle is a tie, whatever the weights */
        {2, {3, 2}, {3, 1}, {0}, 'B'},
        {2, {3, 2}, {4, 3}, {0}, 'A'}, /* 4/3 against 3/2 */
        {3, {1, 1, 1}, {5, 4, 3}, {0}, 'C'},
        {3, {1, 1, 1}, {5, 4, 3}, {0, 0, OFF}, 'B'},
        {3, {1, 1, 1}, {5, 4, 3}, {0, TRIED, OFF}, 'A'},
        {3, {1, 1, 1}, {5, 4, 3}, {0, TRIED, LIMIT}, 'A'},
        {3, {1, 1, 1}, {5, 4, 3}, {LIMIT, TRIED, OFF}, '-'},
        /* products beyond 32 bits */
        {2, {65535, 1}, {UINT32_MAX - 1, 65537}, {0}, 'A'},
        {2, {65535, 65534}, {UINT32_MAX, UINT32_MAX}, {0}, 'A'},
        {0, {0}, {0}, {0}, '-'},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        fake_pool_open(&p, leastconn(), NULL, table[i].weight, table[i].n);
        for (uint32_t m = 0; m < table[i].n; m++) {
            p.stat[m].active = table[i].active[m];
            p.member[m].usable = !(table[i].state[m] & OFF);
            p.member[m].limit = table[i].state[m] & LIMIT ? table[i].active[m] : 0;
            p.tried |= (table[i].state[m] & TRIED ? UINT64_C(1) : 0) << m;
        }
        uint32_t got = fake_pool_pick(&p);
        cr_expect(eq(chr, letter(got), table[i].expect), "row %zu", i);
        uint32_t seen = got == DP_NONE ? UINT32_MAX : table[i].active[got];
        cr_expect(eq(u32, p.seen, seen), "row %zu: seen", i);
        fake_pool_close(&p);
    }
}

Test(leastconn, ties_in_turn)
{
    struct fake_pool p;
    char got[16];
    fake_pool_open(&p, leastconn(), NULL, (uint32_t[]){1, 1, 1}, 3);
    for (size_t i = 0; i < 9; i++) /* nothing stays open: all tie, each time */
        got[i] = letter(fake_pool_pick(&p));
    got[9] = '\0';
    cr_expect(eq(str, got, "ABCABCABC"));
    fake_pool_close(&p);
}

/* Not "the next by number": the one chosen longest ago. */
Test(leastconn, ties_go_to_the_longest_waiting)
{
    struct fake_pool p;
    fake_pool_open(&p, leastconn(), NULL, (uint32_t[]){1, 1, 1}, 3);
    p.tried = 4;
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    cr_expect(eq(u32, fake_pool_pick(&p), 1));
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    p.tried = 0;
    cr_expect(eq(u32, fake_pool_pick(&p), 2));
    cr_expect(eq(u32, fake_pool_pick(&p), 1));
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    fake_pool_close(&p);
}

/* Nor "the one chosen less often". */
Test(leastconn, ties_do_not_count_choices)
{
    struct fake_pool p;
    fake_pool_open(&p, leastconn(), NULL, (uint32_t[]){1, 1}, 2);
    p.tried = 2;
    for (int i = 0; i < 3; i++)
        cr_expect(eq(u32, fake_pool_pick(&p), 0));
    p.tried = 1;
    cr_expect(eq(u32, fake_pool_pick(&p), 1));
    p.tried = 0;
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    fake_pool_close(&p);
}

/* A slot keeps its block wherever its member stands in the view. */
Test(leastconn, state_follows_the_slot)
{
    struct fake_pool p;
    fake_pool_open(&p, leastconn(), NULL, (uint32_t[]){1, 1}, 2);
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    p.member[0].slot = 1;
    p.member[1].slot = 0;
    fake_pool_publish(&p);
    cr_expect(eq(u32, fake_pool_pick(&p), 0)); /* slot 1 was never chosen */
    fake_pool_close(&p);
}

Test(leastconn, held_open_is_exact)
{
    struct fake_pool p;
    char got[1001];
    fake_pool_open(&p, leastconn(), NULL, (uint32_t[]){3, 2}, 2);
    claims(&p, got, 1000);
    cr_expect(eq(u32, p.stat[0].active, 600));
    cr_expect(eq(u32, p.stat[1].active, 400));
    fake_pool_close(&p);
}

Test(leastconn, has_no_options)
{
    cr_expect(eq(u32, leastconn()->n_opts, 0));
    cr_expect(eq(u32, leastconn()->conf_size, 0));
}
