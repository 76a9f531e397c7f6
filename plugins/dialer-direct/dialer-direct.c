/* SPDX-License-Identifier: MIT
 * dialer-direct: out as the machine itself goes, by whatever route it has.
 */
#include <dispatch-plugin.h>

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return DP_OK;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self;
    (void)fd;
    (void)family;
    (void)type;
    (void)local;
    return DP_OK;
}

static const struct dp_dialer_ops ops = {
    .create = create,
    .prepare = prepare,
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "direct",
    .version = "1",
    .summary = "out as the machine itself goes",
    .ops = &ops,
};
