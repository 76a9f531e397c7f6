/* SPDX-License-Identifier: MIT
 * pick.c: which link a flow is to have.
 *
 * The balancer is asked, and as long as something speaks against its answer asked again, with that
 * member counted as tried. If nobody is left less is asked for: first links that are just back, then,
 * unless `when-all-down: refuse`, any that has a way.
 */
#include "route/pick.h"
#include "base/log.h"
#include "route/health.h"
#include "route/ramp.h"

#include <string.h>

/* What is good enough. */
enum need { FIT, RAMPING, A_WAY };

uint32_t ways_to(const struct dp_addr *dest)
{
    int family = addr_family(dest);
    return family == AF_INET ? WAY_IPV4 : family == AF_INET6 ? WAY_IPV6 : WAY_ANY;
}

/* What the plugin picked, or, if that cannot be, the first allowed member. */
static uint32_t pick_checked(struct pool *pool, const struct dp_pool *handle,
                             const struct dp_flow *flow, uint32_t *seen)
{
    *seen = DP_NONE;
    uint32_t i = instance_balancer(pool->balancer)->pick(handle, flow, seen);
    if (i == DP_NONE || (i < handle->view->n && dp_allowed(handle, flow, i)))
        return i;
    /* A member may have met its limit since it was picked: that is no fault of the plugin's. */
    bool full = i < handle->view->n && handle->view->member[i]->limit;
    if (!full && dp_add(&pool->misled, 1) == 0)
        log_line(LOG_WARN, "pool",
                 "%s: its balancer picked member %u of %u, which is not allowed; "
                 "the first allowed one is used",
                 pool->name, i, handle->view->n);
    *seen = DP_NONE;
    for (i = 0; i < handle->view->n; i++)
        if (dp_allowed(handle, flow, i))
            return i;
    return DP_NONE;
}

/* A link that is out is for the flow that tries it. */
static bool is_trial(struct search *s, const struct link *link)
{
    if (link != s->trial && link_try(link, s->flow->now))
        s->trial = link;
    return link == s->trial;
}

static bool may_have(struct search *s, const struct pool_view *view, uint32_t i, enum need need)
{
    const struct way *way = &view->way[i];
    const struct link *link = way->link;
    if (need == A_WAY)
        return link_has_way(link, s->ways) && (link_is_in_use(link) || !view->refuse);
    if (!link_has_route(link, s->ways))
        return false;
    if (!link_is_in_use(link))
        return is_trial(s, link);
    if (need == RAMPING || ramp_allows(link, way->slow_start_ns, s->flow->now))
        return true;
    s->ramping = true;
    return false;
}

/* The member that the flow had last time, if nothing speaks against it; sets the key to go by. */
static uint32_t pick_again(const struct search *s, const struct dp_pool *handle,
                           const struct dp_flow *flow, struct pick *pick)
{
    uint32_t by = __atomic_load_n(&pick->pool->sticky_by, __ATOMIC_ACQUIRE);
    pick->sticky = by ? sticky_key(by, flow) : 0;
    uint64_t hash = pick->sticky ? sticky_get(pick->pool->sticky, pick->sticky, flow->now) : 0;
    for (uint32_t i = 0; hash && i < pick->view->dp.n; i++) {
        const struct link *link = pick->view->way[i].link;
        if (link->hash == hash)
            return dp_allowed(handle, flow, i) && link_is_in_use(link) &&
                           link_has_route(link, s->ways)
                       ? i
                       : DP_NONE;
    }
    return DP_NONE;
}

/* The balancer has picked a member that the flow may not have: asks it for another. */
static void pick_around(struct search *s, const struct dp_pool *handle, const struct dp_flow *flow,
                        enum need need, struct pick *pick)
{
    struct dp_flow narrowed = *flow;
    s->passed = true;
    uint64_t barred[POOL_TRIED_WORDS];
    memcpy(barred, flow->tried, sizeof barred);
    narrowed.tried = barred;
    do {
        slot_bar(barred, pick->view->dp.member[pick->member]->slot);
        pick->member = pick_checked(pick->pool, handle, &narrowed, &pick->seen);
    } while (pick->member != DP_NONE && !may_have(s, pick->view, pick->member, need));
}

static bool pick_as(struct search *s, const struct dp_flow *flow, enum need need, struct pick *pick)
{
    const struct dp_pool handle = pool_handle(pick->pool, pick->view);
    pick->seen = DP_NONE;
    pick->member = pick_again(s, &handle, flow, pick);
    if (pick->member != DP_NONE)
        return true;
    pick->member = pick_checked(pick->pool, &handle, flow, &pick->seen);
    if (pick->member != DP_NONE && !may_have(s, pick->view, pick->member, need))
        pick_around(s, &handle, flow, need, pick);
    return pick->member != DP_NONE;
}

/* The same where what was tried is known by the links alone. */
static bool pick_by_links(struct search *s, enum need need, struct pick *pick)
{
    struct dp_flow flow = *s->flow;
    uint64_t barred[POOL_TRIED_WORDS] = {0};
    for (uint32_t i = 0; i < pick->view->dp.n; i++)
        if (tried_has(s->tried, pick->view->way[i].link))
            slot_bar(barred, pick->view->dp.member[i]->slot);
    flow.tried = barred;
    return pick_as(s, &flow, need, pick);
}

/* From this pool, or else from the one behind it: not before the links that are just back. */
static bool pick_from(struct search *s, struct pool *pool, enum need need, struct pick *pick)
{
    do {
        pick->pool = pool;
        pick->view = pool_seen(pool);
        if (tried_by_links(s->tried) ? pick_by_links(s, need, pick)
                                     : pick_as(s, s->flow, need, pick))
            return true;
        pool = pick->view->backup;
    } while (pool && !(need == FIT && s->ramping));
    return false;
}

bool search_pick(struct search *s, struct pool *pool, struct pick *pick)
{
    s->ramping = s->passed = false;
    if (s->tried->n_links == TRIED_LINKS_MAX)
        return false;
    return pick_from(s, pool, FIT, pick) || (s->ramping && pick_from(s, pool, RAMPING, pick)) ||
           (s->passed && pick_from(s, pool, A_WAY, pick));
}

static int refusal(const struct pool_view *view, uint32_t ways)
{
    int err = view->backup ? refusal(pool_seen(view->backup), ways) : DP_ERR_NET_UNREACH;
    for (uint32_t i = 0; i < view->dp.n && err != DP_ERR_LINK; i++) {
        const struct link *link = view->way[i].link;
        if (link_has_way(link, ways))
            err = DP_ERR_LINK; /* but it may not be had: it is out, or at its limit */
        else if (link_has_way(link, WAY_ANY))
            err = DP_ERR_FAMILY;
    }
    return err;
}

int pool_refusal(const struct pool *pool, const struct dp_flow *flow)
{
    return refusal(pool_seen(pool), ways_to(&flow->dest));
}
