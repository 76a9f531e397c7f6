/* SPDX-License-Identifier: MIT
 * env.h: what dialing needs of the thread it runs on.
 */
#ifndef ROUTE_ENV_H
#define ROUTE_ENV_H

#include "base/io.h"
#include "config/config.h"
#include "route/resolver.h"

/* Owned by one worker, which may change config between two turns of its loop. */
struct dial_env {
    struct io *io;
    struct resolver *resolver;
    const struct config *config; /* whose listeners are no destination; NULL: it listens nowhere */
    /* Optional: sees each fresh socket for a connection before it connects. */
    void (*made)(const struct dial_env *env, int fd);
};

#endif
