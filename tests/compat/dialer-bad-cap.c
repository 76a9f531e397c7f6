/* SPDX-License-Identifier: MIT
 * dialer-bad-cap.c: a dialer with a capability that only a newer host knows.
 */
#include "dispatch-plugin-1.h"

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return 0;
}

static uint32_t caps(const void *self)
{
    (void)self;
    return DP_NAMES | UINT32_C(1) << 30;
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

static const struct dp_dialer_ops ops = {.create = create, .caps = caps, .prepare = prepare};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "bad-cap",
    .version = "1",
    .summary = "has a fault (test)",
    .ops = &ops,
};
