/* SPDX-License-Identifier: MIT
 * pool.c: a pool at work, and the claims of its flows.
 */
#include "route/pool.h"
#include "route/claim.h"
#include "route/health.h"
#include "route/pick.h"
#include "route/view.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A claim that loses this often is not losing to other threads but to a plugin that reports wrong
 * counts; it is then taken as it is. */
#define CLAIM_TRIES 10000

static void pool_destroy(struct ref *r)
{
    struct pool *pool = (struct pool *)((char *)r - offsetof(struct pool, ref));
    pool_view_free(pool_swap(pool, NULL));
    arena_free(pool->arena, pool->state);
    arena_free(pool->arena, pool->stat);
    sticky_leave(pool->arena, pool->sticky);
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
    pool->id = XXH64(pool->name, strlen(pool->name), 0);
    pool->hash = conf_pool_hash(conf);
    pool->state =
        arena_share(arena, ARENA_POOL, pool->hash, instance_balancer(pool->balancer)->pool_state);
    pool->stat = arena_share(arena, ARENA_POOL_STAT, pool->hash, sizeof *pool->stat);
    pool->ledger = ledger_of(arena);
    if (!pool->state || !pool->stat || (arena_is_shared(arena) && !pool->ledger)) {
        conf_error(errors, NULL, "pool \"%s\": out of memory", conf->name);
        ref_drop(&pool->ref);
        return NULL;
    }
    pool->stat->size = sizeof *pool->stat;
    return pool;
}

bool pool_same(const struct pool *pool, const struct conf_pool *conf)
{
    return strcmp(pool->name, conf->name) == 0 && pool->is_backup == conf->is_backup &&
           conf_instance_equal(&pool->balancer->conf, &conf->balancer);
}

bool pool_claim(struct pool *pool, struct dp_flow *flow, struct tried *tried, struct claim *claim)
{
    struct search s = {.flow = flow, .tried = tried, .ways = ways_to(&flow->dest)};
    struct path path;
    flow->tried = tried->slot;
    flow->n_tried = POOL_TRIED_WORDS;
    claim->link = NULL;
    unsigned try = 0;
    do
        if (!search_path(&s, pool, &path))
            return false;
    while (!claim_take(claim, &path, flow, try++ < CLAIM_TRIES));
    claim->trial = claim->link == s.trial;
    tried->trial |= claim->trial;
    if (s.trial && !claim->trial) /* another one was faster, with another link */
        link_untried(s.trial, flow->now);
    if (view_is_alone(path.at[0].view))
        slot_bar(tried->slot, claim->level[0].slot);
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
