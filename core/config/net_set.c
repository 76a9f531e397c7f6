/* SPDX-License-Identifier: MIT
 * net_set.c: networks, many of them.
 *
 * Ranges of addresses in order, that do not overlap once the set is closed. An IPv4 address is the
 * IPv6 one that it is mapped to (RFC 4291, section 2.5.5.2).
 */
#include "config/net_set.h"

#include <stdlib.h>
#include <string.h>

#define IP_LEN 16

struct range {
    uint8_t first[IP_LEN], last[IP_LEN];
};

struct net_set {
    size_t n;
    struct range range[];
};

struct net_set *net_set_new(struct conf_memory *memory, size_t n)
{
    return memory_alloc(memory, sizeof(struct net_set) + n * sizeof(struct range));
}

static void ip_of(uint8_t ip[IP_LEN], const struct dp_addr *a)
{
    if (addr_family(a) == AF_INET6) {
        memcpy(ip, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, IP_LEN);
        return;
    }
    memset(ip, 0, 10);
    memset(ip + 10, 0xff, 2);
    memcpy(ip + 12, &((const struct sockaddr_in *)&a->sa)->sin_addr, 4);
}

void net_set_add(struct net_set *set, const struct addr_net *net)
{
    struct range *range = &set->range[set->n++];
    unsigned bits = net->bits + (addr_family(&net->addr) == AF_INET ? 96 : 0);
    ip_of(range->first, &net->addr);
    memcpy(range->last, range->first, IP_LEN);
    for (unsigned bit = bits; bit < 8 * IP_LEN; bit++) {
        uint8_t one = (uint8_t)(0x80 >> bit % 8);
        range->first[bit / 8] &= (uint8_t)~one;
        range->last[bit / 8] |= one;
    }
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct range *)a)->first, ((const struct range *)b)->first, IP_LEN);
}

/* Networks contain each other or have nothing in common: of those in another only that one stays. */
void net_set_close(struct net_set *set)
{
    size_t n = 0;
    qsort(set->range, set->n, sizeof *set->range, compare);
    for (size_t i = 0; i < set->n; i++) {
        struct range *before = n > 0 ? &set->range[n - 1] : NULL;
        if (before && memcmp(set->range[i].first, before->last, IP_LEN) <= 0) {
            if (memcmp(set->range[i].last, before->last, IP_LEN) > 0)
                memcpy(before->last, set->range[i].last, IP_LEN);
        } else {
            set->range[n++] = set->range[i];
        }
    }
    set->n = n;
}

bool net_set_has(const struct net_set *set, const struct dp_addr *addr)
{
    uint8_t ip[IP_LEN];
    size_t low = 0, high = set->n; /* the last that begins at or before it is in [low, high) */
    if (addr_family(addr) == AF_UNSPEC || set->n == 0)
        return false;
    ip_of(ip, addr);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(set->range[middle].first, ip, IP_LEN) <= 0)
            low = middle;
        else
            high = middle;
    }
    return memcmp(set->range[low].first, ip, IP_LEN) <= 0 &&
           memcmp(ip, set->range[low].last, IP_LEN) <= 0;
}
