/* SPDX-License-Identifier: MIT
 * import.c: what a configuration of Dante is as dispatch.yaml.
 */
#include "import.h"
#include "access.h"
#include "config/file.h"
#include "config/tree.h"
#include "ways.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 1080

struct listener {
    struct dp_addr listen;
    const struct dante_item *item; /* NULL: there was none */
    struct nets allow, clients;    /* clients: by the client rules alone */
};

struct time_limit {
    enum key key;
    const char *name;
    unsigned long least, most; /* seconds that are possible here */
    struct dante_item *item;   /* NULL: not given */
};

struct import {
    struct conf_memory *memory;
    const char *name; /* of the file */
    struct dante_item file;
    struct access access;
    struct ways ways;
    struct listener *listener;
    size_t n_listeners, room;
    struct time_limit limit[3];
};

/* ---- listeners ---- */

static bool listener_clash(const struct dp_addr *a, const struct dp_addr *b)
{
    return addr_equal(a, b) || (a->port == b->port && addr_family(a) == addr_family(b) &&
                                (addr_is_any(a) || addr_is_any(b)));
}

static bool is_link_local(const struct dp_addr *addr)
{
    return addr_family(addr) == AF_INET6 &&
           IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)&addr->sa)->sin6_addr);
}

static bool listeners_grow(struct import *im)
{
    size_t room = im->room ? im->room * 2 : 4;
    struct listener *more = memory_alloc(im->memory, room * sizeof *more);
    if (!more)
        return false;
    if (im->n_listeners)
        memcpy(more, im->listener, im->n_listeners * sizeof *more);
    im->listener = more;
    im->room = room;
    return true;
}

/* An address that is taken already is left out: Dante does the same. */
static void listener_add(struct import *im, struct dante_item *item, const struct dp_addr *addr,
                         uint16_t port)
{
    struct listener new = {.listen = *addr, .item = item};
    addr_set_port(&new.listen, port);
    for (size_t i = 0; i < im->n_listeners; i++)
        if (listener_clash(&im->listener[i].listen, &new.listen)) {
            item->why =
                memory_printf(im->memory, "line %u listens there", im->listener[i].item->line);
            return;
        }
    if (im->n_listeners == im->room && !listeners_grow(im))
        return;
    new.clients = access_clients(&im->access, &new.listen);
    new.allow = access_allow(&im->access, &new.listen);
    im->listener[im->n_listeners++] = new;
    item->taken = true;
}

static bool family_wanted(const struct import *im, const struct dp_addr *addr)
{
    const struct dante_item *only = dante_child(&im->file, KEY_INTERNAL_PROTOCOL);
    return !only || dante_has(only, addr_family(addr) == AF_INET ? "ipv4" : "ipv6");
}

/* Of its addresses those that the client rules let somebody in at; all of them if there is none. */
static void internal_interface(struct import *im, struct dante_item *item, uint16_t port, bool all)
{
    const struct nets *own = &item->place->own;
    for (size_t i = 0; i < own->n; i++) {
        struct dp_addr addr = own->net[i].addr;
        addr_set_port(&addr, port);
        if (family_wanted(im, &addr) && !is_link_local(&addr) &&
            (all || access_clients(&im->access, &addr).n))
            listener_add(im, item, &addr, port);
    }
    if (!item->taken && !all)
        internal_interface(im, item, port, true);
    else if (!item->taken && !item->why)
        item->why = "the interface has no address just now";
}

static void internal_take(struct import *im, struct dante_item *item)
{
    const struct place *place = item->place;
    uint16_t port = place->port_given ? ports_one(&place->ports) : DEFAULT_PORT;
    if (!port)
        item->why = "one port is needed here";
    else if (place->named)
        item->why = "this machine has no such interface: name the address";
    else if (place->interface)
        internal_interface(im, item, port, false);
    else
        listener_add(im, item, &place->nets.net[0].addr, port);
}

/* Without any, one for this machine alone, for which the rules hold too. */
static void listeners_make(struct import *im)
{
    static const unsigned char loopback[] = {127, 0, 0, 1};
    struct dante_item nothing = {.line = 0};
    struct dp_addr addr;
    for (struct dante_item *i = im->file.child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == KEY_INTERNAL)
            internal_take(im, i);
        else if (i->kind == DANTE_SETTING && i->key == KEY_INTERNAL_PROTOCOL)
            i->taken = true;
    if (im->n_listeners)
        return;
    addr_from_ip(&addr, AF_INET, loopback, 0);
    listener_add(im, &nothing, &addr, DEFAULT_PORT);
    if (im->n_listeners)
        im->listener[0].item = NULL;
}

/* ---- time limits ---- */

