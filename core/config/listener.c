/* SPDX-License-Identifier: MIT
 * listener.c: the section `listeners`.
 */
#include "config/build.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct listener_keys {
    struct dp_str pool, users_file, mode;
    struct dp_list protocols, allow, proxies;
    uint8_t open, early_reply;
    uint32_t max_per_client;
    uint64_t max_request_body;
};

static const struct dp_opt listener_opts[] = {
    {.name = "listen", .type = OPTION_ANY},
    {.name = "mode", .type = DP_STRING, .offset = offsetof(struct listener_keys, mode)},
    {.name = "pool", .type = DP_STRING, .offset = offsetof(struct listener_keys, pool)},
    {.name = "protocols",
     .type = DP_LIST,
     .offset = offsetof(struct listener_keys, protocols),
     .min = 1,
     .max = TREE_NODES_MAX},
    {.name = "allow",
     .type = DP_LIST,
     .offset = offsetof(struct listener_keys, allow),
     .min = 1, /* an empty list would read as nobody and mean everybody */
     .max = TREE_NODES_MAX},
    {.name = "open", .type = DP_BOOL, .offset = offsetof(struct listener_keys, open)},
    {.name = "early-reply", .type = DP_BOOL, .offset = offsetof(struct listener_keys, early_reply)},
    {.name = "max-connections-per-client",
     .type = DP_U32,
     .offset = offsetof(struct listener_keys, max_per_client)},
    {.name = "max-request-body",
     .type = DP_SIZE,
     .offset = offsetof(struct listener_keys, max_request_body)},
    {.name = "users-file",
     .type = DP_STRING,
     .offset = offsetof(struct listener_keys, users_file),
     .min = 1,
     .max = PATH_MAX - 1},
    {.name = "proxy-protocol",
     .type = DP_LIST,
     .offset = offsetof(struct listener_keys, proxies),
     .min = 1,
     .max = TREE_NODES_MAX},
};
static const struct option_table listener_table = OPTION_TABLE(listener_opts);

static const struct {
    const char *name;
    unsigned protocol;
} protocol_names[] = {
    {"socks5", PROTO_SOCKS5},
    {"socks4", PROTO_SOCKS4},
    {"http", PROTO_HTTP},
    {"raw", PROTO_RAW},
};
#define N_PROTOCOLS (sizeof protocol_names / sizeof *protocol_names)

const char *conf_protocols_text(unsigned protocols, char text[CONF_PROTOCOLS_TEXT])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < N_PROTOCOLS; i++)
        if (protocols & protocol_names[i].protocol)
            len += (size_t)snprintf(text + len, CONF_PROTOCOLS_TEXT - len, "%s%s", len ? ", " : "",
                                    protocol_names[i].name);
    return text;
}

unsigned build_protocol(const struct option_scope *scope, const struct tree_node *node,
                        const char *key, const char *name)
{
    for (size_t i = 0; i < N_PROTOCOLS; i++)
        if (strcmp(name, protocol_names[i].name) == 0)
            return protocol_names[i].protocol;
    if (strcmp(name, "socks4a") == 0)
        option_error(scope, node, key, "socks4a: say socks4, which is both");
    else
        option_error(scope, node, key, "\"%s\" is none of socks5, socks4, http, raw", name);
    return 0;
}

static unsigned listener_protocols(const struct option_scope *scope, const struct dp_list *list)
{
    const struct tree_node *node = tree_find(scope->map, "protocols");
    unsigned protocols = 0;
    if (!node)
        return PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP;
    for (uint32_t i = 0; i < list->n; i++)
        protocols |= build_protocol(scope, tree_item(node, i), "protocols", list->item[i].p);
    if (protocols & PROTO_RAW && protocols != PROTO_RAW)
        option_error(scope, node, "protocols", "raw goes with no other protocol");
    return protocols;
}

