/* SPDX-License-Identifier: MIT
 * way.h: a way out by one of the links: the dial engine run to its end inside a call.
 */
#ifndef DANTE_WAY_H
#define DANTE_WAY_H

#include "route/pool.h"

/* Replaces danted's TCP socket by one that is connected to `to` by a link; options and flags are
 * those of danted's. `client`: who asked, salen 0 if not known. Returns DP_OK with the claim's
 * *ticket (0: not counted), or an error; then the socket is as before. */
int way_connect(int fd, const struct dp_addr *client, const struct dp_addr *to, uint32_t *ticket);

/* Replaces danted's socket by one that is bound to an address of a link, on this port if it is free
 * (proto DP_BIND, DP_UDP). Only links that are interfaces can do that. `link`: whose. */
int way_bind(int fd, uint32_t proto, const struct dp_addr *client, uint16_t port, uint32_t *ticket,
             uint64_t *link);

/* Makes a socket leave by the link again: another has taken its place, or it was unconnected. */
int way_restore(int fd, uint64_t link);

/* What a socket is known by in the ledger, in whichever process. 0: it is none. */
uint64_t way_cookie(int fd);

/* What connect() would say. */
int way_errno(int err);

#endif
