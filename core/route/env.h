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
    const struct config *config; /* whose listeners are no destination */
};

#endif
