/* SPDX-License-Identifier: MIT
 * view.c: building a pool's next view beside the one in use.
 */
#include "route/view.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SLOTS_MIN 16 /* room for members to come before the slots must move */

_Static_assert(2 * CONF_POOL_MEMBERS <= POOL_SLOTS_MAX,
               "a view has its slots beside those of before");

static uint32_t round8(uint32_t n)
{
    return (n + 7) / 8 * 8;
}

void pool_view_free(struct pool_view *view)
{
    if (!view)
        return;
    if (view->picker)
        instance_balancer(view->pool->balancer)->drop(view->picker);
    for (uint32_t i = 0; view->way && i < view->dp.n; i++)
        ref_drop(way_ref(&view->way[i]));
    if (view->backup)
        ref_drop(&view->backup->ref);
    if (view->slots_retired)
        arena_free(view->pool->arena, view->slots);
    free(view->member);
    free(view->pointers);
    free(view->way);
    free(view->slot_ref);
    free(view);
}

/* ---- slots of this process's own arena ---- */

/* Members of the old view that are in the new one keep their slot. */
static void slots_keep(struct pool_view *view, const struct pool_view *old)
{
    for (uint32_t s = 0; old && s < old->n_slots && s < view->n_slots; s++)
        for (uint32_t i = 0; i < view->dp.n; i++)
            if (old->slot_ref[s] == way_ref(&view->way[i])) {
                view->slot_ref[s] = way_ref(&view->way[i]);
                view->member[i].slot = s;
            }
}

static bool has_slot(const struct pool_view *view, uint32_t i)
{
    return view->slot_ref[view->member[i].slot] == way_ref(&view->way[i]);
}

/* Gives the others a slot that neither view uses: workers still write those of the old one. */
static void slots_give(struct pool_view *view, const struct pool_view *old)
{
    const struct pool_view *shared = old && old->slots == view->slots ? old : NULL;
    uint32_t s = 0;
    for (uint32_t i = 0; i < view->dp.n; i++) {
        if (has_slot(view, i))
            continue;
        while (view->slot_ref[s] || (shared && shared->slot_ref[s]))
            s++;
        view->slot_ref[s] = way_ref(&view->way[i]);
        view->member[i].slot = s;
        memset((char *)view->slots + (size_t)s * view->slot_stride, 0, view->slot_stride);
    }
}

/* The old slots where they suffice for both views, else larger ones with a copy of what was there.
 * Numbers that change between the copy and the swap are lost: a few counts, at a rare reload. */
static int slots_place(struct pool *pool, struct pool_view *view, const struct pool_view *old)
{
    if (old && old->n_slots >= old->dp.n + view->dp.n) {
        view->n_slots = old->n_slots;
        view->slots = old->slots;
    } else {
        uint32_t n = view->dp.n * 2 + (old ? old->n_slots : 0);
        view->n_slots = n < SLOTS_MIN ? SLOTS_MIN : n > POOL_SLOTS_MAX ? POOL_SLOTS_MAX : n;
        view->slots = arena_alloc(pool->arena, (size_t)view->n_slots * view->slot_stride);
        if (!view->slots)
            return -1;
        if (old)
            memcpy(view->slots, old->slots, (size_t)old->n_slots * view->slot_stride);
    }
    view->slot_ref = calloc(view->n_slots, sizeof(struct ref *));
    if (!view->slot_ref)
        return -1;
    slots_keep(view, old);
    slots_give(view, old);
    return 0;
}

/* ---- slots of an arena that processes share ---- */

/* Before the slots themselves: whose each is, so that all processes agree, whichever views they have
 * been through. Written by the process that makes the arena's blocks. */
struct directory {
    uint64_t member[POOL_SLOTS_MAX]; /* hashes; 0: free; atomic */
};

static bool view_has(const struct pool_view *view, uint64_t link)
{
    for (uint32_t i = 0; view && i < view->dp.n; i++)
        if (way_hash(&view->way[i]) == link)
            return true;
    return false;
}

static uint32_t slot_find(const struct directory *d, uint64_t link)
{
    uint32_t s = 0;
    while (s < POOL_SLOTS_MAX && dp_load(&d->member[s]) != link)
        s++;
    return s;
}

/* One that no link has had, or else one whose link is neither in this view nor in the one in use.
 * A process that is still at an older one may write to it: a number of the balancer's, once. */
static uint32_t slot_take(struct directory *d, const struct pool_view *view, uint64_t link)
{
    uint32_t s = slot_find(d, 0);
    for (uint32_t i = 0; s == POOL_SLOTS_MAX && i < POOL_SLOTS_MAX; i++)
        if (!view_has(view, d->member[i]) && !view_has(view->pool->view, d->member[i]))
            s = i;
    if (s == POOL_SLOTS_MAX)
        return s;
    memset((char *)view->slots + (size_t)s * view->slot_stride, 0, view->slot_stride);
    dp_store(&d->member[s], link);
    return s;
}

