/* SPDX-License-Identifier: MIT
 * test_p2c.c: balancer-p2c by tables: connect times, loads, what is forgotten, expected picks.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MS INT64_C(1000000)
#define S (1000 * MS)

struct conf {
    int64_t decay;
};

static const struct dp_plugin *plugin(void)
{
    static const struct dp_plugin *loaded;
    return loaded ? loaded : (loaded = fake_load("balancer-p2c.so"));
}

static void open_pool(struct fake_pool *p, struct conf *conf, const uint32_t *weight, uint32_t n)
{
    fake_pool_open(p, plugin(), conf, weight, n);
    p->flow.now = 1000 * S;
}

static char letter(uint32_t member)
{
    return member == DP_NONE ? '-' : (char)('A' + (int)member);
}

/* A dial by member m has just taken this long. */
static void measured(struct fake_pool *p, uint32_t m, int64_t rtt)
{
    p->stat[m].rtt = rtt;
    p->stat[m].rtt_at = p->flow.now;
}

static void failed(struct fake_pool *p, uint32_t m, int err)
{
    struct dp_outcome outcome = {.size = sizeof outcome, .err = err};
    p->ops->done(&p->pool, p->member[m].slot, &outcome);
}

/* Of two links both are drawn, always: the cost alone decides. */
Test(p2c, one_pick)
{
    enum { OFF = 1, TRIED = 2, LIMIT = 4 };
    static const struct {
        int64_t rtt[2]; /* 0: never measured */
        uint32_t active[2], weight[2], state[2];
        char expect;
    } table[] = {
        {{2 * MS, 1 * MS}, {0, 0}, {1, 1}, {0}, 'B'},
        {{1 * MS, 2 * MS}, {0, 0}, {1, 1}, {0}, 'A'},
        {{80 * MS, 1 * MS}, {0, 70}, {1, 1}, {0}, 'B'},
        {{80 * MS, 1 * MS}, {0, 85}, {1, 1}, {0}, 'A'}, /* 80 against 86 */
        {{1 * MS, 1 * MS}, {7, 6}, {1, 1}, {0}, 'B'},
        {{1 * MS, 1 * MS}, {7, 6}, {3, 1}, {0}, 'A'}, /* 8/3 against 7 */
        {{4 * MS, 1 * MS}, {0, 0}, {5, 1}, {0}, 'A'},
        {{0, 1 * MS}, {0, 0}, {1, 1}, {0}, 'A'},   /* find out */
        {{0, 1 * MS}, {1, 500}, {1, 1}, {0}, 'B'}, /* being found out */
        {{0, 0}, {2, 1}, {1, 1}, {0}, 'B'},
        {{1 * MS, 9 * MS}, {0, 0}, {1, 1}, {OFF, 0}, 'B'},
        {{1 * MS, 9 * MS}, {0, 0}, {1, 1}, {TRIED, 0}, 'B'},
        {{1 * MS, 9 * MS}, {1, 0}, {1, 1}, {LIMIT, 0}, 'B'},
        {{1 * MS, 9 * MS}, {1, 0}, {1, 1}, {OFF, TRIED}, '-'},
        {{INT64_MAX / 2, INT64_MAX}, {UINT32_MAX, UINT32_MAX}, {1, 1}, {0}, 'A'},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){10 * S}, table[i].weight, 2);
        for (uint32_t m = 0; m < 2; m++) {
            if (table[i].rtt[m])
                measured(&p, m, table[i].rtt[m]);
            p.stat[m].active = table[i].active[m];
            p.member[m].usable = !(table[i].state[m] & OFF);
            p.member[m].limit = table[i].state[m] & LIMIT ? table[i].active[m] : 0;
            p.tried |= (table[i].state[m] & TRIED ? UINT64_C(1) : 0) << m;
        }
        for (int again = 0; again < 10; again++) {
            uint32_t got = fake_pool_pick(&p);
            cr_expect(eq(chr, letter(got), table[i].expect), "row %zu", i);
            cr_expect(eq(u32, p.seen, got == DP_NONE ? UINT32_MAX : table[i].active[got]),
                      "row %zu: seen", i);
        }
        fake_pool_close(&p);
    }
}

