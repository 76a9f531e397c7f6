/* SPDX-License-Identifier: MIT
 * rules.c: the section `rules`.
 */
#include "config/build.h"
#include "config/file.h"
#include "config/units.h"

#include <stdlib.h>
#include <string.h>

#define LIST_FILE_MAX (16 * 1024 * 1024) /* half a million names */

struct rule_keys {
    struct dp_list listener, client, user, host, host_file, domain, domain_file, network,
        network_file, port, protocol;
    struct dp_str pool, action;
};

#define LIST(key, field)                                                                     \
    {                                                                                        \
        .name = key, .type = DP_LIST, .offset = offsetof(struct rule_keys, field), .min = 1, \
        .max = TREE_NODES_MAX                                                                \
    }
static const struct dp_opt rule_opts[] = {
    LIST("listener", listener),
    LIST("client", client),
    LIST("user", user),
    LIST("host", host),
    LIST("host-file", host_file),
    LIST("domain", domain),
    LIST("domain-file", domain_file),
    LIST("network", network),
    LIST("network-file", network_file),
    LIST("port", port),
    LIST("protocol", protocol),
    {.name = "pool", .type = DP_STRING, .offset = offsetof(struct rule_keys, pool)},
    {.name = "action", .type = DP_STRING, .offset = offsetof(struct rule_keys, action)},
};
static const struct option_table rule_table = OPTION_TABLE(rule_opts);

/* One rule in the making. */
struct making {
    struct build *b;
    struct option_scope scope;
    const struct rule_keys *keys;
    struct conf_rule *rule;
};

/* An item of a list in the rule, or a line of a file that one names. */
struct item {
    const struct tree_node *node;
    const char *key, *text;
    size_t len;
};

typedef void add_item(struct making *m, const struct item *item, void *set);

static const struct tree_node *item_node(const struct making *m, const char *key, uint32_t i)
{
    const struct tree_node *node = tree_find(m->scope.map, key);
    return node ? tree_item(node, i) : NULL;
}

/* ---- lists from files ---- */

struct list_file {
    char *text; /* malloc'ed */
    size_t len, lines;
    const char *path;
};

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 1;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    return n;
}

static int list_file_open(const struct making *m, const char *key, uint32_t i, const char *path,
                          struct list_file *f)
{
    char why[FILE_WHY];
    *f = (struct list_file){.path = path};
    f->text = file_read(path, LIST_FILE_MAX, &f->len, why);
    if (!f->text) {
        option_error(&m->scope, item_node(m, key, i), key, "cannot read %s: %s", path, why);
        return -1;
    }
    f->lines = count_lines(f->text, f->len);
    return 0;
}

/* What stands in a line, without blanks around it and a comment behind it. */
static struct item line_item(const char *line, size_t len, const char *key,
                             const struct tree_node *at)
{
    const char *comment = memchr(line, '#', len);
    if (comment)
        len = (size_t)(comment - line);
    while (len > 0 && strchr(" \t\r", line[len - 1]))
        len--;
    while (len > 0 && strchr(" \t", *line))
        line++, len--;
    return (struct item){.node = at, .key = key, .text = line, .len = len};
}

static void list_file_each(const struct list_file *f, const char *key, struct making *m,
                           add_item *add, void *set)
{
    struct tree_node at = {.file = f->path};
    const char *end = f->text + f->len;
    for (const char *line = f->text; line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t len = (size_t)((lf ? lf : end) - line);
        at.line++;
        at.column = 1;
        const struct item item = line_item(line, len, key, &at);
        if (item.len)
            add(m, &item, set);
        line += len + 1;
    }
}

/* ---- sets: what stands in the rule, and in the files it names ---- */

struct set_source {
    const char *key, *file_key;
    const struct dp_list *list, *files;
    void *(*new)(struct conf_memory *memory, size_t n);
    add_item *add;
};

static void list_add(struct making *m, const struct set_source *source, void *set)
{
    for (uint32_t i = 0; i < source->list->n; i++) {
        const struct dp_str *text = &source->list->item[i];
        const struct item item = {item_node(m, source->key, i), source->key, text->p, text->len};
        source->add(m, &item, set);
    }
}

/* NULL: the rule says nothing of it, or there is no memory. */
static void *set_fill(struct making *m, const struct set_source *source)
{
    size_t n_files = source->files->n, room = source->list->n;
    struct list_file *file = memory_alloc(m->b->memory, n_files * sizeof *file);
    for (uint32_t i = 0; file && i < n_files; i++)
        if (list_file_open(m, source->file_key, i, source->files->item[i].p, &file[i]) == 0)
            room += file[i].lines;
    void *set = room ? source->new (m->b->memory, room) : NULL;
    if (set)
        list_add(m, source, set);
    for (size_t i = 0; file && i < n_files; i++) {
        if (set && file[i].text)
            list_file_each(&file[i], source->file_key, m, source->add, set);
        free(file[i].text);
    }
    return set;
}

