/* SPDX-License-Identifier: MIT
 * link.c: the section `links`.
 */
#include "config/build.h"

#define CHAIN_MAX 4 /* links from the top of a via chain to its bottom */
#define DNS_PORT 53

struct link_keys {
    struct dp_str dialer, via;
    uint32_t weight, max_connections, max_per_dest;
    struct dp_list dns;
    uint8_t fast_open;
    uint32_t on_down, send_proxy;
    int64_t slow_start;
};

enum { ON_DOWN_RESET, ON_DOWN_KEEP };

static const struct dp_opt link_opts[] = {
    {.name = "dialer",
     .type = DP_STRING,
     .offset = offsetof(struct link_keys, dialer),
     .min = 1,
     .max = NAME_MAX_LEN,
     .dflt = "iface"},
    {.name = "weight",
     .type = DP_U32,
     .offset = offsetof(struct link_keys, weight),
     .min = 1,
     .max = 65535,
     .dflt = "1"},
    {.name = "max-connections",
     .type = DP_U32,
     .offset = offsetof(struct link_keys, max_connections)},
    {.name = "max-per-destination",
     .type = DP_U32,
     .offset = offsetof(struct link_keys, max_per_dest),
     .min = 0,
     .max = 1000000},
    {.name = "via", .type = DP_STRING, .offset = offsetof(struct link_keys, via)},
    {.name = "dns", .type = DP_LIST, .offset = offsetof(struct link_keys, dns)},
    {.name = "fast-open", .type = DP_BOOL, .offset = offsetof(struct link_keys, fast_open)},
    {.name = "on-down",
     .type = DP_ENUM,
     .offset = offsetof(struct link_keys, on_down),
     .dflt = "reset",
     .choices = "reset|keep"},
    {.name = "send-proxy",
     .type = DP_ENUM,
     .offset = offsetof(struct link_keys, send_proxy),
     .dflt = "no",
     .choices = "no|v1|v2"}, /* the index is the version */
    {.name = "slow-start",
     .type = DP_DURATION,
     .offset = offsetof(struct link_keys, slow_start),
     .min = 0,
     .max = 3600 * INT64_C(1000000000),
     .dflt = "5s"},
    {.name = "health-check", .type = OPTION_ANY},
};
static const struct option_table link_table = OPTION_TABLE(link_opts);

static bool dns_parse(struct dp_addr *addr, const struct dp_str *text)
{
    if (addr_parse_ip(addr, text->p, text->len) == 0) {
        addr_set_port(addr, DNS_PORT);
        return true;
    }
    return addr_parse_endpoint(addr, text->p, text->len) == 0 && addr->salen && addr->port;
}

static void link_dns(const struct option_scope *scope, const struct dp_list *dns,
                     struct conf_link *link)
{
    struct dp_addr *addr = memory_alloc(scope->memory, dns->n * sizeof *addr);
    const struct tree_node *node = tree_find(scope->map, "dns");
    for (uint32_t i = 0; addr && i < dns->n; i++)
        if (!dns_parse(&addr[i], &dns->item[i]))
            option_error(scope, tree_item(node, i), "dns",
                         "\"%s\" is not the address of a name server, as 192.0.2.53 or "
                         "192.0.2.53:5353",
                         dns->item[i].p);
    link->dns = addr;
    link->n_dns = dns->n;
}

static void link_via(const struct build *b, const struct option_scope *scope,
                     const struct dp_str *via, struct conf_link *link)
{
    const struct tree_node *node = tree_find(scope->map, "via");
    if (!via->p)
        return;
    const struct tree_node *entry = build_find(scope, b->links, "link", node, "via", via->p);
    if (!entry)
        return;
    link->via = &b->link[entry->index];
    if (link->dialer.plugin && !link_is_tunnel(link))
        option_error(scope, node, "via",
                     "dialer %s makes its own way out and cannot go by another link",
                     link->dialer.plugin->name);
}

