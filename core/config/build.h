/* SPDX-License-Identifier: MIT
 * build.h: a configuration in the making: what its sections share. Inside core/config only.
 */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include "config/config.h"
#include "config/nearest.h"
#include "config/option.h"

#define NAME_MAX_LEN 64 /* of a link, pool, listener or plugin, in bytes */

struct build {
    struct config *config;
    struct conf_memory *memory;
    struct conf_errors *errors;
    const struct plugin_source *plugins;
    const char *folder; /* paths are relative to it */
    bool any_name;      /* links are named as on the command line, not as in a file */
    /* Maps of name to map; missing ones are made with their defaults. An entry's index is that of
     * the object made from it. */
    const struct tree_node *links, *pools, *listeners;
    const struct tree_node *direct; /* the first rule of `action: direct`; NULL: there is none */
    struct conf_link *link;
    struct conf_pool *pool;
    struct conf_listener *listener;
};

/* Makes b->config and b->memory, empty; false: out of memory, build_end() tells. */
bool build_begin(struct build *b);
/* Returns the finished configuration, or NULL with its mistakes. */
struct config *build_end(struct build *b);

/* Makes the whole of config from a root map. Mistakes are in b->errors. */
void build_config(struct build *b, const struct tree_node *root, const char *const *fallback_path,
                  size_t n_fallback);

/* May a link, pool, listener or plugin be called so? Such a name can stand in a log line, a path or
 * a label as it is. */
bool name_ok(const char *name);

/* What binding an entry of a section needs; `kind` is its word in messages. False if the entry is
 * no map. */
bool build_scope(struct build *b, const char *kind, const struct tree_node *entry,
                 struct option_scope *scope);

/* Finds a plugin and binds its options; together with the host's own table these are all the keys
 * there may be. name.p NULL: a mistake that is reported already. */
void build_instance(const struct build *b, const struct option_scope *scope,
                    const struct option_table *host, uint32_t kind, struct dp_str name,
                    struct conf_instance *out);

/* The entry called `name`; NULL after reporting that there is none, at `node` in option `key`. */
const struct tree_node *build_find(const struct option_scope *scope,
                                   const struct tree_node *section, const char *kind,
                                   const struct tree_node *node, const char *key, const char *name);

/* The pool that the key `pool` of a section names; not given, the only one, or the one called `all`.
 * NULL after reporting a mistake. */
const struct conf_pool *build_pool(const struct build *b, const struct option_scope *scope,
                                   const struct dp_str *name);

/* The PROTO_ of that name; 0 after reporting that there is none, at `node` in option `key`. */
unsigned build_protocol(const struct option_scope *scope, const struct tree_node *node,
                        const char *key, const char *name);

/* Where it listens; `mode` as it stands in the file. False: that is not known, after a mistake. */
bool build_listen(const struct option_scope *scope, const struct dp_str *mode,
                  struct conf_listener *listener);

/* The users in the file at `path`, with their pools. NULL after reporting a mistake. */
const struct conf_users *build_users(const struct build *b, const struct option_scope *scope,
                                     const char *path);

/* Each fills its part of b->config, in this order. */
void build_links(struct build *b);
void build_pools(struct build *b);
void build_checks(struct build *b, const struct option_scope *top); /* `health-check` of all */
void build_listeners(struct build *b);
void build_rules(struct build *b, const struct tree_node *list); /* NULL: there are none */
/* The first rule that says `action: direct`, or NULL. */
const struct tree_node *build_direct_rule(const struct tree_node *list);
void print_rule(const struct conf_rule *rule, FILE *out);       /* as in a file */
void build_dante(struct build *b, const struct tree_node *map); /* NULL: there is no such section */

/* Does the link's dialer talk on a stream the host has connected? */
static inline bool link_is_tunnel(const struct conf_link *link)
{
    const struct dp_dialer_ops *ops = link->dialer.plugin->ops;
    return ops->hop && ops->start;
}

#endif