/* The networks that a list names, and whether `unix` is in it, where there may be (not NULL). */
static const struct addr_net *networks(const struct option_scope *scope, const char *key,
                                       const struct dp_list *list, size_t *n, bool *unix_too)
{
    const struct tree_node *node = tree_find(scope->map, key);
    struct addr_net *net = memory_alloc(scope->memory, list->n * sizeof *net);
    for (uint32_t i = 0; net && i < list->n; i++) {
        if (unix_too && strcmp(list->item[i].p, "unix") == 0)
            *unix_too = true;
        else if (addr_parse_net(&net[(*n)++], list->item[i].p, list->item[i].len) < 0)
            option_error(scope, tree_item(node, i), key,
                         "\"%s\" is not a network, as 192.168.1.0/24 or 2001:db8::/32",
                         list->item[i].p);
    }
    return net;
}

/* Who may come in is asked for wherever others than this machine's own programs can. Of a handed
 * socket it is not known yet what it listens on. */
static void check_exposure(const struct option_scope *scope, const struct conf_listener *listener)
{
    const struct tree_node *node = tree_find(scope->map, "listen");
    const struct tree_node *allow = tree_find(scope->map, "allow");
    const struct tree_node *users = tree_find(scope->map, "users-file"); /* and be it a bad one */
    if (listener->open && allow)
        option_error(scope, allow, "allow", "contradicts open: yes");
    else if (!listener->handed && !allow && !users && conf_listener_exposed(listener))
        option_error(scope, node, "listen", CONF_EXPOSED);
}

/* Where clients have no address nothing can go by it, unless a proxy in front says it. */
static void check_unix(const struct option_scope *scope, const struct conf_listener *listener)
{
    static const char *const keys[] = {"allow", "max-connections-per-client"};
    const struct tree_node *open = tree_find(scope->map, "open");
    if (!conf_listens_unix(listener))
        return;
    if (listener->n_proxies)
        option_error(scope, tree_find(scope->map, "proxy-protocol"), "proxy-protocol",
                     "clients of a unix socket have no address: say [unix] if all of them send it");
    if (open)
        option_error(scope, open, "open", "is for addresses: `mode` says who may connect");
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !listener->unix_proxies; i++)
        if (tree_find(scope->map, keys[i]))
            option_error(scope, tree_find(scope->map, keys[i]), keys[i],
                         "clients of a unix socket have no address");
}

bool conf_listener_exposed(const struct conf_listener *listener)
{
    return !listener->open && !listener->n_allow && !listener->users &&
           !conf_listens_unix(listener) && !addr_is_loopback(&listener->listen);
}

/* A link of this pool, or behind it, or of a pool in it, that is no tunnel. Circles are reported
 * elsewhere, as what is too deep. */
static const struct conf_link *pool_socket(const struct conf_pool *pool, unsigned depth)
{
    for (; pool && pool->member && depth < CONF_POOL_DEPTH; pool = pool->backup)
        for (size_t i = 0; i < pool->n_members; i++) {
            const struct conf_link *link = pool->member[i].link;
            if (link && link->dialer.plugin && !link_is_tunnel(link))
                return link;
            if (pool->member[i].pool && (link = pool_socket(pool->member[i].pool, depth + 1)))
                return link;
        }
    return NULL;
}

/* The untouched bytes of a raw listener need a server at the other end of each link. */
static void check_raw(const struct option_scope *scope, const struct conf_listener *listener)
{
    const struct conf_pool *pool = listener->pool;
    if (!(listener->protocols & PROTO_RAW) || !pool)
        return;
    const struct conf_link *link = pool_socket(pool, 0);
    if (link)
        option_error(scope, tree_find(scope->map, "protocols"), "protocols",
                     "raw needs tunnels only, and link \"%s\" of pool \"%s\" is none", link->name,
                     pool->name);
}

/* Nobody could log in where only these are spoken. */
static void check_users(const struct option_scope *scope, const struct conf_listener *listener)
{
    const struct tree_node *node = tree_find(scope->map, "users-file");
    if (listener->protocols == PROTO_RAW)
        option_error(scope, node, "users-file", "a raw listener knows no login");
    else if (listener->protocols == PROTO_SOCKS4)
        option_error(scope, node, "users-file", "SOCKS4 has no login: say socks5 or http as well");
}

