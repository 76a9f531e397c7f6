/* SPDX-License-Identifier: MIT
 * import.c: what a configuration of Dante is as dispatch.yaml.
 */
#include "import.h"
#include "config/file.h"
#include "config/tree.h"
#include "print.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT 1080
#define LISTENERS_MAX 64 /* far more than anybody has */

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
    if (im->n_listeners == LISTENERS_MAX) {
        item->why = "there are too many listeners already";
        return;
    }
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
    else if (place_address(place))
        listener_add(im, item, place_address(place), port);
    else
        item->why = "an address is needed here, not a network";
}

/* Without any, one for this machine alone, for which the rules hold too. */
static void listeners_make(struct import *im)
{
    static const unsigned char loopback[] = {127, 0, 0, 1};
    struct dante_item nothing = {.line = 0};
    struct dp_addr addr;
    im->listener = memory_alloc(im->memory, LISTENERS_MAX * sizeof *im->listener);
    if (!im->listener)
        return;
    for (struct dante_item *i = im->file.child; i; i = i->next)
        if (i->kind == DANTE_SETTING && i->key == KEY_INTERNAL)
            internal_take(im, i);
        else if (i->kind == DANTE_SETTING && i->key == KEY_INTERNAL_PROTOCOL)
            i->taken = true;
    if (im->n_listeners)
        return;
    addr_from_ip(&addr, AF_INET, loopback, 0);
    listener_add(im, &nothing, &addr, DEFAULT_PORT);
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
        print_import(im, out);
        return 0;
    }
    print_notes(im, stderr);
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
