/* SPDX-License-Identifier: MIT
 * quota.h: how many connections each link has to each destination, for `max-per-destination`.
 *
 * A table of a fixed size in the arena, shared by all threads and processes. What does not fit is not
 * limited.
 */
#ifndef ROUTE_QUOTA_H
#define ROUTE_QUOTA_H

#include "route/link.h"

struct quota;

/* That of the arena. `make`: one is needed; else NULL if there is none. NULL also: no memory. [main] */
struct quota *quota_of(struct arena *arena, bool make);

/* What a link's connections to a destination are counted by: a name in any case, or an address, and a
 * port. 0: it is not known. */
uint64_t quota_key(const struct link *link, const struct dp_addr *dest);

/* Are there so many already? */
bool quota_met(const struct quota *quota, uint64_t key, uint32_t limit);

/* Counts one more, and says in which cell, 0: in none, for there is no room. False: there are `limit`
 * already. */
bool quota_take(struct quota *quota, uint64_t key, uint32_t limit, uint32_t *cell);
/* One less; cell 0 is fine. */
void quota_give(struct quota *quota, uint32_t cell);

#endif
