/* SPDX-License-Identifier: MIT
 * pick.c: which link a flow is to have.
 *
 * The balancer is asked, and as long as something speaks against its answer asked again, with that
 * member counted as tried. If nobody is left less is asked for: first links that are just back, then,
 * unless `when-all-down: refuse`, any that has a way. Against a pool as a member speaks that nobody
 * is found in it.
 */
#include "route/pick.h"
#include "base/log.h"
#include "route/health.h"
#include "route/quota.h"
#include "route/ramp.h"

#include <string.h>

/* What is good enough; IN_USE: also where a link's own networks end. */
enum need { FIT, RAMPING, IN_USE, A_WAY };

static bool search_from(struct search *s, struct pool *pool, enum need need, struct path *path,
                        unsigned depth);

/* For one that the plugin picked and that is not allowed: the first that is. */
static uint32_t pick_instead(const struct pool_view *view, const struct dp_flow *flow, uint32_t i)
{
    /* A member may have met its limit since it was picked: that is no fault of the plugin's. */
    bool full = i < view->dp.n && view->dp.member[i]->limit;
    if (!full && dp_add(&view->pool->misled, 1) == 0)
        log_line(LOG_WARN, "pool",
                 "%s: its balancer picked member %u of %u, which is not allowed; "
                 "the first allowed one is used",
                 view->pool->name, i, view->dp.n);
    for (i = 0; i < view->dp.n; i++)
        if (dp_allowed(&view->handle, flow, i))
            return i;
    return DP_NONE;
}

/* What the plugin picked, if that can be. */
static uint32_t pick_checked(const struct pool_view *view, const struct dp_flow *flow,
                             uint32_t *seen)
{
    *seen = DP_NONE;
    uint32_t i = instance_balancer(view->pool->balancer)->pick(&view->handle, flow, seen);
    if (i == DP_NONE || (i < view->dp.n && dp_allowed(&view->handle, flow, i)))
        return i;
    *seen = DP_NONE;
    return pick_instead(view, flow, i);
}

/* A link that is out is for the flow that tries it; each flow tries one such link, while others are
 * left. */
static bool is_trial(struct search *s, const struct link *link)
{
    if (link != s->trial && link_try(link, s->flow->now))
        s->trial = link;
    return link == s->trial;
}

/* It has as many connections to where the flow wants to go as it may. */
static bool is_met(const struct search *s, const struct way *way)
{
    uint64_t key = quota_key(way->link, &s->flow->dest);
    return key && quota_met(way->quota, key, way->max_per_dest);
}

static bool may_have(struct search *s, const struct way *way, enum need need)
{
    const struct link *link = way->link;
    if (way->max_per_dest && is_met(s, way))
        return false;
    if (need >= IN_USE)
        return link_has_way(link, s->ways) &&
               (need == A_WAY || link_is_in_use(link) || is_trial(s, link));
    if (!link_has_route(link, s->ways))
        return false;
    if (!link_is_in_use(link))
        return !s->wanted && !s->tried->trial && is_trial(s, link);
    if (need == RAMPING || ramp_allows(link, way->slow_start_ns, s->flow->now))
        return true;
    s->ramping = true;
    return false;
}

/* The member that stands at this depth is the end of the path, or the path goes on behind it. */
static bool go_on(struct search *s, enum need need, struct path *path, unsigned depth)
{
    const struct pick *pick = &path->at[depth];
    const struct way *way = &pick->view->way[pick->member];
    if (way->pool)
        return search_from(s, way->pool, need, path, depth + 1);
    path->n = depth + 1;
    return may_have(s, way, need);
}

/* Is this link among those that the way leads to? */
static bool leads_to(const struct way *way, uint64_t link, unsigned depth)
{
    if (way->link)
        return way->link->hash == link;
    for (const struct pool *pool = way->pool; pool && depth < POOL_DEPTH_MAX;) {
        const struct pool_view *view = pool_seen(pool);
        for (uint32_t i = 0; i < view->dp.n; i++)
            if (leads_to(&view->way[i], link, depth + 1))
                return true;
        pool = view->backup;
    }
    return false;
}

/* What its pool remembers the flow's link by; 0: nothing. */
static uint64_t key_of(const struct pool *pool, const struct dp_flow *flow)
{
    uint32_t by = __atomic_load_n(&pool->sticky_by, __ATOMIC_ACQUIRE);
    return by ? sticky_key(by, flow) : 0;
}

/* The way to the link that a pool above wants again, or that the flow had last time, if nothing speaks
 * against it. */
