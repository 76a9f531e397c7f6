/* SPDX-License-Identifier: MIT
 * pool.c: picking from a published view, and the claims that make counting exact.
 */
#include "route/pool.h"
#include "base/log.h"
#include "route/health.h"
#include "route/view.h"

#include <stdlib.h>
#include <string.h>

/* A claim that loses this often is not losing to other threads but to a plugin that reports wrong
 * counts; it is then taken as it is. */
#define CLAIM_TRIES 10000

static void pool_destroy(struct ref *r)
{
    struct pool *pool = (struct pool *)((char *)r - offsetof(struct pool, ref));
    pool_view_free(pool_swap(pool, NULL));
    arena_free(pool->arena, pool->state);
    arena_free(pool->arena, pool->sticky);
    ref_drop(&pool->balancer->ref);
    free(pool);
}

struct pool *pool_new(struct config *config, const struct conf_pool *conf, struct arena *arena,
                      struct trash *trash, struct conf_errors *errors)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        return NULL;
    }
    pool->balancer = instance_new(config, &conf->balancer, "pool", conf->name, trash, errors);
    if (!pool->balancer) {
        free(pool);
        return NULL;
    }
    ref_init(&pool->ref, trash, pool_destroy);
    pool->name = pool->balancer->host.name;
    pool->arena = arena;
    pool->retries = conf->retries;
    pool->hash = conf_pool_hash(conf);
    pool->state =
        arena_share(arena, ARENA_POOL, pool->hash, instance_balancer(pool->balancer)->pool_state);
    pool->ledger = ledger_of(arena);
    if (!pool->state || (arena_is_shared(arena) && !pool->ledger)) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        ref_drop(&pool->ref);
        return NULL;
    }
    return pool;
}

bool pool_same(const struct pool *pool, const struct conf_pool *conf)
{
    return strcmp(pool->name, conf->name) == 0 &&
           conf_instance_equal(&pool->balancer->conf, &conf->balancer);
}

static struct pool_view *pool_seen(const struct pool *pool)
{
    return __atomic_load_n(&pool->view, __ATOMIC_ACQUIRE);
}

