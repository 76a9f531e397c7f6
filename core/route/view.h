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
    struct link **link;                /* of each member; holds references */
    struct link **slot_link;           /* of each slot; NULL: free */
    uint32_t n_slots, slot_stride;
    void *slots; /* in the arena; shared with the view before unless it grew */
    void *picker;
    struct pool *pool;  /* not a reference: the pool frees its last view itself */
    bool slots_retired; /* the next view has its own: free these with this view */
};

#endif
