/* SPDX-License-Identifier: MIT
 * devices.c: a picture of this machine's network interfaces.
 */
#include "route/devices.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more; the array may move. */
static int grow(void **array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return 0;
    size_t more = *room ? *room * 2 : 16;
    void *moved = realloc(*array, more * size);
    if (!moved)
        return -1;
    *array = moved;
    *room = more;
    return 0;
}

int devices_add(struct devices *d, const struct device *device)
{
    if (grow((void **)&d->device, d->n_devices, &d->device_room, sizeof *d->device) < 0)
        return -1;
    d->device[d->n_devices++] = *device;
    return 0;
}

int devices_add_address(struct devices *d, uint32_t index, const struct dp_addr *addr)
{
    if (grow((void **)&d->address, d->n_addresses, &d->address_room, sizeof *d->address) < 0)
        return -1;
    d->address[d->n_addresses++] = (struct device_address){.index = index, .addr = *addr};
    return 0;
}

void devices_free(struct devices *d)
{
    free(d->device);
    free(d->address);
    *d = (struct devices){0};
}

struct device *devices_by_index(const struct devices *d, uint32_t index)
{
    for (size_t i = 0; i < d->n_devices; i++)
        if (d->device[i].index == index)
            return &d->device[i];
    return NULL;
}

const struct device *devices_by_name(const struct devices *d, const char *name)
{
    for (size_t i = 0; i < d->n_devices; i++)
        if (strcmp(d->device[i].name, name) == 0)
            return &d->device[i];
    return NULL;
}

static const struct device *loopback(const struct devices *d)
{
    for (size_t i = 0; i < d->n_devices; i++)
        if (d->device[i].loopback)
            return &d->device[i];
    return NULL;
}

const struct device *devices_by_address(const struct devices *d, const struct dp_addr *addr)
{
    if (addr_is_loopback(addr))
        return loopback(d);
    for (size_t i = 0; i < d->n_addresses; i++)
        if (addr_same_ip(&d->address[i].addr, addr))
            return devices_by_index(d, d->address[i].index);
    return NULL;
}

bool devices_has(const struct devices *d, const struct device *device, const struct dp_addr *addr)
{
    if (device->loopback && addr_is_loopback(addr))
        return true;
    for (size_t i = 0; i < d->n_addresses; i++)
        if (d->address[i].index == device->index && addr_same_ip(&d->address[i].addr, addr))
            return true;
    return false;
}

bool devices_has_family(const struct devices *d, const struct device *device, int family)
{
    for (size_t i = 0; i < d->n_addresses; i++)
        if (d->address[i].index == device->index && addr_family(&d->address[i].addr) == family)
            return true;
    return false;
}
