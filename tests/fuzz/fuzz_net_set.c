/* SPDX-License-Identifier: MIT
 * fuzz_net_set.c: a set of networks against the simplest one: a list. The first byte says how
 * many of the records that follow are networks; the others are looked up.
 */
#include "config/net_set.h"
#include "fuzz/target.h"

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

static int is_in(const uint8_t *net, const struct dp_addr *addr)
{
    const struct addr_net of = net_of(net);
    return addr_in_net(addr, &of);
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
        struct dp_addr plain = probe.addr;
        addr_unmap(&plain);
        int found = 0;
        for (size_t k = 0; k < nets && !found; k++)
            found = is_in(data + 1 + k * RECORD, &plain);
        require(net_set_has(set, &probe.addr) == found);
    }
    memory_free(memory);
    return 0;
}
