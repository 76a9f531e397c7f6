/* SPDX-License-Identifier: MIT
 * dialer-old.c: built with an older header. Leaves from an address and asks for nothing else.
 */
#include "short.h"

struct conf {
    struct dp_addr address;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return 0;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    const struct conf *conf = self;
    (void)fd;
    (void)type;
    if (conf->address.sa.ss_family != family)
        return DP_ERR_FAMILY;
    *local = conf->address;
    return DP_OK;
}

static const struct dp_dialer_ops ops = {.create = create, .prepare = prepare};

static const struct dp_opt opts[] = {
    {
        .name = "address",
        .type = DP_ADDRESS,
        .flags = DP_REQUIRED,
        .offset = offsetof(struct conf, address),
        .help = "leave from this address",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "old",
    .version = "1",
    .summary = "from an address (test)",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
