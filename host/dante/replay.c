/* SPDX-License-Identifier: MIT
 * replay.c: what danted has set on its socket, set on the one that takes its place.
 *
 * These are options that danted sets by itself, and those of danted.conf(5) ("socketoption") that
 * have a meaning here. What decides on the way out, device and mark, is the link's.
 */
#include "dante/replay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct option {
    int level, name;
    bool doubled; /* the kernel gives back twice what was set */
};

static const struct option any_options[] = {
    {SOL_SOCKET, SO_KEEPALIVE, false}, {SOL_SOCKET, SO_OOBINLINE, false},
    {SOL_SOCKET, SO_LINGER, false},    {SOL_SOCKET, SO_PRIORITY, false},
    {SOL_SOCKET, SO_RCVLOWAT, false},  {SOL_SOCKET, SO_RCVTIMEO, false},
    {SOL_SOCKET, SO_SNDTIMEO, false},  {SOL_SOCKET, SO_RCVBUF, true},
    {SOL_SOCKET, SO_SNDBUF, true},     {SOL_SOCKET, SO_REUSEADDR, false},
    {SOL_SOCKET, SO_TIMESTAMP, false}, {SOL_SOCKET, SO_BROADCAST, false},
};
static const struct option tcp_options[] = {
    {IPPROTO_TCP, TCP_NODELAY, false},  {IPPROTO_TCP, TCP_CORK, false},
    {IPPROTO_TCP, TCP_KEEPIDLE, false}, {IPPROTO_TCP, TCP_KEEPINTVL, false},
    {IPPROTO_TCP, TCP_KEEPCNT, false},  {IPPROTO_TCP, TCP_LINGER2, false},
    {IPPROTO_TCP, TCP_SYNCNT, false},   {IPPROTO_TCP, TCP_WINDOW_CLAMP, false},
    {IPPROTO_TCP, TCP_MAXSEG, false},   {IPPROTO_TCP, TCP_USER_TIMEOUT, false},
};
static const struct option ipv4_options[] = {
    {IPPROTO_IP, IP_TOS, false},
    {IPPROTO_IP, IP_TTL, false},
};
static const struct option ipv6_options[] = {
    {IPPROTO_IPV6, IPV6_TCLASS, false},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, false},
    {IPPROTO_IPV6, IPV6_V6ONLY, false},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

union value {
    int number;
    struct linger linger;
    struct timeval time;
};

/* Values of a fresh socket of one type and family, asked for once in a process: most sockets have
 * these, and one that differs is seen by a look at that one alone. */
struct defaults {
    bool known;
    union value any[COUNT(any_options)], tcp[COUNT(tcp_options)];
    union value ipv4[COUNT(ipv4_options)], ipv6[COUNT(ipv6_options)];
};

static void values_get(int fd, const struct option *option, union value *value, size_t n)
{
    memset(value, 0, n * sizeof *value);
    for (size_t i = 0; i < n; i++) {
        socklen_t len = sizeof *value;
        int done = getsockopt(fd, option[i].level, option[i].name, &value[i], &len);
        (void)done; /* what cannot be asked for is not replayed */
    }
}

static void values_replay(int from, int to, const struct option *option, const union value *fresh,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        union value value;
        socklen_t len = sizeof value;
        memset(&value, 0, sizeof value);
        if (getsockopt(from, option[i].level, option[i].name, &value, &len) < 0 ||
            memcmp(&value, &fresh[i], sizeof value) == 0)
            continue;
        if (option[i].doubled)
            value.number /= 2;
        int done = setsockopt(to, option[i].level, option[i].name, &value, len);
        (void)done;
    }
}

static int number(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? 0 : value;
}

static void defaults_get(struct defaults *d, int type, int family)
{
    int fd = socket(family, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    values_get(fd, any_options, d->any, COUNT(any_options));
    if (type == SOCK_STREAM)
        values_get(fd, tcp_options, d->tcp, COUNT(tcp_options));
    if (family == AF_INET6)
        values_get(fd, ipv6_options, d->ipv6, COUNT(ipv6_options));
    else
        values_get(fd, ipv4_options, d->ipv4, COUNT(ipv4_options));
    close(fd);
    d->known = true;
}

void replay_options(int from, int to)
{
    static struct defaults of[2][2];
    int type = number(from, SO_TYPE), family = number(from, SO_DOMAIN);
    bool same_family = family == number(to, SO_DOMAIN); /* a tunnel's server may be of the other */
    struct defaults *d = &of[type == SOCK_STREAM][family == AF_INET6];
    if (!d->known)
        defaults_get(d, type, family);
    if (!d->known)
        return;
    values_replay(from, to, any_options, d->any, COUNT(any_options));
    if (type == SOCK_STREAM)
        values_replay(from, to, tcp_options, d->tcp, COUNT(tcp_options));
    if (same_family && family == AF_INET6)
        values_replay(from, to, ipv6_options, d->ipv6, COUNT(ipv6_options));
    else if (same_family)
        values_replay(from, to, ipv4_options, d->ipv4, COUNT(ipv4_options));
}
