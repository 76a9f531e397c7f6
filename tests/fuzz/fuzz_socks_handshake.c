/* SPDX-License-Identifier: MIT
 * fuzz_socks_handshake.c: the answers of a SOCKS server. The first byte says what was asked, and in
 * which version.
 */
#include "dialer-socks/handshake.h"
#include "fuzz/target.h"
#include <netinet/in.h>
#include <string.h>

static struct dp_addr destination(int named)
{
    struct dp_addr to = {.port = 443};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(443)};
    if (named) {
        to.name = "name.test";
        to.name_len = 9;
        return to;
    }
    sin.sin_addr.s_addr = htonl(0xc0000201);
    memcpy(&to.sa, &sin, sizeof sin);
    to.salen = sizeof sin;
    return to;
}

/* An address or a name, and the name in memory that lasts. */
static void check_bound(const struct handshake *h, const struct dp_addr *bound)
{
    const char *in = (const char *)h->in;
    require(bound->salen <= sizeof bound->sa && (!bound->salen || !bound->name_len));
    require(!bound->name_len ||
            (bound->name >= in && bound->name + bound->name_len <= in + IN_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    struct conf conf = {.version = data[0] % 3};
    if (data[0] & 0x40)
        conf.username = conf.password = (struct dp_str){"me", 2};
    struct dp_addr to = destination(data[0] & 0x80), bound = {0};
    struct handshake h = {0};
    int rc = handshake_begin(&h, &conf, &to);
    require(rc == 0 || (rc == DP_ERR_FAMILY && conf.version == VERSION_4 && to.name_len));
    size_t at = 1, steps = 0;
    for (rc = rc ? rc : DP_AGAIN; rc == DP_AGAIN; rc = handshake_next(&h, &bound)) {
        require(++steps <= 5 && h.out_len <= OUT_MAX && h.need >= 1 && h.need <= IN_MAX);
        if (len - at < h.need)
            return 0;
        memcpy(h.in, data + at, h.need);
        at += h.need;
    }
    require(rc == DP_OK || rc < 0);
    if (rc == DP_OK)
        check_bound(&h, &bound);
    return 0;
}
