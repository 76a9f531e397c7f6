/* SPDX-License-Identifier: MIT
 * addr.c: struct dp_addr made, parsed, printed and compared.
 */
#include "base/addr.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define MAPPED_BITS 96 /* of ::ffff:0:0/96, which is IPv4: RFC 4291, section 2.5.5.2 */

static struct sockaddr_in *addr_v4(struct dp_addr *a)
{
    return (struct sockaddr_in *)&a->sa;
}

static struct sockaddr_in6 *addr_v6(struct dp_addr *a)
{
    return (struct sockaddr_in6 *)&a->sa;
}

static const uint8_t *addr_bytes(const struct dp_addr *a)
{
    if (a->sa.ss_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)&a->sa)->sin_addr;
    return (const uint8_t *)&((const struct sockaddr_in6 *)&a->sa)->sin6_addr;
}

void addr_from_sockaddr(struct dp_addr *a, const struct sockaddr *sa, socklen_t len)
{
    memset(a, 0, sizeof *a);
    if (len > sizeof a->sa)
        len = sizeof a->sa;
    memcpy(&a->sa, sa, len);
    a->salen = len;
    if (a->sa.ss_family == AF_INET)
        a->port = ntohs(addr_v4(a)->sin_port);
    else if (a->sa.ss_family == AF_INET6)
        a->port = ntohs(addr_v6(a)->sin6_port);
}

void addr_from_ip(struct dp_addr *a, int family, const void *ip, uint16_t port)
{
    memset(a, 0, sizeof *a);
    a->sa.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        memcpy(&addr_v4(a)->sin_addr, ip, 4);
        a->salen = sizeof(struct sockaddr_in);
    } else {
        memcpy(&addr_v6(a)->sin6_addr, ip, 16);
        a->salen = sizeof(struct sockaddr_in6);
    }
    addr_set_port(a, port);
}

void addr_from_name(struct dp_addr *a, const char *name, size_t len, uint16_t port)
{
    memset(a, 0, sizeof *a);
    a->name = name;
    a->name_len = (uint16_t)len;
    a->port = port;
}

int addr_from_path(struct dp_addr *a, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len > ADDR_PATH_MAX)
        return -1;
    memcpy(sa.sun_path, path, len + 1);
    addr_from_sockaddr(a, (const struct sockaddr *)&sa,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1));
    return 0;
}

void addr_set_port(struct dp_addr *a, uint16_t port)
{
    a->port = port;
    if (addr_family(a) == AF_INET)
        addr_v4(a)->sin_port = htons(port);
    else if (addr_family(a) == AF_INET6)
        addr_v6(a)->sin6_port = htons(port);
}

/* The interface after `%`, by name or number; 0 if there is none such. */
static uint32_t scope_parse(const char *scope)
{
    uint32_t id = if_nametoindex(scope);
    if (id)
        return id;
    unsigned long n = strtoul(scope, NULL, 10);
    return scope[strspn(scope, "0123456789")] || n > UINT32_MAX ? 0 : (uint32_t)n;
}

int addr_parse_ip(struct dp_addr *a, const char *s, size_t len)
{
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
        s++;
        len -= 2;
        if (!memchr(s, ':', len))
            return -1;
    }
    if (len == 0 || len >= sizeof text || memchr(s, '\0', len))
        return -1;
    memcpy(text, s, len);
    text[len] = '\0';

    uint8_t ip[16];
    if (inet_pton(AF_INET, text, ip) == 1) {
        addr_from_ip(a, AF_INET, ip, 0);
        return 0;
    }
    char *scope = strchr(text, '%');
    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET6, text, ip) != 1)
        return -1;
    addr_from_ip(a, AF_INET6, ip, 0);
    if (scope && !(addr_v6(a)->sin6_scope_id = scope_parse(scope)))
        return -1;
    return 0;
}

/* 1 to 5 digits, 0 to 65535. */
static int port_parse(uint16_t *port, const char *s, size_t len)
{
    unsigned long n = 0;
    if (len < 1 || len > 5)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        n = n * 10 + (unsigned long)(s[i] - '0');
    }
    if (n > 65535)
        return -1;
    *port = (uint16_t)n;
    return 0;
}

int addr_parse_endpoint(struct dp_addr *a, const char *s, size_t len)
{
    size_t colon = len;
    while (colon > 0 && s[colon - 1] != ':')
        colon--;
    uint16_t port;
    if (colon < 2 || port_parse(&port, s + colon, len - colon) < 0)
        return -1;
    size_t host_len = colon - 1;
    bool bracketed = s[0] == '[';
    if (!bracketed && memchr(s, ':', host_len))
        return -1; /* an IPv6 address needs its brackets here */
    if (addr_parse_ip(a, s, host_len) == 0) {
        addr_set_port(a, port);
        return 0;
    }
    if (bracketed || host_len > 255)
        return -1;
    for (size_t i = 0; i < host_len; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f || strchr("/@[]%", s[i]))
            return -1;
    addr_from_name(a, s, host_len, port);
    return 0;
}