static void *hosts_new(struct conf_memory *memory, size_t n)
{
    return host_set_new(memory, n);
}

static void host_error(const struct making *m, const struct item *item, int why)
{
    const char *text = memory_text(m->b->memory, item->text, item->len);
    if (why == HOST_SET_ADDRESS)
        option_error(&m->scope, item->node, item->key, "\"%s\" is an address: say it in network",
                     text);
    else if (why == HOST_SET_NOT_ASCII)
        option_error(&m->scope, item->node, item->key,
                     "\"%s\": write names of other letters as they are looked up, xn--...", text);
    else
        option_error(&m->scope, item->node, item->key,
                     "\"%s\" is not a name, as www.example.com or *.example.com", text);
}

static void host_add(struct making *m, const struct item *item, void *set)
{
    int why = host_set_add(set, item->text, item->len, false);
    if (why != HOST_SET_OK)
        host_error(m, item, why);
}

static void domain_add(struct making *m, const struct item *item, void *set)
{
    bool star = item->len > 0 && item->text[0] == '*';
    int why = star ? HOST_SET_NO_NAME : host_set_add(set, item->text, item->len, true);
    if (star)
        option_error(&m->scope, item->node, item->key, "\"%.*s\": a domain is all below it already",
                     (int)item->len, item->text);
    else if (why != HOST_SET_OK)
        host_error(m, item, why);
}

static void *nets_new(struct conf_memory *memory, size_t n)
{
    return net_set_new(memory, n);
}

static void net_add(struct making *m, const struct item *item, void *set)
{
    struct addr_net net;
    if (addr_parse_net(&net, item->text, item->len) == 0)
        net_set_add(set, &net);
    else
        option_error(&m->scope, item->node, item->key,
                     "\"%.*s\" is not a network, as 192.168.1.0/24 or 2001:db8::/32",
                     (int)item->len, item->text);
}

static const struct net_set *nets(struct making *m, const char *key, const struct dp_list *list,
                                  const char *file_key, const struct dp_list *files)
{
    const struct set_source source = {key, file_key, list, files, nets_new, net_add};
    struct net_set *set = set_fill(m, &source);
    if (set)
        net_set_close(set);
    return set;
}

static const struct host_set *hosts(struct making *m, const char *key, const struct dp_list *list,
                                    const char *file_key, const struct dp_list *files,
                                    add_item *add)
{
    const struct set_source source = {key, file_key, list, files, hosts_new, add};
    return set_fill(m, &source);
}

/* ---- the other conditions ---- */

static bool port_parse(const char *text, struct conf_ports *ports)
{
    const char *dash = strchr(text, '-');
    char first[8] = "";
    uint64_t from = 0, to = 0;
    size_t len = dash ? (size_t)(dash - text) : strlen(text);
    if (len >= sizeof first)
        return false;
    memcpy(first, text, len);
    if (units_number(&from, first) < 0 || (dash && units_number(&to, dash + 1) < 0))
        return false;
    to = dash ? to : from;
    *ports = (struct conf_ports){(uint16_t)from, (uint16_t)to};
    return from <= to && to <= UINT16_MAX;
}

static void rule_ports(struct making *m)
{
    const struct dp_list *list = &m->keys->port;
    struct conf_ports *ports = memory_alloc(m->b->memory, list->n * sizeof *ports);
    for (uint32_t i = 0; ports && i < list->n; i++)
        if (!port_parse(list->item[i].p, &ports[i]))
            option_error(&m->scope, item_node(m, "port", i), "port",
                         "\"%s\" is not a port, as 443, or a range of them, as 1024-65535",
                         list->item[i].p);
    m->rule->port = ports;
    m->rule->n_ports = list->n;
}

static void rule_listeners(struct making *m)
{
    const struct dp_list *list = &m->keys->listener;
    const char **name = memory_alloc(m->b->memory, list->n * sizeof *name);
    for (uint32_t i = 0; name && i < list->n; i++) {
        name[i] = list->item[i].p;
        build_find(&m->scope, m->b->listeners, "listener", item_node(m, "listener", i), "listener",
                   name[i]);
    }
    m->rule->listener = name;
    m->rule->n_listeners = list->n;
}

