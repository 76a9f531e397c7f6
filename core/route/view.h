/* SPDX-License-Identifier: MIT
 * view.h: a pool's members as the workers see them, immutable once published.
 */
#ifndef ROUTE_VIEW_H
#define ROUTE_VIEW_H

#include "route/pool.h"

/* A member as balancers do not see it. */
struct way {
    struct link *link; /* a reference */
    int64_t slow_start_ns;
};

struct pool_view {
    struct dp_view dp;
    struct dp_member *member;          /* dp.n of them */
    const struct dp_member **pointers; /* what dp.member points to */
    struct way *way;                   /* of each member */
    struct link **slot_link;           /* of each slot; NULL: free */
    uint32_t n_slots, slot_stride;
    void *slots; /* in the arena; shared with the view before unless it grew */
    void *picker;
    struct pool *backup; /* what is used while no member can be had, a reference; NULL: nothing */
    bool refuse;         /* `when-all-down: refuse` */
    struct pool *pool;   /* not a reference: the pool frees its last view itself */
    bool slots_retired;  /* the next view has its own: free these with this view */
};

/* What of the flow's `tried` is kept for a pool of this view: the bits, if it is alone. */
static inline bool view_is_alone(const struct pool_view *view)
{
    return !view->backup && !view->pool->is_backup;
}

static inline const struct pool_view *pool_seen(const struct pool *pool)
{
    return __atomic_load_n(&pool->view, __ATOMIC_ACQUIRE);
}

static inline struct dp_pool pool_handle(const struct pool *pool, const struct pool_view *view)
{
    return (struct dp_pool){.size = sizeof(struct dp_pool),
                            .slot_state = view->slot_stride,
                            .self = pool->balancer->self,
                            .picker = view->picker,
                            .state = pool->state,
                            .slots = view->slots,
                            .view = &view->dp};
}

#endif
