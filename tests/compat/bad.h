/* SPDX-License-Identifier: MIT
 * bad.h: a balancer that works, unless the file that includes it has replaced a part by a fault.
 */
#ifndef COMPAT_BAD_H
#define COMPAT_BAD_H

#include "dispatch-plugin-1.h"

#include "abi1.h"

struct conf {
    uint32_t number;
};

#ifndef ABI
#define ABI DP_ABI
#endif
#ifndef KIND
#define KIND DP_BALANCER
#endif
#ifndef SIZE
#define SIZE sizeof dp_plugin
#endif
#ifndef OPT_SIZE
#define OPT_SIZE sizeof(struct dp_opt)
#endif
#ifndef OPT_TYPE
#define OPT_TYPE DP_U32
#endif
#ifndef OPT_OFFSET
#define OPT_OFFSET offsetof(struct conf, number)
#endif
#ifndef CREATE
#define CREATE(host) 0
#endif
#ifndef PICK
#define PICK pick
#endif
#ifndef INDEX
#define INDEX 0
#endif

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return CREATE(host);
}

__attribute__((unused)) static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow,
                                             uint32_t *seen)
{
    (void)pool;
    (void)flow;
    (void)seen;
    return INDEX;
}

static const struct dp_balancer_ops ops = {.create = create, .pick = PICK};

static const struct dp_opt opts[] = {
    {
        .name = "number",
        .type = OPT_TYPE,
        .offset = OPT_OFFSET,
        .dflt = "13",
        .help = "any number",
    },
};

const struct dp_plugin dp_plugin = {
    .size = SIZE,
    .abi = ABI,
    .kind = KIND,
    .ops_size = sizeof ops,
    .name = NAME,
    .version = "1",
    .summary = "has a fault (test)",
    .ops = &ops,
    .opts = opts,
    .n_opts = 1,
    .opt_size = OPT_SIZE,
    .conf_size = sizeof(struct conf),
};

#endif
