/* SPDX-License-Identifier: MIT
 * sockets.c: danted's sockets on their way out, from the anchor to their last close.
 */
#include "dante/sockets.h"
#include "base/clock.h"
#include "config/config.h"
#include "dante/libc.h"
#include "dante/module.h"
#include "dante/way.h"

#include <errno.h>
#include <linux/tcp.h> /* more of tcp_info than <netinet/tcp.h> knows */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum state { FOREIGN, ARMED, BOUND, LED };

struct sock {
    uint8_t state;
    uint8_t proto;   /* of BOUND: DP_BIND or DP_UDP */
    uint32_t ticket; /* 0: has no claim */
    uint64_t link;   /* of BOUND: its hash */
};

/* By descriptor. Of this process. */
static struct sock *table;
static int table_len;

/* The client's socket that this process was given last: a request child serves one at a time. */
static int client_fd = -1;

bool socket_is_ours(int fd)
{
    return fd >= 0 && fd < table_len && table[fd].state != FOREIGN;
}

void sockets_forget(void)
{
    if (table)
        memset(table, 0, (size_t)table_len * sizeof *table);
    client_fd = -1;
}

/* Makes room for fd in the table. */
static int table_reach(int fd)
{
    if (fd < table_len)
        return 0;
    int len = table_len ? table_len : 256;
    while (len <= fd)
        len *= 2;
    struct sock *more = realloc(table, (size_t)len * sizeof *more);
    if (!more)
        return -ENOMEM;
    memset(more + table_len, 0, (size_t)(len - table_len) * sizeof *more);
    table = more;
    table_len = len;
    return 0;
}

/* ---- bind() ---- */

static bool is_anchor(const struct dp_addr *addr)
{
    const struct conf_dante *conf = module_router()->config->dante;
    for (size_t i = 0; i < conf->n_anchors; i++)
        if (addr_same_ip(addr, &conf->anchor[i]))
            return true;
    return false;
}

static const struct dp_addr *anchor_of(int family)
{
    const struct conf_dante *conf = module_router()->config->dante;
    for (size_t i = 0; i < conf->n_anchors; i++)
        if (addr_family(&conf->anchor[i]) == family)
            return &conf->anchor[i];
    return NULL;
}

/* Who asked; salen 0: not known. */
static struct dp_addr client_addr(void)
{
    struct dp_addr addr = {0};
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (client_fd >= 0 && getpeername(client_fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr(&addr, (struct sockaddr *)&sa, len);
    return addr;
}

/* Holds the socket at the anchor until it is known where it shall lead. An anchor need not be an
 * address of this machine. */
static int arm(int fd, const struct dp_addr *anchor, uint16_t port)
{
    struct dp_addr at = *anchor;
    const int yes = 1;
    addr_set_port(&at, port);
    if (table_reach(fd) < 0)
        return -ENOMEM;
    if (addr_family(&at) == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof yes);
    else
        setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &yes, sizeof yes);
    if (libc()->bind(fd, (const struct sockaddr *)&at.sa, at.salen) < 0)
        return -errno;
    table[fd] = (struct sock){.state = ARMED};
    return 0;
}

static int bind_out(int fd, uint32_t proto, uint16_t port)
{
    /* An io child relays the datagrams of many, and does not say whose these will be. */
    const struct dp_addr client = proto == DP_UDP ? (struct dp_addr){0} : client_addr();
    struct sock sock = {.state = BOUND, .proto = (uint8_t)proto};
    if (table_reach(fd) < 0)
        return -ENOMEM;
    int err = way_bind(fd, proto, &client, port, &sock.ticket, &sock.link);
    if (err != DP_OK)
        return -way_errno(err);
    table[fd] = sock;
    return 0;
}

static int type_of(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ? 0 : type;
}

static bool may_reuse(int fd)
{
    int yes = 0;
    socklen_t len = sizeof yes;
    return getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, &len) == 0 && yes;
}

