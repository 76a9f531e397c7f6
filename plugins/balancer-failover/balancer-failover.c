/* SPDX-License-Identifier: MIT
 * balancer-failover: the first of the links, in their order, that is in use.
 */
#include <dispatch-plugin.h>
#include <stdbool.h>

struct conf {
    int64_t hold_down;
};

/* A link may be out for some destinations alone, as for those of a family it has no address of. */
enum { IPV4, IPV6, NAME, OTHER, KINDS };

/* Shared by all threads and processes that serve the pool. */
struct slot {
    int64_t since[KINDS]; /* when it was asked for again after it was out; OUT; 0: it never was */
};
#define OUT (-1)

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf; /* only read, and alive until destroy() */
    return 0;
}

static unsigned kind_of(const struct dp_flow *flow)
{
    if (flow->proto != DP_TCP)
        return OTHER;
    if (!flow->dest.salen)
        return NAME;
    return flow->dest.sa.ss_family == AF_INET6 ? IPV6 : IPV4;
}

/* Is it out? The host asks again, with its bit, if it was picked and is not to be used, or if this
 * flow has found that it fails. */
static bool is_out(const struct dp_flow *flow, const struct dp_member *m)
{
    uint32_t word = m->slot / 64;
    if (!m->usable)
        return true;
    return word < flow->n_tried && flow->tried[word] >> (m->slot % 64) & 1 &&
           (!flow->attempt || dp_load(&m->stat->fails));
}

/* Is it to be picked? One that was out is, by one flow at a time: the host then says whether it
 * still is, or lets that flow try it. From then on it must be well for as long as the hold-down. */
static bool is_due(const struct conf *conf, int64_t *since, const struct dp_stat *stat, int64_t now)
{
    int64_t then = dp_load(since);
    if (then == OUT)
        dp_store(since, now);
    return then <= 0 || dp_load(&stat->fails) || now - then >= conf->hold_down;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen; /* the choice rests on nobody's load */
    unsigned kind = kind_of(flow);
    uint32_t held = DP_NONE;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        const struct dp_member *m = pool->view->member[i];
        struct slot *slot = dp_slot(pool, m->slot);
        if (is_out(flow, m) && dp_load(&slot->since[kind]) != OUT)
            dp_store(&slot->since[kind], OUT);
        if (!dp_allowed(pool, flow, i))
            continue;
        if (is_due(pool->self, &slot->since[kind], m->stat, flow->now))
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
