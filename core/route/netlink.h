/* SPDX-License-Identifier: MIT
 * netlink.h: what Linux says of its network interfaces. Needs no privilege.
 *
 * An event says that something has changed, not what: the whole is then asked for anew. So none that
 * is lost does any harm, and what Linux removes without a word (routes of a device that goes down)
 * is seen all the same.
 */
#ifndef ROUTE_NETLINK_H
#define ROUTE_NETLINK_H

#include "route/devices.h"

struct netlink;

struct netlink *netlink_open(void); /* NULL, and errno */
void netlink_close(struct netlink *nl);

/* To be waited on, for reading. */
int netlink_fd(const struct netlink *nl);
/* Takes in the events that have come. Can one of them have changed the picture? */
bool netlink_changed(struct netlink *nl);
/* A new picture, into an empty one. -1: cannot, see errno; it may still have something in it. */
int netlink_read(struct netlink *nl, struct devices *d);

/* The parts of that which need no socket: what a message adds to a picture (-1: out of memory), and
 * whether, as an event, it can have changed one. */
struct nlmsghdr;
int netlink_add(struct devices *d, const struct nlmsghdr *message);
bool netlink_matters(const struct nlmsghdr *message);

#endif
