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
void nets_join(struct conf_memory *memory, struct nets *nets, const struct addr_net *net);
struct nets nets_common(struct conf_memory *memory, const struct nets *a, const struct nets *b);
struct nets nets_without(struct conf_memory *memory, const struct nets *a, const struct nets *b);
/* Is the whole network in the set? Is some of it? */
bool nets_cover(struct conf_memory *memory, const struct nets *nets, const struct addr_net *net);
bool nets_touch(const struct nets *nets, const struct addr_net *net);

#endif
