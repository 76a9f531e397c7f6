/* SPDX-License-Identifier: MIT
 * option.c: a map of the tree against an option table: values checked and put into a conf block.
 */
#include "config/option.h"
#include "config/file.h"
#include "config/hash.h"
#include "config/nearest.h"
#include "config/type.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_FILE_MAX 4096 /* a password, not a data base */
#define KEY_MAX 128
#define HEX_DIGITS "0123456789abcdefABCDEF"

struct dp_opt option_at(const struct option_table *table, uint32_t i)
{
    struct dp_opt opt = {0};
    const char *at = (const char *)table->opts + (size_t)i * table->stride;
    memcpy(&opt, at, table->stride < sizeof opt ? table->stride : sizeof opt);
    return opt;
}

struct option_table option_table_of(const struct dp_plugin *plugin)
{
    return (struct option_table){plugin->opts, plugin->n_opts, plugin->opt_size};
}

void option_error(const struct option_scope *scope, const struct tree_node *node, const char *name,
                  const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    conf_error(scope->errors, node ? node : scope->map, "%s%s%s%s", scope->what, name ? name : "",
               name ? ": " : "", text);
}

const char *option_path(const struct option_scope *scope, const char *path)
{
    return path[0] == '/' ? path : memory_printf(scope->memory, "%s/%s", scope->folder, path);
}

/* The text of a secret's file as if it had stood in the configuration. */
static const struct tree_node *secret_read(const struct type_value *v)
{
    const struct option_scope *scope = v->scope;
    const char *path = option_path(scope, v->node->text);
    if (!path)
        return NULL;
    size_t len;
    char why[FILE_WHY];
    char *text = file_read(path, SECRET_FILE_MAX, &len, why);
    if (!text) {
        option_error(scope, v->node, v->name, "cannot read %s: %s", path, why);
        return NULL;
    }
    size_t kept = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
    struct tree_node *node = NULL;
    if (kept == 0)
        option_error(scope, v->node, v->name, "%s is empty", path);
    else if (memchr(text, '\0', kept))
        option_error(scope, v->node, v->name, "%s holds a NUL byte", path);
    else
        node = tree_value(scope->memory, v->node, text, kept);
    explicit_bzero(text, len);
    free(text);
    return node;
}

/* Any bytes, as digits. */
static const struct tree_node *secret_decode(const struct type_value *v)
{
    const struct option_scope *scope = v->scope;
    const char *digits = v->node->text;
    size_t len = v->node->len / 2;
    char *text = memory_alloc(scope->memory, len + 1);
    bool sound = v->node->len % 2 == 0 && strspn(digits, HEX_DIGITS) == v->node->len;
    for (size_t i = 0; text && sound && i < len; i++) {
        const char pair[] = {digits[2 * i], digits[2 * i + 1], '\0'};
        text[i] = (char)strtoul(pair, NULL, 16);
        sound = text[i] != '\0';
    }
    if (sound)
        return text ? tree_value(scope->memory, v->node, text, len) : NULL;
    option_error(scope, v->node, v->name,
                 "pairs of hexadecimal digits are expected, none of them 00");
    return NULL;
}

/* How a SECRET X can be given but by `X` itself: by the value of another key. */
static const struct secret_way {
    const char *suffix;
    struct dp_opt opt;
    const struct tree_node *(*read)(const struct type_value *v); /* NULL: a mistake, reported */
} secret_ways[] = {
    {"-file", {.type = DP_STRING, .min = 1, .max = PATH_MAX - 1}, secret_read},
    {"-hex", {.type = DP_STRING}, secret_decode},
};
#define SECRET_WAYS (sizeof secret_ways / sizeof *secret_ways)

/* Returns key, which lives as long as buf. */
static const char *secret_key(const struct dp_opt *opt, const struct secret_way *way,
                              char buf[KEY_MAX])
{
    snprintf(buf, KEY_MAX, "%s%s", opt->name, way->suffix);
    return buf;
}

/* Puts the value in place if it is given this way; false after a mistake. */
static bool secret_find(struct type_value *v, const struct secret_way *way)
{
    char buf[KEY_MAX];
    const struct tree_node *node = tree_find(v->scope->map, secret_key(v->opt, way, buf));
    if (!node)
        return true;
    if (v->node) {
        option_error(v->scope, node, node->key, "%s is given as well: which of the two?", v->name);
        return false;
    }
    struct dp_str unused;
    const struct type_value given = {v->scope, &way->opt, node->key, node};
    if (!type_find(DP_STRING)->parse(&given, &unused))
        return false;
    v->name = node->key;
    v->node = way->read(&given);
    return v->node != NULL;
}

/* A default goes the way of a value written where its map stands. Only a list can be more than the
 * text itself. */
static const struct tree_node *default_find(const struct option_scope *scope,
                                            const struct dp_opt *opt)
{
    if (!opt->dflt)
        return NULL;
    if (opt->type != DP_LIST)
        return tree_value(scope->memory, scope->map, opt->dflt, strlen(opt->dflt));
    return tree_parse(scope->memory, scope->errors, scope->map->file, opt->dflt, strlen(opt->dflt));
}

