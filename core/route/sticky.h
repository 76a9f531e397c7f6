/* SPDX-License-Identifier: MIT
 * sticky.h: which link a client or host had last, to have it again.
 *
 * A table of a fixed size in the arena, shared by all threads and processes: what does not fit
 * pushes out what would be forgotten next. Nothing in it is exact: a lost entry is a new pick.
 */
#ifndef ROUTE_STICKY_H
#define ROUTE_STICKY_H

#include "config/config.h"
#include "route/arena.h"

struct sticky;

/* The table of all pools of a name, by its hash: one that a reload puts in the place of another goes
 * on with what that remembers. NULL: no memory. [main] */
struct sticky *sticky_join(struct arena *arena, uint64_t pool);
/* Freed by the last of them. NULL is fine. [main] */
void sticky_leave(struct arena *arena, struct sticky *sticky);

/* What the flow goes by, once there is a table; 0: it has no such thing, and is not sticky. */
uint64_t sticky_key(unsigned by, const struct dp_flow *flow);

/* The hash of the link that was put last under this key, not longer ago than its time; 0: none. */
uint64_t sticky_get(const struct sticky *sticky, uint64_t key, int64_t now_ns);
/* From now on for ttl_ns. */
void sticky_put(struct sticky *sticky, uint64_t key, uint64_t link, int64_t now_ns, int64_t ttl_ns);

#endif
