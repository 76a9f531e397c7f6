/* SPDX-License-Identifier: MIT
 * pool.c: the section `pools`.
 */
#include "config/build.h"

#include <string.h>

#include <stdio.h>

struct pool_keys {
    struct dp_str balancer;
    struct dp_list links;
    uint32_t retries;
};

static const struct dp_opt pool_opts[] = {
    {.name = "balancer",
     .type = DP_STRING,
     .offset = offsetof(struct pool_keys, balancer),
     .min = 1,
     .max = NAME_MAX_LEN,
     .dflt = "rr"},
    {.name = "links",
     .type = DP_LIST,
     .offset = offsetof(struct pool_keys, links),
     .min = 1,
     .max = TREE_NODES_MAX},
    {.name = "retries",
     .type = DP_U32,
     .offset = offsetof(struct pool_keys, retries),
     .min = 0,
     .max = 15,
     .dflt = "2"},
    {.name = "backup", .type = OPTION_LATER},
    {.name = "sticky", .type = OPTION_MAP},
    {.name = "health-check", .type = OPTION_LATER},
    {.name = "when-all-down", .type = OPTION_LATER},
};
static const struct option_table pool_table = OPTION_TABLE(pool_opts);

struct sticky_keys {
    struct dp_list by;
    int64_t ttl;
};

static const struct dp_opt sticky_opts[] = {
    {.name = "by",
     .type = DP_LIST,
     .flags = DP_REQUIRED,
     .offset = offsetof(struct sticky_keys, by),
     .min = 1,
     .max = 2},
    {.name = "ttl",
     .type = DP_DURATION,
     .offset = offsetof(struct sticky_keys, ttl),
     .min = INT64_C(1000000000),
     .max = 7 * 24 * 3600 * INT64_C(1000000000),
     .dflt = "10m"},
};
static const struct option_table sticky_table = OPTION_TABLE(sticky_opts);

/* What all pools need to fill in their members. */
struct members {
    const struct conf_link **all; /* every link, for pools that name none */
    size_t *taken_by;             /* for each link the last pool that took it, from 1 */
};

static const struct conf_link *member_find(const struct build *b, const struct option_scope *scope,
                                           uint32_t i, const char *name, size_t *taken_by)
{
    const struct tree_node *node = tree_item(tree_find(scope->map, "links"), i);
    const struct tree_node *entry = build_find(scope, b->links, "link", node, "links", name);
    if (!entry)
        return NULL;
    size_t pool = scope->map->index + 1;
    if (taken_by[entry->index] == pool)
        option_error(scope, node, "links", "\"%s\" is named twice", name);
    taken_by[entry->index] = pool;
    return &b->link[entry->index];
}

static void pool_members(const struct build *b, const struct option_scope *scope,
                         const struct dp_list *links, const struct members *members,
                         struct conf_pool *pool)
{
    if (!tree_find(scope->map, "links")) {
        pool->link = members->all;
        pool->n_links = b->links->n;
        return;
    }
    const struct conf_link **link = memory_alloc(b->memory, links->n * sizeof *link);
    for (uint32_t i = 0; link && i < links->n; i++)
        link[i] = member_find(b, scope, i, links->item[i].p, members->taken_by);
    pool->link = link;
    pool->n_links = links->n;
}

static uint32_t sticky_by(const struct option_scope *scope, const struct dp_list *by)
{
    const struct tree_node *node = tree_find(scope->map, "by");
    uint32_t all = 0;
    for (uint32_t i = 0; i < by->n; i++) {
        const char *name = by->item[i].p;
        uint32_t one = strcmp(name, "client") == 0 ? STICKY_CLIENT
                       : strcmp(name, "host") == 0 ? STICKY_HOST
                                                   : 0;
        if (!one)
            option_error(scope, tree_item(node, i), "by", "\"%s\" is none of client, host", name);
        else if (all & one)
            option_error(scope, tree_item(node, i), "by", "\"%s\" is named twice", name);
        all |= one;
    }
    return all;
}

