/* SPDX-License-Identifier: MIT
 * resolver_cares.c: names by c-ares, one channel for each link.
 *
 * A lookup asks for IPv4 and IPv6 at once. When one has come the other is waited for a moment only
 * (RFC 8305, section 3). A channel is made when its link is first asked, and made anew when it has
 * been idle for a while, because the system's name servers may have changed.
 */
#include "route/resolver_cares.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uthash.h>

#define OTHER_FAMILY_NS (50 * NS_PER_MS) /* RFC 8305, section 8: resolution delay */
#define CHANNEL_FRESH_NS (10 * NS_PER_S) /* how old an idle channel may be */
#define QUERY_TIMEOUT_MS 800             /* first round; each further round doubles it */
#define QUERY_TRIES 3                    /* a lost datagram or two within an attempt's limit */
#define ADDRESSES_MAX 32

struct channel {
    UT_hash_handle hh;
    struct resolver_cares *owner;
    struct link *link; /* a reference; the key */
    ares_channel ares;
    struct watch *watches;
    struct io_timer timer;
    unsigned pending; /* lookups' families under way */
    int64_t made_ns;
    bool stale;  /* to be freed when nothing is pending */
    bool inside; /* c-ares is at work on it, further up the stack */
};

struct watch {
    struct io_fd io;
    struct channel *channel;
    struct watch *next;
};

struct resolver_cares {
    struct resolver base;
    struct io *io;
    struct channel *channels;
};

struct lookup {
    struct resolver_query *query; /* NULL: cancelled */
    struct channel *channel;
    struct io_timer timer;
    unsigned pending;
    int err; /* of the families that have failed */
    struct dp_addr addr[ADDRESSES_MAX];
    size_t n;
};

/* ---- sockets, as c-ares wants them ---- */

static ares_socket_t sock_open(int family, int type, int protocol, void *ctx)
{
    (void)ctx;
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int sock_close(ares_socket_t fd, void *ctx)
{
    (void)ctx;
    return close(fd);
}

/* A server on the loopback cannot be reached through a device: it is asked from a socket that no
 * dialer has prepared. Any other is asked through the link, or not at all. */
static int sock_prepare(ares_socket_t fd, const struct link *link, const struct dp_addr *server)
{
    static struct log_rate once;
    struct dp_addr local;
    int type = SOCK_DGRAM;
    socklen_t len = sizeof type;
    if (addr_is_loopback(server)) {
        if (instance_dialer(link->dialer)->prepare)
            log_rated(&once, INT64_MAX / 2, LOG_INFO, "dns",
                      "the system's name server is on this host's loopback: names leave by the "
                      "machine's own route, not by their link; `dns:` on the link changes that");
        return DP_OK;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return DP_ERR_LOCAL;
    return socket_prepare(fd, link, addr_family(server), type, &local);
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *ctx)
{
    const struct channel *ch = ctx;
    struct dp_addr server;
    addr_from_sockaddr(&server, sa, len);
    if (sock_prepare(fd, ch->link, &server) != DP_OK) {
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

static void channel_free(struct channel *ch)
{
    ares_destroy(ch->ares); /* closes its sockets, which ends their watches */
    io_timer(ch->owner->io, &ch->timer, 0);
    HASH_DEL(ch->owner->channels, ch);
    ref_drop(&ch->link->ref);
    free(ch);
}

static bool channel_is_idle(const struct channel *ch)
{
    return ch->pending == 0 && !ch->inside;
}

/* Sets the timer for c-ares' next time-out; an idle stale channel ends by it, too. */
static void channel_rearm(struct channel *ch)
{
    struct timeval tv;
    int64_t now = io_now(ch->owner->io), at = 0;
    if (ch->stale && channel_is_idle(ch))
        at = now;
    else if (ares_timeout(ch->ares, NULL, &tv))
        at = now + tv.tv_sec * NS_PER_S + tv.tv_usec * 1000;
    io_timer(ch->owner->io, &ch->timer, at);
}

/* Lets c-ares work; its callbacks may come back in here with new lookups. */
static void channel_process(struct channel *ch, ares_socket_t readable, ares_socket_t writable)
{
    ch->inside = true;
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
    io_watch(ch->owner->io, &w->io, 0);
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
        if (!*at)
            return; /* the query times out */
        (*at)->channel = ch;
        (*at)->io.fd = fd;
        (*at)->io.ready = watch_ready;
    }
    if (!*at)
        return;
    if (events)
        io_watch(ch->owner->io, &(*at)->io, events);
    else
        watch_drop(ch, at);
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

static struct channel *channel_new(struct resolver_cares *r, struct link *link)
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
    ch->owner = r;
    ch->link = link;
    ch->made_ns = io_now(r->io);
    ch->timer.fire = channel_timer;
    if (channel_servers(ch) < 0) {
        ares_destroy(ch->ares);
        free(ch);
        return NULL;
    }
    ares_set_socket_functions(ch->ares, &sock_functions, ch);
    ref_get(&link->ref);
    HASH_ADD_PTR(r->channels, link, ch);
    return ch;
}

static struct channel *channel_for(struct resolver_cares *r, struct link *link)
{
    struct channel *ch;
    HASH_FIND_PTR(r->channels, &link, ch);
    if (ch && channel_is_idle(ch) && io_now(r->io) - ch->made_ns > CHANNEL_FRESH_NS) {
        channel_free(ch);
        ch = NULL;
    }
    return ch ? ch : channel_new(r, link);
}

/* ---- lookups ---- */

static void lookup_free(struct lookup *l, struct resolver_cares *r)
{
    io_timer(r->io, &l->timer, 0);
    free(l);
}

/* Tells who asked, once. The lookup itself stays until c-ares has called back for each family. */
static void lookup_tell(struct lookup *l)
{
    struct resolver_query *q = l->query;
    struct resolver_cares *r = l->channel->owner;
    l->query = NULL;
    io_timer(r->io, &l->timer, 0);
    if (q) {
        int err = l->n ? DP_OK : l->err;
        struct dp_addr addr[ADDRESSES_MAX];
        size_t n = l->n;
        memcpy(addr, l->addr, n * sizeof *addr);
        if (l->pending == 0)
            lookup_free(l, r);
        q->done(q, err, addr, n);
    } else if (l->pending == 0) {
        lookup_free(l, r);
    }
}

static void lookup_timer(struct io_timer *t)
{
    lookup_tell((struct lookup *)((char *)t - offsetof(struct lookup, timer)));
}

static int lookup_error(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return DP_ERR_NO_HOST;
    case ARES_ENOMEM:
        return DP_ERR_LOCAL;
    default:
        return DP_ERR_HOST_UNREACH;
    }
}

static void lookup_add(struct lookup *l, const struct ares_addrinfo *info)
{
    for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next)
        if (l->n < ADDRESSES_MAX && (node->ai_family == AF_INET || node->ai_family == AF_INET6)) {
            struct dp_addr *a = &l->addr[l->n++];
            addr_from_sockaddr(a, node->ai_addr, node->ai_addrlen);
            addr_unmap(a);
        }
}

static void lookup_answer(void *ctx, int status, int timeouts, struct ares_addrinfo *info)
{
    struct lookup *l = ctx;
    (void)timeouts;
    l->pending--;
    l->channel->pending--;
    if (status == ARES_SUCCESS && info)
        lookup_add(l, info);
    else if (!l->err || l->err == DP_ERR_NO_HOST) /* no answer says less than "no such host" */
        l->err = lookup_error(status);
    ares_freeaddrinfo(info);
    /* In resolver_start() still, or the other family is worth a moment: the timer tells. */
    struct io *io = l->channel->owner->io;
    if (l->timer.at_ns == 0 && l->pending > 0 && l->n > 0)
        io_timer(io, &l->timer, io_now(io) + OTHER_FAMILY_NS);
    else if (l->pending == 0 && l->timer.fire)
        lookup_tell(l);
}

/* RFC 6761, section 6.3: localhost and names below it are the loopback, and asked of nobody. */
static bool is_localhost(const char *name)
{
    static const char suffix[] = ".localhost";
    size_t len = strlen(name), n = sizeof suffix - 1;
    return strcasecmp(name, suffix + 1) == 0 ||
           (len > n && strcasecmp(name + len - n, suffix) == 0);
}

static void lookup_localhost(struct lookup *l)
{
    static const uint8_t v6[16] = {[15] = 1}, v4[4] = {127, 0, 0, 1};
    addr_from_ip(&l->addr[l->n++], AF_INET6, v6, 0);
    addr_from_ip(&l->addr[l->n++], AF_INET, v4, 0);
}

static void lookup_ask(struct lookup *l, const char *name)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
    l->pending = 2;
    l->channel->pending += 2;
    hints.ai_family = AF_INET6;
    ares_getaddrinfo(l->channel->ares, name, NULL, &hints, lookup_answer, l);
    hints.ai_family = AF_INET;
    ares_getaddrinfo(l->channel->ares, name, NULL, &hints, lookup_answer, l);
}

