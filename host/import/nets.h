/* SPDX-License-Identifier: MIT
 * nets.h: sets of networks: what is in both, and what is in one but not in the other.
 *
 * They grow in a conf_memory, and are freed with it.
 */
#ifndef IMPORT_NETS_H
#define IMPORT_NETS_H

#include "base/addr.h"
#include "config/memory.h"

/* No two of them overlap, as long as those that might are joined, not added. Starts zeroed. */
struct nets {
    struct addr_net *net;
    size_t n, room;
};

/* A network by any of its addresses. */
struct addr_net net_of(const struct dp_addr *addr, unsigned bits);
/* All of IPv4, all of IPv6. */
struct addr_net net_all(int family);

void nets_add(struct conf_memory *memory, struct nets *nets, const struct addr_net *net);
/* Adds what the set does not have yet. */
void nets_join(struct conf_memory *memory, struct nets *nets, const struct addr_net *net);
/* Adds what is in both a and b. */
void nets_add_common(struct conf_memory *memory, struct nets *nets, const struct nets *a,
                     const struct nets *b);
void nets_subtract(struct conf_memory *memory, struct nets *nets, const struct addr_net *hole);
void nets_sort(struct nets *nets);

/* Does one of the set contain the whole network? Is some of it in the set? */
bool nets_cover(const struct nets *nets, const struct addr_net *net);
bool nets_touch(const struct nets *nets, const struct addr_net *net);

#endif
