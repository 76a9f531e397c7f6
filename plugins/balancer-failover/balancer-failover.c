/* SPDX-License-Identifier: MIT
 * balancer-failover: the first of the links, in their order, that is in use.
 */
#include <dispatch-plugin.h>
#include <stdbool.h>

struct conf {
    int64_t hold_down;
};

/* Shared by all threads and processes that serve the pool. */
struct slot {
    int64_t since; /* > 0: well again since then; < 0: found out at -since; 0: it was never out */
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf; /* only read, and alive until destroy() */
    return 0;
}

/* Is it out? If it has failed, as the host or this flow has just found, we are asked again, with
 * its bit. */
static bool is_out(const struct dp_flow *flow, const struct dp_member *m)
{
    uint32_t word = m->slot / 64;
    if (!m->usable)
        return true;
    return word < flow->n_tried && flow->tried[word] >> (m->slot % 64) & 1 &&
           dp_load(&m->stat->fails);
}

/* Has it been well for long enough to be gone back to? One that has not worked since it failed is
 * the host's to judge, which lets a flow try it when its time has come: it is picked for that. */
static bool settled(const struct dp_pool *pool, const struct dp_flow *flow,
                    const struct dp_member *m)
{
    const struct conf *conf = pool->self;
    struct slot *slot = dp_slot(pool, m->slot);
    int64_t since = dp_load(&slot->since);
    if (dp_load(&m->stat->fails))
        return true;
    if (since < 0) {
        int64_t worked_at = dp_load(&m->stat->rtt_at);
        since = worked_at >= -since ? worked_at : flow->now;
        dp_store(&slot->since, since);
    }
    return !since || flow->now - since >= conf->hold_down;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen; /* the choice rests on nobody's load */
    uint32_t held = DP_NONE;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        const struct dp_member *m = pool->view->member[i];
        struct slot *slot = dp_slot(pool, m->slot);
        if (is_out(flow, m) && dp_load(&slot->since) >= 0)
            dp_store(&slot->since, -flow->now);
        if (!dp_allowed(pool, flow, i))
            continue;
        if (settled(pool, flow, m))
            return i;
        if (held == DP_NONE)
            held = i;
    }
    return held;
}

static const struct dp_balancer_ops ops = {
    .slot_state = sizeof(struct slot),
    .create = create,
    .pick = pick,
};

static const struct dp_opt opts[] = {
    {
        .name = "hold-down",
        .type = DP_DURATION,
        .offset = offsetof(struct conf, hold_down),
        .max = INT64_C(86400) * 1000000000,
        .dflt = "10s",
        .help = "how long a link must have been well again before it is gone back to",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "failover",
    .version = "1",
    .summary = "the first link, in their order, that is in use",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
