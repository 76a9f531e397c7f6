/* SPDX-License-Identifier: MIT
 * balancer-random: a link at random, as often as its weight says.
 */
#include <dispatch-plugin.h>
#include <xxhash.h>

/* Shared by all threads and processes that serve the pool. */
struct state {
    uint64_t picks;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return 0;
}

/* A number below n < 2^32, from the next throw. */
static uint64_t throw_below(uint64_t *dice, uint64_t n)
{
    *dice = XXH64(dice, sizeof *dice, 0);
    return (*dice >> 32) * n >> 32;
}

/* One walk: each member takes the place of the one chosen so far with its share of all up to it. */
static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen; /* the choice rests on nobody's load */
    struct state *s = pool->state;
    /* The time tells one run from another, the count one pick from another. */
    const uint64_t throw[] = {dp_add(&s->picks, 1), (uint64_t)flow->now};
    uint64_t dice = XXH64(throw, sizeof throw, 0), total = 0;
    uint32_t chosen = DP_NONE;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        uint32_t weight = pool->view->member[i]->weight;
        total += weight;
        if (throw_below(&dice, total) < weight)
            chosen = i;
    }
    return chosen;
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .create = create,
    .pick = pick,
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "random",
    .version = "1",
    .summary = "at random, by weight",
    .ops = &ops,
};
