/* SPDX-License-Identifier: MIT
 * config.c: the whole configuration from a file or text: top level, timeouts, what sections share.
 */
#include "config/config.h"
#include "config/build.h"
#include "config/file.h"
#include "config/units.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define HOUR (3600 * SECOND)

struct top_keys {
    struct dp_str workers;
    struct dp_list plugin_path;
};

static const struct dp_opt top_opts[] = {
    {.name = "workers",
     .type = DP_STRING,
     .offset = offsetof(struct top_keys, workers),
     .dflt = "1"},
    {.name = "plugin-path",
     .type = DP_LIST,
     .offset = offsetof(struct top_keys, plugin_path),
     .dflt = "plugins"},
    {.name = "listeners", .type = OPTION_MAP},
    {.name = "links", .type = OPTION_MAP},
    {.name = "pools", .type = OPTION_MAP},
    {.name = "timeouts", .type = OPTION_MAP},
    {.name = "health-check", .type = OPTION_ANY},
    {.name = "dante", .type = OPTION_MAP},
    {.name = "rules", .type = OPTION_LIST},
    {.name = "admin", .type = OPTION_LATER},
    {.name = "metrics", .type = OPTION_LATER},
    {.name = "control", .type = OPTION_LATER},
};
static const struct option_table top_table = OPTION_TABLE(top_opts);

#define TIMEOUT(key, least, most, text)                                                   \
    {                                                                                     \
        .name = #key, .type = DP_DURATION, .offset = offsetof(struct conf_timeouts, key), \
        .min = least, .max = most, .dflt = text                                           \
    }
/* A handshake of more than 30 s only helps those who hold connections open on purpose. */
static const struct dp_opt timeout_opts[] = {
    TIMEOUT(handshake, SECOND, 30 * SECOND, "10s"),
    TIMEOUT(connect, 100 * MS, 300 * SECOND, "10s"),
    TIMEOUT(attempt, 100 * MS, 300 * SECOND, "3s"),
    TIMEOUT(idle, 0, 24 * 365 * HOUR, "1h"),
    TIMEOUT(drain, 0, HOUR, "3s"),
};
static const struct option_table timeout_table = OPTION_TABLE(timeout_opts);

/* ---- what sections share ---- */

bool name_ok(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    return len >= 1 && len <= NAME_MAX_LEN && strspn(name, letters) == len;
}

bool build_scope(struct build *b, const char *kind, const struct tree_node *entry,
                 struct option_scope *scope)
{
    *scope = (struct option_scope){
        .memory = b->memory,
        .errors = b->errors,
        .map = entry,
        .what = memory_printf(b->memory, "%s \"%s\": ", kind, entry->key),
        .folder = b->folder,
    };
    if (!scope->what)
        return false;
    if (entry->kind == TREE_MAP)
        return true;
    option_error(scope, NULL, NULL, "keys and values are expected, `{}` for all defaults");
    return false;
}

static void check_names(struct build *b, const char *kind, const struct tree_node *section)
{
    for (size_t i = 0; i < section->n; i++)
        if (!name_ok(section->item[i]->key))
            conf_error(b->errors, section->item[i],
                       "%s \"%s\": a name is 1 to %d letters, digits and . _ -", kind,
                       section->item[i]->key, NAME_MAX_LEN);
}

/* A key of the host's, of this or a later version, is not for a plugin to take. */
static bool check_clash(const struct option_scope *scope, const struct option_table *host,
                        const struct dp_plugin *plugin, const char *key)
{
    const struct option_table own = option_table_of(plugin);
    for (uint32_t i = 0; i < own.n; i++) {
        struct dp_opt opt = option_at(&own, i), taken;
        if (!option_find(host, opt.name, &taken))
            continue;
        option_error(scope, tree_find(scope->map, key), key,
                     "the option \"%s\" of %s has the name of a key of dispatch itself", opt.name,
                     plugin->name);
        return false;
    }
    return true;
}

void build_instance(const struct build *b, const struct option_scope *scope,
                    const struct option_table *host, uint32_t kind, struct dp_str name,
                    struct conf_instance *out)
{
    const char *key = kind == DP_DIALER ? "dialer" : "balancer";
    const struct tree_node *node = tree_find(scope->map, key);
    if (!name.p)
        return;
    if (!name_ok(name.p)) {
        option_error(scope, node, key, "\"%s\" cannot be the name of a plugin", name.p);
        return;
    }
    char why[512] = "";
    const struct dp_plugin *plugin =
        b->plugins->find(b->plugins->ctx, kind, name.p, b->config->plugin_path,
                         b->config->n_plugin_path, why, sizeof why);
    if (!plugin) {
        option_error(scope, node, key, "%s", why);
        return;
    }
    if (!check_clash(scope, host, plugin, key))
        return;
    const struct option_table tables[] = {*host, option_table_of(plugin)};
    size_t before = b->errors->n + b->errors->n_more;
    out->conf = option_bind(scope, &tables[1], plugin->conf_size);
    out->plugin = plugin;
    out->node = scope->map;
    option_unknown(scope, tables, 2);
    bool sound = out->conf && b->errors->n + b->errors->n_more == before;
    if (sound && b->plugins->examine)
        b->plugins->examine(out, kind == DP_DIALER ? "link" : "pool", scope->map->key, b->errors);
}

