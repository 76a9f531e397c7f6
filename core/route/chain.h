/* SPDX-License-Identifier: MIT
 * chain.h: one walk up a link's chain: connect to the first address, then each tunnel's handshake.
 *
 *   OPEN -> CONNECT -> TUNNEL 0 -> TUNNEL 1 -> ... -> done
 *
 * Where a link is to say whose connection it is (send-proxy), that goes first on the stream that has
 * reached its server; of one without a server, the destination.
 *
 * Stage k leads the stream to target k: the connect to target 0, tunnel k to target k + 1. The last
 * target is the destination. All names that a stage cannot take have been resolved before.
 */
#ifndef ROUTE_CHAIN_H
#define ROUTE_CHAIN_H

#include "base/io.h"
#include "route/env.h"
#include "route/link.h"

#define CHAIN_TARGETS_MAX (LINK_DEPTH_MAX + 1)

/* Whether a destination may be dialed, asked when its name has become an address. Embedded in its
 * owner, and alive as long as the dial. */
struct permit {
    bool (*allows)(const struct permit *permit, const struct dp_addr *to);
};

/* Who goes where: made once for an attempt. */
struct chain_plan {
    const struct link *bottom;                 /* prepares the socket, or dials the stream itself */
    const struct link *tunnel[LINK_DEPTH_MAX]; /* n_targets - 1 of them */
    unsigned n_targets;                        /* none: raw, by what is no tunnel */
    bool raw; /* the last target is a tunnel's server, not a destination that a client asked for */
    const struct permit *permit;  /* NULL: any may */
    const struct dp_addr *client; /* what links say that tell their servers; NULL: nobody's */
};

/* A connected stream, as it has arrived. */
struct arrival {
    int fd;
    struct dp_addr bound; /* what to tell the client; salen 0: not known */
    struct dp_addr dest;  /* the address it leads to; salen 0: a name, which the link has taken */
    short told;           /* edges that its next watcher is not told again */
};

struct chain;

/* Starts a walk to these targets, one at least (copied; names must outlive the chain). Returns DP_OK or DP_AGAIN
 * with *chain set, or an error. Unless cancelled, over() is called once after DP_AGAIN, and not from
 * inside this call. */
int chain_start(struct dial_env *env, const struct chain_plan *plan, const struct dp_addr *targets,
                void (*over)(struct chain *chain, void *ctx, int result), void *ctx,
                struct chain **chain);

/* Has it got as far as the stage that leads to the destination? Never, if it is raw. */
bool chain_at_top(const struct chain *chain);

/* Has its first server answered, so that the next word is up to what lies behind it? */
bool chain_has_server(const struct chain *chain);

/* After DP_OK: the stream, now the caller's, who is to watch or to close it. Returns what must be
 * kept until the stream is closed and then given to chain_free(), or NULL. */
struct chain *chain_take(struct chain *chain, struct arrival *arrival);

/* Ends what is under way and frees it. NULL is fine. */
void chain_free(struct chain *chain);

/* Plans the way by `link`; raw: to its tunnel's server only. */
void chain_plan_init(struct chain_plan *plan, const struct link *link, bool raw);

/* Does the stage that leads to target k take host names? */
bool chain_plan_takes_names(const struct chain_plan *plan, unsigned k);

#endif
