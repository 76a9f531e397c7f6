/* SPDX-License-Identifier: MIT
 * test_adaptive.c: balancer-adaptive: picks by tables, and over links that are simulated: each
 * shares its rate evenly among its connections.
 */
#include "lib/plugin_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <string.h>

#define S INT64_C(1000000000)

enum { LINKS = 3, CLIENTS_MAX = 24, FETCH = 500000 };

static const struct dp_plugin *plugin(void)
{
    static const struct dp_plugin *loaded;
    return loaded ? loaded : (loaded = fake_load("balancer-adaptive.so"));
}

static char letter(uint32_t member)
{
    return member == DP_NONE ? '-' : (char)('A' + (int)member);
}

static void ended(struct fake_pool *p, uint32_t m, int err, uint64_t rx, int64_t life_ns)
{
    struct dp_outcome outcome = {.size = sizeof outcome, .err = err, .life_ns = life_ns, .rx = rx};
    p->ops->done(&p->pool, p->member[m].slot, &outcome);
}

/* A and B have been measured alone, each with a connection of so many bytes in a second. */
Test(adaptive, one_pick)
{
    enum { OFF = 1, TRIED = 2, LIMIT = 4 };
    static const struct {
        uint64_t rate[2]; /* 0: not known */
        int64_t rtt[2];
        uint32_t active[2], weight[2], state[2];
        char expect;
    } table[] = {
        {{2000000, 1000000}, {0, 0}, {0, 0}, {1, 1}, {0}, 'A'},
        {{1000000, 2000000}, {0, 0}, {0, 0}, {1, 1}, {0}, 'B'},
        {{1000000, 2000000}, {0, 0}, {0, 0}, {9, 1}, {0}, 'B'}, /* known: no weight */
        {{2000000, 1000000}, {0, 0}, {2, 0}, {1, 1}, {0}, 'B'}, /* 5/2 against 1 */
        {{4000000, 1000000}, {0, 0}, {2, 0}, {1, 1}, {0}, 'B'}, /* 5/4 against 1 */
        {{6000000, 1000000}, {0, 0}, {2, 0}, {1, 1}, {0}, 'A'}, /* 5/6 against 1 */
        {{1000000, 1000000}, {S, 0}, {0, 0}, {1, 1}, {0}, 'B'},
        {{4000000, 1000000}, {9 * S, 0}, {0, 0}, {1, 1}, {0}, 'B'},
        {{4000000, 1000000}, {S / 10, 0}, {0, 0}, {1, 1}, {0}, 'A'},
        /* not known: as good as the other, for its weight */
        {{0, 1000000}, {0, 0}, {0, 1}, {1, 1}, {0}, 'A'},
        {{0, 1000000}, {0, 0}, {1, 0}, {1, 1}, {0}, 'B'},
        {{0, 1000000}, {0, 0}, {1, 0}, {4, 1}, {0}, 'A'},
        {{0, 0}, {0, 0}, {5, 4}, {1, 1}, {0}, 'B'},
        {{0, 0}, {0, 0}, {5, 4}, {3, 2}, {0}, 'A'}, /* 11/3 against 9/2 */
        {{2000000, 1000000}, {0, 0}, {0, 0}, {1, 1}, {OFF, 0}, 'B'},
        {{2000000, 1000000}, {0, 0}, {0, 0}, {1, 1}, {TRIED, 0}, 'B'},
        {{2000000, 1000000}, {0, 0}, {1, 9}, {1, 1}, {LIMIT, 0}, 'B'},
        {{2000000, 1000000}, {0, 0}, {1, 9}, {1, 1}, {LIMIT, OFF}, '-'},
        {{UINT64_MAX, 1}, {0, 0}, {UINT32_MAX, UINT32_MAX}, {1, 1}, {0}, 'A'},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        fake_pool_open(&p, plugin(), NULL, table[i].weight, 2);
        for (uint32_t m = 0; m < 2; m++) {
            if (table[i].rate[m])
                ended(&p, m, DP_OK, table[i].rate[m], S);
            p.stat[m].rtt = table[i].rtt[m];
            p.stat[m].active = table[i].active[m];
            p.member[m].usable = !(table[i].state[m] & OFF);
            p.member[m].limit = table[i].state[m] & LIMIT ? table[i].active[m] : 0;
            p.tried |= (table[i].state[m] & TRIED ? UINT64_C(1) : 0) << m;
        }
        uint32_t got = fake_pool_pick(&p);
        cr_expect(eq(chr, letter(got), table[i].expect), "row %zu", i);
        cr_expect(eq(u32, p.seen, got == DP_NONE ? UINT32_MAX : table[i].active[got]),
                  "row %zu: seen", i);
        fake_pool_close(&p);
    }
}