const struct tree_node *build_find(const struct option_scope *scope,
                                   const struct tree_node *section, const char *kind,
                                   const struct tree_node *node, const char *key, const char *name)
{
    const struct tree_node *entry = tree_find(section, name);
    if (entry)
        return entry;
    struct nearest nearest = {.word = name};
    char text[NEAREST_TEXT];
    for (size_t i = 0; i < section->n && scope->errors->n_more == 0; i++)
        nearest_try(&nearest, section->item[i]->key);
    option_error(scope, node, key, "there is no %s \"%s\"%s", kind, name,
                 nearest_text(&nearest, text));
    return NULL;
}

/* ---- the top level ---- */

static uint32_t processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > CONF_WORKERS_MAX ? CONF_WORKERS_MAX : (uint32_t)n;
}

static void build_workers(struct build *b, const struct option_scope *scope,
                          const struct dp_str *text)
{
    uint64_t n = 0;
    if (!text->p)
        return;
    if (strcmp(text->p, "auto") == 0)
        n = processors();
    else if (units_number(&n, text->p) < 0 || n < 1 || n > CONF_WORKERS_MAX)
        option_error(scope, tree_find(scope->map, "workers"), "workers", "must be 1 to %d, or auto",
                     CONF_WORKERS_MAX);
    b->config->workers = (uint32_t)n;
}

static void build_path(struct build *b, const struct option_scope *scope, const struct dp_list *own,
                       const char *const *fallback_path, size_t n_fallback)
{
    const char **path = memory_alloc(b->memory, (own->n + n_fallback) * sizeof *path);
    if (!path)
        return;
    for (uint32_t i = 0; i < own->n; i++)
        path[i] = option_path(scope, own->item[i].p);
    for (size_t i = 0; i < n_fallback; i++)
        path[own->n + i] = memory_text(b->memory, fallback_path[i], strlen(fallback_path[i]));
    if (memory_failed(b->memory))
        return;
    b->config->plugin_path = path;
    b->config->n_plugin_path = own->n + n_fallback;
    b->config->n_own_path = own->n;
}

static void build_timeouts(struct build *b, const struct tree_node *map)
{
    const struct option_scope scope = {b->memory, b->errors, map, "timeouts: ", b->folder};
    const struct conf_timeouts *timeouts = option_bind(&scope, &timeout_table, sizeof *timeouts);
    option_unknown(&scope, &timeout_table, 1);
    if (timeouts)
        b->config->timeouts = *timeouts;
}

/* A section of the file; an empty one if it is missing. With `name`, a section without entries gets
 * one of that name with all its defaults. */
static const struct tree_node *section_find(struct build *b, const struct tree_node *root,
                                            const char *key, const char *name)
{
    const struct tree_node *given = tree_find(root, key);
    if (given && given->kind == TREE_MAP && (given->n || !name))
        return given;
    struct tree_node *section = tree_new(b->memory, root, TREE_MAP);
    if (name)
        tree_add(b->memory, section, name, tree_new(b->memory, root, TREE_MAP));
    tree_close(b->memory, b->errors, section);
    return memory_failed(b->memory) ? NULL : section;
}

static void check_links(struct build *b, const struct tree_node *root)
{
    const struct tree_node *given = tree_find(root, "links");
    if (!given || (given->kind == TREE_MAP && given->n == 0))
        conf_error(b->errors, given ? given : root,
                   "no links: name at least one way out, as `links: {wifi: {interface: wlan0}}`");
}

static bool build_sections(struct build *b, const struct tree_node *root)
{
    b->links = section_find(b, root, "links", NULL);
    b->pools = section_find(b, root, "pools", "all");
    b->listeners = section_find(b, root, "listeners", "main");
    if (!b->links || !b->pools || !b->listeners)
        return false;
    if (!b->any_name)
        check_names(b, "link", b->links);
    check_names(b, "pool", b->pools);
    check_names(b, "listener", b->listeners);
    return true;
}

