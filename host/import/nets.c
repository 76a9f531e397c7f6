/* SPDX-License-Identifier: MIT
 * nets.c: sets of networks. Two networks are apart, or one lies within the other.
 */
#include "nets.h"

#include <stdlib.h>
#include <string.h>

static unsigned bits_max(int family)
{
    return family == AF_INET ? 32 : 128;
}

static unsigned char *ip_bytes(struct dp_addr *addr)
{
    if (addr_family(addr) == AF_INET)
        return (unsigned char *)&((struct sockaddr_in *)&addr->sa)->sin_addr;
    return ((struct sockaddr_in6 *)&addr->sa)->sin6_addr.s6_addr;
}

static void bit_flip(struct addr_net *net, unsigned bit)
{
    ip_bytes(&net->addr)[bit / 8] ^= (unsigned char)(0x80 >> bit % 8);
}

struct addr_net net_of(const struct dp_addr *addr, unsigned bits)
{
    struct addr_net net = {*addr, bits};
    unsigned char *ip = ip_bytes(&net.addr);
    for (unsigned bit = bits; bit < bits_max(addr_family(addr)); bit++)
        ip[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
    return net;
}

struct addr_net net_all(int family)
{
    static const unsigned char zero[16];
    struct addr_net net = {.bits = 0};
    addr_from_ip(&net.addr, family, zero, 0);
    return net;
}

void nets_add(struct conf_memory *memory, struct nets *nets, const struct addr_net *net)
{
    if (nets->n == nets->room) {
        size_t room = nets->room ? nets->room * 2 : 4;
        struct addr_net *more = memory_alloc(memory, room * sizeof *more);
        if (!more)
            return;
        if (nets->n)
            memcpy(more, nets->net, nets->n * sizeof *more);
        nets->net = more;
        nets->room = room;
    }
    nets->net[nets->n++] = *net;
}

static bool net_within(const struct addr_net *inner, const struct addr_net *outer)
{
    return inner->bits >= outer->bits && addr_in_net(&inner->addr, outer);
}

static bool net_touch(const struct addr_net *a, const struct addr_net *b)
{
    return net_within(a, b) || net_within(b, a);
}

void nets_add_common(struct conf_memory *memory, struct nets *nets, const struct nets *a,
                     const struct nets *b)
{
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < b->n; j++) {
            if (net_within(&a->net[i], &b->net[j]))
                nets_add(memory, nets, &a->net[i]);
            else if (net_within(&b->net[j], &a->net[i]))
                nets_add(memory, nets, &b->net[j]);
        }
}

/* Adds what of a network of so many bits is outside the hole in it: the other half, at each bit on
 * the way down. */
static void add_halves(struct conf_memory *memory, struct nets *nets, unsigned bits,
                       const struct addr_net *hole)
{
    for (; bits < hole->bits; bits++) {
        struct addr_net half = net_of(&hole->addr, bits + 1);
        bit_flip(&half, bits);
        nets_add(memory, nets, &half);
    }
}

/* From the last to the first: what takes the place of one that goes has been looked at. */
void nets_subtract(struct conf_memory *memory, struct nets *nets, const struct addr_net *hole)
{
    for (size_t i = nets->n; i-- > 0;) {
        unsigned bits = nets->net[i].bits;
        if (!net_touch(&nets->net[i], hole))
            continue;
        nets->net[i] = nets->net[--nets->n];
        add_halves(memory, nets, bits, hole);
    }
}

void nets_join(struct conf_memory *memory, struct nets *nets, const struct addr_net *net)
{
    struct addr_net whole = net_of(&net->addr, net->bits);
    struct nets rest = {0};
    nets_add(memory, &rest, &whole);
    for (size_t i = 0; i < nets->n; i++)
        nets_subtract(memory, &rest, &nets->net[i]);
    for (size_t i = 0; i < rest.n; i++)
        nets_add(memory, nets, &rest.net[i]);
}

/* IPv4 first, then by address. */
static int net_order(const void *a, const void *b)
{
    struct addr_net x = *(const struct addr_net *)a, y = *(const struct addr_net *)b;
    int family = addr_family(&x.addr);
    if (family != addr_family(&y.addr))
        return family == AF_INET ? -1 : 1;
    return memcmp(ip_bytes(&x.addr), ip_bytes(&y.addr), family == AF_INET ? 4 : 16);
}

void nets_sort(struct nets *nets)
{
    if (nets->n > 1)
        qsort(nets->net, nets->n, sizeof *nets->net, net_order);
}

bool nets_cover(const struct nets *nets, const struct addr_net *net)
{
    for (size_t i = 0; i < nets->n; i++)
        if (net_within(net, &nets->net[i]))
            return true;
    return false;
}

bool nets_touch(const struct nets *nets, const struct addr_net *net)
{
    for (size_t i = 0; i < nets->n; i++)
        if (net_touch(&nets->net[i], net))
            return true;
    return false;
}
