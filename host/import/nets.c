/* SPDX-License-Identifier: MIT
 * nets.c: sets of networks. Two networks are apart, or one lies within the other.
 */
#include "nets.h"

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

struct nets nets_common(struct conf_memory *memory, const struct nets *a, const struct nets *b)
{
    struct nets common = {0};
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < b->n; j++) {
            if (net_within(&a->net[i], &b->net[j]))
                nets_add(memory, &common, &a->net[i]);
            else if (net_within(&b->net[j], &a->net[i]))
                nets_add(memory, &common, &b->net[j]);
        }
    return common;
}

/* What is left of `net` are the other halves, at each bit on the way down to `hole`. */
static void net_without(struct conf_memory *memory, struct nets *left, const struct addr_net *net,
                        const struct addr_net *hole)
{
    if (!net_touch(net, hole)) {
        nets_add(memory, left, net);
        return;
    }
    for (unsigned bits = net->bits; bits < hole->bits; bits++) {
        struct addr_net half = net_of(&hole->addr, bits + 1);
        bit_flip(&half, bits);
        nets_add(memory, left, &half);
    }
}

struct nets nets_without(struct conf_memory *memory, const struct nets *a, const struct nets *b)
{
    struct nets left = *a;
    for (size_t j = 0; j < b->n; j++) {
        struct nets less = {0};
        for (size_t i = 0; i < left.n; i++)
            net_without(memory, &less, &left.net[i], &b->net[j]);
        left = less;
    }
    return left;
}

void nets_join(struct conf_memory *memory, struct nets *nets, const struct addr_net *net)
{
    struct addr_net whole = net_of(&net->addr, net->bits);
    const struct nets one = {&whole, 1, 1};
    const struct nets more = nets_without(memory, &one, nets);
    for (size_t i = 0; i < more.n; i++)
        nets_add(memory, nets, &more.net[i]);
}

bool nets_cover(struct conf_memory *memory, const struct nets *nets, const struct addr_net *net)
{
    struct addr_net whole = *net;
    const struct nets one = {&whole, 1, 1};
    return nets_without(memory, &one, nets).n == 0;
}

bool nets_touch(const struct nets *nets, const struct addr_net *net)
{
    for (size_t i = 0; i < nets->n; i++)
        if (net_touch(&nets->net[i], net))
            return true;
    return false;
}
