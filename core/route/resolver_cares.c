/* SPDX-License-Identifier: MIT
 * resolver_cares.c: names by c-ares, one channel for each link.
 *
 * A lookup asks for IPv4 and IPv6 at once. When one has come the other is waited for a moment only
 * (RFC 8305, section 3). A channel is made when its link is first asked, and made anew when it has
 * been idle for a while, because the system's name servers may have changed.
 */
#include "route/resolver_cares.h"
#include "base/clock.h"
#include "route/cares_channel.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OTHER_FAMILY_NS (50 * NS_PER_MS) /* RFC 8305, section 8: resolution delay */
#define CHANNEL_FRESH_NS (10 * NS_PER_S) /* how old an idle channel may be */
#define ADDRESSES_MAX 32

struct resolver_cares {
    struct resolver base;
    struct io *io;
    struct channel *channels; /* by link */
    struct channel *retired;  /* each ends with its last query */
};

struct lookup {
    struct resolver_query *query; /* NULL: cancelled */
    struct resolver_cares *resolver;
    struct channel *channel;
    struct io_timer timer;
    unsigned pending;
    int err; /* of the families that have failed */
    struct dp_addr addr[ADDRESSES_MAX];
    size_t n;
};

static void lookup_free(struct lookup *l, struct resolver_cares *r)
{
    io_timer(r->io, &l->timer, 0);
    free(l);
}

/* Tells who asked, once. The lookup itself stays until c-ares has called back for each family. */
static void lookup_tell(struct lookup *l)
{
    struct resolver_query *q = l->query;
    struct resolver_cares *r = l->resolver;
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

static int lookup_error(const struct channel *ch, int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return DP_ERR_NO_HOST;
    case ARES_ENOMEM:
    case ARES_ECANCELLED: /* the channel has become deaf */
        return DP_ERR_LOCAL;
    case ARES_ECONNREFUSED: /* perhaps no question has left this host */
        return ch->err ? ch->err : DP_ERR_HOST_UNREACH;
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
        l->err = lookup_error(l->channel, status);
    ares_freeaddrinfo(info);
    /* In resolver_start() still, or the other family is worth a moment: the timer tells. */
    struct io *io = l->resolver->io;
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

static struct channel *channel_for(struct resolver_cares *r, struct link *link)
{
    struct channel *ch;
    HASH_FIND_PTR(r->channels, &link, ch);
    if (ch && (ch->deaf || io_now(r->io) - ch->made_ns > CHANNEL_FRESH_NS)) {
        if (channel_is_idle(ch))
            channel_free(ch);
        else
            channel_retire(ch, &r->retired);
        ch = NULL;
    }
    return ch ? ch : channel_new(&r->channels, r->io, link);
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
    l->resolver = r;
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
        if (channel_is_idle(ch))
            channel_free(ch);
        else
            channel_retire(ch, &r->retired);
    }
}

void resolver_cares_free(struct resolver *base)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct channel *ch, *next;
    HASH_ITER(hh, r->channels, ch, next)
    channel_free(ch);
    while (r->retired)
        channel_free(r->retired);
    free(r);
    ares_library_cleanup();
}
