/* SPDX-License-Identifier: MIT
 * resolver_cares.h: the resolver of dispatch-host: names are asked for through the link they are for,
 * of its own servers, and the answers are kept.
 */
#ifndef ROUTE_RESOLVER_CARES_H
#define ROUTE_RESOLVER_CARES_H

#include "base/io.h"
#include "route/resolver.h"

/* One for each worker, used by it alone. NULL: out of memory. */
struct resolver *resolver_cares_new(struct io *io);

/* Lets go of links nobody asks about just now; what is under way goes on. */
void resolver_cares_trim(struct resolver *r);

/* Only when nobody waits. */
void resolver_cares_free(struct resolver *r);

#endif
