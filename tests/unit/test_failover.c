/* SPDX-License-Identifier: MIT
 * test_failover.c: balancer-failover by tables: what has failed and come back when, expected picks.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define S INT64_C(1000000000)

struct conf {
    int64_t hold_down;
};

static const struct dp_plugin *failover(void)
{
    static const struct dp_plugin *plugin;
    return plugin ? plugin : (plugin = fake_load("balancer-failover.so"));
}

static char letter(uint32_t member)
{
    return member == DP_NONE ? '-' : (char)('A' + (int)member);
}

static void open_pool(struct fake_pool *p, struct conf *conf, uint32_t n)
{
    static const uint32_t weight[] = {1, 100, 10};
    fake_pool_open(p, failover(), conf, weight, n);
    p->flow.now = 1000 * S;
}

/* As the host does: asks again, with their bits, while those that are out are picked. */
static char pick(struct fake_pool *p, const char *out)
{
    uint32_t m = fake_pool_pick(p);
    while (m != DP_NONE && strchr(out, letter(m))) {
        p->tried |= UINT64_C(1) << p->member[m].slot;
        m = fake_pool_pick(p);
    }
    p->tried = 0;
    return letter(m);
}

static void fail(struct fake_pool *p, uint32_t m)
{
    p->stat[m].fails++;
    p->stat[m].failed_at = p->flow.now;
}

static void work(struct fake_pool *p, uint32_t m)
{
    p->stat[m].fails = 0;
    p->stat[m].rtt_at = p->flow.now;
}

Test(failover, one_pick)
{
    enum { OFF = 1, TRIED = 2, LIMIT = 4 };
    static const struct {
        uint32_t state[3];
        char expect;
    } table[] = {
        {{0, 0, 0}, 'A'},         {{OFF, 0, 0}, 'B'},     {{TRIED, 0, 0}, 'B'},
        {{LIMIT, 0, 0}, 'B'},     {{0, OFF, LIMIT}, 'A'}, {{TRIED, OFF, 0}, 'C'},
        {{LIMIT, TRIED, 0}, 'C'}, {{OFF, OFF, OFF}, '-'}, {{TRIED, TRIED, TRIED}, '-'},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){10 * S}, 3);
        for (uint32_t m = 0; m < 3; m++) {
            p.member[m].usable = !(table[i].state[m] & OFF);
            p.member[m].limit = p.stat[m].active = table[i].state[m] & LIMIT ? 1 : 0;
            p.tried |= (table[i].state[m] & TRIED ? UINT64_C(1) : 0) << m;
        }
        p.flow.attempt = p.tried != 0;
        cr_expect(eq(chr, letter(fake_pool_pick(&p)), table[i].expect), "row %zu", i);
        cr_expect(eq(u32, p.seen, UINT32_MAX), "row %zu: seen", i);
        p.tried = 0; /* none of the rest is a failure: nothing is held back */
        p.member[0].limit = 0;
        if (p.member[0].usable)
            cr_expect(eq(chr, letter(fake_pool_pick(&p)), 'A'), "row %zu: afterwards", i);
        fake_pool_close(&p);
    }
}

/* A link that could not be used is held back like one that has failed. */
Test(failover, not_usable)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, 2);
    p.member[0].usable = 0;
    fake_pool_publish(&p);
    cr_expect(eq(chr, pick(&p, ""), 'B'));
    p.flow.now += 3600 * S;
    p.member[0].usable = 1;
    fake_pool_publish(&p);
    cr_expect(eq(chr, pick(&p, ""), 'A')); /* one tries it */
    cr_expect(eq(chr, pick(&p, ""), 'B'));
    p.flow.now += 10 * S - 1;
    cr_expect(eq(chr, pick(&p, ""), 'B'));
    p.flow.now += 1;
    cr_expect(eq(chr, pick(&p, ""), 'A'));
    fake_pool_close(&p);
}

/* Out for one kind of destination is not out for the others. */
Test(failover, kinds_of_destinations)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, 2);
    for (int i = 0; i < 3; i++, p.flow.now += S) {
        p.flow.dest = (struct dp_addr){.salen = 28, .sa.ss_family = AF_INET6};
        cr_expect(eq(chr, pick(&p, "A"), 'B'));
        p.flow.dest = (struct dp_addr){.salen = 16, .sa.ss_family = AF_INET};
        cr_expect(eq(chr, pick(&p, ""), 'A'));
        p.flow.dest = (struct dp_addr){.name = "a.test", .name_len = 6};
        cr_expect(eq(chr, pick(&p, ""), 'A'));
        p.flow.proto = DP_UDP;
        cr_expect(eq(chr, pick(&p, "A"), 'B'));
        p.flow.proto = DP_TCP;
    }
    fake_pool_close(&p);
}

