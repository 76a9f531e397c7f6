/* SPDX-License-Identifier: MIT
 * claim.c: places on links, and in the pools on the way there.
 */
#include "route/claim.h"
#include "route/pick.h"
#include "route/quota.h"

static void level_fill(struct claim_level *level, const struct pick *pick)
{
    const struct way *way = &pick->view->way[pick->member];
    level->pool = pick->view->pool;
    level->member = way_ref(way);
    level->stat = way_stat(way);
    level->sticky = pick->sticky;
    level->slot = pick->view->dp.member[pick->member]->slot;
}

/* What other processes may have to end in our place. Returns its ticket; 0: nobody shares it. */
static uint32_t claim_record(const struct claim *claim, int64_t now_ns)
{
    const struct pool *top = claim->level[0].pool;
    if (!top->ledger)
        return 0;
    struct ledger_claim record = {
        .n_levels = claim->n_levels, .cell = claim->cell, .dialing = 1, .at_ns = now_ns};
    for (unsigned i = 0; i < claim->n_levels; i++) {
        const struct claim_level *level = &claim->level[i];
        record.level[i] =
            (struct ledger_level){.pool = level->pool->hash,
                                  .stat = (uint32_t)arena_offset(top->arena, level->stat),
                                  .slot = level->slot};
    }
    return ledger_open(top->ledger, &record);
}

/* Raises a member's count by one if it is still what the pick rested on and below the limit. */
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

static void count_down(struct dp_stat *stat)
{
    __atomic_fetch_sub(&stat->active, 1, __ATOMIC_ACQ_REL);
}

/* On all levels, from the link up, or on none. */
static bool claim_count(const struct claim *claim, const struct path *path, bool exact)
{
    for (unsigned i = claim->n_levels; i-- > 0;) {
        const struct pick *pick = &path->at[i];
        uint32_t limit = pick->view->dp.member[pick->member]->limit;
        if (count_up(claim->level[i].stat, limit, exact ? pick->seen : DP_NONE))
            continue;
        while (++i < claim->n_levels)
            count_down(claim->level[i].stat);
        return false;
    }
    for (unsigned i = 0; i < claim->n_levels; i++) {
        dp_add(&claim->level[i].stat->dialing, 1);
        dp_add(&claim->level[i].stat->picks, 1);
    }
    return true;
}

/* One more to the flow's destination, where that is limited. */
static bool quota_count(struct claim *claim, const struct path *path, const struct dp_addr *dest)
{
    const struct way *way = path_end(path);
    uint64_t key = way->max_per_dest ? quota_key(way->link, dest) : 0;
    claim->cell = 0;
    claim->quota = way->quota;
    return !key || quota_take(way->quota, key, way->max_per_dest, &claim->cell);
}

bool claim_take(struct claim *claim, const struct path *path, const struct dp_flow *flow,
                bool exact)
{
    claim->n_levels = path->n;
    for (unsigned i = 0; i < path->n; i++)
        level_fill(&claim->level[i], &path->at[i]);
    struct ledger *ledger = claim->level[0].pool->ledger;
    if (!quota_count(claim, path, &flow->dest))
        return false;
    claim->ticket = claim_record(claim, flow->now);
    if (!claim_count(claim, path, exact)) {
        if (claim->ticket)
            ledger_close(ledger, claim->ticket);
        quota_give(claim->quota, claim->cell);
        return false;
    }
    if (claim->ticket)
        ledger_count(ledger, claim->ticket);
    claim->link = path_end(path)->link;
    claim->dialing = true;
    claim->at_ns = flow->now;
    claim_hold(claim);
    return true;
}

void claim_hold(const struct claim *claim)
{
    for (unsigned i = 0; i < claim->n_levels; i++) {
        if (claim->level[i].pool)
            ref_get(&claim->level[i].pool->ref);
        if (claim->level[i].member)
            ref_get(claim->level[i].member);
    }
}

static void claim_release(struct claim *claim)
{
    for (unsigned i = 0; i < claim->n_levels; i++) {
        if (claim->level[i].member)
            ref_drop(claim->level[i].member);
        if (claim->level[i].pool)
            ref_drop(&claim->level[i].pool->ref);
    }
    claim->link = NULL;
}

