/* SPDX-License-Identifier: MIT
 * balancer-new.c: built with a newer header. Picks the member of the number `first`, then the next.
 */
#include "long.h"

struct conf {
    uint32_t unused, first;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return 0;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    const struct conf *conf = pool->self;
    uint32_t n = pool->view->n;
    (void)seen;
    for (uint32_t i = 0; i < n; i++)
        if (dp_allowed(pool, flow, (conf->first + i) % n))
            return (conf->first + i) % n;
    return DP_NONE;
}

static void later(void)
{
}

static const struct dp_balancer_ops ops = {
    .today = {.create = create, .pick = pick},
    .later = later,
};

static const struct dp_opt opts[] = {
    {
        .today = {.name = "unused",
                  .type = DP_U32,
                  .offset = offsetof(struct conf, unused),
                  .help = "nothing: the table has more than one row"},
        .example = "unused: 1",
    },
    {
        .today = {.name = "first",
                  .type = DP_U32,
                  .offset = offsetof(struct conf, first),
                  .max = 1000,
                  .dflt = "1",
                  .help = "the number of the member to pick, from 0"},
        .example = "first: 2",
    },
};

const struct dp_plugin dp_plugin = {
    .today = {.size = sizeof dp_plugin,
              .abi = DP_ABI,
              .kind = DP_BALANCER,
              .ops_size = sizeof ops,
              .name = "new",
              .version = "1",
              .summary = "one member by number (test)",
              .ops = &ops,
              .opts = (const struct dp_opt_of_today *)opts,
              .n_opts = sizeof opts / sizeof *opts,
              .opt_size = sizeof *opts,
              .conf_size = sizeof(struct conf)},
    .homepage = "https://example.net/",
};