/* A quarter of a megabyte in a second, as one of four, is more than 0.9 alone. */
Test(adaptive, measures_the_whole_link)
{
    struct fake_pool p;
    fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
    p.stat[0].active = 4;
    for (int i = 0; i < 100; i++)
        fake_pool_pick(&p);
    ended(&p, 0, DP_OK, 250000, S);
    ended(&p, 1, DP_OK, 900000, S);
    p.stat[0].active = 0;
    for (int i = 0; i < 10; i++)
        cr_expect(eq(u32, fake_pool_pick(&p), 0), "pick %d", i);
    fake_pool_close(&p);
}

/* What says nothing of a link's rate changes nothing. */
Test(adaptive, not_measured)
{
    static const struct {
        int err;
        uint64_t bytes;
        int64_t life_ns;
    } table[] = {
        {DP_ERR_LINK, 0, 0}, {DP_ERR_CANCELLED, 0, 0}, {DP_OK, 1000000000, 0},
        {DP_OK, 0, S},       {DP_OK, 0, 3600 * S},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
        ended(&p, 0, DP_OK, 1000001, S);
        ended(&p, 1, DP_OK, 1000000, S);
        ended(&p, table[i].bytes ? 1 : 0, table[i].err, table[i].bytes, table[i].life_ns);
        cr_expect(eq(u32, fake_pool_pick(&p), 0), "row %zu", i);
        fake_pool_close(&p);
    }
}

/* However bad it is, a link has at least one connection in 32. */
Test(adaptive, everyone_is_measured)
{
    struct fake_pool p;
    uint32_t of[LINKS] = {0};
    fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1, 1}, LINKS);
    ended(&p, 0, DP_OK, 100000000, S);
    ended(&p, 1, DP_OK, 1000, S);
    ended(&p, 2, DP_OK, 1, S);
    for (int i = 0; i < 3300; i++)
        of[fake_pool_pick(&p)]++;
    for (int m = 1; m < LINKS; m++) {
        cr_expect(ge(u32, of[m], 99), "member %d", m);
        cr_expect(le(u32, of[m], 105), "member %d", m);
    }
    fake_pool_close(&p);
}

/* ---- simulated links ---- */

struct fetch {
    uint32_t link;
    double left; /* bytes */
    int64_t began;
};

struct sim {
    struct fake_pool pool;
    double rate[LINKS]; /* bytes per second */
    uint32_t n;         /* clients, each of which fetches all the time */
    struct fetch fetch[CLIENTS_MAX];
    double carried;  /* bytes, since it was set to 0 */
    uint32_t number; /* fetches, likewise */
};

static void fetch_start(struct sim *s, struct fetch *f)
{
    f->link = fake_pool_pick(&s->pool);
    f->left = FETCH;
    f->began = s->pool.flow.now;
    s->pool.stat[f->link].active++;
}

static void fetch_end(struct sim *s, struct fetch *f)
{
    ended(&s->pool, f->link, DP_OK, FETCH, s->pool.flow.now - f->began);
    s->pool.stat[f->link].active--;
    s->number++;
    fetch_start(s, f);
}

static double speed(const struct sim *s, const struct fetch *f)
{
    return s->rate[f->link] / s->pool.stat[f->link].active;
}

