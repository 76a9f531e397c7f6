/* SPDX-License-Identifier: MIT
 * net_set.c: networks, many of them.
 *
 * Ranges of addresses in order, that do not overlap once the set is closed. Each family has its own:
 * the first byte says which. An IPv6 address to which an IPv4 one is mapped is that one (RFC 4291,
 * section 2.5.5.2).
 */
#include "config/net_set.h"

#include <stdlib.h>
#include <string.h>

#define KEY_LEN 17 /* the family, and the address */
#define FAMILY_BITS 8

struct range {
    uint8_t first[KEY_LEN], last[KEY_LEN];
};

struct net_set {
    size_t n;
    struct range range[];
};

struct net_set *net_set_new(struct conf_memory *memory, size_t n)
{
    return memory_alloc(memory, sizeof(struct net_set) + n * sizeof(struct range));
}

static void key_of(uint8_t key[KEY_LEN], const struct dp_addr *a)
{
    memset(key, 0, KEY_LEN);
    key[0] = addr_family(a) == AF_INET ? 4 : 6;
    if (key[0] == 4)
        memcpy(key + 1, &((const struct sockaddr_in *)&a->sa)->sin_addr, 4);
    else
        memcpy(key + 1, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
}

void net_set_add(struct net_set *set, const struct addr_net *net)
{
    struct range *range = &set->range[set->n++];
    key_of(range->first, &net->addr);
    memcpy(range->last, range->first, KEY_LEN);
    for (unsigned bit = FAMILY_BITS + net->bits; bit < 8 * KEY_LEN; bit++) {
        uint8_t one = (uint8_t)(0x80 >> bit % 8);
        range->first[bit / 8] &= (uint8_t)~one;
        range->last[bit / 8] |= one;
    }
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct range *)a)->first, ((const struct range *)b)->first, KEY_LEN);
}

/* Networks contain each other or have nothing in common: of those in another only that one stays. */
void net_set_close(struct net_set *set)
{
    size_t n = 0;
    qsort(set->range, set->n, sizeof *set->range, compare);
    for (size_t i = 0; i < set->n; i++) {
        struct range *before = n > 0 ? &set->range[n - 1] : NULL;
        if (before && memcmp(set->range[i].first, before->last, KEY_LEN) <= 0) {
            if (memcmp(set->range[i].last, before->last, KEY_LEN) > 0)
                memcpy(before->last, set->range[i].last, KEY_LEN);
        } else {
            set->range[n++] = set->range[i];
        }
    }
    set->n = n;
}

bool net_set_has(const struct net_set *set, const struct dp_addr *addr)
{
    uint8_t key[KEY_LEN];
    size_t low = 0, high = set->n; /* the last that begins at or before it is in [low, high) */
    if (addr_family(addr) == AF_UNSPEC || set->n == 0)
        return false;
    struct dp_addr plain = *addr;
    addr_unmap(&plain);
    key_of(key, &plain);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(set->range[middle].first, key, KEY_LEN) <= 0)
            low = middle;
        else
            high = middle;
    }
    return memcmp(set->range[low].first, key, KEY_LEN) <= 0 &&
           memcmp(key, set->range[low].last, KEY_LEN) <= 0;
}
