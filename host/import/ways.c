/* SPDX-License-Identifier: MIT
 * ways.c: links from Dante's external addresses and routes.
 *
 * Where a route takes everything to a server, Dante's external address is where it is reached from.
 */
#include "ways.h"
#include "machine.h"

#include <string.h>
#include <strings.h>

#define NAME_LEN_MAX 64 /* of a link */
#define WAYS_MAX 256    /* far more than anybody has */

static const char too_many[] = "there are too many links already";

struct making {
    struct conf_memory *memory;
    struct dante_item *file;
    struct ways *ways;
    const struct dante_item *direct; /* the route that sends everything out directly */
};

/* ---- links ---- */

/* The letters a name may have; the others become dashes. */
static char *name_make(const struct making *m, const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(text), room = NAME_LEN_MAX - 8; /* for a number behind */
    char *name = memory_text(m->memory, text, len < room ? len : room);
    for (char *at = name; at && *(at += strspn(at, letters));)
        *at = '-';
    return name;
}

static bool name_used(const struct ways *ways, const char *name)
{
    for (size_t i = 0; i < ways->n; i++)
        if (strcmp(ways->way[i].name, name) == 0)
            return true;
    return false;
}

static const char *name_unused(const struct making *m, const char *text)
{
    const char *base = name_make(m, text), *name = base;
    for (unsigned n = 2; name && name_used(m->ways, name); n++)
        name = memory_printf(m->memory, "%s-%u", base, n);
    return name;
}

static struct way *way_find(const struct ways *ways, enum way_kind kind, const char *host,
                            uint16_t port)
{
    for (size_t i = 0; i < ways->n; i++) {
        struct way *way = &ways->way[i];
        if (way->kind == kind && way->port == port && strcasecmp(way->host, host) == 0)
            return way;
    }
    return NULL;
}

/* The link, new or there already; NULL: there are too many. */
static struct way *way_add(struct making *m, enum way_kind kind, const struct dante_item *item,
                           const char *host, uint16_t port)
{
    struct way *way = way_find(m->ways, kind, host, port);
    if (way)
        return way;
    const char *name = m->ways->n < WAYS_MAX ? name_unused(m, host) : NULL;
    if (!name)
        return NULL;
    way = &m->ways->way[m->ways->n++];
    *way = (struct way){.kind = kind, .name = name, .host = host, .port = port, .line = item->line};
    return way;
}

static const char *text_of(const struct making *m, const struct place *place)
{
    char text[ADDR_TEXT];
    const struct dp_addr *addr = place_address(place);
    if (!addr)
        return place->host;
    addr_ip_text(addr, text);
    return memory_text(m->memory, text, strlen(text));
}

/* ---- external addresses ---- */

static bool is_single(const struct place *place)
{
    const struct dp_addr *addr = place_address(place);
    return addr && !addr_is_any(addr);
}

static bool is_device_name(const char *name)
{
    return strlen(name) <= 15 && !strpbrk(name, "./:");
}

static void external_take(struct making *m, struct dante_item *item)
{
    const struct place *place = item->place;
    bool device = place->interface || (place->named && is_device_name(place->host));
    if (place->port_given || !(device || is_single(place))) {
        item->why = "the address or the interface is needed here";
        return;
    }
    enum way_kind kind = device ? WAY_INTERFACE : WAY_ADDRESS;
    item->taken = way_add(m, kind, item, text_of(m, place), 0) != NULL;
    if (!item->taken)
        item->why = too_many;
    else if (place->named)
        item->why = "this machine has no such interface just now";
}

/* ---- routes ---- */

static const char not_by_destination[] =
    "who goes where is not translated: dispatch.yaml has `rules:` for it";

static bool has_or_lacks(const struct dante_item *route, enum key key, const char *word)
{
    return !dante_child(route, key) || dante_lists(route, key, word);
}

static bool is_everything(const struct place *place)
{
    const struct addr_net ipv4 = net_all(AF_INET);
    return ports_all(&place->ports) && nets_cover(&place->nets, &ipv4);
}

static bool takes_everything(const struct dante_item *route)
{
    return is_everything(dante_child(route, KEY_FROM)->place) &&
           is_everything(dante_child(route, KEY_TO)->place) && !dante_child(route, KEY_CONDITION);
}

static bool is_direct(const struct dante_item *route)
{
    return strcmp(dante_child(route, KEY_VIA)->place->host, "direct") == 0;
}

static bool is_about_connect(const struct dante_item *route)
{
    return has_or_lacks(route, KEY_COMMAND, "connect") && has_or_lacks(route, KEY_PROTOCOL, "tcp");
}

static void route_taken(struct dante_item *route)
{
    route->taken = true;
    for (struct dante_item *i = route->child; i; i = i->next)
        i->taken = i->key != KEY_LOST && i->key != KEY_CONDITION;
    struct dante_item *method = dante_child(route, KEY_METHOD);
    if (method && !dante_has(method, "none")) {
        method->taken = false;
        method->why = "Dante passes each client's own login on; give the link one of its own: "
                      "username, password-file";
    }
}

static void route_lost(struct making *m, struct dante_item *route, const char *why)
{
    m->ways->astray = true;
    route->taken = false;
    route->why = memory_printf(m->memory, "%s; so nobody is served", why);
}

/* What its server is spoken to; of several protocols the one that can ask for most. Returns false if
 * links speak none of them. */
