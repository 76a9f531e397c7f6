/* SPDX-License-Identifier: MIT
 * devices.h: a picture of this machine's network interfaces, as the system showed them at one time.
 */
#ifndef ROUTE_DEVICES_H
#define ROUTE_DEVICES_H

#include "base/addr.h"

#include <net/if.h>

struct device {
    uint32_t index;
    char name[IF_NAMESIZE];
    bool up, carrier, loopback;
    bool direct;                 /* nobody on it is asked for: no gateway is needed */
    bool route_ipv4, route_ipv6; /* a default route leaves by it, in whichever table */
};

struct device_address {
    uint32_t index;      /* of the device that has it */
    struct dp_addr addr; /* none that reaches the device's own network only */
};

/* All zero: empty. */
struct devices {
    struct device *device;
    size_t n_devices, device_room;
    struct device_address *address;
    size_t n_addresses, address_room;
};

/* Both copy; -1: out of memory. */
int devices_add(struct devices *d, const struct device *device);
int devices_add_address(struct devices *d, uint32_t index, const struct dp_addr *addr);
void devices_free(struct devices *d); /* and it is empty again */

/* NULL: there is none. */
struct device *devices_by_index(const struct devices *d, uint32_t index);
const struct device *devices_by_name(const struct devices *d, const char *name);
/* All of 127/8 and ::1 is the loopback device's, also what is not listed on it. */
const struct device *devices_by_address(const struct devices *d, const struct dp_addr *addr);

/* Has the device this address? */
bool devices_has(const struct devices *d, const struct device *device, const struct dp_addr *addr);
/* Has it any of the family? */
bool devices_has_family(const struct devices *d, const struct device *device, int family);

#endif