/* danted asks for the client's own port when it is to connect, and for any when that is below 1024;
 * when it is to listen, for the one that the client wants or for any, and for the client's own only
 * for BIND by its extension, which lets the port be reused. So a client with a port below 1024 is
 * taken for one that connects, and BIND of the number of the client's own port as well: listen()
 * refuses these. */
static bool will_connect(int fd, uint16_t port)
{
    const struct dp_addr client = client_addr();
    if (!client.salen)
        return true;
    return port ? port == client.port && !may_reuse(fd) : client.port < IPPORT_RESERVED;
}

static int bind_anchored(int fd, const struct dp_addr *addr, bool again)
{
    int type = type_of(fd);
    if (type == SOCK_DGRAM)
        return bind_out(fd, DP_UDP, addr->port);
    if (type != SOCK_STREAM)
        return -EADDRNOTAVAIL; /* fails closed */
    if (module_is_mother())
        return arm(fd, addr, addr->port);
    if (again || will_connect(fd, addr->port))
        return arm(fd, addr, 0);
    return bind_out(fd, DP_BIND, addr->port);
}

int socket_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    struct dp_addr addr = {0};
    if (len >= sizeof(struct sockaddr_in) &&
        (sa->sa_family == AF_INET || sa->sa_family == AF_INET6))
        addr_from_sockaddr(&addr, sa, len);
    if (module_is_mother() && addr.salen && addr.port == 0 && type_of(fd) == SOCK_STREAM)
        module_check(&addr); /* the sockets that it listens on have ports */
    if (addr.salen && is_anchor(&addr))
        return bind_anchored(fd, &addr, false);
    /* A new socket under an old number, bound to what socket_name() has told. */
    bool again = addr.salen && socket_is_ours(fd) && table[fd].state == ARMED && addr_is_any(&addr);
    const struct dp_addr *anchor = again ? anchor_of(addr_family(&addr)) : NULL;
    if (anchor)
        return bind_anchored(fd, anchor, true);
    return libc()->bind(fd, sa, len) < 0 ? -errno : 0;
}

/* Before the connection stands danted must not take the anchor for the address that it leaves from:
 * it asks again afterwards if it has been told none. */
int socket_name(int fd, struct sockaddr *sa, socklen_t *len)
{
    socklen_t room = *len;
    if (libc()->getsockname(fd, sa, len) < 0)
        return -errno;
    if (table[fd].state != ARMED || module_is_mother())
        return 0;
    struct sockaddr_storage any = {.ss_family = sa->sa_family};
    memcpy(sa, &any, *len < room ? *len : room);
    return 0;
}

int socket_listen(int fd, int backlog)
{
    bool armed = socket_is_ours(fd) && table[fd].state == ARMED;
    if (armed && module_is_mother())
        module_refuse("an anchor is also an `internal` address in danted.conf: clients would be "
                      "taken for what leaves; choose another anchor");
    if (armed)
        return -EADDRNOTAVAIL; /* fails closed: nobody could reach it there */
    if (libc()->listen(fd, backlog) < 0)
        return -errno;
    if (module_is_mother())
        module_serves();
    return 0;
}

/* ---- connect() ---- */

/* Unconnecting a UDP socket takes it off its device as well. */
static int lead_datagrams(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (libc()->connect(fd, sa, len) < 0)
        return -errno;
    if (sa->sa_family != AF_UNSPEC || way_restore(fd, table[fd].link) == DP_OK)
        return 0;
    return -ENETUNREACH;
}

static void claim_drop(uint32_t ticket, uint64_t rx, uint64_t tx)
{
    if (ticket)
        router_claim_end(module_router(), module_ledger(), ticket, clock_now_ns(), rx, tx);
}

