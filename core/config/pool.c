/* SPDX-License-Identifier: MIT
 * pool.c: the section `pools`.
 */
#include "config/build.h"

#include <string.h>

#include <stdio.h>

struct pool_keys {
    struct dp_str balancer;
    struct dp_list links, backup;
    uint32_t weight, retries, when_all_down;
};

enum { WHEN_ALL_DOWN_TRY, WHEN_ALL_DOWN_REFUSE };

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
    {.name = "weight",
     .type = DP_U32,
     .offset = offsetof(struct pool_keys, weight),
     .min = 1,
     .max = 65535,
     .dflt = "1"},
    {.name = "retries",
     .type = DP_U32,
     .offset = offsetof(struct pool_keys, retries),
     .min = 0,
     .max = 15,
     .dflt = "2"},
    {.name = "backup",
     .type = DP_LIST,
     .offset = offsetof(struct pool_keys, backup),
     .min = 1,
     .max = TREE_NODES_MAX},
    {.name = "when-all-down",
     .type = DP_ENUM,
     .offset = offsetof(struct pool_keys, when_all_down),
     .dflt = "try",
     .choices = "try|refuse"},
    {.name = "sticky", .type = OPTION_MAP},
    {.name = "health-check", .type = OPTION_ANY},
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
    const struct conf_member *all; /* every link, for pools that name none */
    size_t *taken_by;              /* for each link, then each pool, what took it last: taker() */
};

enum member_key { LINKS, BACKUP };
static const char *const member_keys[] = {"links", "backup"};

/* A pool's key, as a number from 1. */
static size_t taker(const struct option_scope *scope, enum member_key key)
{
    return 2 * scope->map->index + key + 1;
}

static void member_take(const struct option_scope *scope, const struct tree_node *node,
                        enum member_key key, const char *name, size_t *taken_by)
{
    if (*taken_by == taker(scope, key))
        option_error(scope, node, member_keys[key], "\"%s\" is named twice", name);
    else if (*taken_by == taker(scope, LINKS))
        option_error(scope, node, member_keys[key], "\"%s\" is one of links already", name);
    *taken_by = taker(scope, key);
}

/* A link of this name, or else a pool: a file that was right before pools could be members stays so. */
static struct conf_member member_find(const struct build *b, const struct option_scope *scope,
                                      const struct tree_node *node, enum member_key key,
                                      const char *name, const struct members *members)
{
    const struct tree_node *link = tree_find(b->links, name), *pool = tree_find(b->pools, name);
    if (!link && pool) {
        member_take(scope, node, key, name, &members->taken_by[b->links->n + pool->index]);
        return (struct conf_member){.pool = &b->pool[pool->index]};
    }
    link = build_find(scope, b->links, "link", node, member_keys[key], name);
    if (!link)
        return (struct conf_member){0};
    member_take(scope, node, key, name, &members->taken_by[link->index]);
    return (struct conf_member){.link = &b->link[link->index]};
}

static void members_count(const struct option_scope *scope, enum member_key key, size_t n)
{
    if (n > CONF_POOL_MEMBERS)
        option_error(scope, tree_find(scope->map, member_keys[key]), member_keys[key],
                     "%zu are given, %d is the most", n, CONF_POOL_MEMBERS);
}

static void members_named(const struct build *b, const struct option_scope *scope,
                          enum member_key key, const struct dp_list *names,
                          const struct members *members, struct conf_pool *pool)
{
    const struct tree_node *list = tree_find(scope->map, member_keys[key]);
    struct conf_member *member = memory_alloc(b->memory, names->n * sizeof *member);
    for (uint32_t i = 0; member && i < names->n; i++)
        member[i] = member_find(b, scope, tree_item(list, i), key, names->item[i].p, members);
    pool->member = member;
    pool->n_members = names->n;
    members_count(scope, key, names->n);
}

