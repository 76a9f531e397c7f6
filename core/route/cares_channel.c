/* SPDX-License-Identifier: MIT
 * cares_channel.c: a c-ares channel whose sockets leave by one link, on our own loop.
 */
#include "route/cares_channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define QUERY_TIMEOUT_MS 800 /* first round; each further round doubles it */
#define QUERY_TRIES 3        /* a lost datagram or two within an attempt's limit */

struct watch {
    struct io_fd io;
    struct channel *channel;
    struct watch *next;
};

/* ---- sockets, as c-ares wants them ---- */

static ares_socket_t sock_open(int family, int type, int protocol, void *ctx)
{
    struct channel *ch = ctx;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    ch->err = fd < 0 ? DP_ERR_LOCAL : DP_OK;
    return fd;
}

static int sock_close(ares_socket_t fd, void *ctx)
{
    (void)ctx;
    return close(fd);
}

/* A server on the loopback cannot be reached through a device, nor one of a family that the link has
 * no address of: these are asked from a socket that no dialer has bound. Any other is asked through
 * the link, or not at all. */
static int sock_prepare(ares_socket_t fd, const struct link *link, const struct dp_addr *server)
{
    static struct log_rate once[2];
    struct dp_addr local;
    int type = SOCK_DGRAM;
    socklen_t len = sizeof type;
    if (addr_is_loopback(server)) {
        if (instance_dialer(link->dialer)->prepare)
            log_rated(&once[0], INT64_MAX / 2, LOG_INFO, "dns",
                      "the system's name server is on this host's loopback: names leave by the "
                      "machine's own route, not by their link; `dns:` on the link changes that");
        return DP_OK;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return DP_ERR_LOCAL;
    int err = socket_prepare(fd, link, addr_family(server), type, &local);
    if (err != DP_ERR_FAMILY)
        return err;
    log_rated(&once[1], INT64_MAX / 2, LOG_INFO, "dns",
              "%s has no address to ask its IPv%d name server from: its names leave by the "
              "machine's own route; `dns:` on the link changes that",
              link->name, addr_family(server) == AF_INET ? 4 : 6);
    return DP_OK;
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *ctx)
{
    struct channel *ch = ctx;
    struct dp_addr server;
    addr_from_sockaddr(&server, sa, len);
    ch->err = sock_prepare(fd, ch->link, &server);
    if (ch->err != DP_OK) {
        errno = ENETUNREACH;
        return -1;
    }
    return connect(fd, sa, len);
}

static ares_ssize_t sock_recv(ares_socket_t fd, void *buf, size_t size, int flags,
                              struct sockaddr *from, ares_socklen_t *from_len, void *ctx)
{
    (void)ctx;
    return recvfrom(fd, buf, size, flags, from, from_len);
}

static ares_ssize_t sock_send(ares_socket_t fd, const struct iovec *iov, int n, void *ctx)
{
    (void)ctx;
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static const struct ares_socket_functions sock_functions = {
    .asocket = sock_open,
    .aclose = sock_close,
    .aconnect = sock_connect,
    .arecvfrom = sock_recv,
    .asendv = sock_send,
};

/* ---- channels ---- */

void channel_free(struct channel *ch)
{
    ares_destroy(ch->ares); /* closes its sockets, which ends their watches */
    io_timer(ch->io, &ch->timer, 0);
    if (!ch->prev)
        HASH_DEL(*ch->all, ch);
    else if ((*ch->prev = ch->next))
        ch->next->prev = ch->prev;
    ref_drop(&ch->link->ref);
    free(ch);
}

void channel_retire(struct channel *ch, struct channel **retired)
{
    HASH_DEL(*ch->all, ch);
    ch->stale = true;
    ch->next = *retired;
    ch->prev = retired;
    if (ch->next)
        ch->next->prev = &ch->next;
    *retired = ch;
}

bool channel_is_idle(const struct channel *ch)
{
    return ch->pending == 0 && !ch->inside;
}

/* Nothing will come of its queries. */
static bool is_hopeless(const struct channel *ch)
{
    return ch->deaf && ch->pending > 0;
}

/* Sets the timer for c-ares' next time-out; an idle stale channel ends by it, too, and so do the
 * queries of a deaf one. */
void channel_rearm(struct channel *ch)
{
    struct timeval tv;
    int64_t now = io_now(ch->io), at = 0;
    if ((ch->stale && channel_is_idle(ch)) || is_hopeless(ch))
        at = now;
    else if (ares_timeout(ch->ares, NULL, &tv))
        at = now + tv.tv_sec * NS_PER_S + tv.tv_usec * 1000;
    io_timer(ch->io, &ch->timer, at);
}

/* Lets c-ares work; its callbacks may come back in here with new lookups. */
static void channel_process(struct channel *ch, ares_socket_t readable, ares_socket_t writable)
{
    ch->inside = true;
    if (is_hopeless(ch))
        ares_cancel(ch->ares);
    else
        ares_process_fd(ch->ares, readable, writable);
    ch->inside = false;
    channel_rearm(ch);
}

static void channel_timer(struct io_timer *t)
{
    struct channel *ch = (struct channel *)((char *)t - offsetof(struct channel, timer));
    if (ch->stale && channel_is_idle(ch))
        channel_free(ch);
    else
        channel_process(ch, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void watch_ready(struct io_fd *io, short revents)
{
    struct watch *w = (struct watch *)((char *)io - offsetof(struct watch, io));
    ares_socket_t bad = ARES_SOCKET_BAD, fd = w->io.fd;
    channel_process(w->channel, revents & ~POLLOUT ? fd : bad, revents & ~POLLIN ? fd : bad);
}

static void watch_drop(struct channel *ch, struct watch **at)
{
    struct watch *w = *at;
    *at = w->next;
    io_watch(ch->io, &w->io, 0);
    free(w);
}

/* c-ares says what it waits for on a socket; nothing: it is about to close it. */
static void sock_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct channel *ch = ctx;
    short events = (short)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    struct watch **at = &ch->watches;
    while (*at && (*at)->io.fd != fd)
        at = &(*at)->next;
    if (!*at && events) {
        *at = calloc(1, sizeof **at);
        if (!*at) {
            ch->deaf = true;
            return;
        }
        (*at)->channel = ch;
        (*at)->io.fd = fd;
        (*at)->io.ready = watch_ready;
    }
    if (!*at)
        return;
    if (!events)
        watch_drop(ch, at);
    else if (io_watch(ch->io, &(*at)->io, events) < 0)
        ch->deaf = true;
}

/* The link's own name servers instead of the system's. */
static int channel_servers(struct channel *ch)
{
    const struct link *link = ch->link;
    if (link->n_dns == 0)
        return 0;
    struct ares_addr_port_node *node = calloc(link->n_dns, sizeof *node);
    if (!node)
        return -1;
    for (size_t i = 0; i < link->n_dns; i++) {
        const struct dp_addr *a = &link->dns[i];
        node[i].next = i + 1 < link->n_dns ? &node[i + 1] : NULL;
        node[i].family = addr_family(a);
        node[i].udp_port = node[i].tcp_port = a->port;
        if (node[i].family == AF_INET)
            node[i].addr.addr4 = ((const struct sockaddr_in *)&a->sa)->sin_addr;
        else
            memcpy(&node[i].addr.addr6, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
    }
    int err = ares_set_servers_ports(ch->ares, node);
    free(node);
    return err == ARES_SUCCESS ? 0 : -1;
}

struct channel *channel_new(struct channel **all, struct io *io, struct link *link)
{
    struct channel *ch = calloc(1, sizeof *ch);
    struct ares_options options = {.timeout = QUERY_TIMEOUT_MS,
                                   .tries = QUERY_TRIES,
                                   .sock_state_cb = sock_state,
                                   .sock_state_cb_data = ch};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (!ch || ares_init_options(&ch->ares, &options, mask) != ARES_SUCCESS) {
        free(ch);
        return NULL;
    }
    ch->all = all;
    ch->io = io;
    ch->link = link;
    ch->made_ns = io_now(io);
    ch->timer.fire = channel_timer;
    if (channel_servers(ch) < 0) {
        ares_destroy(ch->ares);
        free(ch);
        return NULL;
    }
    ares_set_socket_functions(ch->ares, &sock_functions, ch);
    HASH_ADD_PTR(*all, link, ch);
    if (!ch->hh.tbl) {
        ares_destroy(ch->ares);
        free(ch);
        return NULL;
    }
    ref_get(&link->ref);
    return ch;
}