/* No line of a users-file begins with nothing, or has a colon in the name. */
static void rule_users(struct making *m)
{
    const struct dp_list *list = &m->keys->user;
    for (uint32_t i = 0; i < list->n; i++)
        if (list->item[i].len == 0 || strchr(list->item[i].p, ':'))
            option_error(&m->scope, item_node(m, "user", i), "user", "\"%s\" cannot be a user",
                         list->item[i].p);
    m->rule->user = list->item;
    m->rule->n_users = list->n;
}

static void rule_protocols(struct making *m)
{
    const struct dp_list *list = &m->keys->protocol;
    for (uint32_t i = 0; i < list->n; i++)
        m->rule->protocols |=
            build_protocol(&m->scope, item_node(m, "protocol", i), "protocol", list->item[i].p);
}

/* ---- what becomes of it ---- */

static void rule_direct(struct making *m)
{
    m->rule->action = RULE_DIRECT;
    m->rule->pool = &m->b->pool[m->b->pools->n]; /* see pool.c */
}

static void rule_action(struct making *m)
{
    const struct dp_str *pool = &m->keys->pool, *action = &m->keys->action;
    const struct tree_node *node = tree_find(m->scope.map, "action");
    if (!pool->p && !action->p)
        option_error(&m->scope, NULL, NULL,
                     "what is to be done? say pool: NAME, action: direct or action: deny");
    else if (pool->p && action->p)
        option_error(&m->scope, node, "action", "contradicts pool");
    else if (pool->p)
        m->rule->pool = build_pool(m->b, &m->scope, pool);
    else if (strcmp(action->p, "deny") == 0)
        m->rule->action = RULE_DENY;
    else if (strcmp(action->p, "direct") == 0)
        rule_direct(m);
    else
        option_error(&m->scope, node, "action", "must be direct or deny");
}

/* Paths from the root, so that the rule can be printed for another place. */
static void paths_resolve(const struct making *m, struct dp_list *files)
{
    struct dp_str *path = files->n ? memory_alloc(m->b->memory, files->n * sizeof *path) : NULL;
    for (uint32_t i = 0; path && i < files->n; i++) {
        const char *text = option_path(&m->scope, files->item[i].p);
        path[i] = (struct dp_str){.p = text, .len = text ? (uint32_t)strlen(text) : 0};
    }
    files->item = path;
    files->n = memory_failed(m->b->memory) ? 0 : files->n;
}

static void rule_build(struct making *m)
{
    const struct dp_list none = {0};
    struct rule_keys *keys = option_bind(&m->scope, &rule_table, sizeof *keys);
    if (!keys)
        return;
    option_unknown(&m->scope, &rule_table, 1);
    paths_resolve(m, &keys->host_file);
    paths_resolve(m, &keys->domain_file);
    paths_resolve(m, &keys->network_file);
    m->keys = m->rule->keys = keys;
    m->rule->client = nets(m, "client", &keys->client, NULL, &none);
    m->rule->network = nets(m, "network", &keys->network, "network-file", &keys->network_file);
    m->rule->host = hosts(m, "host", &keys->host, "host-file", &keys->host_file, host_add);
    m->rule->domain =
        hosts(m, "domain", &keys->domain, "domain-file", &keys->domain_file, domain_add);
    rule_ports(m);
    rule_listeners(m);
    rule_users(m);
    rule_protocols(m);
    rule_action(m);
}

const struct tree_node *build_direct_rule(const struct tree_node *list)
{
    for (size_t i = 0; list && list->kind == TREE_LIST && i < list->n; i++) {
        const struct tree_node *action = tree_find(list->item[i], "action");
        if (action && action->kind == TREE_VALUE && strcmp(action->text, "direct") == 0)
            return list->item[i];
    }
    return NULL;
}

void build_rules(struct build *b, const struct tree_node *list)
{
    const struct option_scope top = {b->memory, b->errors, NULL, "", b->folder};
    if (!list || list->kind != TREE_LIST)
        return; /* none, or reported */
    struct conf_rule *rule = memory_alloc(b->memory, list->n * sizeof *rule);
    for (size_t i = 0; rule && i < list->n; i++) {
        struct making m = {.b = b, .rule = &rule[i], .scope = top};
        m.scope.map = list->item[i];
        m.scope.what = memory_printf(b->memory, "rule %zu: ", i + 1);
        if (list->item[i]->kind != TREE_MAP)
            option_error(&m.scope, list->item[i], NULL, "keys and values are expected");
        else if (m.scope.what)
            rule_build(&m);
    }
    b->config->rule = rule;
    b->config->n_rules = list->n;
}

void print_rule(const struct conf_rule *rule, FILE *out)
{
    fputs("  -\n", out);
    option_print(&rule_table, rule->keys, "    ", false, out);
}
