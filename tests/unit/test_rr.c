/* SPDX-License-Identifier: MIT
 * test_rr.c: balancer-rr by tables: weights, states, expected picks.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum { SMOOTH, BLOCK };

struct conf {
    uint32_t order;
};

static const struct dp_plugin *rr(void)
{
    static const struct dp_plugin *plugin;
    return plugin ? plugin : (plugin = fake_load("balancer-rr.so"));
}

static char letter(uint32_t member)
{
    return member == DP_NONE ? '-' : (char)('A' + (int)member);
}

static void picks(struct fake_pool *p, char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = letter(fake_pool_pick(p));
    out[n] = '\0';
}

/* One digit a member: its weight; then x: not usable, l: at its limit, t: tried. */
static uint32_t weights(uint32_t *weight, const char *text)
{
    uint32_t n = 0;
    for (const char *s = text; *s; s++)
        if (*s >= '0' && *s <= '9')
            weight[n++] = (uint32_t)(*s - '0');
    return n;
}

static void set_state(struct fake_pool *p, const char *text)
{
    uint32_t i = UINT32_MAX;
    for (const char *s = text; *s; s++) {
        if (*s >= '0' && *s <= '9')
            i++;
        else if (*s == 'x')
            p->member[i].usable = 0;
        else if (*s == 'l')
            p->member[i].limit = p->stat[i].active = 1;
        else
            p->tried |= UINT64_C(1) << p->member[i].slot;
    }
}

