/* SPDX-License-Identifier: MIT
 * router.c: a configuration at work.
 */
#include "route/router.h"
#include "route/quota.h"
#include "route/view.h"

#include <stdlib.h>

static struct link *link_take_over(const struct router *old, const struct conf_link *conf,
                                   const struct link *via)
{
    for (size_t i = 0; old && i < old->config->n_links; i++)
        if (link_same(old->link[i], conf, via)) {
            ref_get(&old->link[i]->ref);
            return old->link[i];
        }
    return NULL;
}

static struct pool *pool_take_over(const struct router *old, const struct conf_pool *conf)
{
    for (size_t i = 0; old && i < old->n_pools; i++)
        if (pool_same(old->pool[i], conf)) {
            ref_get(&old->pool[i]->ref);
            return old->pool[i];
        }
    return NULL;
}

/* Makes link i, and before it the one it goes by. config has no circle in `via`. */
static struct link *link_make(struct router *r, size_t i, const struct router *old,
                              struct arena *arena, struct trash *trash, struct conf_errors *errors)
{
    const struct conf_link *conf = &r->config->link[i];
    struct link *via = NULL;
    if (r->link[i])
        return r->link[i];
    if (conf->via &&
        !(via = link_make(r, (size_t)(conf->via - r->config->link), old, arena, trash, errors)))
        return NULL;
    r->link[i] = link_take_over(old, conf, via);
    if (!r->link[i])
        r->link[i] = link_new(r->config, conf, via, arena, trash, errors);
    return r->link[i];
}

static int links_make(struct router *r, const struct router *old, struct arena *arena,
                      struct trash *trash, struct conf_errors *errors)
{
    size_t failed = 0;
    for (size_t i = 0; i < r->config->n_links; i++)
        failed += !link_make(r, i, old, arena, trash, errors);
    return failed ? -1 : 0;
}

static struct way way_of(const struct router *r, const struct conf_member *conf)
{
    if (conf->pool)
        return (struct way){.pool = router_pool(r, conf->pool)};
    return (struct way){.link = r->link[conf->link - r->config->link],
                        .slow_start_ns = conf->link->slow_start,
                        .max_per_dest = conf->link->max_per_dest,
                        .quota = r->quota};
}

static struct pool_view *view_make(struct router *r, const struct conf_pool *conf,
                                   struct pool *pool, struct conf_errors *errors)
{
    struct way *way = calloc(conf->n_members, sizeof *way);
    if (!way) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        return NULL;
    }
    for (size_t i = 0; i < conf->n_members; i++)
        way[i] = way_of(r, &conf->member[i]);
    struct pool_view *view = pool_view_new(pool, conf, way, errors);
    free(way);
    if (view && conf->backup)
        pool_view_backup(view, router_pool(r, conf->backup));
    return view;
}

/* A pool that was not sticky before gets its table; not that of the one it stands behind. */
static int sticky_make(struct router *r, const struct conf_pool *conf, struct pool *pool,
                       struct conf_errors *errors)
{
    if (!conf->sticky.by || pool->sticky)
        return 0;
    pool->sticky = sticky_join(r->arena, pool->id + pool->is_backup);
    if (!pool->sticky)
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
    return pool->sticky ? 0 : -1;
}

static int views_make(struct router *r, struct conf_errors *errors)
{
    size_t failed = 0;
    for (size_t i = 0; i < r->n_pools; i++) {
        r->view[i] = view_make(r, &r->config->pool[i], r->pool[i], errors);
        failed += !r->view[i];
    }
    return failed ? -1 : 0;
}

static int pools_make(struct router *r, const struct router *old, struct arena *arena,
                      struct trash *trash, struct conf_errors *errors)
{
    size_t failed = 0;
    for (size_t i = 0; i < r->n_pools; i++) {
        const struct conf_pool *conf = &r->config->pool[i];
        r->pool[i] = pool_take_over(old, conf);
        if (!r->pool[i])
            r->pool[i] = pool_new(r->config, conf, arena, trash, errors);
        failed += !r->pool[i] || sticky_make(r, conf, r->pool[i], errors) < 0;
    }
    return failed ? -1 : views_make(r, errors);
}

static int quota_make(struct router *r, struct conf_errors *errors)
{
    bool needed = false;
    for (size_t i = 0; i < r->config->n_links; i++)
        needed |= r->config->link[i].max_per_dest != 0;
    r->quota = quota_of(r->arena, needed);
    if (needed && !r->quota)
        conf_error(errors, NULL, "out of memory");
    return needed && !r->quota ? -1 : 0;
}

