/* SPDX-License-Identifier: MIT
 * router.h: a configuration at work: its links and pools, made new or taken over from before.
 */
#ifndef ROUTE_ROUTER_H
#define ROUTE_ROUTER_H

#include "route/claim.h"

struct router {
    struct config *config;
    struct arena *arena;
    struct link **link; /* as config->link */
    struct pool **pool; /* as config->pool, also those behind them: n_pools in all */
    size_t n_pools;
    struct quota *quota;     /* NULL: no link has ever had a limit of this kind */
    struct pool_view **view; /* of each pool: the one to publish, then the one it replaced */
};

/* Builds links, pools and views beside those of `old` (NULL: none), which go on as they are. A link
 * or pool that would be the same is taken over with its counters and state. Takes config over, also
 * on failure: NULL, see errors. [main] */
struct router *router_new(struct config *config, const struct router *old, struct arena *arena,
                          struct trash *trash, struct conf_errors *errors);

/* Frees the views of one that is not going to be published. [main] */
void router_retract(struct router *router);

/* Publishes the new views. Workers may now hold the old or the new. [main] */
void router_publish(struct router *router);

/* Frees the views that were replaced, when no worker can hold one any more. [main] */
void router_settle(struct router *router);

/* Lets go of links and pools; those still in use by sessions end with these. [main] */
void router_free(struct router *router);

/* Ends the claim of a ledger entry of this process, whichever process made it. [worker] */
void router_claim_end(const struct router *router, struct ledger *ledger, uint32_t ticket,
                      int64_t now_ns, uint64_t rx, uint64_t tx);

/* The pool at work of one in config. */
struct pool *router_pool(const struct router *router, const struct conf_pool *conf);

#endif