Test(rr, sequences)
{
    static const struct {
        uint32_t order;
        const char *members, *expect;
    } table[] = {
        {SMOOTH, "32", "ABABAABABA"},
        {SMOOTH, "511", "AABACAAAABACAA"},
        {SMOOTH, "1", "AAA"},
        {SMOOTH, "111", "ABCABC"},
        {SMOOTH, "46", "BABABBABAB"}, /* as 2 to 3 */
        {SMOOTH, "64", "ABABAABABA"},
        {BLOCK, "32", "AAABBAAABB"},
        {BLOCK, "64", "AAAAAABBBBAAAAAABBBB"}, /* as given */
        {BLOCK, "1", "AAA"},
        {BLOCK, "123", "ABBCCCABBCCC"},
        /* not usable: not in the rotation at all */
        {SMOOTH, "3x21", "BCBBCB"},
        {BLOCK, "32x1", "AAACAAAC"},
        {SMOOTH, "3x2x", "--"},
        {BLOCK, "3x2x", "--"},
        /* not allowed now: its turns are passed over, and the others keep their shares */
        {SMOOTH, "3l2", "BBBBB"},
        {SMOOTH, "5t11", "BCBCBCB"},
        {SMOOTH, "5t21", "BCBBCB"},
        {SMOOTH, "3t2t11", "CDCDCD"},
        {BLOCK, "3t21", "BBCBBC"},
        {BLOCK, "32l1", "AAACAA"},
        {BLOCK, "322t", "AAABBA"},
        {BLOCK, "2t3t21", "CCDCCD"},
        {SMOOTH, "3l2t", "--"},
        {BLOCK, "3t2l", "--"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        uint32_t weight[FAKE_MEMBERS];
        char got[64];
        uint32_t n = weights(weight, table[i].members);
        fake_pool_open(&p, rr(), &(struct conf){table[i].order}, weight, n);
        set_state(&p, table[i].members);
        fake_pool_publish(&p);
        picks(&p, got, strlen(table[i].expect));
        cr_expect(eq(str, got, (char *)table[i].expect), "row %zu: %s", i, table[i].members);
        fake_pool_close(&p);
    }
}

Test(rr, no_members)
{
    for (uint32_t order = SMOOTH; order <= BLOCK; order++) {
        struct fake_pool p;
        fake_pool_open(&p, rr(), &(struct conf){order}, NULL, 0);
        cr_expect(eq(u32, fake_pool_pick(&p), DP_NONE));
        fake_pool_close(&p);
    }
}

/* A retry asks for the next place and leaves it to the next flow. */
Test(rr, retry_does_not_shift)
{
    for (uint32_t order = SMOOTH; order <= BLOCK; order++) {
        struct fake_pool p;
        fake_pool_open(&p, rr(), &(struct conf){order}, (uint32_t[]){3, 2}, 2);
        const char *expect = order == SMOOTH ? "ABABA" : "AAABB";
        for (int i = 0; i < 100; i++) {
            p.flow.attempt = 0;
            p.tried = 0;
            uint32_t first = fake_pool_pick(&p);
            cr_assert(eq(chr, letter(first), expect[i % 5]));
            p.flow.attempt = 1;
            p.tried = UINT64_C(1) << first;
            cr_assert(eq(u32, fake_pool_pick(&p), 1 - first));
            p.tried = 3;
            cr_assert(eq(u32, fake_pool_pick(&p), DP_NONE));
        }
        fake_pool_close(&p);
    }
}

/* The rotation goes on over a change of the view: the counter is the pool's. */
Test(rr, counter_survives_views)
{
    struct fake_pool p;
    char got[8];
    fake_pool_open(&p, rr(), &(struct conf){BLOCK}, (uint32_t[]){3, 2}, 2);
    picks(&p, got, 2);
    fake_pool_publish(&p);
    picks(&p, got, 5);
    cr_expect(eq(str, got, "ABBAA"));
    fake_pool_close(&p);
}

/* Counts one round of `turns` picks. */
static void count(struct fake_pool *p, uint64_t turns, uint64_t *of)
{
    memset(of, 0, FAKE_MEMBERS * sizeof *of);
    for (uint64_t i = 0; i < turns; i++)
        of[fake_pool_pick(p)]++;
}

Test(rr, large_weights_exact)
{
    static const struct {
        uint32_t order;
        uint32_t weight[3];
    } table[] = {
        {SMOOTH, {65535, 65534, 1}},
        {SMOOTH, {65521, 65519, 65497}},
        {BLOCK, {65535, 65534, 1}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        uint64_t of[FAKE_MEMBERS], total = 0;
        for (int m = 0; m < 3; m++)
            total += table[i].weight[m];
        fake_pool_open(&p, rr(), &(struct conf){table[i].order}, table[i].weight, 3);
        count(&p, total, of);
        for (int m = 0; m < 3; m++)
            cr_expect(eq(u64, of[m], table[i].weight[m]), "row %zu member %d", i, m);
        fake_pool_close(&p);
    }
}

/* Past the cap of the table shares are kept in proportion, and nobody is left out. */
Test(rr, huge_total_is_cut)
{
    struct fake_pool p;
    uint64_t of[FAKE_MEMBERS];
    uint32_t weight[FAKE_MEMBERS];
    for (uint32_t i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = i ? 65535 - i : 1;
    fake_pool_open(&p, rr(), &(struct conf){SMOOTH}, weight, FAKE_MEMBERS);
    count(&p, 1 << 20, of); /* several rounds */
    cr_expect(ge(u64, of[0], 1));
    cr_expect(le(u64, of[0], 16));
    for (uint32_t i = 1; i < FAKE_MEMBERS; i++) {
        cr_expect(gt(u64, of[i], (1 << 20) / 63 - 100), "member %u", i);
        cr_expect(lt(u64, of[i], (1 << 20) / 63 + 100), "member %u", i);
    }
    fake_pool_close(&p);
}

/* What weights have in common does not count against the cap. */
Test(rr, common_factor_keeps_it_exact)
{
    struct fake_pool p;
    uint64_t of[FAKE_MEMBERS];
    uint32_t weight[FAKE_MEMBERS];
    for (uint32_t i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = i % 2 ? 60000 : 30000;
    fake_pool_open(&p, rr(), &(struct conf){SMOOTH}, weight, FAKE_MEMBERS);
    count(&p, 20000 * 3 * FAKE_MEMBERS / 2, of);
    for (uint32_t i = 0; i < FAKE_MEMBERS; i++)
        cr_expect(eq(u64, of[i], 20000 * (1 + i % 2)), "member %u", i);
    fake_pool_close(&p);
}

/* A member with a long run of turns is not allowed: the walk is bounded, the scan finds the rest. */
Test(rr, long_run_not_allowed)
{
    struct fake_pool p;
    fake_pool_open(&p, rr(), &(struct conf){SMOOTH}, (uint32_t[]){60000, 1, 1}, 3);
    p.tried = 1;
    uint64_t of[FAKE_MEMBERS];
    count(&p, 10000, of);
    cr_expect(eq(u64, of[0], 0));
    cr_expect(gt(u64, of[1], 3000));
    cr_expect(gt(u64, of[2], 3000));
    p.tried = 7;
    cr_expect(eq(u32, fake_pool_pick(&p), DP_NONE));
    fake_pool_close(&p);
}

Test(rr, describes_itself)
{
    const struct dp_plugin *p = rr();
    cr_assert(eq(u32, p->n_opts, 1));
    cr_expect(eq(str, (char *)p->opts->name, "order"));
    cr_expect(eq(str, (char *)p->opts->dflt, "smooth"));
    cr_expect(eq(str, (char *)p->opts->choices, "smooth|block"));
    cr_expect(eq(u32, p->conf_size, sizeof(struct conf)));
}