static bool pick_again(struct search *s, const struct dp_flow *flow, struct path *path,
                       unsigned depth)
{
    struct pick *pick = &path->at[depth];
    uint64_t above = s->wanted;
    uint64_t link = above ? above : sticky_get(pick->view->pool->sticky, pick->sticky, flow->now);
    if (!link)
        return false;
    uint32_t i = 0;
    while (i < pick->view->dp.n && !leads_to(&pick->view->way[i], link, depth + 1))
        i++;
    if (i == pick->view->dp.n || !dp_allowed(&pick->view->handle, flow, i))
        return false;
    pick->member = i;
    pick->seen = DP_NONE;
    s->wanted = link;
    bool found = go_on(s, RAMPING, path, depth) && path_end(path)->link->hash == link;
    s->wanted = above;
    return found;
}

/* The balancer has picked a member that the flow may not have: asks it for another. */
static bool pick_around(struct search *s, const struct dp_flow *flow, enum need need,
                        struct path *path, unsigned depth)
{
    struct pick *pick = &path->at[depth];
    struct dp_flow narrowed = *flow;
    uint64_t barred[POOL_TRIED_WORDS];
    s->passed = true;
    memcpy(barred, flow->tried, sizeof barred);
    narrowed.tried = barred;
    do {
        slot_bar(barred, pick->view->dp.member[pick->member]->slot);
        pick->member = pick_checked(pick->view, &narrowed, &pick->seen);
        if (pick->member == DP_NONE)
            return false;
    } while (!go_on(s, need, path, depth));
    return true;
}

static bool pick_as(struct search *s, const struct dp_flow *flow, enum need need, struct path *path,
                    unsigned depth)
{
    struct pick *pick = &path->at[depth];
    pick->sticky = key_of(pick->view->pool, flow);
    if ((pick->sticky || s->wanted) && pick_again(s, flow, path, depth))
        return true;
    pick->member = pick_checked(pick->view, flow, &pick->seen);
    if (pick->member == DP_NONE)
        return false;
    return go_on(s, need, path, depth) || pick_around(s, flow, need, path, depth);
}

/* The same where what was tried is known by the links alone. */
static bool pick_by_links(struct search *s, enum need need, struct path *path, unsigned depth)
{
    const struct pool_view *view = path->at[depth].view;
    struct dp_flow flow = *s->flow;
    uint64_t barred[POOL_TRIED_WORDS] = {0};
    for (uint32_t i = 0; i < view->dp.n; i++)
        if (view->way[i].link && tried_has(s->tried, view->way[i].link))
            slot_bar(barred, view->dp.member[i]->slot);
    flow.tried = barred;
    return pick_as(s, &flow, need, path, depth);
}

/* From this pool, or else from the one behind it: not before the links that are just back. While a
 * reload is under way the old views above and the new ones below may be deeper than either: what is
 * too deep is passed over for that moment. */
static bool search_from(struct search *s, struct pool *pool, enum need need, struct path *path,
                        unsigned depth)
{
    bool ramping = s->ramping, found = false;
    s->ramping = false;
    for (const struct pool_view *view; pool && depth < POOL_DEPTH_MAX; pool = view->backup) {
        view = pool_seen(pool);
        enum need asked = need == A_WAY && view->refuse ? IN_USE : need;
        path->at[depth].view = view;
        found = tried_by_links(s->tried) ? pick_by_links(s, asked, path, depth)
                                         : pick_as(s, s->flow, asked, path, depth);
        if (found || (need == FIT && s->ramping))
            break;
    }
    s->ramping |= ramping;
    return found;
}

bool search_path(struct search *s, struct pool *pool, struct path *path)
{
    s->ramping = s->passed = false;
    if (s->tried->n_links == TRIED_LINKS_MAX)
        return false;
    return search_from(s, pool, FIT, path, 0) ||
           (s->ramping && search_from(s, pool, RAMPING, path, 0)) ||
           (s->passed && search_from(s, pool, A_WAY, path, 0));
}

static int worse(int a, int b)
{
    return a == DP_ERR_LINK || b == DP_ERR_LINK       ? DP_ERR_LINK
           : a == DP_ERR_FAMILY || b == DP_ERR_FAMILY ? DP_ERR_FAMILY
                                                      : DP_ERR_NET_UNREACH;
}

/* Why a flow gets nobody: all that have a way are out, or at their limit; or which way there is not. */
static int refusal(const struct pool *pool, uint32_t ways, unsigned depth)
{
    int err = DP_ERR_NET_UNREACH;
    while (pool && depth < POOL_DEPTH_MAX) {
        const struct pool_view *view = pool_seen(pool);
        for (uint32_t i = 0; i < view->dp.n; i++) {
            const struct way *way = &view->way[i];
            if (way->pool)
                err = worse(err, refusal(way->pool, ways, depth + 1));
            else if (link_has_way(way->link, ways))
                err = DP_ERR_LINK;
            else if (link_has_way(way->link, WAY_ANY))
                err = worse(err, DP_ERR_FAMILY);
        }
        pool = view->backup;
    }
    return err;
}

int pool_refusal(const struct pool *pool, const struct dp_flow *flow)
{
    return refusal(pool, ways_to(&flow->dest), 0);
}
