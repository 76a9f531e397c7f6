/* SPDX-License-Identifier: MIT
 * resolver.h: host names to addresses, by way of a link. An interface: c-ares in dispatch-host.
 */
#ifndef ROUTE_RESOLVER_H
#define ROUTE_RESOLVER_H

#include "route/link.h"

#define RESOLVER_ADDRESSES_MAX 32 /* of one name */

/* Embedded in who asks. done() is called once, never from inside resolver_start(), unless cancelled
 * before. addr: n addresses without a port, IPv6 and IPv4 as they came, valid during the call.
 * err: DP_OK and n > 0, DP_ERR_NO_HOST (the name does not exist or has no address), or
 * DP_ERR_HOST_UNREACH (no name server answered). */
struct resolver_query {
    void (*done)(struct resolver_query *q, int err, const struct dp_addr *addr, size_t n);
    void *lookup; /* the resolver's */
};

struct resolver;
struct resolver_ops {
    int (*start)(struct resolver *r, struct link *bottom, const char *name, size_t len,
                 struct resolver_query *q, struct dp_addr *addr, size_t *n);
    void (*cancel)(struct resolver *r, struct resolver_query *q);
};
struct resolver {
    const struct resolver_ops *ops;
};

/* Asks the name servers of `bottom`, through it. DP_AGAIN: done() will tell. Else it is known at
 * once, and done() is not called: DP_OK with the *n addresses in addr, of which there may be
 * RESOLVER_ADDRESSES_MAX, or an error. [the worker that owns r] */
static inline int resolver_start(struct resolver *r, struct link *bottom, const char *name,
                                 size_t len, struct resolver_query *q, struct dp_addr *addr,
                                 size_t *n)
{
    return r->ops->start(r, bottom, name, len, q, addr, n);
}

static inline void resolver_cancel(struct resolver *r, struct resolver_query *q)
{
    r->ops->cancel(r, q);
}

#endif