int addr_parse_net(struct addr_net *net, const char *s, size_t len)
{
    const char *slash = memchr(s, '/', len);
    size_t ip_len = slash ? (size_t)(slash - s) : len;
    if (addr_parse_ip(&net->addr, s, ip_len) < 0)
        return -1;
    uint16_t max = net->addr.sa.ss_family == AF_INET ? 32 : 128, bits = max;
    if (slash && (port_parse(&bits, slash + 1, len - ip_len - 1) < 0 || bits > max))
        return -1;
    net->bits = bits;
    if (max == 32 || bits < MAPPED_BITS)
        return 0;
    addr_unmap(&net->addr);
    if (addr_family(&net->addr) == AF_INET)
        net->bits -= MAPPED_BITS;
    return 0;
}

int addr_family(const struct dp_addr *a)
{
    return a->salen ? a->sa.ss_family : AF_UNSPEC;
}

static bool is_ip(const struct dp_addr *a)
{
    return addr_family(a) == AF_INET || addr_family(a) == AF_INET6;
}

static bool is_unix(const struct dp_addr *a)
{
    return addr_family(a) == AF_UNIX;
}

void addr_unmap(struct dp_addr *a)
{
    if (addr_family(a) != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr_v6(a)->sin6_addr))
        return;
    uint8_t ip[4];
    memcpy(ip, addr_bytes(a) + 12, 4);
    addr_from_ip(a, AF_INET, ip, a->port);
}

bool addr_is_loopback(const struct dp_addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    if (addr_family(a) == AF_INET)
        return addr_bytes(a)[0] == 127;
    if (addr_family(a) != AF_INET6)
        return false;
    const uint8_t *ip = addr_bytes(a);
    bool old_form = memcmp(ip, one, 12) == 0 && ip[12] == 127; /* ::127.0.0.1, long out of use */
    return old_form || memcmp(ip, one, 16) == 0;
}

bool addr_is_any(const struct dp_addr *a)
{
    static const uint8_t zero[16];
    return is_ip(a) && memcmp(addr_bytes(a), zero, addr_family(a) == AF_INET ? 4 : 16) == 0;
}

bool addr_same_ip(const struct dp_addr *a, const struct dp_addr *b)
{
    if (!is_ip(a) || addr_family(a) != addr_family(b))
        return false;
    return memcmp(addr_bytes(a), addr_bytes(b), a->sa.ss_family == AF_INET ? 4 : 16) == 0;
}

/* The interface an IPv6 address is meant on; 0: any. */
static uint32_t addr_scope(const struct dp_addr *a)
{
    return addr_family(a) == AF_INET6 ? ((const struct sockaddr_in6 *)&a->sa)->sin6_scope_id : 0;
}

bool addr_equal(const struct dp_addr *a, const struct dp_addr *b)
{
    if (a->port != b->port)
        return false;
    if (is_unix(a) || is_unix(b))
        return a->salen == b->salen && memcmp(&a->sa, &b->sa, a->salen) == 0;
    if (a->salen || b->salen)
        return addr_same_ip(a, b) && addr_scope(a) == addr_scope(b);
    if (a->name_len != b->name_len)
        return false;
    return a->name_len == 0 || memcmp(a->name, b->name, a->name_len) == 0;
}

bool addr_in_net(const struct dp_addr *a, const struct addr_net *net)
{
    if (!a->salen || a->sa.ss_family != net->addr.sa.ss_family)
        return false;
    const uint8_t *ip = addr_bytes(a), *want = addr_bytes(&net->addr);
    unsigned whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(ip, want, whole) != 0)
        return false;
    return rest == 0 || (ip[whole] ^ want[whole]) >> (8 - rest) == 0;
}

/* What has no file has a name behind a NUL (unix(7)). */
static const char *path_text(const struct dp_addr *a, char buf[ADDR_TEXT])
{
    const size_t before = offsetof(struct sockaddr_un, sun_path);
    const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
    size_t len = a->salen > before ? a->salen - before : 0;
    bool abstract = len > 0 && !*path;
    if (!abstract)
        len = strnlen(path, len);
    int start = snprintf(buf, ADDR_TEXT, "unix:%s", abstract ? "@" : "");
    log_escape(buf + start, ADDR_TEXT - (size_t)start, path + abstract, len - abstract);
    return buf;
}

const char *addr_ip_text(const struct dp_addr *a, char buf[ADDR_TEXT])
{
    if (!a->salen)
        return log_escape(buf, ADDR_TEXT, a->name, a->name_len);
    if (!inet_ntop(a->sa.ss_family, addr_bytes(a), buf, ADDR_TEXT))
        snprintf(buf, ADDR_TEXT, "?");
    char device[IF_NAMESIZE];
    size_t len = strlen(buf);
    uint32_t scope = addr_scope(a);
    if (scope && if_indextoname(scope, device))
        snprintf(buf + len, ADDR_TEXT - len, "%%%s", device);
    else if (scope)
        snprintf(buf + len, ADDR_TEXT - len, "%%%u", scope);
    return buf;
}

const char *addr_text(const struct dp_addr *a, char buf[ADDR_TEXT])
{
    bool v6 = addr_family(a) == AF_INET6;
    if (is_unix(a))
        return path_text(a, buf);
    addr_ip_text(a, buf + v6);
    size_t len = strlen(buf + v6) + v6;
    if (v6)
        buf[0] = '[';
    snprintf(buf + len, ADDR_TEXT - len, "%s:%u", v6 ? "]" : "", a->port);
    return buf;
}
