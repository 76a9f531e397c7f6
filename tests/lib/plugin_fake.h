/* SPDX-License-Identifier: MIT
 * plugin_fake.h: a host for plugins without a host: loads the built .so, records what it says, and
 * gives a balancer a pool made by hand. A fault of the test's own set-up ends the program.
 */
#ifndef LIB_PLUGIN_FAKE_H
#define LIB_PLUGIN_FAKE_H

#include <dispatch-plugin.h>

/* Loads FILE ("balancer-rr.so") from the first folder that has it: those of the environment's
 * PLUGIN_DIR (with colons between), plugins/.libs, .libs, and plugins/NAME/.libs for NAME.so. */
const struct dp_plugin *fake_load(const char *file);

/* What a plugin told its host, as far as it fits. */
struct fake_host {
    struct dp_host host;
    uint32_t n_logs, n_fails;
    int level;         /* of the last line logged */
    char log[400];     /* the last line logged */
    char option[64];   /* of the last fail(); empty: the whole */
    char message[400]; /* of the last fail() */
};

#define FAKE_FAIL (-12345) /* what fail() returns */

void fake_host_init(struct fake_host *h);

#define FAKE_MEMBERS 64

/* A pool over members numbered from 0, named "a", "b", ... Members, stats and flow may be changed
 * at will between picks; a change of weight or usable needs fake_pool_publish(). */
struct fake_pool {
    const struct dp_balancer_ops *ops;
    struct fake_host host;
    struct dp_stat stat[FAKE_MEMBERS];
    struct dp_member member[FAKE_MEMBERS];
    char name[FAKE_MEMBERS][2];
    const struct dp_member *list[FAKE_MEMBERS];
    struct dp_view view;
    struct dp_pool pool;
    struct dp_flow flow;
    uint64_t tried;
    uint32_t seen; /* what the last fake_pool_pick() reported, or UINT32_MAX */
};

/* conf lives until fake_pool_close(). */
void fake_pool_open(struct fake_pool *p, const struct dp_plugin *plugin, const void *conf,
                    const uint32_t *weight, uint32_t n);
/* Has the balancer build its picker again, with a new generation. */
void fake_pool_publish(struct fake_pool *p);
uint32_t fake_pool_pick(struct fake_pool *p);
void fake_pool_close(struct fake_pool *p);

#endif