static void pool_sticky(const struct option_scope *pool, struct conf_sticky *sticky)
{
    const struct tree_node *map = tree_find(pool->map, "sticky");
    if (!map || map->kind != TREE_MAP)
        return; /* none, or reported */
    struct option_scope scope = *pool;
    scope.map = map;
    scope.what = memory_printf(pool->memory, "%ssticky: ", pool->what);
    const struct sticky_keys *keys =
        scope.what ? option_bind(&scope, &sticky_table, sizeof *keys) : NULL;
    if (!keys)
        return;
    option_unknown(&scope, &sticky_table, 1);
    sticky->by = sticky_by(&scope, &keys->by);
    sticky->ttl = keys->ttl;
}

static void pool_build(struct build *b, const struct tree_node *entry,
                       const struct members *members, struct conf_pool *pool)
{
    struct option_scope scope;
    if (!build_scope(b, "pool", entry, &scope))
        return;
    const struct pool_keys *keys = option_bind(&scope, &pool_table, sizeof *keys);
    if (!keys)
        return;
    pool->name = entry->key;
    pool->retries = keys->retries;
    pool_sticky(&scope, &pool->sticky);
    build_instance(b, &scope, &pool_table, DP_BALANCER, keys->balancer, &pool->balancer);
    pool_members(b, &scope, &keys->links, members, pool);
}

/* For rules that say so: the pool of the link that no file names. */
static void pool_direct(struct build *b)
{
    struct conf_pool *pool = &b->pool[b->pools->n];
    struct tree_node *entry = tree_new(b->memory, b->direct, TREE_MAP);
    struct option_scope scope = {b->memory, b->errors, entry, "action: direct: ", b->folder};
    const struct dp_str balancer = {.p = "rr", .len = 2};
    const struct conf_link **link = memory_alloc(b->memory, sizeof *link);
    if (!entry || !link)
        return;
    entry->key = CONF_DIRECT;
    tree_close(b->memory, b->errors, entry);
    *link = &b->link[b->links->n];
    *pool = (struct conf_pool){.name = CONF_DIRECT, .link = link, .n_links = 1, .implicit = true};
    build_instance(b, &scope, &pool_table, DP_BALANCER, balancer, &pool->balancer);
    b->config->n_pools++;
    if (tree_find(b->pools, CONF_DIRECT))
        conf_error(b->errors, b->direct,
                   "rules: action: direct makes a pool \"%s\", and there is one: "
                   "rename it, or say `pool: %s` instead",
                   CONF_DIRECT, CONF_DIRECT);
}

static void pool_missing(const struct build *b, const struct option_scope *scope)
{
    char names[200] = "";
    size_t len = 0;
    for (size_t i = 0; i < b->pools->n && len < sizeof names - 1; i++) {
        int n = snprintf(names + len, sizeof names - len, "%s%s", i ? ", " : "",
                         b->pools->item[i]->key);
        len += n > 0 ? (size_t)n : 0;
    }
    option_error(scope, NULL, "pool", "must be given, for there are several: %s", names);
}

const struct conf_pool *build_pool(const struct build *b, const struct option_scope *scope,
                                   const struct dp_str *name)
{
    const struct tree_node *node = tree_find(scope->map, "pool"), *entry = NULL;
    if (name->p)
        entry = build_find(scope, b->pools, "pool", node, "pool", name->p);
    else if (b->pools->n == 1)
        entry = b->pools->item[0];
    else if (!node && !(entry = tree_find(b->pools, "all")))
        pool_missing(b, scope);
    return entry ? &b->pool[entry->index] : NULL;
}

void build_pools(struct build *b)
{
    size_t n = b->pools->n, n_links = b->links->n;
    struct members members = {
        .all = memory_alloc(b->memory, n_links * sizeof *members.all),
        .taken_by = memory_alloc(b->memory, n_links * sizeof *members.taken_by),
    };
    b->pool = memory_alloc(b->memory, (n + 1) * sizeof *b->pool);
    if (!members.all || !members.taken_by || !b->pool)
        return;
    for (size_t i = 0; i < n_links; i++)
        members.all[i] = &b->link[i];
    for (size_t i = 0; i < n; i++)
        pool_build(b, b->pools->item[i], &members, &b->pool[i]);
    b->config->pool = b->pool;
    b->config->n_pools = n;
    if (b->direct)
        pool_direct(b);
}
