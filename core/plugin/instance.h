/* SPDX-License-Identifier: MIT
 * instance.h: a plugin at work: one create() with its options and the services the host gives it.
 */
#ifndef PLUGIN_INSTANCE_H
#define PLUGIN_INSTANCE_H

#include "base/ref.h"
#include "config/config.h"

struct instance {
    struct ref ref; /* the last drop destroys it, on the main thread */
    struct dp_host host;
    struct conf_instance conf;
    struct config *config;      /* keeps conf alive */
    struct conf_errors *errors; /* inside create() only */
    const char *what;           /* inside create() only: `link "vps"` */
    void *self;
};

/* Calls create(). config: what keeps conf alive, or NULL if somebody else does. On failure the mistakes are in errors and NULL is returned. [main] */
struct instance *instance_new(struct config *config, const struct conf_instance *conf,
                              const char *kind, const char *name, struct trash *trash,
                              struct conf_errors *errors);

/* Makes one and ends it again, for the mistakes it reports: struct plugin_source's examine(). */
void instance_examine(const struct conf_instance *conf, const char *kind, const char *name,
                      struct conf_errors *errors);

static inline const struct dp_dialer_ops *instance_dialer(const struct instance *i)
{
    return i->conf.plugin->ops;
}

static inline const struct dp_balancer_ops *instance_balancer(const struct instance *i)
{
    return i->conf.plugin->ops;
}

#endif
