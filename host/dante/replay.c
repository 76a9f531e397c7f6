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

static void replay(int from, int to, const struct option *option)
{
    union {
        int number;
        struct linger linger;
        struct timeval time;
    } old, new;
    memset(&old, 0, sizeof old);
    memset(&new, 0, sizeof new);
    socklen_t old_len = sizeof old, new_len = sizeof new;
    if (getsockopt(from, option->level, option->name, &old, &old_len) < 0 ||
        getsockopt(to, option->level, option->name, &new, &new_len) < 0 ||
        memcmp(&old, &new, sizeof old) == 0)
        return;
    if (option->doubled)
        old.number /= 2;
    int done = setsockopt(to, option->level, option->name, &old, old_len);
    (void)done;
}

static void replay_all(int from, int to, const struct option *option, size_t n)
{
    for (size_t i = 0; i < n; i++)
        replay(from, to, &option[i]);
}

static int number(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? 0 : value;
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

void replay_options(int from, int to)
{
    replay_all(from, to, any_options, COUNT(any_options));
    if (number(from, SO_TYPE) == SOCK_STREAM)
        replay_all(from, to, tcp_options, COUNT(tcp_options));
    int family = number(from, SO_DOMAIN);
    if (family != number(to, SO_DOMAIN))
        return; /* a tunnel's server may be of the other family */
    if (family == AF_INET6)
        replay_all(from, to, ipv6_options, COUNT(ipv6_options));
    else
        replay_all(from, to, ipv4_options, COUNT(ipv4_options));
}
