/* SPDX-License-Identifier: MIT
 * pool.c: picking from a published view, and the claims that make counting exact.
 */
#include "route/pool.h"
#include "base/log.h"
#include "route/pick.h"
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
    pool->is_backup = conf->is_backup;
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
    return strcmp(pool->name, conf->name) == 0 && pool->is_backup == conf->is_backup &&
           conf_instance_equal(&pool->balancer->conf, &conf->balancer);
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

/* Empty if it could not be counted: another flow was faster, or the link has met its limit. */
static struct claim claim_make(const struct pick *pick, const struct search *s, bool exact)
{
    struct pool *pool = pick->pool;
    struct link *link = pick->view->way[pick->member].link;
    const struct dp_member *member = pick->view->dp.member[pick->member];
    struct claim claim = {.pool = pool,
                          .link = link,
                          .slot = member->slot,
                          .dialing = true,
                          .trial = link == s->trial,
                          .sticky = pick->sticky,
                          .at_ns = s->flow->now};
    claim.ticket = claim_record(&claim);
    if (!count_up(link->stat, member->limit, exact ? pick->seen : DP_NONE)) {
        if (claim.ticket)
            ledger_close(pool->ledger, claim.ticket);
        return (struct claim){0};
    }
    dp_add(&link->stat->dialing, 1);
    if (claim.ticket)
        ledger_count(pool->ledger, claim.ticket);
    dp_add(&link->stat->picks, 1);
    ref_get(&pool->ref);
    ref_get(&link->ref);
    return claim;
}

bool pool_claim(struct pool *pool, struct dp_flow *flow, struct tried *tried, struct claim *claim)
{
    struct search s = {.flow = flow, .tried = tried, .ways = ways_to(&flow->dest)};
    struct pick pick;
    flow->tried = tried->slot;
    flow->n_tried = POOL_TRIED_WORDS;
    *claim = (struct claim){0};
    for (unsigned try = 0; !claim->link; try++) {
        if (!search_pick(&s, pool, &pick))
            return false;
        *claim = claim_make(&pick, &s, try < CLAIM_TRIES);
    }
    if (view_is_alone(pick.view))
        slot_bar(tried->slot, claim->slot);
    else
        tried_add(tried, claim->link);
    return true;
}

void pool_bar(const struct pool *pool, struct tried *tried, bool (*bar)(const struct link *link))
{
    const struct pool_view *view = pool_seen(pool);
    if (!view_is_alone(view))
        tried->bar = bar;
    for (uint32_t i = 0; view_is_alone(view) && i < view->dp.n; i++)
        if (bar(view->way[i].link))
            slot_bar(tried->slot, view->dp.member[i]->slot);
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