static struct dp_pool pool_handle(const struct pool *pool, const struct pool_view *view)
{
    return (struct dp_pool){.size = sizeof(struct dp_pool),
                            .slot_state = view->slot_stride,
                            .self = pool->balancer->self,
                            .picker = view->picker,
                            .state = pool->state,
                            .slots = view->slots,
                            .view = &view->dp};
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

/* Raises the member's count by one if it is still what the pick rested on and below the limit. */
static bool count_up(struct dp_stat *stat, uint32_t limit, uint32_t seen)
{
    uint32_t active = seen != DP_NONE ? seen : dp_load(&stat->active);
    do {
        if (limit && active >= limit)
            return false;
        if (__atomic_compare_exchange_n(&stat->active, &active, active + 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return true;
    } while (seen == DP_NONE);
    return false;
}

/* What other processes may have to end in our place. Returns its ticket; 0: nobody shares it. */
static uint32_t claim_record(const struct claim *claim)
{
    if (!claim->pool->ledger)
        return 0;
    const struct ledger_claim record = {.stat = arena_offset(claim->pool->arena, claim->link->stat),
                                        .link = claim->link->hash,
                                        .pool = claim->pool->hash,
                                        .slot = claim->slot,
                                        .dialing = claim->dialing,
                                        .at_ns = claim->at_ns};
    return ledger_open(claim->pool->ledger, &record);
}

/* By which families could it get there? A name may have addresses of either. */
static uint32_t ways_to(const struct dp_addr *dest)
{
    int family = addr_family(dest);
    return family == AF_INET ? WAY_IPV4 : family == AF_INET6 ? WAY_IPV6 : WAY_ANY;
}

/* Nothing at all speaks against it. */
static bool is_fit(const struct link *link, uint32_t ways)
{
    return link_is_in_use(link) && link_has_route(link, ways);
}

/* A link that is out is for the flow that tries it, *trial then. */
static bool may_have(const struct link *link, uint32_t ways, int64_t now_ns,
                     const struct link **trial)
{
    if (!link_has_route(link, ways))
        return false;
    if (link_is_in_use(link) || link == *trial)
        return true;
    if (!link_try(link, now_ns))
        return false;
    *trial = link;
    return true;
}

static void slot_bar(uint64_t *tried, uint32_t slot)
{
    tried[slot / 64] |= UINT64_C(1) << (slot % 64);
}

/* The balancer has picked member i, which is not fit: asks it for another, as if those that are not
 * had been tried; if then nobody is left, those that have a way at all are better than none. */
static uint32_t pick_around(struct pool *pool, const struct pool_view *view,
                            const struct dp_pool *handle, const struct dp_flow *flow, uint32_t i,
                            uint32_t *seen, const struct link **trial)
{
    uint32_t ways = ways_to(&flow->dest);
    uint64_t unfit[POOL_TRIED_WORDS], lost[POOL_TRIED_WORDS];
    struct dp_flow narrowed = *flow;
    memcpy(unfit, flow->tried, sizeof unfit);
    memcpy(lost, flow->tried, sizeof lost);
    narrowed.tried = unfit;
    while (i != DP_NONE && !may_have(view->link[i], ways, flow->now, trial)) {
        slot_bar(unfit, view->dp.member[i]->slot);
        i = pick_checked(pool, handle, &narrowed, seen);
    }
    if (i != DP_NONE)
        return i;
    narrowed.tried = lost;
    while ((i = pick_checked(pool, handle, &narrowed, seen)) != DP_NONE &&
           !link_has_way(view->link[i], ways))
        slot_bar(lost, view->dp.member[i]->slot);
    return i;
}

int pool_refusal(const struct pool *pool, const struct dp_flow *flow)
{
    const struct pool_view *view = pool_seen(pool);
    int err = DP_ERR_NET_UNREACH;
    for (uint32_t i = 0; i < view->dp.n; i++) {
        if (link_has_way(view->link[i], ways_to(&flow->dest)))
            return DP_ERR_LINK; /* but it may not be had: it is at its limit */
        if (link_has_way(view->link[i], WAY_ANY))
            err = DP_ERR_FAMILY;
    }
    return err;
}

/* The member that the flow had last time, if nothing speaks against it. */
static uint32_t pick_again(const struct pool *pool, const struct pool_view *view,
                           const struct dp_pool *handle, const struct dp_flow *flow, uint64_t key)
{
    uint64_t link = key ? sticky_get(pool->sticky, key, flow->now) : 0;
    for (uint32_t i = 0; link && i < view->dp.n; i++)
        if (view->link[i]->hash == link)
            return dp_allowed(handle, flow, i) && is_fit(view->link[i], ways_to(&flow->dest))
                       ? i
                       : DP_NONE;
    return DP_NONE;
}

bool pool_claim(struct pool *pool, struct dp_flow *flow, uint64_t *tried, struct claim *claim)
{
    const struct pool_view *view = pool_seen(pool);
    struct dp_pool handle = pool_handle(pool, view);
    const struct link *trial = NULL;
    uint32_t by = __atomic_load_n(&pool->sticky_by, __ATOMIC_ACQUIRE);
    uint64_t key = by ? sticky_key(by, flow) : 0;
    for (unsigned try = 0;; try++) {
        uint32_t seen = DP_NONE, i = pick_again(pool, view, &handle, flow, key);
        if (i == DP_NONE)
            i = pick_checked(pool, &handle, flow, &seen);
        if (i != DP_NONE && !is_fit(view->link[i], ways_to(&flow->dest)))
            i = pick_around(pool, view, &handle, flow, i, &seen, &trial);
        if (i == DP_NONE) {
            *claim = (struct claim){0};
            return false;
        }
        struct link *link = view->link[i];
        uint32_t slot = view->dp.member[i]->slot;
        *claim = (struct claim){.pool = pool,
                                .link = link,
                                .slot = slot,
                                .dialing = true,
                                .trial = link == trial,
                                .sticky = key,
                                .at_ns = flow->now};
        claim->ticket = claim_record(claim);
        if (!count_up(link->stat, view->dp.member[i]->limit, try < CLAIM_TRIES ? seen : DP_NONE)) {
            if (claim->ticket)
                ledger_close(pool->ledger, claim->ticket);
            continue;
        }
        dp_add(&link->stat->dialing, 1);
        if (claim->ticket)
            ledger_count(pool->ledger, claim->ticket);
        slot_bar(tried, slot);
        dp_add(&link->stat->picks, 1);
        ref_get(&pool->ref);
        ref_get(&link->ref);
        return true;
    }
}

void pool_bar(const struct pool *pool, uint64_t *tried, bool (*bar)(const struct link *link))
{
    const struct pool_view *view = pool_seen(pool);
    for (uint32_t i = 0; i < view->dp.n; i++) {
        uint32_t slot = view->dp.member[i]->slot;
        if (bar(view->link[i]))
            slot_bar(tried, slot);
    }
}

void claim_connected(struct claim *claim, int64_t now_ns)
{
    struct ledger_claim record;
    struct pool *pool = claim->pool;
    if (claim->sticky)
        sticky_put(pool->sticky, claim->sticky, claim->link->hash, now_ns,
                   dp_load(&pool->sticky_ttl));
    claim->dialing = false;
    claim->connected_ns = now_ns;
    if (claim->ticket && !ledger_uncount(pool->ledger, claim->ticket, &record))
        return;
    dp_add(&claim->link->stat->dialing, UINT32_MAX); /* one less */
    if (claim->ticket)
        ledger_dialed(pool->ledger, claim->ticket);
}

/* The balancer hears of it only while the slot is still this link's. */
static void claim_report(const struct claim *claim, const struct dp_outcome *outcome)
{
    const struct dp_balancer_ops *ops = instance_balancer(claim->pool->balancer);
    if (!ops->done)
        return;
    const struct pool_view *view = pool_seen(claim->pool);
    if (claim->slot >= view->n_slots || view->slot_link[claim->slot] != claim->link)
        return;
    struct dp_pool handle = pool_handle(claim->pool, view);
    ops->done(&handle, claim->slot, outcome);
}

static void claim_release(struct claim *claim)
{
    ref_drop(&claim->link->ref);
    ref_drop(&claim->pool->ref);
    *claim = (struct claim){0};
}

uint32_t claim_park(struct claim *claim, uint64_t cookie, int64_t now_ns)
{
    uint32_t ticket = 0;
    if (claim->dialing)
        claim_connected(claim, now_ns);
    if (claim->ticket)
        ticket = ledger_connect(claim->pool->ledger, claim->ticket, now_ns, cookie);
    if (ticket)
        claim_release(claim);
    else
        claim_end(claim, DP_OK, now_ns, 0, 0);
    return ticket;
}

void claim_end(struct claim *claim, int err, int64_t now_ns, uint64_t rx, uint64_t tx)
{
    struct ledger_claim record;
    if (claim->ticket && !ledger_uncount(claim->pool->ledger, claim->ticket, &record)) {
        ledger_close(claim->pool->ledger, claim->ticket);
        claim_release(claim);
        return;
    }
    struct dp_stat *stat = claim->link->stat;
    int64_t dialed_ns = claim->dialing ? now_ns : claim->connected_ns;
    struct dp_outcome outcome = {.size = sizeof outcome,
                                 .err = err,
                                 .dial_ns = dialed_ns - claim->at_ns,
                                 .life_ns = now_ns - dialed_ns,
                                 .rx = rx,
                                 .tx = tx};
    if (claim->dialing)
        dp_add(&stat->dialing, UINT32_MAX);
    dp_add(&stat->rx, rx);
    dp_add(&stat->tx, tx);
    claim_report(claim, &outcome);
    __atomic_fetch_sub(&stat->active, 1, __ATOMIC_ACQ_REL);
    if (claim->ticket)
        ledger_close(claim->pool->ledger, claim->ticket);
    claim_release(claim);
}
