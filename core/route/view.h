/* SPDX-License-Identifier: MIT
 * view.h: a pool's members as the workers see them, immutable once published.
 */
#ifndef ROUTE_VIEW_H
#define ROUTE_VIEW_H

#include "route/pool.h"

struct pool_view {
    struct dp_view dp;
    struct dp_member *member;          /* dp.n of them */
    const struct dp_member **pointers; /* what dp.member points to */
    struct way *way;                   /* of each member; references */
    struct ref **slot_ref;             /* of each slot, whose it is; NULL: nobody's */
    uint32_t n_slots, slot_stride;
    void *slots; /* in the arena; shared with the view before unless it grew */
    void *picker;
    struct dp_pool handle; /* what its balancer is called with */
    struct pool *backup;   /* what is used while no member can be had, a reference; NULL: nothing */
    bool refuse;           /* `when-all-down: refuse` */
    bool has_pools;        /* among its members */
    bool published;        /* it is the one in use, or has been [main] */
    struct pool *pool;     /* not a reference: the pool frees its last view itself */
    bool slots_retired;    /* the next view has its own: free these with this view */
};

/* Is it the only pool of its flows? Then what they have tried is kept by its slots. */
static inline bool view_is_alone(const struct pool_view *view)
{
    return !view->has_pools && !view->backup && !view->pool->is_backup;
}

static inline struct ref *way_ref(const struct way *way)
{
    return way->link ? &way->link->ref : &way->pool->ref;
}

static inline struct dp_stat *way_stat(const struct way *way)
{
    return way->link ? way->link->stat : way->pool->stat;
}

static inline uint64_t way_hash(const struct way *way)
{
    return way->link ? way->link->hash : way->pool->hash;
}

static inline const struct pool_view *pool_seen(const struct pool *pool)
{
    return __atomic_load_n(&pool->view, __ATOMIC_ACQUIRE);
}

#endif
