/* SPDX-License-Identifier: MIT
 * net_set.h: networks, many of them, and whether an address is in one.
 */
#ifndef CONFIG_NET_SET_H
#define CONFIG_NET_SET_H

#include "base/addr.h"
#include "config/memory.h"

struct net_set;

/* For up to n networks; lives in memory. NULL: out of memory. */
struct net_set *net_set_new(struct conf_memory *memory, size_t n);

/* Then net_set_close() makes it fit for look-ups. */
void net_set_add(struct net_set *set, const struct addr_net *net);
void net_set_close(struct net_set *set);

/* Of an IP address; costs the logarithm of their number. */
bool net_set_has(const struct net_set *set, const struct dp_addr *addr);

#endif