/* A pool that names no links has all but those behind them. */
static void members_left(const struct build *b, const struct option_scope *scope,
                         const struct members *members, struct conf_pool *pool)
{
    size_t n = b->links->n;
    if (!pool->backup) {
        pool->member = members->all;
        pool->n_members = n;
        members_count(scope, LINKS, n);
        return;
    }
    struct conf_member *member = memory_alloc(b->memory, n * sizeof *member);
    for (size_t i = 0; member && i < n; i++)
        if (members->taken_by[i] != taker(scope, BACKUP))
            member[pool->n_members++] = members->all[i];
    pool->member = member;
    if (member && pool->n_members == 0)
        option_error(scope, tree_find(scope->map, "backup"), "backup",
                     "leaves no link to be used before");
    members_count(scope, LINKS, pool->n_members);
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

/* The pool behind this one: the same balancer, over what `backup` names. */
static void pool_backup(struct build *b, const struct option_scope *scope,
                        const struct dp_list *names, const struct members *members,
                        struct conf_pool *pool)
{
    struct conf_pool *backup = &b->pool[b->pools->n + !!b->direct + b->config->n_backups++];
    *backup = (struct conf_pool){.name = pool->name,
                                 .balancer = pool->balancer,
                                 .refuse = pool->refuse,
                                 .sticky = pool->sticky,
                                 .is_backup = true};
    members_named(b, scope, BACKUP, names, members, backup);
    pool->backup = backup;
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
    pool->weight = keys->weight;
    pool->retries = keys->retries;
    pool->refuse = keys->when_all_down == WHEN_ALL_DOWN_REFUSE;
    pool_sticky(&scope, &pool->sticky);
    build_instance(b, &scope, &pool_table, DP_BALANCER, keys->balancer, &pool->balancer);
    bool named = tree_find(entry, "links") != NULL;
    if (named)
        members_named(b, &scope, LINKS, &keys->links, members, pool);
    if (tree_find(entry, "backup"))
        pool_backup(b, &scope, &keys->backup, members, pool);
    if (!named)
        members_left(b, &scope, members, pool);
}

/* For rules that say so: the pool of the link that no file names. */
static void pool_direct(struct build *b)
{
    struct conf_pool *pool = &b->pool[b->pools->n];
    struct tree_node *entry = tree_new(b->memory, b->direct, TREE_MAP);
    struct option_scope scope = {b->memory, b->errors, entry, "action: direct: ", b->folder};
    const struct dp_str balancer = {.p = "rr", .len = 2};
    struct conf_member *member = memory_alloc(b->memory, sizeof *member);
    if (!entry || !member)
        return;
    entry->key = CONF_DIRECT;
    tree_close(b->memory, b->errors, entry);
    member->link = &b->link[b->links->n];
    *pool = (struct conf_pool){
        .name = CONF_DIRECT, .member = member, .n_members = 1, .weight = 1, .implicit = true};
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

/* ---- pools in pools ---- */

/* How many pools there are from this one to a link, as far as is known of those it leads to. */
static size_t depth_of(const struct build *b, const struct conf_pool *pool, const size_t *depth)
{
    size_t most = 0;
    for (; pool; pool = pool->backup)
        for (size_t i = 0; pool->member && i < pool->n_members; i++) {
            const struct conf_pool *below = pool->member[i].pool;
            size_t len = below ? depth[below - b->pool] : 0;
            most = len > most ? len : most;
        }
    return most + 1;
}

/* Each round adds the pools one further up. One that is never done leads into a circle: after so many
 * rounds it is deeper than pools can be, and than is allowed. */
static void depths_fill(const struct build *b, size_t *depth)
{
    bool changed = true;
    for (size_t round = 0; changed && round <= b->pools->n + CONF_POOL_DEPTH; round++) {
        changed = false;
        for (size_t i = 0; i < b->pools->n; i++) {
            size_t was = depth[i];
            depth[i] = depth_of(b, &b->pool[i], depth);
            changed |= depth[i] != was;
        }
    }
}

static void depth_check(struct build *b, const struct tree_node *entry, size_t depth)
{
    struct option_scope scope;
    if (depth <= CONF_POOL_DEPTH || !build_scope(b, "pool", entry, &scope))
        return;
    const struct tree_node *node = tree_find(entry, "links");
    if (depth > b->pools->n)
        option_error(&scope, node, "links", "pools in pools that go round in a circle");
    else
        option_error(&scope, node, "links", "%zu pools in one another; %d is the most", depth,
                     CONF_POOL_DEPTH);
}

static void pools_check(struct build *b)
{
    size_t *depth = memory_alloc(b->memory, b->pools->n * sizeof *depth);
    if (!depth)
        return;
    depths_fill(b, depth);
    for (size_t i = 0; i < b->pools->n; i++)
        depth_check(b, b->pools->item[i], depth[i]);
}

void build_pools(struct build *b)
{
    size_t n = b->pools->n, n_backups = 0, n_links = b->links->n;
    for (size_t i = 0; i < n; i++)
        n_backups += tree_find(b->pools->item[i], "backup") != NULL;
    struct conf_member *all = memory_alloc(b->memory, n_links * sizeof *all);
    struct members members = {
        .all = all, .taken_by = memory_alloc(b->memory, (n_links + n) * sizeof *members.taken_by)};
    b->pool = memory_alloc(b->memory, (n + 1 + n_backups) * sizeof *b->pool);
    if (!all || !members.taken_by || !b->pool)
        return;
    for (size_t i = 0; i < n_links; i++)
        all[i].link = &b->link[i];
    for (size_t i = 0; i < n; i++)
        pool_build(b, b->pools->item[i], &members, &b->pool[i]);
    pools_check(b);
    b->config->pool = b->pool;
    b->config->n_pools = n;
    if (b->direct)
        pool_direct(b);
}
