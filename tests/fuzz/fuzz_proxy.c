/* SPDX-License-Identifier: MIT
 * fuzz_proxy.c: headers of the PROXY protocol, by every cut; what has been understood is written
 * in both versions, and read again.
 */
#include "base/addr.h"
#include "fuzz/cuts.h"
#include "proto/proxy.h"

#define HEADER_MAX 600

static int header(const uint8_t *p, size_t len)
{
    struct proxy_header h;
    return proxy_read(p, len, &h);
}

/* IPv4 is never dressed up as IPv6, or one side could not be told with the other. */
static int is_plain(struct dp_addr addr)
{
    const struct dp_addr before = addr;
    addr_unmap(&addr);
    return addr_equal(&addr, &before);
}

static void check_written(const struct proxy_header *h, unsigned version)
{
    uint8_t out[PROXY_OUT_MAX];
    struct proxy_header again;
    size_t n = proxy_write(out, version, &h->client, &h->dest);
    require(n <= sizeof out && proxy_read(out, n, &again) == (int)n);
    int family = addr_family(&h->client);
    require(again.local == (family == AF_UNSPEC || family != addr_family(&h->dest)));
    if (!again.local)
        require(addr_equal(&h->client, &again.client) && addr_equal(&h->dest, &again.dest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct proxy_header h;
    if (len > HEADER_MAX)
        len = HEADER_MAX;
    require_no_cut_matters(header, data, len);
    if (proxy_read(data, len, &h) <= 0)
        return 0;
    require(h.local == !h.client.salen && h.local == !h.dest.salen);
    require(is_plain(h.client) && is_plain(h.dest));
    check_written(&h, 1);
    check_written(&h, 2);
    return 0;
}
