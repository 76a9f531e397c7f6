/* SPDX-License-Identifier: MIT
 * resolver_cares.h: the resolver of dispatch-host: names are asked for through the link they are for,
 * of its own servers, and the answers are kept.
 */
#ifndef ROUTE_RESOLVER_CARES_H
#define ROUTE_RESOLVER_CARES_H

#include "base/io.h"
#include "route/question.h"
#include "route/resolver.h"

/* One for each worker, used by it alone. NULL: out of memory. */
struct resolver *resolver_cares_new(struct io *io);

/* Asks the name servers of `bottom` for the IPv4 addresses of a name, with a dot at its end,
 * whatever the cache knows. As question_start(); DP_OK or DP_ERR_LOCAL. */
int resolver_cares_ask(struct resolver *r, struct link *bottom, const char *name,
                       const struct question_ops *ops, void *owner, struct question **question);

/* Lets go of links nobody asks about just now; what is under way goes on. */
void resolver_cares_trim(struct resolver *r);

/* Only when nobody waits. */
void resolver_cares_free(struct resolver *r);

#endif