void build_config(struct build *b, const struct tree_node *root, const char *const *fallback_path,
                  size_t n_fallback)
{
    const struct option_scope scope = {b->memory, b->errors, root, "", b->folder};
    if (root->kind != TREE_MAP) {
        conf_error(b->errors, root, "keys and values are expected, as `links: {...}`");
        return;
    }
    const struct top_keys *keys = option_bind(&scope, &top_table, sizeof *keys);
    const struct tree_node *timeouts = section_find(b, root, "timeouts", NULL);
    if (!keys || !timeouts || !build_sections(b, root))
        return;
    option_unknown(&scope, &top_table, 1);
    check_links(b, root);
    build_workers(b, &scope, &keys->workers);
    build_timeouts(b, timeouts);
    build_path(b, &scope, &keys->plugin_path, fallback_path, n_fallback);
    b->direct = build_direct_rule(tree_find(root, "rules"));
    build_links(b);
    if (!b->link)
        return;
    build_pools(b);
    build_checks(b, &scope);
    build_listeners(b);
    build_rules(b, tree_find(root, "rules"));
    build_dante(b, tree_find(root, "dante"));
}

bool build_begin(struct build *b)
{
    b->memory = memory_new();
    b->config = b->memory ? memory_alloc(b->memory, sizeof *b->config) : NULL;
    if (b->config)
        *b->config = (struct config){.memory = b->memory, .refs = 1};
    return b->config != NULL;
}

struct config *build_end(struct build *b)
{
    if (!b->config || memory_failed(b->memory))
        conf_error(b->errors, NULL, "out of memory");
    if (b->errors->n == 0 && b->errors->n_more == 0)
        return b->config;
    memory_free(b->memory);
    return NULL;
}

/* ---- from a file or text ---- */

/* The folder of a file, if possible from the root: paths are to mean the same from anywhere. */
static const char *folder_of(struct conf_memory *memory, const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *folder = !slash          ? "."
                         : slash == file ? "/"
                                         : memory_text(memory, file, (size_t)(slash - file));
    char *real = folder ? realpath(folder, NULL) : NULL;
    if (real)
        folder = memory_text(memory, real, strlen(real));
    free(real);
    return folder;
}

struct config *config_parse(const char *name, const char *text, size_t len,
                            const char *const *fallback_path, size_t n_fallback,
                            const struct plugin_source *plugins, struct conf_errors *errors)
{
    struct build b = {.errors = errors, .plugins = plugins};
    if (!build_begin(&b))
        return build_end(&b);
    const char *file = memory_text(b.memory, name, strlen(name));
    b.folder = folder_of(b.memory, name);
    const struct tree_node at = {.file = name};
    if (len > TREE_SIZE_MAX) {
        conf_error(errors, &at, "larger than %d KiB", TREE_SIZE_MAX / 1024);
        return build_end(&b);
    }
    const struct tree_node *root =
        file && b.folder ? tree_parse(b.memory, errors, file, text, len) : NULL;
    if (root)
        build_config(&b, root, fallback_path, n_fallback);
    return build_end(&b);
}

struct config *config_load(const char *file, const char *const *fallback_path, size_t n_fallback,
                           const struct plugin_source *plugins, struct conf_errors *errors)
{
    size_t len;
    char why[FILE_WHY];
    char *text = file_read(file, TREE_SIZE_MAX, &len, why);
    if (!text) {
        const struct tree_node at = {.file = file};
        conf_error(errors, &at, "cannot read it: %s", why);
        return NULL;
    }
    struct config *config =
        config_parse(file, text, len, fallback_path, n_fallback, plugins, errors);
    explicit_bzero(text, len); /* it may hold passwords */
    free(text);
    return config;
}

struct config *config_ref(struct config *config)
{
    config->refs++;
    return config;
}

void config_free(struct config *config)
{
    if (config && --config->refs == 0)
        memory_free(config->memory);
}

bool conf_instance_equal(const struct conf_instance *a, const struct conf_instance *b)
{
    if (a->plugin != b->plugin)
        return false;
    const struct option_table table = option_table_of(a->plugin);
    return option_equal(&table, a->conf, b->conf);
}

void conf_instance_error(struct conf_errors *errors, const struct conf_instance *instance,
                         const char *what, const char *option, const char *msg)
{
    const struct tree_node *node = option ? tree_find(instance->node, option) : NULL;
    const struct dp_plugin *plugin = instance->plugin;
    if (option)
        conf_error(errors, node ? node : instance->node, "%s: %s: %s", what, option, msg);
    else
        conf_error(errors, instance->node, "%s: %s %s: %s", what,
                   plugin->kind == DP_DIALER ? "dialer" : "balancer", plugin->name, msg);
}
