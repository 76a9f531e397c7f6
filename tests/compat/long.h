/* SPDX-License-Identifier: MIT
 * long.h: ABI 1 as a newer header may have it: what can grow has grown at its end. What is built
 * with it must run in today's host as long as it asks for nothing new.
 */
#ifndef COMPAT_LONG_H
#define COMPAT_LONG_H

#define dp_plugin dp_plugin_of_today
#define dp_balancer_ops dp_balancer_ops_of_today
#define dp_opt dp_opt_of_today
#include "dispatch-plugin-1.h"
#undef dp_plugin
#undef dp_balancer_ops
#undef dp_opt

struct dp_opt {
    struct dp_opt_of_today today;
    const char *example;
};

struct dp_balancer_ops {
    struct dp_balancer_ops_of_today today;
    void (*later)(void);
};

struct dp_plugin {
    struct dp_plugin_of_today today;
    const char *homepage;
};

extern __attribute__((visibility("default"))) const struct dp_plugin dp_plugin;

#endif