struct router *router_new(struct config *config, const struct router *old, struct arena *arena,
                          struct trash *trash, struct conf_errors *errors)
{
    struct router *r = calloc(1, sizeof *r);
    if (!r) {
        config_free(config);
        conf_error(errors, NULL, "out of memory");
        return NULL;
    }
    r->config = config;
    r->n_pools = config->n_pools + config->n_backups;
    r->arena = arena;
    r->link = calloc(config->n_links + 1, sizeof(struct link *));
    r->pool = calloc(r->n_pools + 1, sizeof(struct pool *));
    r->view = calloc(r->n_pools + 1, sizeof(struct pool_view *));
    if (!r->link || !r->pool || !r->view) {
        conf_error(errors, NULL, "out of memory");
    } else if (quota_make(r, errors) == 0 && links_make(r, old, arena, trash, errors) == 0 &&
               pools_make(r, old, arena, trash, errors) == 0) {
        return r;
    }
    router_retract(r);
    router_free(r);
    return NULL;
}

void router_retract(struct router *r)
{
    for (size_t i = 0; r->view && i < r->n_pools; i++) {
        pool_view_discard(r->view[i]);
        r->view[i] = NULL;
    }
}

/* Those it leads to first: then no pool ever leads to one that has no view yet, nor, when pools have
 * changed places, round in a circle. */
static void pool_publish(struct router *r, const struct conf_pool *conf)
{
    struct pool *pool = router_pool(r, conf);
    struct pool_view **view = &r->view[conf - r->config->pool];
    if (!*view || (*view)->published)
        return;
    for (size_t i = 0; i < conf->n_members; i++)
        if (conf->member[i].pool)
            pool_publish(r, conf->member[i].pool);
    if (conf->backup)
        pool_publish(r, conf->backup);
    dp_store(&pool->retries, conf->retries);
    dp_store(&pool->sticky_ttl, conf->sticky.ttl);
    __atomic_store_n(&pool->sticky_by, conf->sticky.by, __ATOMIC_RELEASE);
    *view = pool_swap(pool, *view);
}

void router_publish(struct router *r)
{
    for (size_t i = 0; i < r->n_pools; i++)
        pool_publish(r, &r->config->pool[i]);
}

void router_settle(struct router *r)
{
    for (size_t i = 0; i < r->n_pools; i++) {
        pool_view_free(r->view[i]);
        r->view[i] = NULL;
    }
}

void router_free(struct router *r)
{
    if (!r)
        return;
    for (size_t i = 0; r->pool && i < r->n_pools; i++)
        if (r->pool[i])
            ref_drop(&r->pool[i]->ref);
    for (size_t i = 0; r->link && i < r->config->n_links; i++)
        if (r->link[i])
            ref_drop(&r->link[i]->ref);
    config_free(r->config);
    free(r->link);
    free(r->pool);
    free(r->view);
    free(r);
}

static struct pool *pool_by_hash(const struct router *r, uint64_t hash)
{
    for (size_t i = 0; i < r->n_pools; i++)
        if (r->pool[i]->hash == hash)
            return r->pool[i];
    return NULL;
}

static struct ref *member_by_stat(const struct router *r, const struct dp_stat *stat)
{
    for (size_t i = 0; i < r->config->n_links; i++)
        if (r->link[i]->stat == stat)
            return &r->link[i]->ref;
    for (size_t i = 0; i < r->n_pools; i++)
        if (r->pool[i]->stat == stat)
            return &r->pool[i]->ref;
    return NULL;
}

static void record_end(const struct router *r, const struct ledger_claim *record, int64_t now_ns,
                       uint64_t rx, uint64_t tx)
{
    struct claim claim = {.n_levels = record->n_levels,
                          .cell = r->quota ? record->cell : 0,
                          .quota = r->quota,
                          .dialing = record->dialing,
                          .at_ns = record->at_ns,
                          .connected_ns = record->connected_ns};
    for (unsigned i = 0; i < claim.n_levels; i++) {
        const struct ledger_level *level = &record->level[i];
        struct dp_stat *stat = arena_at(r->arena, level->stat);
        claim.level[i] = (struct claim_level){.pool = pool_by_hash(r, level->pool),
                                              .member = member_by_stat(r, stat),
                                              .stat = stat,
                                              .slot = level->slot};
    }
    claim_hold(&claim);
    claim_end(&claim, claim.dialing ? DP_ERR_CANCELLED : DP_OK, now_ns, rx, tx);
}

void router_claim_end(const struct router *r, struct ledger *ledger, uint32_t ticket,
                      int64_t now_ns, uint64_t rx, uint64_t tx)
{
    struct ledger_claim record;
    if (ledger_uncount(ledger, ticket, &record))
        record_end(r, &record, now_ns, rx, tx);
    ledger_close(ledger, ticket);
}

struct pool *router_pool(const struct router *r, const struct conf_pool *conf)
{
    return r->pool[conf - r->config->pool];
}