static int slots_share(struct pool *pool, struct pool_view *view)
{
    size_t size = sizeof(struct directory) + (size_t)POOL_SLOTS_MAX * view->slot_stride;
    struct directory *d = arena_share(pool->arena, ARENA_SLOTS, pool->hash, size);
    view->n_slots = POOL_SLOTS_MAX;
    view->slot_ref = calloc(view->n_slots, sizeof(struct ref *));
    if (!d || !view->slot_ref)
        return -1;
    view->slots = d + 1;
    for (uint32_t i = 0; i < view->dp.n; i++) {
        uint32_t s = slot_find(d, way_hash(&view->way[i]));
        if (s == POOL_SLOTS_MAX && arena_is_mine(pool->arena))
            s = slot_take(d, view, way_hash(&view->way[i]));
        if (s == POOL_SLOTS_MAX)
            return -1;
        view->slot_ref[s] = way_ref(&view->way[i]);
        view->member[i].slot = s;
    }
    return 0;
}

/* The same members are the same view in every process. */
static uint64_t view_hash(const struct pool_view *view)
{
    uint64_t hash = view->dp.n;
    for (uint32_t i = 0; i < view->dp.n; i++) {
        const struct dp_member *m = &view->member[i];
        const uint64_t of[] = {hash, way_hash(&view->way[i]), m->weight, m->usable, m->limit};
        hash = XXH64(of, sizeof of, 0);
    }
    return hash;
}

/* ---- the view ---- */

static struct dp_member member_of(const struct conf_member *conf, const struct way *way)
{
    struct dp_member m = {.size = sizeof m, .usable = 1};
    if (way->link) {
        m.name = way->link->name;
        m.id = way->link->id;
        m.weight = conf->link->weight;
        m.limit = conf->link->max_connections;
        m.stat = way->link->stat;
    } else {
        m.name = way->pool->name;
        m.id = way->pool->id;
        m.weight = conf->pool->weight;
        m.stat = way->pool->stat;
    }
    return m;
}

static void members_fill(struct pool_view *view, const struct conf_pool *conf,
                         const struct way *way)
{
    for (uint32_t i = 0; i < view->dp.n; i++) {
        ref_get(way_ref(&way[i]));
        view->way[i] = way[i];
        view->has_pools |= way[i].pool != NULL;
        view->pointers[i] = &view->member[i];
        view->member[i] = member_of(&conf->member[i], &way[i]);
    }
}

static struct dp_pool handle_of(const struct pool *pool, const struct pool_view *view)
{
    return (struct dp_pool){.size = sizeof(struct dp_pool),
                            .slot_state = view->slot_stride,
                            .self = pool->balancer->self,
                            .picker = view->picker,
                            .state = pool->state,
                            .slots = view->slots,
                            .view = &view->dp};
}

static struct pool_view *view_alloc(struct pool *pool, size_t n)
{
    struct pool_view *view = calloc(1, sizeof *view);
    if (!view)
        return NULL;
    view->pool = pool;
    view->slot_stride = round8(instance_balancer(pool->balancer)->slot_state);
    view->member = calloc(n, sizeof *view->member);
    view->pointers = calloc(n, sizeof *view->pointers);
    view->way = calloc(n, sizeof *view->way);
    if (view->member && view->pointers && view->way)
        return view;
    pool_view_free(view);
    return NULL;
}

void pool_view_discard(struct pool_view *view)
{
    if (!view)
        return;
    const struct pool_view *used = view->pool->view;
    view->slots_retired = !used || view->slots != used->slots;
    pool_view_free(view);
}

struct pool_view *pool_view_new(struct pool *pool, const struct conf_pool *conf,
                                const struct way *way, struct conf_errors *errors)
{
    const struct dp_balancer_ops *ops = instance_balancer(pool->balancer);
    struct pool_view *old = pool->view;
    struct pool_view *view = view_alloc(pool, conf->n_members);
    if (!view) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        return NULL;
    }
    view->dp = (struct dp_view){
        .size = sizeof view->dp, .n = (uint32_t)conf->n_members, .member = view->pointers};
    view->refuse = conf->refuse;
    members_fill(view, conf, way);
    bool shared = arena_is_shared(pool->arena);
    view->dp.gen = shared ? view_hash(view) : ++pool->gen;
    if ((shared ? slots_share(pool, view) : slots_place(pool, view, old)) < 0) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        pool_view_discard(view);
        return NULL;
    }
    if (ops->build && ops->build(pool->balancer->self, &view->dp, &view->picker) != DP_OK) {
        view->picker = NULL; /* what it may have made before it failed is its own */
        conf_error(errors, NULL, "pool \"%s\": its balancer cannot work with these members",
                   conf->name);
        pool_view_discard(view);
        return NULL;
    }
    view->handle = handle_of(pool, view);
    return view;
}

void pool_view_backup(struct pool_view *view, struct pool *backup)
{
    ref_get(&backup->ref);
    view->backup = backup;
}

struct pool_view *pool_swap(struct pool *pool, struct pool_view *view)
{
    if (view)
        view->published = true;
    struct pool_view *old = __atomic_exchange_n(&pool->view, view, __ATOMIC_ACQ_REL);
    if (old)
        old->slots_retired = !view || old->slots != view->slots;
    return old;
}