int socket_lead(int fd, const struct sockaddr *sa, socklen_t len)
{
    struct sock *sock = &table[fd];
    if (sock->state == BOUND && sock->proto == DP_UDP)
        return lead_datagrams(fd, sa, len);
    if (sock->state == LED || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
        return libc()->connect(fd, sa, len) < 0 ? -errno : 0;
    claim_drop(sock->ticket, 0, 0); /* it was taken for one that listens */
    *sock = (struct sock){.state = ARMED};

    const struct dp_addr client = client_addr();
    struct dp_addr to = {0};
    addr_from_sockaddr(&to, sa, len);
    uint32_t ticket;
    int err = way_connect(fd, &client, &to, &ticket);
    if (err != DP_OK)
        return -way_errno(err);
    table[fd] = (struct sock){.state = LED, .ticket = ticket};
    return 0;
}

/* ---- BIND: who connects takes over the claim of the socket that listened ---- */

int socket_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    int got = libc()->accept(fd, sa, len);
    if (got < 0)
        return -errno;
    if (table[fd].ticket && table_reach(got) == 0) {
        uint32_t ticket = ledger_rename(module_ledger(), table[fd].ticket, way_cookie(got));
        table[fd].ticket = 0;
        table[got] = (struct sock){.state = LED, .ticket = ticket};
    }
    return got;
}

/* ---- another socket under the number, and the last close ---- */

static void bytes_of(int fd, uint64_t *rx, uint64_t *tx)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return;
    *rx = info.tcpi_bytes_received;
    *tx = info.tcpi_bytes_acked;
}

/* What danted does between two addresses of a name, and with a UDP socket that it cannot unconnect:
 * the new socket is to go on where the old one was. */
int socket_replace(int from, int to)
{
    struct sock *sock = &table[to];
    if (sock->state == LED) {
        struct sock old = *sock;
        *sock = (struct sock){0};
        int rc = libc()->dup2(from, to);
        int err = errno;
        claim_drop(old.ticket, 0, 0);
        return rc < 0 ? -err : rc;
    }
    if (sock->state == BOUND && way_restore(from, sock->link) != DP_OK)
        return -ENETUNREACH;
    if (libc()->dup2(from, to) < 0)
        return -errno;
    if (sock->state == BOUND && sock->ticket)
        sock->ticket = ledger_rename(module_ledger(), sock->ticket, way_cookie(to));
    return to;
}

int socket_end(int fd)
{
    struct sock old = table[fd];
    uint64_t rx = 0, tx = 0;
    table[fd] = (struct sock){0};
    if (old.state == LED && old.ticket)
        bytes_of(fd, &rx, &tx);
    int rc = libc()->close(fd);
    int err = errno;
    claim_drop(old.ticket, rx, tx);
    return rc < 0 ? -err : 0;
}

/* ---- from process to process ---- */

/* The n-th descriptor in a message, or -1. */
static int descriptor_in(const struct msghdr *msg, size_t n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (n < count) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + n * sizeof fd, sizeof fd);
            return fd;
        }
        n -= count;
    }
    return -1;
}

void sockets_leave(const struct msghdr *msg)
{
    int fd;
    for (size_t n = 0; (fd = descriptor_in(msg, n)) >= 0; n++)
        if (socket_is_ours(fd) && table[fd].ticket)
            ledger_send(module_ledger(), table[fd].ticket, clock_now_ns());
}

void sockets_left(const struct msghdr *msg, bool sent)
{
    int fd;
    for (size_t n = 0; (fd = descriptor_in(msg, n)) >= 0; n++) {
        if (!socket_is_ours(fd) || !table[fd].ticket)
            continue;
        if (sent)
            table[fd] = (struct sock){0}; /* closing it here ends nothing */
        else
            ledger_keep(module_ledger(), table[fd].ticket);
    }
}

void sockets_arrive(struct msghdr *msg)
{
    int fd;
    for (size_t n = 0; (fd = descriptor_in(msg, n)) >= 0; n++) {
        if (n == 0)
            client_fd = fd;
        if (!ledger_any_sent(module_ledger()))
            continue;
        uint64_t cookie = way_cookie(fd);
        uint32_t ticket = cookie ? ledger_take(module_ledger(), cookie) : 0;
        if (ticket && table_reach(fd) == 0)
            table[fd] = (struct sock){.state = LED, .ticket = ticket};
    }
}
