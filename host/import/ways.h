/* SPDX-License-Identifier: MIT
 * ways.h: the ways out that Dante's external addresses and routes are, as links.
 */
#ifndef IMPORT_WAYS_H
#define IMPORT_WAYS_H

#include "dante.h"

enum way_kind { WAY_INTERFACE, WAY_ADDRESS, WAY_SOCKS5, WAY_SOCKS4, WAY_HTTP };

struct way {
    enum way_kind kind;
    const char *name;
    const char *host; /* interface, address, or server: its host */
    uint16_t port;
    const struct way *via; /* of a server: the link it is reached by; NULL: the machine's route */
    unsigned line;
    bool pooled; /* it carries the connections */
};

struct ways {
    struct way *way;
    size_t n;
    bool astray; /* some connections would leave in another way than with Dante */
};

/* False if there is none at all. */
bool ways_make(struct conf_memory *memory, struct dante_item *file, struct ways *ways);

bool way_is_server(const struct way *way);
size_t ways_pooled(const struct ways *ways);
/* Does a link lead to this machine's loopback? May one lead to IPv6 destinations? */
bool ways_loopback(const struct ways *ways);
bool ways_ipv6(const struct ways *ways);

#endif
