/* SPDX-License-Identifier: MIT
 * socket.c: sockets that leave by a link, and what went wrong with them.
 */
#include "route/socket.h"
#include "base/clock.h"
#include "base/error.h"

#include <errno.h>
#include <linux/tcp.h> /* more of tcp_info than <netinet/tcp.h> knows */
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* An error that connect() gives at once came from this machine: there is no way out by this link. */
static int error_local(int err)
{
    switch (err) {
    case ENETUNREACH: /* no route for this family: the other may have one */
        return DP_ERROR(DP_UNABLE, 3);
    case EHOSTUNREACH:
        return DP_ERROR(DP_LINK, 4);
    case EACCES:
    case EPERM: /* a local firewall, perhaps for this link only */
        return DP_ERROR(DP_LINK, 2);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        return DP_ERR_LOCAL;
    case EAFNOSUPPORT:
        return DP_ERR_FAMILY;
    case ECONNREFUSED:
    case ECONNRESET:
        return DP_ERR_REFUSED;
    default:
        return DP_ERR_LINK;
    }
}

/* A destination refuses with a reset, which is a segment. A refusal by ICMP comes from a firewall,
 * perhaps on the way by this link only. */
static int error_refused(int fd)
{
    struct tcp_info info = {.tcpi_segs_in = 1};
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_segs_in > 0)
        return DP_ERR_REFUSED;
    return DP_ERROR(DP_PATH, 5);
}

/* One that comes later came from the way or from the destination. */
static int error_remote(int fd, int err)
{
    switch (err) {
    case ECONNREFUSED:
        return error_refused(fd);
    case ENETUNREACH:
        return DP_ERR_NET_UNREACH;
    case EHOSTUNREACH:
    case ETIMEDOUT:
        return DP_ERR_HOST_UNREACH;
    case EACCES: /* administratively prohibited */
        return DP_ERR_DENIED;
    default:
        return error_local(err);
    }
}

static void option_set(int fd, int level, int option, int value)
{
    /* Each only improves the connection: without it things still work. */
    int done = setsockopt(fd, level, option, &value, sizeof value);
    (void)done;
}

void socket_no_delay(int fd)
{
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void socket_keepalive(int fd)
{
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

struct socket_health socket_health(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return (struct socket_health){0};
    return (struct socket_health){.unacked = info.tcpi_unacked > 0,
                                  .quiet_ns = info.tcpi_last_ack_recv * NS_PER_MS};
}

bool socket_has_resent(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_total_retrans > 0;
}

void socket_set_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    int done = setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)done;
}

int socket_dress(int fd, const struct link *bottom, int family, int type, struct dp_addr *local)
{
    *local = (struct dp_addr){0};
    const struct dp_dialer_ops *ops = instance_dialer(bottom->dialer);
    if (!ops->prepare)
        return DP_OK;
    int err = ops->prepare(bottom->dialer->self, fd, family, type, local);
    return err == DP_AGAIN ? DP_ERR_LINK : error_checked(err);
}

int socket_prepare(int fd, const struct link *bottom, int family, int type, struct dp_addr *local)
{
    int err = socket_dress(fd, bottom, family, type, local);
    if (err != DP_OK || !local->salen)
        return err;
    option_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); /* or ports run out early */
    if (bind(fd, (const struct sockaddr *)&local->sa, local->salen) < 0)
        return error_local(errno);
    return DP_OK;
}

int socket_open(const struct link *bottom, int family, int type, struct dp_addr *local)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_local(errno);
    *local = (struct dp_addr){0};
    int err = bottom ? socket_prepare(fd, bottom, family, type, local) : DP_OK;
    if (err == DP_OK) {
        if (type == SOCK_STREAM)
            socket_no_delay(fd);
        return fd;
    }
    close(fd);
    return err;
}

bool socket_is_own(const struct dp_addr *addr)
{
    struct dp_addr any_port = *addr;
    addr_set_port(&any_port, 0);
    int fd = socket(addr_family(addr), SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int failed = bind(fd, (const struct sockaddr *)&any_port.sa, any_port.salen);
    close(fd);
    return failed == 0;
}

void socket_fast_open(int fd)
{
    option_set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
}

static bool is_multicast(const struct dp_addr *addr)
{
    const void *sa = &addr->sa;
    return addr_family(addr) == AF_INET6
               ? IN6_IS_ADDR_MULTICAST(&((const struct sockaddr_in6 *)sa)->sin6_addr)
               : IN_MULTICAST(ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
}

/* To a datagram socket on the same device the kernel says so. */
static bool is_broadcast(int fd, const struct dp_addr *addr)
{
    char device[IF_NAMESIZE] = "";
    socklen_t len = sizeof device;
    int probe = addr_family(addr) == AF_INET ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (probe < 0)
        return false;
    bool denied = getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) == 0 &&
                  setsockopt(probe, SOL_SOCKET, SO_BINDTODEVICE, device, len) == 0 &&
                  connect(probe, (const struct sockaddr *)&addr->sa, addr->salen) < 0 &&
                  errno == EACCES;
    close(probe);
    return denied;
}

int socket_connect(int fd, const struct dp_addr *to)
{
    if (connect(fd, (const struct sockaddr *)&to->sa, to->salen) == 0)
        return DP_OK;
    int err = errno;
    if (err == EINPROGRESS || err == EINTR)
        return DP_AGAIN;
    /* No connection leads to many: that is no fault of the link's. */
    if ((err == ENETUNREACH || err == EACCES) && (is_multicast(to) || is_broadcast(fd, to)))
        return DP_ERROR(DP_DEST, 3);
    return error_local(err);
}

/* Writable and well is connected. Else having a peer is the proof: SO_ERROR alone is 0 while the
 * connect is still pending. */
static int connect_result(int fd, short revents)
{
    if (revents & POLLOUT && !(revents & (POLLERR | POLLHUP)))
        return DP_OK;
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        return DP_OK;
    int err = 0;
    len = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        return DP_ERR_LOCAL;
    return err ? error_remote(fd, err) : DP_AGAIN;
}

int socket_connected(int fd, short revents, const struct dp_addr *to, struct dp_addr *bound)
{
    int result = connect_result(fd, revents);
    if (result != DP_OK)
        return result;
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
        return DP_ERR_LOCAL;
    addr_from_sockaddr(bound, (const struct sockaddr *)&own, len);
    if (addr_equal(bound, to)) /* it met itself: nobody listens there */
        return DP_ERR_REFUSED;
    return DP_OK;
}

/* With fast open it is the first send that connects. */
int socket_send(int fd, const void *bytes, size_t len, size_t *sent)
{
    ssize_t n;
    while ((n = send(fd, bytes, len, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    *sent = n > 0 ? (size_t)n : 0;
    if (n >= 0 || errno == EAGAIN || errno == EINPROGRESS)
        return n >= 0 ? DP_OK : DP_AGAIN;
    return error_remote(fd, errno);
}
