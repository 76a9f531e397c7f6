/* SPDX-License-Identifier: MIT
 * short.h: ABI 1 as an older header would have it: the last operations are not known yet. What is
 * built with it must run in today's host.
 */
#ifndef COMPAT_SHORT_H
#define COMPAT_SHORT_H

#define dp_dialer_ops dp_dialer_ops_of_today
#define dp_balancer_ops dp_balancer_ops_of_today
#include "dispatch-plugin-1.h"
#undef dp_dialer_ops
#undef dp_balancer_ops

struct dp_dialer_ops { /* socket dialers only */
    uint32_t dial_size;
    int (*create)(const struct dp_host *host, const void *conf, void **self);
    void (*destroy)(void *self);
    uint32_t (*caps)(const void *self);
    int (*prepare)(const void *self, int fd, int family, int type, struct dp_addr *local);
};

struct dp_balancer_ops { /* nothing is told when a claim is given back */
    uint32_t pool_state, slot_state;
    int (*create)(const struct dp_host *host, const void *conf, void **self);
    void (*destroy)(void *self);
    int (*build)(const void *self, const struct dp_view *view, void **picker);
    void (*drop)(void *picker);
    uint32_t (*pick)(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen);
};

#endif
