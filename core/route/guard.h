/* SPDX-License-Identifier: MIT
 * guard.h: destinations that are out of bounds, this host above all: asked of the address that is
 * dialed, so no spelling of it and no name that stands for it is a way round.
 */
#ifndef ROUTE_GUARD_H
#define ROUTE_GUARD_H

#include "route/chain.h"

/* DP_OK or DP_ERR_DENIED: an address of this host is no destination, but by a link that is itself on
 * the loopback. local: of the socket that connects to it, NULL: another one does. permit: NULL: any
 * may. */
int guard_check(const struct dial_env *env, const struct permit *permit, const struct dp_addr *to,
                const struct dp_addr *local);

/* DP_OK or DP_ERR_LINK: by a link whose server is a listener of this program a connection would go
 * round until no descriptor is left. */
int guard_server(const struct dial_env *env, const struct link *link, const struct dp_addr *server);

#endif