static int cares_start(struct resolver *base, struct link *bottom, const char *name, size_t len,
                       struct resolver_query *q)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    char text[256];
    if (len == 0 || len >= sizeof text || memchr(name, '\0', len))
        return DP_ERR_NO_HOST;
    memcpy(text, name, len);
    text[len] = '\0';

    struct channel *ch = channel_for(r, bottom);
    struct lookup *l = ch ? calloc(1, sizeof *l) : NULL;
    if (!l)
        return DP_ERR_LOCAL;
    l->query = q;
    l->channel = ch;
    q->lookup = l;
    if (is_localhost(text))
        lookup_localhost(l);
    else
        lookup_ask(l, text);
    l->timer.fire = lookup_timer; /* from here on answers are told at once */
    if (l->pending == 0)
        io_timer(r->io, &l->timer, io_now(r->io));
    channel_rearm(ch);
    return DP_OK;
}

static void cares_cancel(struct resolver *base, struct resolver_query *q)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct lookup *l = q->lookup;
    l->query = NULL;
    if (l->pending == 0)
        lookup_free(l, r);
}

static const struct resolver_ops cares_ops = {.start = cares_start, .cancel = cares_cancel};

struct resolver *resolver_cares_new(struct io *io)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return NULL;
    struct resolver_cares *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->base.ops = &cares_ops;
    r->io = io;
    return &r->base;
}

void resolver_cares_trim(struct resolver *base)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct channel *ch, *next;
    HASH_ITER(hh, r->channels, ch, next)
    {
        ch->stale = true;
        if (channel_is_idle(ch))
            channel_free(ch);
    }
}

void resolver_cares_free(struct resolver *base)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct channel *ch, *next;
    HASH_ITER(hh, r->channels, ch, next)
    channel_free(ch);
    free(r);
    ares_library_cleanup();
}
