/* SPDX-License-Identifier: MIT
 * balancer-adaptive: the link by which a connection costs the least time, as far as can be learned
 * from the connections themselves.
 *
 * A link is taken to share its rate evenly among its connections. So one that has carried so many
 * bytes in so long, beside so many others, shows what the whole link carries. One more connection
 * of the usual size takes the time to connect and that size at its part of the rate, and by what it
 * transfers it delays each of the others.
 */
#include <dispatch-plugin.h>
#include <math.h>
#include <stdbool.h>

#define NS_PER_S 1e9

/* Each link that may be used has at least one of so many connections, or nobody would learn that it
 * has got better. */
#define FLOOR_PICKS 32

/* A measurement's part in what is known. A rate that was reached is there: it counts for more than
 * one that was not, which may be a server's or that of a connection with nothing to say. */
#define PART_UP (1.0 / 4)
#define PART_DOWN (1.0 / 16)
#define PART_SIZE (1.0 / 16)
#define PART_LOAD (1.0 / 8)

#define LOAD_ONE 1024.0 /* connections are counted in parts of so many */

/* Shared by all threads and processes that serve the pool. An update may be lost when two are made
 * at once: that leaves one measurement out. */
struct state {
    uint64_t picks;
    uint64_t size; /* bytes of a connection, smoothed; 0: not known */
};
struct slot {
    uint64_t rate; /* bytes per second, of all its connections together; 0: not known */
    uint64_t load; /* connections, smoothed, * LOAD_ONE */
    uint64_t last; /* the number of the pick it was last chosen by */
};

struct candidate {
    uint32_t index, active;
    double cost;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return 0;
}

static void approach(uint64_t *value, double sample, double part)
{
    double old = (double)dp_load(value);
    dp_store(value, (uint64_t)(old + (sample - old) * part));
}

/* Looks at all members: what one of weight 1 carries, so that those not known yet can be guessed; 1
 * if none is known. */
static double rate_of_weight(const struct dp_pool *pool)
{
    double rate = 0, weight = 0;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        const struct dp_member *m = pool->view->member[i];
        struct slot *slot = dp_slot(pool, m->slot);
        uint64_t known = dp_load(&slot->rate);
        approach(&slot->load, dp_load(&m->stat->active) * LOAD_ONE, PART_LOAD);
        rate += (double)known;
        weight += known ? m->weight : 0;
    }
    return weight > 0 ? rate / weight : 1;
}

static struct candidate consider(const struct dp_pool *pool, uint32_t i, double of_weight)
{
    const struct dp_member *m = pool->view->member[i];
    const struct state *s = pool->state;
    const struct slot *slot = dp_slot(pool, m->slot);
    struct candidate c = {.index = i, .active = dp_load(&m->stat->active)};
    double size = (double)dp_load(&s->size), rate = (double)dp_load(&slot->rate);
    double connect = size > 0 ? (double)dp_load(&m->stat->rtt) / NS_PER_S : 0;
    c.cost = connect +
             fmax(size, 1) * (2.0 * c.active + 1.0) / (rate > 0 ? rate : m->weight * of_weight);
    return c;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    struct state *s = pool->state;
    struct candidate best = {.index = DP_NONE};
    uint64_t number = dp_load(&s->picks);
    double of_weight = rate_of_weight(pool);
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        struct candidate c = consider(pool, i, of_weight);
        const struct slot *slot = dp_slot(pool, pool->view->member[i]->slot);
        if (number - dp_load(&slot->last) >= FLOOR_PICKS)
            c.cost = 0;
        if (best.index == DP_NONE || c.cost < best.cost)
            best = c;
    }
    if (best.index == DP_NONE)
        return DP_NONE;

    struct slot *slot = dp_slot(pool, pool->view->member[best.index]->slot);
    dp_store(&slot->last, dp_add(&s->picks, 1) + 1);
    *seen = best.active; /* the host picks again if it has moved: no two share one gap */
    return best.index;
}

static void done(const struct dp_pool *pool, uint32_t slot, const struct dp_outcome *outcome)
{
    struct state *s = pool->state;
    struct slot *of = dp_slot(pool, slot);
    if (outcome->err != DP_OK || outcome->life_ns <= 0)
        return;
    double bytes = (double)outcome->rx + (double)outcome->tx;
    double size = (double)dp_load(&s->size), known = (double)dp_load(&of->rate);
    approach(&s->size, bytes, size > 0 ? PART_SIZE : 1);

    double beside = fmax((double)dp_load(&of->load) / LOAD_ONE, 1);
    double rate = bytes * beside * NS_PER_S / (double)outcome->life_ns;
    double part = rate > known ? PART_UP : PART_DOWN;
    if (known > 0) /* a small one says less: it may have had no time to get going */
        approach(&of->rate, rate, part * fmin(bytes / fmax(size, 1), 1));
    else
        approach(&of->rate, rate, 1);
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .slot_state = sizeof(struct slot),
    .create = create,
    .pick = pick,
    .done = done,
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "adaptive",
    .version = "1",
    .summary = "the least time for all, learned from the traffic",
    .ops = &ops,
};
