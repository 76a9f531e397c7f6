/* SPDX-License-Identifier: MIT
 * socks4.c: the server's side of SOCKS4 and SOCKS4a.
 */
#include "proto/socks4.h"
#include "base/addr.h"
#include "proto/host.h"

#include <string.h>

#define FIXED_LEN 8 /* version, command, port, address */

/* The text at p that ends in NUL. Returns what it takes up, 0 if the NUL may
 * still come, or SOCKS4_MALFORMED. */
static int text_len(const uint8_t *p, size_t len, size_t most)
{
    const uint8_t *end = memchr(p, 0, len < most + 1 ? len : most + 1);
    if (end)
        return (int)(end - p) + 1;
    return len > most ? SOCKS4_MALFORMED : 0;
}

static bool is_named(const uint8_t ip[4])
{
    return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] != 0;
}

int socks4_request(const uint8_t *p, size_t len, struct socks4_request *request)
{
    if (len >= 1 && p[0] != SOCKS4_VERSION)
        return SOCKS4_MALFORMED;
    if (len >= 2 && p[1] != SOCKS4_CONNECT)
        return SOCKS4_BAD_COMMAND;
    if (len < FIXED_LEN)
        return 0;
    uint16_t port = (uint16_t)(p[2] << 8 | p[3]);
    int user = text_len(p + FIXED_LEN, len - FIXED_LEN, SOCKS4_USER_MAX);
    if (user <= 0)
        return user;
    size_t at = FIXED_LEN + (size_t)user;
    request->user = (struct dp_str){.p = (const char *)p + FIXED_LEN, .len = (uint32_t)user - 1};
    request->named = is_named(p + 4);
    if (!request->named) {
        addr_from_ip(&request->to, AF_INET, p + 4, port);
        return (int)at;
    }
    int name = text_len(p + at, len - at, 255);
    if (name <= 0)
        return name;
    if (host_read(&request->to, (const char *)p + at, (size_t)name - 1, port) < 0)
        return SOCKS4_BAD_NAME;
    return (int)at + name;
}

size_t socks4_reply(uint8_t out[SOCKS4_REPLY_MAX], int code, const struct dp_addr *bound)
{
    uint16_t port = bound ? bound->port : 0;
    memset(out, 0, SOCKS4_REPLY_MAX);
    out[1] = (uint8_t)code;
    out[2] = (uint8_t)(port >> 8);
    out[3] = (uint8_t)port;
    if (bound && addr_family(bound) == AF_INET)
        memcpy(out + 4, &((const struct sockaddr_in *)&bound->sa)->sin_addr, 4);
    return SOCKS4_REPLY_MAX;
}