static struct time_limit *limit_of(struct import *im, enum key key)
{
    for (size_t i = 0; i < sizeof im->limit / sizeof *im->limit; i++)
        if (im->limit[i].key == key)
            return &im->limit[i];
    return NULL;
}

static void limit_take(struct import *im, struct time_limit *limit, struct dante_item *item)
{
    char *end;
    unsigned long seconds = strtoul(item->value, &end, 10);
    if (*end || end == item->value || seconds < limit->least || seconds > limit->most) {
        item->why = memory_printf(im->memory, "%lu to %lu seconds are possible here", limit->least,
                                  limit->most);
        return;
    }
    if (limit->item) {
        limit->item->taken = false;
        limit->item->why = memory_printf(im->memory, "line %u overrules it", item->line);
    }
    limit->item = item;
    item->taken = true;
}

static void limits_make(struct import *im)
{
    static const struct time_limit known[] = {
        {KEY_TIMEOUT_NEGOTIATE, "handshake", 1, 30, NULL},
        {KEY_TIMEOUT_CONNECT, "connect", 1, 300, NULL},
        {KEY_TIMEOUT_IO, "idle", 0, 31536000, NULL},
    };
    memcpy(im->limit, known, sizeof known);
    for (struct dante_item *i = im->file.child; i; i = i->next) {
        struct time_limit *limit = i->kind == DANTE_SETTING ? limit_of(im, i->key) : NULL;
        if (limit)
            limit_take(im, limit, i);
    }
}

/* ---- what is printed ---- */

/* Text from the file, in a comment: nothing in it may end that. */
static void print_text(FILE *out, const char *text)
{
    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c > '~')
            fprintf(out, "\\x%02X", c);
        else
            fputc(c, out);
    }
}

static void print_value(FILE *out, const char *text)
{
    tree_print(out, text, strlen(text));
}

static void print_item(FILE *out, const struct dante_item *item)
{
    if (item->taken && !item->why)
        return;
    fprintf(out, "# line %u: %s", item->line, item->taken ? "" : "not translated: ");
    print_text(out, item->text);
    if (item->why)
        fprintf(out, "\n#     %s", item->why);
    fputc('\n', out);
}

/* Of a block that was taken the settings that were not. */
static void print_items(FILE *out, const struct dante_item *first)
{
    for (const struct dante_item *i = first; i; i = i->next) {
        print_item(out, i);
        if (i->taken && !i->why)
            print_items(out, i->child);
    }
}

static void print_nets(FILE *out, const struct nets *nets)
{
    char text[ADDR_TEXT + 8];
    for (size_t i = 0; i < nets->n; i++) {
        struct addr_net net = net_of(&nets->net[i].addr, nets->net[i].bits);
        addr_ip_text(&net.addr, text);
        snprintf(text + strlen(text), 8, "/%u", net.bits);
        fputs(i ? ", " : "[", out);
        print_value(out, text);
    }
    fputs("]", out);
}

static void print_closed(FILE *out, const struct listener *listener)
{
    if (!listener->clients.n) {
        fputs("  # Nobody is served: no client rule that can be kept here lets anybody in.\n", out);
        return;
    }
    fputs("  # Nobody is served: what is listed above takes clients' rights away, and cannot be\n"
          "  # kept here. If it need not be, this is what the client rules are:\n"
          "  #   allow: ",
          out);
    print_nets(out, &listener->clients);
    fputc('\n', out);
}

static void print_line(FILE *out, const struct dante_item *item)
{
    if (item)
        fprintf(out, "  # line %u", item->line);
    fputc('\n', out);
}

static void print_listeners(const struct import *im, FILE *out)
{
    char text[ADDR_TEXT];
    fputs("listeners:\n", out);
    if (!im->listener[0].item)
        fputs("  # Dante would listen nowhere: this is for programs of this machine.\n", out);
    for (size_t i = 0; i < im->n_listeners; i++) {
        const struct listener *listener = &im->listener[i];
        if (!listener->allow.n)
            print_closed(out, listener);
        fputs("  main", out);
        if (i)
            fprintf(out, "-%zu", i + 1);
        fputs(": {listen: ", out);
        print_value(out, addr_text(&listener->listen, text));
        fputs(", pool: all, allow: ", out);
        if (listener->allow.n)
            print_nets(out, &listener->allow);
        else
            fputs("[0.0.0.0/32]", out); /* no client has this address */
        fputc('}', out);
        print_line(out, listener->item);
    }
}

static void print_server(const struct import *im, FILE *out, const struct way *way)
{
    char text[ADDR_TEXT];
    struct dp_addr addr;
    if (addr_parse_ip(&addr, way->host, strlen(way->host)) < 0)
        addr_from_name(&addr, way->host, strlen(way->host), 0);
    addr_set_port(&addr, way->port);
    fputs("dialer: socks, server: ", out);
    print_value(out, addr_text(&addr, text));
    if (way->via) {
        fputs(", via: ", out);
        print_value(out, way->via->name);
    }
    if (im->access.keeps_out)
        fputs(", resolve: local", out); /* where addresses can be looked at */
}