/* On to the next end of a fetch. */
static void sim_step(struct sim *s)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < s->n; i++)
        least = fmin(least, s->fetch[i].left / speed(s, &s->fetch[i]));
    double passed = ceil(least * 1e9) / 1e9;
    for (uint32_t i = 0; i < s->n; i++) {
        double bytes = fmin(speed(s, &s->fetch[i]) * passed, s->fetch[i].left);
        s->fetch[i].left -= bytes;
        s->carried += bytes;
    }
    s->pool.flow.now += (int64_t)(passed * 1e9);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->fetch[i].left < 0.5)
            fetch_end(s, &s->fetch[i]);
}

/* Bytes per second. */
static double sim_run(struct sim *s, int64_t time_ns)
{
    int64_t began = s->pool.flow.now;
    s->carried = 0;
    s->number = 0;
    while (s->pool.flow.now - began < time_ns)
        sim_step(s);
    return s->carried * 1e9 / (double)(s->pool.flow.now - began);
}

static void sim_open(struct sim *s, const uint32_t *weight, uint32_t clients)
{
    memset(s, 0, sizeof *s);
    fake_pool_open(&s->pool, plugin(), NULL, weight, LINKS);
    s->pool.flow.now = S;
    s->n = clients;
    for (uint32_t i = 0; i < clients; i++)
        fetch_start(s, &s->fetch[i]);
}

static void sim_rates(struct sim *s, const double *mbit)
{
    for (int m = 0; m < LINKS; m++)
        s->rate[m] = mbit[m] * 1e6 / 8;
}

/* 24 clients: after 30 s nearly all that the links carry together, and again 30 s after two of them
 * are swapped; connections are spread by the rates, whatever the weights say. */
Test(adaptive, learns)
{
    static const uint32_t weights[][LINKS] = {{1, 1, 1}, {1, 1, 10}, {5, 1, 5}};
    static const double rates[][LINKS] = {{20, 10, 5}, {5, 10, 20}, {20, 10, 5}};
    static const uint32_t fair[][LINKS] = {{14, 7, 3}, {3, 7, 14}, {14, 7, 3}};
    for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) {
        static struct sim s;
        sim_open(&s, weights[w], CLIENTS_MAX);
        for (size_t phase = 0; phase < 3; phase++) {
            sim_rates(&s, rates[phase]);
            sim_run(&s, 30 * S);
            double rate = sim_run(&s, 20 * S);
            cr_expect(gt(dbl, rate, 0.97 * 35e6 / 8), "weights %zu, phase %zu", w, phase);
            for (int m = 0; m < LINKS; m++) {
                cr_expect(le(u32, s.pool.stat[m].active, fair[phase][m] + 3),
                          "weights %zu, phase %zu, link %d", w, phase, m);
                cr_expect(ge(u32, s.pool.stat[m].active + 3, fair[phase][m]),
                          "weights %zu, phase %zu, link %d", w, phase, m);
            }
        }
        fake_pool_close(&s.pool);
    }
}

/* One client alone: by the fastest link, but for those connections that measure the others. */
Test(adaptive, one_client)
{
    static struct sim s;
    sim_open(&s, (uint32_t[]){1, 1, 1}, 1);
    sim_rates(&s, (double[]){5, 10, 20});
    sim_run(&s, 30 * S);
    sim_run(&s, 100 * S);
    cr_expect(gt(u32, s.number, 400)); /* 500 by the fastest alone, 214 in turn */
    sim_rates(&s, (double[]){5, 20, 10});
    sim_run(&s, 60 * S);
    sim_run(&s, 100 * S);
    cr_expect(gt(u32, s.number, 400));
    fake_pool_close(&s.pool);
}

Test(adaptive, state_follows_the_slot)
{
    struct fake_pool p;
    fake_pool_open(&p, plugin(), NULL, (uint32_t[]){1, 1}, 2);
    ended(&p, 0, DP_OK, 1000000, S);
    ended(&p, 1, DP_OK, 2000000, S);
    p.list[0] = &p.member[1];
    p.list[1] = &p.member[0];
    fake_pool_publish(&p);
    cr_expect(eq(u32, fake_pool_pick(&p), 0));
    fake_pool_close(&p);
}
