/* SPDX-License-Identifier: MIT
 * socks5.c: the server's side of SOCKS5 (RFC 1928).
 */
#include "proto/socks5.h"
#include "base/addr.h"
#include "proto/host.h"

#include <string.h>

enum { LOGIN_VERSION = 1 }; /* of RFC 1929 */
enum { ATYP_IPV4 = 1, ATYP_NAME = 3, ATYP_IPV6 = 4 };

int socks5_greeting(const uint8_t *p, size_t len, uint8_t method, bool *offered)
{
    if (len >= 1 && p[0] != SOCKS5_VERSION)
        return SOCKS5_MALFORMED;
    if (len < 2 || len < 2 + (size_t)p[1])
        return 0;
    *offered = memchr(p + 2, method, p[1]) != NULL;
    return 2 + p[1];
}

int socks5_login(const uint8_t *p, size_t len, struct dp_str *user, struct dp_str *password)
{
    if (len >= 1 && p[0] != LOGIN_VERSION)
        return SOCKS5_MALFORMED;
    if (len < 2 || len < 3 + (size_t)p[1])
        return 0;
    *user = (struct dp_str){(const char *)p + 2, p[1]};
    *password = (struct dp_str){user->p + user->len + 1, p[2 + user->len]};
    size_t total = 3 + user->len + password->len;
    return len < total ? 0 : (int)total;
}

size_t socks5_login_reply(uint8_t out[2], bool right)
{
    out[0] = LOGIN_VERSION;
    out[1] = right ? 0 : 1;
    return 2;
}

/* The length of the address at p, 0 for more, or -(reply code). */
static int address_len(const uint8_t *p, size_t len)
{
    switch (p[0]) {
    case ATYP_IPV4:
        return 1 + 4;
    case ATYP_IPV6:
        return 1 + 16;
    case ATYP_NAME:
        return len < 2 ? 0 : 2 + p[1];
    default:
        return -SOCKS5_BAD_ADDRESS;
    }
}

static int address_read(const uint8_t *p, uint16_t port, struct dp_addr *to)
{
    if (p[0] != ATYP_NAME) {
        addr_from_ip(to, p[0] == ATYP_IPV4 ? AF_INET : AF_INET6, p + 1, port);
        addr_unmap(to);
        return 0;
    }
    return host_read(to, (const char *)p + 2, p[1], port) < 0 ? -SOCKS5_HOST_UNREACH : 0;
}

int socks5_request(const uint8_t *p, size_t len, struct dp_addr *to)
{
    if (len >= 1 && p[0] != SOCKS5_VERSION)
        return -SOCKS5_FAILURE;
    if (len < 4)
        return 0;
    if (p[2] != 0)
        return -SOCKS5_FAILURE;
    int addr_len = address_len(p + 3, len - 3);
    if (addr_len <= 0)
        return addr_len;
    size_t total = 3 + (size_t)addr_len + 2;
    if (len < total)
        return 0;
    if (p[1] != SOCKS5_CONNECT)
        return -SOCKS5_BAD_COMMAND;
    uint16_t port = (uint16_t)(p[total - 2] << 8 | p[total - 1]);
    int err = address_read(p + 3, port, to);
    return err < 0 ? err : (int)total;
}

size_t socks5_reply(uint8_t out[SOCKS5_REPLY_MAX], int code, const struct dp_addr *bound)
{
    bool v6 = bound && addr_family(bound) == AF_INET6;
    size_t n = v6 ? 16 : 4;
    uint16_t port = bound ? bound->port : 0;
    out[0] = SOCKS5_VERSION;
    out[1] = (uint8_t)code;
    out[2] = 0;
    out[3] = v6 ? ATYP_IPV6 : ATYP_IPV4;
    memset(out + 4, 0, n);
    if (v6)
        memcpy(out + 4, &((const struct sockaddr_in6 *)&bound->sa)->sin6_addr, n);
    else if (bound && bound->salen)
        memcpy(out + 4, &((const struct sockaddr_in *)&bound->sa)->sin_addr, n);
    out[4 + n] = (uint8_t)(port >> 8);
    out[5 + n] = (uint8_t)port;
    return 4 + n + 2;
}
