/* SPDX-License-Identifier: MIT
 * addr.h: struct dp_addr made, parsed, printed and compared.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <dispatch-plugin.h>
#include <netinet/in.h>
#include <stdbool.h>

#define ADDR_PATH_MAX 107 /* bytes of a unix socket's path (unix(7)) */

/* Enough for any address or name in print, with brackets, escapes, port and NUL. */
#define ADDR_TEXT 1100

/* A network: an address and the number of its leading bits that count. */
struct addr_net {
    struct dp_addr addr;
    unsigned bits;
};

void addr_from_sockaddr(struct dp_addr *a, const struct sockaddr *sa, socklen_t len);
void addr_from_ip(struct dp_addr *a, int family, const void *ip, uint16_t port);
void addr_from_name(struct dp_addr *a, const char *name, size_t len, uint16_t port);
/* A unix socket's. Returns 0, or -1: the path is too long. */
int addr_from_path(struct dp_addr *a, const char *path);
void addr_set_port(struct dp_addr *a, uint16_t port);

/* An IPv4 or IPv6 literal (IPv6 with or without brackets and %scope). Returns 0 or -1. */
int addr_parse_ip(struct dp_addr *a, const char *s, size_t len);
/* `host:port` or `[v6]:port`; host may be a name, which keeps pointing into s. Returns 0 or -1. */
int addr_parse_endpoint(struct dp_addr *a, const char *s, size_t len);
/* `10.0.0.0/8`, `fd00::/8`, or an address alone. Returns 0 or -1. */
int addr_parse_net(struct addr_net *net, const char *s, size_t len);

/* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC for a name. */
int addr_family(const struct dp_addr *a);
/* IPv4 in IPv6 (::ffff:a.b.c.d) becomes IPv4; anything else stays. */
void addr_unmap(struct dp_addr *a);
bool addr_is_loopback(const struct dp_addr *a);
bool addr_is_any(const struct dp_addr *a);
bool addr_same_ip(const struct dp_addr *a, const struct dp_addr *b);
bool addr_equal(const struct dp_addr *a, const struct dp_addr *b);
bool addr_in_net(const struct dp_addr *a, const struct addr_net *net);

/* With a port and without (a unix socket has none: `unix:/run/x.sock`): `1.2.3.4:80`, `[fe80::1%eth0]:80`, `name:80`; `fe80::1%eth0`. Bytes of a
 * name that are not printable ASCII come out as \xNN. Return buf. */
const char *addr_text(const struct dp_addr *a, char buf[ADDR_TEXT]);
const char *addr_ip_text(const struct dp_addr *a, char buf[ADDR_TEXT]);

#endif