/* What a retry finds out: a failure that counts, or else nothing. */
Test(failover, retries)
{
    for (uint32_t fails = 0; fails < 2; fails++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){10 * S}, 2);
        p.stat[0].fails = fails;
        p.flow.attempt = 1;
        p.tried = 1;
        cr_expect(eq(chr, pick(&p, ""), 'B'));
        p.flow.attempt = 0;
        cr_expect(eq(chr, pick(&p, ""), 'A')); /* its trial, if it has failed */
        work(&p, 0);
        cr_expect(eq(chr, pick(&p, ""), fails ? 'B' : 'A'));
        fake_pool_close(&p);
    }
}

/* Each step: seconds pass, something happens to a link, these are out, and that is picked. */
Test(failover, hold_down)
{
    static const struct {
        const char *what;
        int64_t hold_down;
        struct {
            int64_t after;
            const char *event, *out, *expect;
        } step[8];
    } table[] = {
        {"back after it was well for 10 s: one tries it, and no other",
         10 * S,
         {{0, "", "", "A"},
          {0, "-A", "A", "B"},
          {5 * S, "", "", "A"},
          {0, "+A", "", "B"},
          {9 * S, "", "", "B"},
          {1 * S, "", "", "A"},
          {0, "", "", "A"}}},
        {"out without a failure, as the kernel has it",
         10 * S,
         {{0, "", "A", "B"},
          {3600 * S, "", "A", "B"},
          {1 * S, "", "", "A"},
          {9 * S, "", "", "B"},
          {1 * S, "", "", "A"},
          {1 * S, "", "", "A"}}},
        {"the time begins anew",
         10 * S,
         {{0, "-A", "A", "B"},
          {1 * S, "", "", "A"},
          {9 * S, "-A", "A", "B"},
          {1 * S, "", "", "A"},
          {0, "+A", "", "B"},
          {9 * S, "", "", "B"},
          {1 * S, "", "", "A"}}},
        {"no hold-down", 0, {{0, "-A", "A", "B"}, {1 * S, "", "", "A"}, {0, "+A", "", "A"}}},
        {"a day",
         86400 * S,
         {{0, "-A", "A", "B"},
          {1 * S, "", "", "A"},
          {0, "+A", "", "B"},
          {86399 * S, "", "", "B"},
          {1 * S, "", "", "A"}}},
        {"a trial that fails",
         10 * S,
         {{0, "-A", "A", "B"},
          {1 * S, "", "", "A"},
          {0, "-A", "A", "B"},
          {1 * S, "", "", "A"},
          {0, "+A", "", "B"}}},
        {"held back is better than none",
         10 * S,
         {{0, "-A", "A", "B"}, {1 * S, "", "", "A"}, {0, "+A", "", "B"}, {1 * S, "-B", "BC", "A"}}},
        {"the third, while the second is held back",
         10 * S,
         {{0, "-A", "A", "B"},
          {0, "-B", "AB", "C"},
          {5 * S, "", "A", "B"},
          {0, "+B", "A", "C"},
          {9 * S, "", "A", "C"},
          {1 * S, "", "A", "B"}}},
        {"a failure after which it stayed in use",
         10 * S,
         {{0, "-A", "", "A"}, {0, "+A", "", "A"}}},
        {"one that nobody asked for is not known to have been out",
         10 * S,
         {{0, "-B", "", "A"}, {5 * S, "+B", "", "A"}, {0, "-A", "A", "B"}}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        open_pool(&p, &(struct conf){table[i].hold_down}, 3);
        for (size_t s = 0; s < 8 && table[i].step[s].expect; s++) {
            const char *event = table[i].step[s].event;
            p.flow.now += table[i].step[s].after;
            if (*event)
                (*event == '-' ? fail : work)(&p, (uint32_t)(event[1] - 'A'));
            cr_expect(eq(chr, pick(&p, table[i].step[s].out), *table[i].step[s].expect),
                      "%s: step %zu", table[i].what, s);
        }
        fake_pool_close(&p);
    }
}

/* What holds a link back is with its slot, wherever it stands, and not with its place. */
Test(failover, state_follows_the_slot)
{
    struct fake_pool p;
    open_pool(&p, &(struct conf){10 * S}, 2);
    cr_expect(eq(chr, pick(&p, "A"), 'B'));
    cr_expect(eq(chr, pick(&p, ""), 'A'));
    p.list[0] = &p.member[1];
    p.list[1] = &p.member[0];
    fake_pool_publish(&p);
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    p.tried = UINT64_C(1) << 1;
    cr_expect(eq(u32, fake_pool_pick(&p), 1)); /* held back, but alone */
    fake_pool_close(&p);
}

Test(failover, describes_itself)
{
    const struct dp_plugin *p = failover();
    cr_assert(eq(u32, p->n_opts, 1));
    cr_expect(eq(str, (char *)p->opts->name, "hold-down"));
    cr_expect(eq(str, (char *)p->opts->dflt, "10s"));
    cr_expect(eq(u32, p->conf_size, sizeof(struct conf)));
}