static bool server_kind(const struct dante_item *route, enum way_kind *kind)
{
    static const struct {
        const char *word;
        enum way_kind kind;
    } known[] = {{"socks_v5", WAY_SOCKS5},
                 {"socks_v4", WAY_SOCKS4},
                 {"http", WAY_HTTP},
                 {"http_v1.0", WAY_HTTP}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *kind = known[i].kind;
        if (has_or_lacks(route, KEY_PROXYPROTOCOL, known[i].word))
            return true;
    }
    return false;
}

/* NULL, or why its server cannot be a link. */
static const char *server_objection(const struct dante_item *route)
{
    const struct place *via = dante_child(route, KEY_VIA)->place;
    if (!is_single(via) && !(via->named && !strpbrk(via->host, "/:@[]%")))
        return "a server's address or name is needed here";
    return ports_one(&via->ports) ? NULL : "a server's port is needed here";
}

/* A device leads to no address of this machine itself. */
static bool is_here(const struct place *via)
{
    return via->named ? strcasecmp(via->host, "localhost") == 0 : machine_has(place_address(via));
}

/* The first external address, unless the routing table is to choose. */
static const struct way *underneath(const struct making *m, const struct place *via)
{
    const struct dante_item *rotation = dante_child(m->file, KEY_ROTATION);
    if (is_here(via) || (rotation && dante_has(rotation, "route")))
        return NULL;
    for (size_t i = 0; i < m->ways->n; i++)
        if (!way_is_server(&m->ways->way[i]))
            return &m->ways->way[i];
    return NULL;
}

static void server_take(struct making *m, struct dante_item *route)
{
    const struct place *via = dante_child(route, KEY_VIA)->place;
    enum way_kind kind;
    const char *objection = server_kind(route, &kind) ? server_objection(route)
                                                      : "upstream servers speak SOCKS or HTTP here";
    if (objection) {
        route_lost(m, route, objection);
        return;
    }
    struct way *way = way_add(m, kind, route, text_of(m, via), ports_one(&via->ports));
    if (!way) {
        route_lost(m, route, too_many);
        return;
    }
    way->via = underneath(m, via);
    way->pooled |= takes_everything(route);
    route_taken(route);
    if (!way->pooled)
        route_lost(m, route, not_by_destination);
}

static void direct_take(struct making *m, struct dante_item *route)
{
    if (!takes_everything(route) && ways_pooled(m->ways)) {
        route_lost(m, route, not_by_destination);
        return;
    }
    route_taken(route);
    if (takes_everything(route))
        m->direct = route;
    else
        route->why = "everything leaves directly";
}

static void route_take(struct making *m, struct dante_item *route)
{
    if (!is_about_connect(route))
        route->why = "only CONNECT is served here";
    else if (is_direct(route))
        direct_take(m, route);
    else if (m->direct)
        route->why =
            memory_printf(m->memory, "line %u lets everything out directly", m->direct->line);
    else
        server_take(m, route);
}

/* As Dante looks for them: a direct route comes first. What is for everything must be known before
 * what is not. */
static void routes_take(struct making *m, bool everything, bool direct)
{
    for (struct dante_item *i = m->file->child; i; i = i->next)
        if (i->kind == DANTE_ROUTE && is_direct(i) == direct && takes_everything(i) == everything)
            route_take(m, i);
}

/* ---- all of them ---- */

bool way_is_server(const struct way *way)
{
    return way->kind >= WAY_SOCKS5;
}

size_t ways_pooled(const struct ways *ways)
{
    size_t n = 0;
    for (size_t i = 0; i < ways->n; i++)
        n += ways->way[i].pooled;
    return n;
}

static bool way_address(const struct way *way, struct dp_addr *addr)
{
    return way->kind == WAY_ADDRESS && addr_parse_ip(addr, way->host, strlen(way->host)) == 0;
}

bool ways_loopback(const struct ways *ways)
{
    struct dp_addr addr;
    for (size_t i = 0; i < ways->n; i++) {
        const struct way *way = &ways->way[i];
        if (way->kind == WAY_INTERFACE ? strcmp(way->host, "lo") == 0
                                       : way_address(way, &addr) && addr_is_loopback(&addr))
            return true;
    }
    return false;
}

bool ways_ipv6(const struct ways *ways)
{
    struct dp_addr addr;
    for (size_t i = 0; i < ways->n; i++)
        if (!way_address(&ways->way[i], &addr) || addr_family(&addr) == AF_INET6)
            return true;
    return false;
}

/* Without a server for everything the external addresses carry it; without those, what there is. */
static void pool_fill(struct ways *ways)
{
    if (ways_pooled(ways))
        return;
    for (size_t i = 0; i < ways->n; i++)
        ways->way[i].pooled = !way_is_server(&ways->way[i]);
    if (ways_pooled(ways))
        return;
    for (size_t i = 0; i < ways->n; i++)
        ways->way[i].pooled = true;
}

bool ways_make(struct conf_memory *memory, struct dante_item *file, struct ways *ways)
{
    struct making m = {.memory = memory, .file = file, .ways = ways};
    ways->way = memory_alloc(memory, WAYS_MAX * sizeof *ways->way);
    if (!ways->way)
        return false;
    for (struct dante_item *i = file->child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == KEY_EXTERNAL)
            external_take(&m, i);
    routes_take(&m, true, true);
    routes_take(&m, true, false);
    routes_take(&m, false, false);
    routes_take(&m, false, true);
    pool_fill(ways);
    return ways->n > 0;
}
