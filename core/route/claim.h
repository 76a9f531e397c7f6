/* SPDX-License-Identifier: MIT
 * claim.h: a place on a link, and in each pool on the way there: counted, and given back once.
 */
#ifndef ROUTE_CLAIM_H
#define ROUTE_CLAIM_H

#include "route/pool.h"

struct path;

/* What a claim holds of one pool. */
struct claim_level {
    struct pool *pool;    /* a reference */
    struct ref *member;   /* of this pool: the next pool, or the link */
    struct dp_stat *stat; /* the member's */
    uint64_t sticky;      /* key to remember the link by; 0: none */
    uint32_t slot;
};

/* What one attempt holds of a link, and of each pool on the way there; ended exactly once. */
struct claim {
    struct link *link;                        /* NULL: none, and the rest means nothing */
    struct claim_level level[POOL_DEPTH_MAX]; /* the flow's own pool first, the link's last */
    unsigned n_levels;
    uint32_t ticket; /* in the ledger; 0: none */
    uint32_t cell;   /* in quota; 0: none */
    struct quota *quota;
    bool dialing;
    bool trial; /* of a link that is out, until the dial has shown what becomes of it */
    int64_t at_ns, connected_ns;
};

/* Takes what was picked, and counts it on each level. `exact`: only as long as nothing has moved that
 * a balancer went by. False, and no claim: it has, or a limit has been met. [worker] */
bool claim_take(struct claim *claim, const struct path *path, const struct dp_flow *flow,
                bool exact);

/* The dial succeeded: it is no longer counted as dialing. [worker] */
void claim_connected(struct claim *claim, int64_t now_ns);

/* The claim of a connection goes to the ledger, under the cookie of its socket: any process that has
 * the socket can go on with it. Returns its ticket; 0: there is no room, and it has been ended. */
uint32_t claim_park(struct claim *claim, uint64_t cookie, int64_t now_ns);

/* Gives the claim back; err DP_OK after a connection, rx and tx its bytes. [worker] */
void claim_end(struct claim *claim, int err, int64_t now_ns, uint64_t rx, uint64_t tx);

/* The references of a claim that was made from a ledger's entry: pools and members may be NULL, for
 * what is in this configuration no more. [worker] */
void claim_hold(const struct claim *claim);

#endif