static void option_bind_one(const struct option_scope *scope, const struct dp_opt *opt, char *conf)
{
    struct type_value v = {scope, opt, opt->name, tree_find(scope->map, opt->name)};
    const struct type *type = type_find(opt->type);
    if (!type) {
        option_error(scope, v.node, opt->name, "this option needs a newer host (type %u)",
                     opt->type);
        return;
    }
    for (size_t i = 0; opt->type == DP_SECRET && i < SECRET_WAYS; i++)
        if (!secret_find(&v, &secret_ways[i]))
            return;
    if (!v.node)
        v.node = default_find(scope, opt);
    if (!v.node) {
        if (opt->flags & DP_REQUIRED)
            option_error(scope, NULL, opt->name, "must be given");
        return;
    }
    union {
        struct dp_addr addr;
        struct dp_list list;
        uint64_t size;
    } value;
    memset(&value, 0, sizeof value);
    if (type->parse(&v, &value) && type->size)
        memcpy(conf + opt->offset, &value, type->size);
}

void *option_bind(const struct option_scope *scope, const struct option_table *table,
                  size_t conf_size)
{
    char *conf = memory_alloc(scope->memory, conf_size);
    if (!conf)
        return NULL;
    for (uint32_t i = 0; i < table->n; i++) {
        struct dp_opt opt = option_at(table, i);
        option_bind_one(scope, &opt, conf);
    }
    return conf;
}

static bool key_fits(const struct dp_opt *opt, const char *key)
{
    char buf[KEY_MAX];
    bool fits = strcmp(opt->name, key) == 0;
    for (size_t i = 0; opt->type == DP_SECRET && !fits && i < SECRET_WAYS; i++)
        fits = strcmp(secret_key(opt, &secret_ways[i], buf), key) == 0;
    return fits;
}

bool option_find(const struct option_table *table, const char *key, struct dp_opt *opt)
{
    for (uint32_t i = 0; i < table->n; i++) {
        *opt = option_at(table, i);
        if (key_fits(opt, key))
            return true;
    }
    return false;
}

static bool any_has(const struct option_table *tables, size_t n, const char *key)
{
    struct dp_opt opt;
    for (size_t i = 0; i < n; i++)
        if (option_find(&tables[i], key, &opt))
            return true;
    return false;
}

static void unknown_key(const struct option_scope *scope, const struct option_table *tables,
                        size_t n, const struct tree_node *node)
{
    struct nearest nearest = {.word = node->key};
    char text[NEAREST_TEXT];
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < tables[i].n; k++) {
            struct dp_opt opt = option_at(&tables[i], k);
            if (opt.type != OPTION_LATER)
                nearest_try(&nearest, opt.name);
        }
    option_error(scope, node, NULL, "unknown key \"%s\"%s", node->key,
                 nearest_text(&nearest, text));
}

void option_unknown(const struct option_scope *scope, const struct option_table *tables, size_t n)
{
    for (size_t i = 0; i < scope->map->n; i++)
        if (!any_has(tables, n, scope->map->item[i]->key))
            unknown_key(scope, tables, n, scope->map->item[i]);
}

bool option_equal(const struct option_table *table, const void *a, const void *b)
{
    for (uint32_t i = 0; i < table->n; i++) {
        struct dp_opt opt = option_at(table, i);
        const struct type *type = type_find(opt.type);
        if (!type->equal((const char *)a + opt.offset, (const char *)b + opt.offset))
            return false;
    }
    return true;
}

void option_hash(const struct option_table *table, const void *conf, uint64_t *hash)
{
    for (uint32_t i = 0; i < table->n; i++) {
        struct dp_opt opt = option_at(table, i);
        const struct type *type = type_find(opt.type);
        const char *value = (const char *)conf + opt.offset;
        hash_text(hash, opt.name);
        if (type->hash)
            type->hash(hash, value);
        else
            hash_add(hash, value, type->size);
    }
}

/* All zero bytes is what a value not given looks like. */
static bool is_set(const struct dp_opt *opt, const struct type *type, const char *value)
{
    static const char zero[sizeof(struct dp_addr)];
    return opt->dflt || memcmp(value, zero, type->size) != 0;
}

/* In digits: a secret from a file can be of bytes that no YAML text has. */
static void print_digits(const struct dp_str *secret, FILE *out)
{
    fputs("-hex: \"", out);
    for (uint32_t i = 0; i < secret->len; i++)
        fprintf(out, "%02x", (unsigned char)secret->p[i]);
    fputc('"', out);
}

void option_print(const struct option_table *table, const void *conf, const char *indent,
                  bool secrets, FILE *out)
{
    for (uint32_t i = 0; i < table->n; i++) {
        struct dp_opt opt = option_at(table, i);
        const struct type *type = type_find(opt.type);
        const char *value = (const char *)conf + opt.offset;
        if (!is_set(&opt, type, value))
            continue;
        fprintf(out, "%s%s", indent, opt.name);
        if (opt.type == DP_SECRET && secrets) {
            print_digits((const struct dp_str *)value, out);
        } else {
            fputs(": ", out);
            type->print(&opt, value, out);
        }
        fputc('\n', out);
    }
}
