/* SPDX-License-Identifier: MIT
 * cares_channel.c: a c-ares channel to one name server, whose sockets leave by one link, on our own
 * loop.
 */
#include "route/cares_channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

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
 * no address of: the former, and the latter if that is allowed, is asked from a socket that no dialer
 * has bound. Any other is asked through the link, or not at all. */
static int sock_prepare(ares_socket_t fd, const struct channel *ch)
{
    const struct link *link = ch->link;
    const struct dp_addr *server = &ch->server;
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
    if (err != DP_ERR_FAMILY || !ch->outside)
        return err;
    log_rated(&once[1], INT64_MAX / 2, LOG_INFO, "dns",
              "%s has no address to ask its IPv%d name server from: its names leave by the "
              "machine's own route; `dns:` on the link changes that",
              link->name, addr_family(server) == AF_INET ? 4 : 6);
    return DP_OK;
}

/* To the server as we know it: c-ares does not keep the scope of a link-local address. */
static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *ctx)
{
    struct channel *ch = ctx;
    (void)sa, (void)len;
    ch->err = sock_prepare(fd, ch);
    if (ch->err != DP_OK) {
        errno = ENETUNREACH;
        return -1;
    }
    return connect(fd, (const struct sockaddr *)&ch->server.sa, ch->server.salen);
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

/* Nothing will come of its questions. */
static bool is_hopeless(const struct channel *ch)
{
    return ch->deaf && ch->pending > 0;
}

/* Sets the timer for c-ares' next time-out; the questions of a deaf channel end by it, too. */
static void channel_rearm(struct channel *ch)
{
    struct timeval tv;
    int64_t now = io_now(ch->io), at = 0;
    if (is_hopeless(ch))
        at = now;
    else if (ares_timeout(ch->ares, NULL, &tv))
        at = now + tv.tv_sec * NS_PER_S + tv.tv_usec * 1000;
    io_timer(ch->io, &ch->timer, at);
}

/* Lets c-ares work; its callbacks may come back in here with new questions. */
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

/* ---- questions ---- */

static void channel_answer(void *ctx, int status, int timeouts, unsigned char *msg, int len)
{
    struct channel_question *q = ctx;
    (void)timeouts;
    q->channel->pending--;
    q->done(q, status, msg, len > 0 ? (size_t)len : 0);
}

void channel_ask(struct channel *ch, struct channel_question *q, const char *name, int family)
{
    q->channel = ch;
    ch->pending++;
    ares_query(ch->ares, name, ns_c_in, family == AF_INET ? ns_t_a : ns_t_aaaa, channel_answer, q);
    channel_rearm(ch);
}

/* ---- life ---- */

static int set_server(const struct channel *ch)
{
    const struct dp_addr *a = &ch->server;
    struct ares_addr_port_node node = {
        .family = addr_family(a), .udp_port = a->port, .tcp_port = a->port};
    if (node.family == AF_INET)
        node.addr.addr4 = ((const struct sockaddr_in *)&a->sa)->sin_addr;
    else
        memcpy(&node.addr.addr6, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
    return ares_set_servers_ports(ch->ares, &node) == ARES_SUCCESS ? 0 : -1;
}

/* One question, one answer, whatever it says; and with everything given no file is read. */
static int ares_make(struct channel *ch)
{
    char lookups[] = "b";
    struct in_addr nobody = {0};
    struct ares_options options = {.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH,
                                   .timeout = CHANNEL_ANSWER_MS,
                                   .tries = 1,
                                   .ndots = 1,
                                   .servers = &nobody,
                                   .nservers = 1,
                                   .lookups = lookups,
                                   .sock_state_cb = sock_state,
                                   .sock_state_cb_data = ch};
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_SORTLIST | ARES_OPT_LOOKUPS |
               ARES_OPT_SOCK_STATE_CB;
    return ares_init_options(&ch->ares, &options, mask) == ARES_SUCCESS ? 0 : -1;
}

struct channel *channel_new(struct io *io, const struct link *link, const struct dp_addr *server)
{
    struct channel *ch = calloc(1, sizeof *ch);
    if (!ch)
        return NULL;
    ch->io = io;
    ch->link = link;
    ch->server = *server;
    ch->timer.fire = channel_timer;
    if (ares_make(ch) < 0) {
        free(ch);
        return NULL;
    }
    if (set_server(ch) < 0) {
        ares_destroy(ch->ares);
        free(ch);
        return NULL;
    }
    ares_set_socket_functions(ch->ares, &sock_functions, ch);
    return ch;
}

void channel_free(struct channel *ch)
{
    if (!ch)
        return;
    ares_destroy(ch->ares); /* closes its sockets, which ends their watches */
    io_timer(ch->io, &ch->timer, 0);
    free(ch);
}
