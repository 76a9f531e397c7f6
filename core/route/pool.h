/* SPDX-License-Identifier: MIT
 * pool.h: a balancer instance over its members, which are links or other pools: views, publishing
 * them, picking from them.
 *
 * The main thread builds a view and swaps the pointer; workers pick from whatever view they see, and
 * hold it no longer than one turn of their loop. Counting is exact in any number of threads.
 */
#ifndef ROUTE_POOL_H
#define ROUTE_POOL_H

#include "route/ledger.h"
#include "route/link.h"
#include "route/sticky.h"
#include "route/tried.h"

struct quota;

/* A member: a link, or a pool. */
struct way {
    struct link *link;
    struct pool *pool;
    int64_t slow_start_ns; /* of a link */
    uint32_t max_per_dest; /* of a link; 0: no limit */
    struct quota *quota;   /* what that is counted in; NULL: nothing is limited */
};

struct pool_view;
struct claim;

#define POOL_DEPTH_MAX CONF_POOL_DEPTH

struct pool {
    struct ref ref;
    const char *name; /* the instance's copy */
    bool is_backup;   /* it stands behind the one of this name */
    struct instance *balancer;
    struct arena *arena;
    struct ledger *ledger;  /* of a shared arena; NULL: the arena is this process's alone */
    uint64_t id;            /* of its name, as that of a link */
    uint64_t hash;          /* what it is called in a shared arena */
    struct dp_stat *stat;   /* what has gone through it as a member of other pools */
    void *state;            /* pool_state bytes in the arena */
    struct pool_view *view; /* atomic: published */
    uint64_t gen;           /* of the last view built [main] */
    uint32_t retries;       /* atomic */
    uint32_t sticky_by;     /* atomic; 0: not sticky */
    int64_t sticky_ttl;     /* atomic */
    struct sticky *sticky;  /* set before the first sticky_by [main] */
    uint32_t misled;        /* atomic: picks that were out of range or not allowed */
};

struct pool *pool_new(struct config *config, const struct conf_pool *conf, struct arena *arena,
                      struct trash *trash, struct conf_errors *errors);
bool pool_same(const struct pool *pool, const struct conf_pool *conf);

/* Builds a view of conf's members beside the one in use: slots of those that stay are kept with their
 * state. `way`: one for each of them, in conf's order, with its link or pool set. NULL: see errors.
 * [main] */
struct pool_view *pool_view_new(struct pool *pool, const struct conf_pool *conf,
                                const struct way *way, struct conf_errors *errors);
/* While no link of this view can be had, those of `backup` are used. Before it is published. [main] */
void pool_view_backup(struct pool_view *view, struct pool *backup);
/* Publishes it; returns the one before, to be freed when no worker can hold it. [main] */
struct pool_view *pool_swap(struct pool *pool, struct pool_view *view);
void pool_view_free(struct pool_view *view); /* NULL is fine [main] */
/* Frees a view that was never published. [main] */
void pool_view_discard(struct pool_view *view);

/* Picks a link for the flow and claims it; it is noted in `tried`, which is lent to flow->tried.
 * Links that are out (health.h), or lead to their own networks only, are passed over unless no other
 * is left, neither here nor behind; links without a way there always are. Returns false, and an empty
 * claim, when no link is allowed. [worker] */
bool pool_claim(struct pool *pool, struct dp_flow *flow, struct tried *tried, struct claim *claim);

/* The error for a flow that had no link at all. */
int pool_refusal(const struct pool *pool, const struct dp_flow *flow);

/* Bars the links for which bar() says so from this flow's picks. [worker] */
void pool_bar(const struct pool *pool, struct tried *tried, bool (*bar)(const struct link *link));

#endif
