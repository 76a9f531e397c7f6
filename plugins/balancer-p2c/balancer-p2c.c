/* SPDX-License-Identifier: MIT
 * balancer-p2c: of two links at random the one that is faster and has less to do.
 *
 * The cost of a link is what connecting by it takes, times the connections it would then have, for
 * its weight. The time is a moving average that jumps up to a slower measurement at once, and comes
 * down slowly ("peak EWMA", as in Finagle). Not measured, it sinks towards 0, so that every link is
 * tried again sooner or later.
 */
#include <dispatch-plugin.h>
#include <math.h>
#include <stdbool.h>
#include <xxhash.h>

#define NS_PER_MS INT64_C(1000000)

/* What a failure measures that the host does not count against the link: as long as a client waits
 * for a silent link before another one is tried. Links that fail fast must not look fast. */
#define FAILED_NS (250 * NS_PER_MS)

/* The cost of one that has never been measured and is being tried: until that has shown something,
 * only the like of it gets more. */
#define UNKNOWN_NS 1e18

struct conf {
    int64_t decay;
};

/* Shared by all threads and processes that serve the pool. Their updates may be lost, as when two
 * measure at once: that leaves one measurement, not a wrong one. */
struct state {
    uint64_t picks;
};
struct slot {
    int64_t time_ns, at; /* to connect: smoothed, and when that was; 0: not known */
    int64_t seen_at;     /* the last of the host's measurements that is in it */
    uint32_t failed;     /* failures that are not in it yet */
};

struct candidate {
    uint32_t index, active;
    double cost;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf; /* only read, and alive until destroy() */
    return 0;
}

/* How much of a value remains from `then` to `now`. */
static double remains(const struct conf *conf, int64_t then, int64_t now)
{
    return now > then ? exp(-(double)(now - then) / (double)conf->decay) : 1;
}

static void measure(const struct conf *conf, struct slot *slot, int64_t sample, int64_t now)
{
    int64_t time_ns = dp_load(&slot->time_ns);
    if (sample < time_ns) {
        double keep = remains(conf, dp_load(&slot->at), now);
        sample += (int64_t)((double)(time_ns - sample) * keep);
    }
    dp_store(&slot->time_ns, sample);
    dp_store(&slot->at, now);
}

/* Takes in what has happened since the last look, each thing in one thread alone. */
static void update(const struct conf *conf, struct slot *slot, const struct dp_stat *stat,
                   int64_t now)
{
    int64_t rtt_at = dp_load(&stat->rtt_at), seen_at = dp_load(&slot->seen_at);
    if (rtt_at != seen_at && __atomic_compare_exchange_n(&slot->seen_at, &seen_at, rtt_at, false,
                                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        measure(conf, slot, dp_load(&stat->rtt), rtt_at);
    if (dp_load(&slot->failed) && __atomic_exchange_n(&slot->failed, 0, __ATOMIC_RELAXED))
        measure(conf, slot, FAILED_NS, now);
}

static struct candidate consider(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t i)
{
    const struct conf *conf = pool->self;
    const struct dp_member *m = pool->view->member[i];
    struct slot *slot = dp_slot(pool, m->slot);
    struct candidate c = {.index = i, .active = dp_load(&m->stat->active)};
    update(conf, slot, m->stat, flow->now);
    double time_ns = (double)dp_load(&slot->time_ns);
    if (time_ns > 0)
        c.cost = time_ns * remains(conf, dp_load(&slot->at), flow->now) * (c.active + 1.0);
    else
        c.cost = UNKNOWN_NS * c.active;
    c.cost /= m->weight;
    return c;
}

/* A number below n < 2^32, from the next throw. */
static uint64_t throw_below(uint64_t *dice, uint64_t n)
{
    *dice = XXH64(dice, sizeof *dice, 0);
    return (*dice >> 32) * n >> 32;
}

/* Up to two of the members that are allowed, any two as likely. Returns how many. */
static uint32_t draw_two(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *two)
{
    struct state *s = pool->state;
    /* The time tells one run from another, the count one pick from another. */
    const uint64_t throw[] = {dp_add(&s->picks, 1), (uint64_t)flow->now};
    uint64_t dice = XXH64(throw, sizeof throw, 0);
    uint32_t n = 0;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        uint64_t place = n < 2 ? n : throw_below(&dice, n + 1);
        if (place < 2)
            two[place] = i;
        n++;
    }
    return n < 2 ? n : 2;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    uint32_t two[2], n = draw_two(pool, flow, two);
    if (n == 0)
        return DP_NONE;
    struct candidate best = consider(pool, flow, two[0]);
    if (n == 2) {
        struct candidate other = consider(pool, flow, two[1]);
        if (other.cost < best.cost)
            best = other;
    }
    *seen = best.active; /* the host picks again if it has moved */
    return best.index;
}

static void done(const struct dp_pool *pool, uint32_t slot, const struct dp_outcome *outcome)
{
    struct slot *s = dp_slot(pool, slot);
    int err = outcome->err;
    if (err < 0 && err != DP_ERR_FAMILY && dp_blame(err) == DP_UNABLE)
        dp_add(&s->failed, 1);
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .slot_state = sizeof(struct slot),
    .create = create,
    .pick = pick,
    .done = done,
};

static const struct dp_opt opts[] = {
    {
        .name = "decay",
        .type = DP_DURATION,
        .offset = offsetof(struct conf, decay),
        .min = 100 * NS_PER_MS,
        .max = 3600 * 1000 * NS_PER_MS,
        .dflt = "10s",
        .help = "how fast a slow connect is forgotten: to a third in this time",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "p2c",
    .version = "1",
    .summary = "the better of two at random, by connect time and load",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
