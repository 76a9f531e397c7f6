/* SPDX-License-Identifier: MIT
 * balancer-old.c: built with an older header. Picks the last member that is allowed.
 */
#include "short.h"

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return 0;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen;
    for (uint32_t i = pool->view->n; i > 0; i--)
        if (dp_allowed(pool, flow, i - 1))
            return i - 1;
    return DP_NONE;
}

static const struct dp_balancer_ops ops = {.create = create, .pick = pick};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "old",
    .version = "1",
    .summary = "the last member (test)",
    .ops = &ops,
};