static void print_links(const struct import *im, FILE *out)
{
    fputs("links:\n", out);
    for (size_t i = 0; i < im->ways.n; i++) {
        const struct way *way = &im->ways.way[i];
        fputs("  ", out);
        print_value(out, way->name);
        fputs(": {", out);
        if (way->kind == WAY_SERVER) {
            print_server(im, out, way);
        } else {
            fputs(way->kind == WAY_INTERFACE ? "interface: " : "address: ", out);
            print_value(out, way->host);
        }
        fprintf(out, "}  # line %u\n", way->line);
    }
}

static const char *rotation_text(const struct import *im)
{
    const struct dante_item *rotation = dante_child(&im->file, KEY_ROTATION);
    if (rotation && dante_has(rotation, "route"))
        return "Dante leaves it to the routing table which of them is used";
    if (rotation && dante_has(rotation, "same-same"))
        return "Dante leaves from the address that the client came to";
    return "Dante uses the first of them that it can";
}

static void print_pool(const struct import *im, FILE *out)
{
    const char *comma = "";
    fputs("pools:\n", out);
    if (ways_pooled(&im->ways) > 1)
        fprintf(out, "  # %s; here they take turns.\n", rotation_text(im));
    fputs("  all: {balancer: rr, links: [", out);
    for (size_t i = 0; i < im->ways.n; i++) {
        if (!im->ways.way[i].pooled)
            continue;
        fputs(comma, out);
        print_value(out, im->ways.way[i].name);
        comma = ", ";
    }
    fputs("]}\n", out);
}

/* The only link may take all the time there is to connect. */
static void print_limits(const struct import *im, FILE *out)
{
    const char *title = "timeouts:\n";
    for (size_t i = 0; i < sizeof im->limit / sizeof *im->limit; i++) {
        const struct time_limit *limit = &im->limit[i];
        if (!limit->item)
            continue;
        unsigned long seconds = strtoul(limit->item->value, NULL, 10);
        fprintf(out, "%s  %s: %lus", title, limit->name, seconds);
        print_line(out, limit->item);
        if (limit->key == KEY_TIMEOUT_CONNECT && ways_pooled(&im->ways) == 1)
            fprintf(out, "  attempt: %lus\n", seconds);
        title = "";
    }
}

static void print_all(const struct import *im, FILE *out)
{
    fputs("# What `dispatch-host --import-dante` has made of ", out);
    print_text(out, im->name);
    fputs("\n#\n", out);
    print_items(out, im->file.child);
    print_listeners(im, out);
    print_links(im, out);
    print_pool(im, out);
    print_limits(im, out);
}

/* ---- the whole ---- */

static void rotation_take(struct import *im)
{
    for (struct dante_item *i = im->file.child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == KEY_ROTATION)
            i->taken = true;
}

static int complain(const struct import *im, const char *text)
{
    fprintf(stderr, "%s: %s\n", im->name, text);
    return 1;
}

static int translate(struct import *im, FILE *out)
{
    bool any = ways_make(im->memory, &im->file, &im->ways);
    im->access = (struct access){.memory = im->memory,
                                 .file = &im->file,
                                 .loopback = ways_loopback(&im->ways),
                                 .ipv6 = ways_ipv6(&im->ways),
                                 .closed = im->ways.astray};
    access_judge(&im->access);
    rotation_take(im);
    limits_make(im);
    listeners_make(im);
    access_finish(&im->access);
    if (memory_failed(im->memory))
        return complain(im, "out of memory");
    if (any) {
        print_all(im, out);
        return 0;
    }
    print_items(stderr, im->file.child);
    return complain(im, "no external address and no route that could be a link");
}

static int parse(struct import *im, const char *text, size_t len, FILE *out)
{
    struct dante_error error;
    if (dante_parse(im->memory, text, len, &im->file.child, &error) == 0)
        return translate(im, out);
    if (!error.text)
        return complain(im, "out of memory");
    fprintf(stderr, "%s:%u: ", im->name, error.line);
    print_text(stderr, error.text);
    fputc('\n', stderr);
    return 1;
}

int import_dante(const char *file, FILE *out)
{
    char why[FILE_WHY];
    size_t len;
    struct import im = {.memory = memory_new(), .name = file};
    if (!im.memory)
        return complain(&im, "out of memory");
    char *text = file_read(file, TREE_SIZE_MAX, &len, why);
    int status = text ? parse(&im, text, len, out) : complain(&im, why);
    free(text);
    memory_free(im.memory);
    return status;
}
