/* SPDX-License-Identifier: MIT
 * proxy.c: the PROXY protocol, versions 1 and 2.
 */
#include "proto/proxy.h"
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX 107 /* with its CRLF: section 2.1 */
#define V2_FIXED 16
#define V2_INET 12
#define V2_INET6 36

static const uint8_t v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1: a line of text ---- */

static bool word_next(const char **at, const char *end, struct dp_str *word)
{
    const char *p = *at, *space;
    if (p > end)
        return false;
    space = memchr(p, ' ', (size_t)(end - p));
    space = space ? space : end;
    *word = (struct dp_str){.p = p, .len = (uint32_t)(space - p)};
    *at = space + 1;
    return word->len > 0;
}

static bool port_read(struct dp_str word, uint16_t *port)
{
    uint32_t n = 0;
    if (word.len > 5 || (word.p[0] == '0' && word.len > 1))
        return false;
    for (uint32_t i = 0; i < word.len; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(word.p[i] - '0');
    }
    *port = (uint16_t)n;
    return n <= UINT16_MAX;
}

static bool ip_read(struct dp_str word, int family, struct dp_addr *addr)
{
    return word.p[0] != '[' && !memchr(word.p, '%', word.len) &&
           addr_parse_ip(addr, word.p, word.len) == 0 && addr_family(addr) == family;
}

/* `TCP4 192.0.2.1 192.0.2.2 1024 80`, `UNKNOWN ...` */
static int v1_line(const char *p, const char *end, struct proxy_header *header)
{
    struct dp_str family, word[4];
    uint16_t port[2];
    if (!word_next(&p, end, &family))
        return -1;
    if (family.len == 7 && memcmp(family.p, "UNKNOWN", 7) == 0) {
        header->local = true;
        return 0;
    }
    bool v4 = family.len == 4 && memcmp(family.p, "TCP4", 4) == 0;
    bool v6 = family.len == 4 && memcmp(family.p, "TCP6", 4) == 0;
    for (int i = 0; i < 4; i++)
        if (!word_next(&p, end, &word[i]))
            return -1;
    int af = v4 ? AF_INET : AF_INET6;
    if ((!v4 && !v6) || p <= end || !ip_read(word[0], af, &header->client) ||
        !ip_read(word[1], af, &header->dest) || !port_read(word[2], &port[0]) ||
        !port_read(word[3], &port[1]))
        return -1;
    addr_set_port(&header->client, port[0]);
    addr_set_port(&header->dest, port[1]);
    return 0;
}

static int v1_read(const uint8_t *p, size_t len, struct proxy_header *header)
{
    static const char start[] = "PROXY ";
    size_t known = len < sizeof start - 1 ? len : sizeof start - 1;
    if (memcmp(p, start, known) != 0)
        return -1;
    const uint8_t *lf = memchr(p, '\n', len < V1_MAX ? len : V1_MAX);
    if (!lf)
        return len < V1_MAX ? 0 : -1;
    const char *line = (const char *)p + sizeof start - 1, *end = (const char *)lf - 1;
    if (end < line || *end != '\r')
        return -1;
    return v1_line(line, end, header) < 0 ? -1 : (int)(lf - p) + 1;
}

/* ---- version 2: binary ---- */

static void v2_addresses(const uint8_t *p, int family, struct proxy_header *header)
{
    size_t size = family == AF_INET ? 4 : 16;
    const uint8_t *port = p + 2 * size;
    addr_from_ip(&header->client, family, p, (uint16_t)(port[0] << 8 | port[1]));
    addr_from_ip(&header->dest, family, p + size, (uint16_t)(port[2] << 8 | port[3]));
}

/* AF_UNSPEC to AF_UNIX, UNSPEC to DGRAM: all else must be rejected (section 2.2). */
static bool is_assigned(uint8_t family)
{
    return family >> 4 <= 3 && (family & 0x0f) <= 2;
}

static int v2_read(const uint8_t *p, size_t len, struct proxy_header *header)
{
    if (len >= 13 && p[12] != 0x20 && p[12] != 0x21) /* version 2; LOCAL or PROXY */
        return -1;
    if (len < V2_FIXED)
        return 0;
    if (p[12] == 0x21 && !is_assigned(p[13]))
        return -1;
    size_t rest = (size_t)(p[14] << 8 | p[15]), total = V2_FIXED + rest;
    if (total > PROXY_MAX)
        return -1;
    if (len < total)
        return 0;
    bool inet = p[13] == 0x11, inet6 = p[13] == 0x21;
    if (p[12] == 0x20 || (!inet && !inet6)) {
        header->local = true;
        return (int)total;
    }
    if (rest < (inet ? V2_INET : V2_INET6))
        return -1;
    v2_addresses(p + V2_FIXED, inet ? AF_INET : AF_INET6, header);
    return (int)total;
}

/* ---- both ---- */

int proxy_read(const uint8_t *p, size_t len, struct proxy_header *header)
{
    size_t known = len < sizeof v2_signature ? len : sizeof v2_signature;
    *header = (struct proxy_header){.local = false};
    if (len == 0)
        return 0;
    int n = memcmp(p, v2_signature, known) != 0 ? v1_read(p, len, header)
            : known < sizeof v2_signature       ? 0
                                                : v2_read(p, len, header);
    addr_unmap(&header->client);
    addr_unmap(&header->dest);
    return n;
}

static const void *ip_of(const struct dp_addr *a)
{
    return addr_family(a) == AF_INET ? (const void *)&((const struct sockaddr_in *)&a->sa)->sin_addr
                                     : &((const struct sockaddr_in6 *)&a->sa)->sin6_addr;
}

static size_t v1_write(uint8_t *out, int family, const struct dp_addr *client,
                       const struct dp_addr *dest)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    if (family == AF_UNSPEC)
        return (size_t)snprintf((char *)out, PROXY_OUT_MAX, "PROXY UNKNOWN\r\n");
    inet_ntop(family, ip_of(client), from, sizeof from);
    inet_ntop(family, ip_of(dest), to, sizeof to);
    return (size_t)snprintf((char *)out, PROXY_OUT_MAX, "PROXY TCP%c %s %s %u %u\r\n",
                            family == AF_INET ? '4' : '6', from, to, client->port, dest->port);
}

static size_t v2_write(uint8_t *out, int family, const struct dp_addr *client,
                       const struct dp_addr *dest)
{
    size_t ip = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
    size_t rest = ip ? 2 * ip + 4 : 0;
    memcpy(out, v2_signature, sizeof v2_signature);
    out[12] = ip ? 0x21 : 0x20;
    out[13] = (uint8_t)(family == AF_INET ? 0x11 : ip ? 0x21 : 0);
    out[14] = 0;
    out[15] = (uint8_t)rest;
    if (!ip)
        return V2_FIXED;
    uint8_t *p = out + V2_FIXED;
    memcpy(p, ip_of(client), ip);
    memcpy(p + ip, ip_of(dest), ip);
    p += 2 * ip;
    p[0] = (uint8_t)(client->port >> 8);
    p[1] = (uint8_t)client->port;
    p[2] = (uint8_t)(dest->port >> 8);
    p[3] = (uint8_t)dest->port;
    return V2_FIXED + rest;
}

size_t proxy_write(uint8_t out[PROXY_OUT_MAX], unsigned version, const struct dp_addr *client,
                   const struct dp_addr *dest)
{
    int family = addr_family(client);
    if (family != addr_family(dest))
        family = AF_UNSPEC;
    return version == 1 ? v1_write(out, family, client, dest) : v2_write(out, family, client, dest);
}