/* B takes 1 ms all the time. What A took, and after which time A is picked again. */
Test(p2c, forgets_slowly_learns_at_once)
{
    static const struct {
        int64_t decay, took, until_a;
    } table[] = {
        {10 * S, 80 * MS, 44 * S}, /* 10 s * ln 80 = 43.8 s */
        {1 * S, 80 * MS, 5 * S},
        {10 * S, 2 * MS, 7 * S},
        {10 * S, 3 * S, 81 * S},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){table[i].decay}, (uint32_t[]){1, 1}, 2);
        measured(&p, 0, table[i].took);
        for (int64_t t = 0; t <= table[i].until_a; t += S) {
            measured(&p, 1, 1 * MS);
            char expect = t < table[i].until_a ? 'B' : 'A';
            cr_expect(eq(chr, letter(fake_pool_pick(&p)), expect), "row %zu after %d s", i,
                      (int)(t / S));
            p.flow.now += S;
        }
        measured(&p, 0, table[i].took); /* tried, and as slow as before */
        measured(&p, 1, 1 * MS);
        cr_expect(eq(chr, letter(fake_pool_pick(&p)), 'B'), "row %zu: found out", i);
        fake_pool_close(&p);
    }
}

/* A peak counts at once, better times bit by bit. */
Test(p2c, peak)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, (uint32_t[]){1, 1}, 2);
    measured(&p, 0, 1 * MS);
    measured(&p, 1, 10 * MS);
    cr_expect(eq(chr, letter(fake_pool_pick(&p)), 'A'));
    p.flow.now++;
    measured(&p, 0, 100 * MS);
    cr_expect(eq(chr, letter(fake_pool_pick(&p)), 'B'));
    int seconds = 0;
    do {
        p.flow.now += S;
        seconds++;
        measured(&p, 0, 1 * MS);
        measured(&p, 1, 10 * MS);
    } while (fake_pool_pick(&p) == 1 && seconds < 100);
    cr_expect(eq(int, seconds, 24)); /* 10 s * ln(99/9) = 23.98 s */
    fake_pool_close(&p);
}

/* A link that has nothing but failures must not look fast. */
Test(p2c, failures)
{
    static const struct {
        int err;
        char expect;
    } table[] = {
        {DP_ERR_NO_ANSWER, 'B'},
        {DP_ERR_COMMAND, 'B'},
        {DP_OK, 'A'},
        {DP_ERR_REFUSED, 'A'},
        {DP_ERR_FAMILY, 'A'},
        {DP_ERR_CANCELLED, 'A'},
        {DP_ERR_HOST_UNREACH, 'A'},
        {DP_ERR_LOCAL, 'A'},
        {DP_ERR_LINK, 'A'}, /* that one is out: the host sees to it */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){10 * S}, (uint32_t[]){1, 1}, 2);
        measured(&p, 1, 100 * MS);
        cr_expect(eq(chr, letter(fake_pool_pick(&p)), 'A'), "row %zu: not known yet", i);
        failed(&p, 0, table[i].err);
        cr_expect(eq(chr, letter(fake_pool_pick(&p)), table[i].expect), "row %zu", i);
        fake_pool_close(&p);
    }
}

/* Two of five at random: the best one gets what it is drawn for, 2 of 5; the worst gets nothing. */
Test(p2c, two_choices)
{
    struct fake_pool p;
    uint32_t of[5] = {0};
    open_pool(&p, &(struct conf){10 * S}, (uint32_t[]){1, 1, 1, 1, 1}, 5);
    for (uint32_t m = 0; m < 5; m++)
        measured(&p, m, (m + 1) * 10 * MS);
    for (int i = 0; i < 10000; i++)
        of[fake_pool_pick(&p)]++;
    for (uint32_t m = 0; m < 5; m++) { /* 4, 3, 2, 1, 0 of the 10 pairs */
        cr_expect(le(u32, of[m], (4 - m) * 1000 + (m < 4 ? 250 : 0)), "member %u", m);
        cr_expect(ge(u32, of[m] + 250, (4 - m) * 1000), "member %u", m);
    }
    fake_pool_close(&p);
}

Test(p2c, few)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, NULL, 0);
    cr_expect(eq(u32, fake_pool_pick(&p), DP_NONE));
    fake_pool_close(&p);
    open_pool(&p, &(struct conf){10 * S}, (uint32_t[]){1}, 1);
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    fake_pool_close(&p);
}

Test(p2c, state_follows_the_slot)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, (uint32_t[]){1, 1}, 2);
    measured(&p, 0, 1 * MS);
    measured(&p, 1, 80 * MS);
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    p.list[0] = &p.member[1];
    p.list[1] = &p.member[0];
    fake_pool_publish(&p);
    cr_expect(eq(u32, fake_pool_pick(&p), 1));
    fake_pool_close(&p);
}

Test(p2c, describes_itself)
{
    const struct dp_plugin *p = plugin();
    cr_assert(eq(u32, p->n_opts, 1));
    cr_expect(eq(str, (char *)p->opts->name, "decay"));
    cr_expect(eq(str, (char *)p->opts->dflt, "10s"));
    cr_expect(eq(u32, p->conf_size, sizeof(struct conf)));
}
