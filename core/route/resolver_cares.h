/* SPDX-License-Identifier: MIT
 * resolver_cares.h: the resolver of dispatch-host: one c-ares channel for each link, so that names
 * leave by the link they are asked for.
 */
#ifndef ROUTE_RESOLVER_CARES_H
#define ROUTE_RESOLVER_CARES_H

#include "base/io.h"
#include "route/resolver.h"

/* One for each worker, used by it alone. NULL: out of memory. */
struct resolver *resolver_cares_new(struct io *io);

/* Lets go of links nobody asks about just now; what is under way goes on. */
void resolver_cares_trim(struct resolver *r);

/* Only when nothing is under way. */
void resolver_cares_free(struct resolver *r);

#endif
