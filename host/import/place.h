/* SPDX-License-Identifier: MIT
 * place.h: an address as Dante's configuration has it: `10.0.0.0/8 port gt 1023`, `eth0`, `.org`.
 */
#ifndef IMPORT_PLACE_H
#define IMPORT_PLACE_H

#include "nets.h"

/* From low to high; with `except` all but these. */
struct ports {
    bool except;
    uint16_t low, high;
};

struct place {
    const char *host; /* as it stands, without netmask */
    bool interface;   /* of this machine: `nets` holds its networks, `own` its addresses there */
    bool named;       /* a host, a domain, or an interface of some other machine: no nets */
    struct nets nets, own;
    bool port_given;
    struct ports ports;
};

/* Returns 0, or -1 with the reason. */
int place_parse(struct conf_memory *memory, const char *text, struct place *place,
                const char **why);

/* The address, where it is one and no network; NULL: it is not. */
const struct dp_addr *place_address(const struct place *place);

bool ports_all(const struct ports *ports);
bool ports_have(const struct ports *ports, unsigned port);
/* The one port that is meant, or 0. */
uint16_t ports_one(const struct ports *ports);

#endif
