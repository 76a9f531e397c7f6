/* SPDX-License-Identifier: MIT
 * balancer-leastbytes: the link that has carried the fewest bytes for its weight. An example of a
 * plugin built outside of dispatch's own tree.
 */
#include <dispatch-plugin.h>

enum { BOTH, DOWN, UP }; /* the choices of `count` */

struct conf {
    uint32_t count;
    uint64_t assume;
};

/* Of one link, shared by all threads and processes that serve the pool. */
struct slot {
    uint64_t bytes;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf; /* only read, and alive until destroy() */
    return 0;
}

/* Open connections have not been counted yet: each stands for `assume` bytes, the new one too. */
static uint64_t load_of(const struct dp_pool *pool, const struct dp_member *m, uint32_t active)
{
    const struct conf *conf = pool->self;
    const struct slot *slot = dp_slot(pool, m->slot);
    return (dp_load(&slot->bytes) + (active + UINT64_C(1)) * conf->assume) / m->weight;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    uint32_t best = DP_NONE;
    uint64_t least = 0;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        const struct dp_member *m = pool->view->member[i];
        uint32_t active = dp_load(&m->stat->active);
        uint64_t load = load_of(pool, m, active);
        if (best == DP_NONE || load < least) {
            best = i;
            least = load;
            *seen = active; /* the host picks again if it has moved */
        }
    }
    return best;
}

static void done(const struct dp_pool *pool, uint32_t slot, const struct dp_outcome *outcome)
{
    const struct conf *conf = pool->self;
    struct slot *s = dp_slot(pool, slot);
    if (conf->count != UP)
        dp_add(&s->bytes, outcome->rx);
    if (conf->count != DOWN)
        dp_add(&s->bytes, outcome->tx);
}

static const struct dp_balancer_ops ops = {
    .slot_state = sizeof(struct slot),
    .create = create,
    .pick = pick,
    .done = done,
};

static const struct dp_opt opts[] = {
    {
        .name = "count",
        .type = DP_ENUM,
        .offset = offsetof(struct conf, count),
        .dflt = "both",
        .choices = "both|down|up",
        .help = "which way bytes are counted: down is towards the client",
    },
    {
        .name = "assume",
        .type = DP_SIZE,
        .offset = offsetof(struct conf, assume),
        .min = 1,
        .max = 1 << 30,
        .dflt = "64KiB",
        .help = "bytes an open connection counts with until it ends",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "leastbytes",
    .version = "1",
    .summary = "fewest bytes carried for the weight",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
