/* SPDX-License-Identifier: MIT
 * fuzz_net_set.c: a set of networks against the simplest one: a list. The first byte says how
 * many of the records that follow are networks; the others are looked up.
 */
#include "config/net_set.h"
#include "fuzz/target.h"

#include <string.h>

/* A length in bits, of IPv4 from 129 on, and an address. */
#define RECORD 17
#define NETS_MAX 64

static int is_v4(const uint8_t *record)
{
    return record[0] > 128;
}

static struct addr_net net_of(const uint8_t *record)
{
    struct addr_net net = {.bits = is_v4(record) ? (record[0] - 129u) % 33 : record[0]};
    addr_from_ip(&net.addr, is_v4(record) ? AF_INET : AF_INET6, record + 1, 0);
    return net;
}

/* IPv4 as the IPv6 that it is mapped to. */
static void bytes_of(const uint8_t *record, uint8_t ip[16])
{
    memcpy(ip, is_v4(record) ? (const uint8_t[12]){[10] = 0xff, [11] = 0xff} : record + 1, 12);
    memcpy(ip + 12, record + (is_v4(record) ? 1 : 13), 4);
}

static int is_in(const uint8_t *net, const uint8_t *addr)
{
    uint8_t a[16], b[16];
    unsigned bits = net_of(net).bits + (is_v4(net) ? 96 : 0);
    bytes_of(net, a);
    bytes_of(addr, b);
    for (unsigned i = 0; i < bits; i++)
        if ((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1)
            return 0;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    size_t all = (len - 1) / RECORD, nets = data[0] % NETS_MAX;
    struct conf_memory *memory = memory_new();
    struct net_set *set = net_set_new(memory, NETS_MAX);
    require(set != NULL);
    nets = nets < all ? nets : all;
    for (size_t i = 0; i < nets; i++) {
        struct addr_net net = net_of(data + 1 + i * RECORD);
        net_set_add(set, &net);
    }
    net_set_close(set);
    for (size_t i = 0; i < all; i++) {
        const uint8_t *record = data + 1 + i * RECORD;
        const struct addr_net probe = net_of(record);
        int found = 0;
        for (size_t k = 0; k < nets && !found; k++)
            found = is_in(data + 1 + k * RECORD, record);
        require(net_set_has(set, &probe.addr) == found);
    }
    memory_free(memory);
    return 0;
}
