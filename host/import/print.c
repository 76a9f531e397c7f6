/* SPDX-License-Identifier: MIT
 * print.c: dispatch.yaml, with a comment for whatever did not become a part of it.
 */
#include "print.h"
#include "config/tree.h"

#include <stdlib.h>
#include <string.h>

void print_text(FILE *out, const char *text)
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

void print_notes(const struct import *im, FILE *out)
{
    print_items(out, im->file.child);
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

static void print_closed(const struct import *im, FILE *out, const struct listener *listener)
{
    fputs(im->access.closed
              ? "  # Nobody is served: the reason is listed above.\n"
              : "  # Nobody is served: by the rules that can be kept here nobody may connect to\n"
                "  # everything.\n",
          out);
    if (!listener->clients.n)
        return;
    fputs("  # If that is not needed, this is what the client rules alone say:\n  #   allow: ",
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
            print_closed(im, out, listener);
        fputs("  main", out);
        if (i)
            fprintf(out, "-%zu", i + 1);
        fputs(": {listen: ", out);
        print_value(out, addr_text(&listener->listen, text));
        if (im->access.speaks)
            fprintf(out, ", protocols: %s", im->access.speaks);
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
    fprintf(out, "dialer: %s, server: ", way->kind == WAY_HTTP ? "http" : "socks");
    print_value(out, addr_text(&addr, text));
    if (way->kind == WAY_SOCKS4)
        fputs(", version: 4", out);
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
        if (way_is_server(way)) {
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

void print_import(const struct import *im, FILE *out)
{
    fputs("# What `dispatch-host --import-dante` has made of ", out);
    print_text(out, im->name);
    fputs("\n#\n", out);
    print_notes(im, out);
    print_listeners(im, out);
    print_links(im, out);
    print_pool(im, out);
    print_limits(im, out);
}