static void link_build(struct build *b, const struct tree_node *entry, struct conf_link *link)
{
    struct option_scope scope;
    if (!build_scope(b, "link", entry, &scope))
        return;
    const struct link_keys *keys = option_bind(&scope, &link_table, sizeof *keys);
    if (!keys)
        return;
    link->name = entry->key;
    link->weight = keys->weight;
    link->max_connections = keys->max_connections;
    link->max_per_dest = keys->max_per_dest;
    link->fast_open = keys->fast_open;
    link->keep = keys->on_down == ON_DOWN_KEEP;
    link->send_proxy = keys->send_proxy;
    link->slow_start = keys->slow_start;
    build_instance(b, &scope, &link_table, DP_DIALER, keys->dialer, &link->dialer);
    link_dns(&scope, &keys->dns, link);
    link_via(b, &scope, &keys->via, link);
}

/* For rules that say so: the link that no file names, with all its defaults. */
static void link_direct(struct build *b)
{
    struct conf_link *link = &b->link[b->links->n];
    struct tree_node *entry = tree_new(b->memory, b->direct, TREE_MAP);
    struct option_scope scope = {b->memory, b->errors, entry, "action: direct: ", b->folder};
    const struct dp_str name = {.p = CONF_DIRECT, .len = sizeof CONF_DIRECT - 1};
    if (!entry)
        return;
    entry->key = CONF_DIRECT;
    tree_close(b->memory, b->errors, entry);
    *link = (struct conf_link){.name = CONF_DIRECT, .weight = 1, .implicit = true};
    build_instance(b, &scope, &link_table, DP_DIALER, name, &link->dialer);
    b->config->n_links++;
    if (tree_find(b->links, CONF_DIRECT))
        conf_error(b->errors, b->direct,
                   "rules: action: direct makes a link \"%s\", and there is one: "
                   "rename it, or say its pool instead",
                   CONF_DIRECT);
}

/* How many links there are from this one to the bottom; 0: it comes back to itself; more than all
 * there are: it runs into a circle further down, which is reported there. */
static size_t chain_len(const struct build *b, const struct conf_link *link)
{
    size_t len = 1;
    for (const struct conf_link *l = link->via; l && len <= b->links->n; l = l->via, len++)
        if (l == link)
            return 0;
    return len;
}

static void chain_check(struct build *b, const struct tree_node *entry,
                        const struct conf_link *link)
{
    struct option_scope scope;
    if (!link->via || !build_scope(b, "link", entry, &scope))
        return;
    const struct tree_node *node = tree_find(entry, "via");
    size_t len = chain_len(b, link);
    if (len == 0)
        option_error(&scope, node, "via", "goes round in a circle");
    else if (len > CHAIN_MAX && len <= b->links->n)
        option_error(&scope, node, "via", "a chain of %zu links; %d is the most", len, CHAIN_MAX);
}

/* It belongs to the connection that the host makes to a tunnel's server. */
static void fast_open_check(struct build *b, const struct tree_node *entry,
                            const struct conf_link *link)
{
    struct option_scope scope;
    if (!link->fast_open || !link->dialer.plugin || !build_scope(b, "link", entry, &scope))
        return;
    const struct tree_node *node = tree_find(entry, "fast-open");
    if (!link_is_tunnel(link))
        option_error(&scope, node, "fast-open",
                     "is for links to a server of their own, and dialer %s has none",
                     link->dialer.plugin->name);
    else if (link->via && link->via->dialer.plugin && link_is_tunnel(link->via))
        option_error(&scope, node, "fast-open",
                     "the connection is made by link \"%s\": say it there", link->via->name);
}

void build_links(struct build *b)
{
    size_t n = b->links->n;
    b->link = memory_alloc(b->memory, (n + 1) * sizeof *b->link);
    if (!b->link)
        return;
    b->config->link = b->link;
    b->config->n_links = n;
    for (size_t i = 0; i < n; i++)
        link_build(b, b->links->item[i], &b->link[i]);
    if (b->direct)
        link_direct(b);
    for (size_t i = 0; i < n; i++)
        chain_check(b, b->links->item[i], &b->link[i]);
    for (size_t i = 0; i < n; i++)
        fast_open_check(b, b->links->item[i], &b->link[i]);
}
