/* SPDX-License-Identifier: MIT
 * pick.h: which link a flow is to have, by all that is known: what the balancer says, what has been
 * tried, which links are out, full, without a way or just back, and whom the flow had before.
 */
#ifndef ROUTE_PICK_H
#define ROUTE_PICK_H

#include "route/pool.h"
#include "route/view.h"

struct pick {
    const struct pool_view *view; /* of the flow's pool, its member, or the one behind */
    uint32_t member;              /* index in the view */
    uint32_t seen;                /* its `active`, if the balancer went by it; else DP_NONE */
    uint64_t sticky;              /* key to remember the link by; 0: none */
};

/* From the flow's pool to a link. */
struct path {
    struct pick at[POOL_DEPTH_MAX];
    unsigned n;
};

/* What one flow looks for. */
struct search {
    const struct dp_flow *flow;
    const struct tried *tried;
    uint32_t ways;            /* by which families it may get there */
    uint64_t wanted;          /* the hash of the link that a pool above wants again; 0: none */
    const struct link *trial; /* the link that is out, which this flow is the one to try */
    bool passed, ramping;     /* over a link; over one because it is just back */
};

/* False: no link is allowed. */
bool search_path(struct search *s, struct pool *pool, struct path *path);

static inline const struct way *path_end(const struct path *path)
{
    const struct pick *last = &path->at[path->n - 1];
    return &last->view->way[last->member];
}

/* By which families could a flow get there? A name may have addresses of either. */
static inline uint32_t ways_to(const struct dp_addr *dest)
{
    int family = addr_family(dest);
    return family == AF_INET ? WAY_IPV4 : family == AF_INET6 ? WAY_IPV6 : WAY_ANY;
}

#endif