static void check_early_reply(const struct option_scope *scope,
                              const struct conf_listener *listener)
{
    if (listener->early_reply && listener->protocols & PROTO_RAW)
        option_error(scope, tree_find(scope->map, "early-reply"), "early-reply",
                     "a raw listener makes no replies");
}

static void check_request_body(const struct option_scope *scope,
                               const struct conf_listener *listener)
{
    if (listener->max_request_body && !(listener->protocols & PROTO_HTTP))
        option_error(scope, tree_find(scope->map, "max-request-body"), "max-request-body",
                     "is of requests of HTTP, which this listener does not speak");
}

/* The unspecified address is all of its family. */
static bool addr_clash(const struct dp_addr *a, const struct dp_addr *b)
{
    return addr_equal(a, b) || (a->port == b->port && addr_family(a) == addr_family(b) &&
                                (addr_is_any(a) || addr_is_any(b)));
}

static bool listens_same(const struct conf_listener *a, const struct conf_listener *b)
{
    if (a->handed || b->handed)
        return a->handed && b->handed && strcmp(a->handed, b->handed) == 0;
    bool any_port = !a->listen.port && !conf_listens_unix(a);
    return !any_port && addr_clash(&a->listen, &b->listen);
}

static void check_taken(const struct build *b, const struct option_scope *scope,
                        const struct conf_listener *listener)
{
    for (const struct conf_listener *l = b->listener; l < listener; l++)
        if (listens_same(listener, l)) {
            option_error(scope, tree_find(scope->map, "listen"), "listen",
                         "listener \"%s\" has this %s already", l->name,
                         listener->handed ? "socket" : "address");
            return;
        }
}

/* Whose clients they are, and who may come in. */
static void listener_clients(struct build *b, const struct option_scope *scope,
                             const struct listener_keys *keys, struct conf_listener *listener)
{
    bool may_be_unix = conf_listens_unix(listener) || listener->handed;
    listener->max_per_client = keys->max_per_client;
    listener->open = keys->open;
    listener->allow = networks(scope, "allow", &keys->allow, &listener->n_allow, NULL);
    listener->proxies = networks(scope, "proxy-protocol", &keys->proxies, &listener->n_proxies,
                                 may_be_unix ? &listener->unix_proxies : NULL);
    if (keys->users_file.p) {
        listener->users = build_users(b, scope, keys->users_file.p);
        check_users(scope, listener);
    }
}

static void listener_build(struct build *b, const struct tree_node *entry,
                           struct conf_listener *listener)
{
    struct option_scope scope;
    if (!build_scope(b, "listener", entry, &scope))
        return;
    const struct listener_keys *keys = option_bind(&scope, &listener_table, sizeof *keys);
    if (!keys)
        return;
    option_unknown(&scope, &listener_table, 1);
    listener->name = entry->key;
    listener->node = tree_find(entry, "listen");
    if (!listener->node)
        listener->node = entry;
    bool placed = build_listen(&scope, &keys->mode, listener);
    listener->protocols = listener_protocols(&scope, &keys->protocols);
    listener->early_reply = keys->early_reply;
    check_early_reply(&scope, listener);
    listener->max_request_body = keys->max_request_body;
    check_request_body(&scope, listener);
    listener->pool = build_pool(b, &scope, &keys->pool);
    listener_clients(b, &scope, keys, listener);
    check_raw(&scope, listener);
    if (!placed)
        return;
    check_unix(&scope, listener);
    check_exposure(&scope, listener);
    check_taken(b, &scope, listener);
}

void build_listeners(struct build *b)
{
    size_t n = b->listeners->n;
    b->listener = memory_alloc(b->memory, n * sizeof *b->listener);
    if (!b->listener || !b->pool)
        return;
    for (size_t i = 0; i < n; i++)
        listener_build(b, b->listeners->item[i], &b->listener[i]);
    b->config->listener = b->listener;
    b->config->n_listeners = n;
}
