/* SPDX-License-Identifier: MIT
 * access.h: whom Dante's rules let in, as networks: those that may connect to everything.
 *
 * What cannot be said by networks only ever takes clients away.
 */
#ifndef IMPORT_ACCESS_H
#define IMPORT_ACCESS_H

#include "dante.h"

struct access {
    struct conf_memory *memory;
    struct dante_item *file; /* a block of all items */
    bool loopback;           /* some link leads to this machine's loopback */
    bool ipv6;               /* some link may lead to IPv6 destinations */
    bool closed;             /* nobody may come in, whatever the rules say */
    const char *speaks;      /* the protocols clients are held to; NULL: by no rule to any */
    const struct dante_item *client_methods, *socks_methods; /* of the whole file; NULL: none */
    const struct dante_item *keeps_out; /* a rule that holds where names are looked up here */
};

/* What there is to say of the settings and rules that no single listener matters for. */
void access_judge(struct access *access);

/* Who may use a listener at this address; and who might by the client rules alone. The rules that
 * say so are taken. */
struct nets access_allow(struct access *access, const struct dp_addr *listen);
struct nets access_clients(struct access *access, const struct dp_addr *listen);
/* When all listeners are known: what there is to say of rules that were about none of them. */
void access_finish(struct access *access);

#endif