/* Of a pool in a pool its counters know what links learn from their own dials (health.c). */
static void learn(struct dp_stat *stat, int err, int64_t now_ns, int64_t took_ns)
{
    int64_t rtt = dp_load(&stat->rtt);
    if (err == DP_OK) {
        dp_store(&stat->rtt, rtt ? rtt - rtt / 8 + took_ns / 8 : took_ns);
        dp_store(&stat->rtt_at, now_ns);
        dp_store(&stat->fails, 0);
    } else if (dp_blame(err) == DP_LINK) {
        dp_add(&stat->fails, 1);
        dp_store(&stat->failed_at, now_ns);
    }
}

static void dialed(const struct claim *claim, int err, int64_t now_ns)
{
    const struct claim_level *level = claim->level, *last = level + claim->n_levels - 1;
    for (; level < last; level++) {
        dp_add(&level->stat->dialing, UINT32_MAX); /* one less */
        learn(level->stat, err, now_ns, now_ns - claim->at_ns);
    }
    dp_add(&last->stat->dialing, UINT32_MAX);
}

static void remember(const struct claim_level *level, uint64_t link, int64_t now_ns)
{
    if (level->sticky)
        sticky_put(level->pool->sticky, level->sticky, link, now_ns,
                   dp_load(&level->pool->sticky_ttl));
}

void claim_connected(struct claim *claim, int64_t now_ns)
{
    struct ledger *ledger = claim->level[0].pool->ledger;
    for (unsigned i = 0; i < claim->n_levels; i++)
        remember(&claim->level[i], claim->link->hash, now_ns);
    claim->dialing = false;
    claim->connected_ns = now_ns;
    if (claim->ticket && !ledger_uncount(ledger, claim->ticket, NULL))
        return;
    dialed(claim, DP_OK, now_ns);
    if (claim->ticket)
        ledger_dialed(ledger, claim->ticket);
}

/* The balancer hears of it only while the slot is still this member's. */
static void level_report(const struct claim_level *level, const struct dp_outcome *outcome)
{
    const struct pool *pool = level->pool;
    if (!pool || !instance_balancer(pool->balancer)->done)
        return;
    const struct pool_view *view = pool_seen(pool);
    if (level->slot >= view->n_slots || view->slot_ref[level->slot] != level->member)
        return;
    instance_balancer(pool->balancer)->done(&view->handle, level->slot, outcome);
}

uint32_t claim_park(struct claim *claim, uint64_t cookie, int64_t now_ns)
{
    uint32_t ticket = 0;
    if (claim->dialing)
        claim_connected(claim, now_ns);
    if (claim->ticket)
        ticket = ledger_connect(claim->level[0].pool->ledger, claim->ticket, now_ns, cookie);
    if (ticket)
        claim_release(claim);
    else
        claim_end(claim, DP_OK, now_ns, 0, 0);
    return ticket;
}

static void claim_uncount(const struct claim *claim, int err, int64_t now_ns, uint64_t rx,
                          uint64_t tx)
{
    int64_t dialed_ns = claim->dialing ? now_ns : claim->connected_ns;
    struct dp_outcome outcome = {.size = sizeof outcome,
                                 .err = err,
                                 .dial_ns = dialed_ns - claim->at_ns,
                                 .life_ns = now_ns - dialed_ns,
                                 .rx = rx,
                                 .tx = tx};
    if (claim->dialing)
        dialed(claim, err, now_ns);
    for (unsigned i = 0; i < claim->n_levels; i++) {
        const struct claim_level *level = &claim->level[i];
        dp_add(&level->stat->rx, rx);
        dp_add(&level->stat->tx, tx);
        level_report(level, &outcome);
        count_down(level->stat);
    }
    if (claim->cell)
        quota_give(claim->quota, claim->cell);
}

void claim_end(struct claim *claim, int err, int64_t now_ns, uint64_t rx, uint64_t tx)
{
    struct ledger *ledger = claim->ticket ? claim->level[0].pool->ledger : NULL;
    if (!ledger || ledger_uncount(ledger, claim->ticket, NULL))
        claim_uncount(claim, err, now_ns, rx, tx);
    if (ledger)
        ledger_close(ledger, claim->ticket);
    claim_release(claim);
}
