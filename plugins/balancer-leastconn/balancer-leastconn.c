/* SPDX-License-Identifier: MIT
 * balancer-leastconn: the link with the fewest connections for its weight.
 */
#include <dispatch-plugin.h>
#include <stdbool.h>

/* Shared by all threads and processes that serve the pool. */
struct state {
    uint64_t picks;
};
struct slot {
    uint64_t last; /* the number of the pick it was last chosen by */
};

struct candidate {
    uint32_t index, active, weight;
    struct slot *slot;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return 0;
}

/* Is a loaded less than b? A tie goes to the one chosen longest ago. */
static bool better(const struct candidate *a, const struct candidate *b)
{
    uint64_t load_a = (uint64_t)a->active * b->weight; /* both times both weights: < 2^48 */
    uint64_t load_b = (uint64_t)b->active * a->weight;
    if (load_a != load_b)
        return load_a < load_b;
    return dp_load(&a->slot->last) < dp_load(&b->slot->last);
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    struct candidate best = {.index = DP_NONE};
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        const struct dp_member *m = pool->view->member[i];
        struct candidate c = {i, dp_load(&m->stat->active), m->weight, dp_slot(pool, m->slot)};
        if (best.index == DP_NONE || better(&c, &best))
            best = c;
    }
    if (best.index == DP_NONE)
        return DP_NONE;

    struct state *s = pool->state;
    dp_store(&best.slot->last, dp_add(&s->picks, 1) + 1);
    *seen = best.active; /* the host picks again if it has moved: no two share one gap */
    return best.index;
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .slot_state = sizeof(struct slot),
    .create = create,
    .pick = pick,
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "leastconn",
    .version = "1",
    .summary = "fewest connections for the weight, ties in turn",
    .ops = &ops,
};
