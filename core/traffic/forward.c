/* SPDX-License-Identifier: MIT
 * forward.c: the plain requests of HTTP of one session.
 *
 *   HANDSHAKE -> DIALING -> FORWARDING -> KEPT -> HANDSHAKE ...
 *       \_______________________/  the same server as before
 *
 * The handshake stays until its request has been answered: it knows where that goes, should it have to
 * be sent again. While a client is idle there is neither handshake nor buffer.
 */
#include "traffic/forward.h"
#include "base/clock.h"
#include "route/socket.h"
#include "traffic/client.h"
#include "traffic/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long the next request of a client is waited for: as long as browsers keep idle connections at
 * most, give or take; it costs descriptors. */
#define KEPT_NS (120 * NS_PER_S)

/* A server may close an idle connection at any moment, and a request that must not be sent twice is
 * lost then. No server closes one that has just been in use. */
#define FRESH_NS NS_PER_S

struct forward {
    struct session *session;
    struct exchange exchange;
    struct pool *pool;   /* of the connection to the server; a reference; NULL: there is none */
    struct dp_addr dest; /* of that connection */
    uint32_t service;    /* the worker's, by which it was dialed */
    int64_t idle_ns;     /* since when nobody uses it */
    bool reused;         /* another request has been done by it */
    char name[256];      /* what dest.name points to */
    char user[CONF_USER_MAX + 1]; /* for whom; empty: nobody has logged in */
    char listener[65];
};

static void exchange_over(struct exchange *ex, enum exchange_end end);

static struct forward *forward_new(struct session *s)
{
    struct forward *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->session = s;
    f->exchange.over = exchange_over;
    memcpy(f->listener, s->hs->listener, sizeof f->listener);
    return f;
}

/* ---- the connection to the server ---- */

static void server_close(struct session *s)
{
    struct forward *f = s->forward;
    struct io *io = s->worker->io;
    if (!f->pool)
        return;
    io_forget(io, &server_side(s)->io);
    relay_side_empty(server_side(s));
    stream_close(&s->stream, io_now(io), server_side(s)->received, client_side(s)->received);
    s->stream = (struct stream){.fd = -1};
    *server_side(s) = (struct relay_side){.relay = &s->relay};
    client_side(s)->received = 0;
    s->kept_alive = false;
    s->unacked_ns[1] = 0;
    ref_drop(&f->pool->ref);
    f->pool = NULL;
}

void forward_leave(struct session *s)
{
    if (s->forward)
        server_close(s);
}

static void server_ready(struct io_fd *io, short revents)
{
    struct session *s = (struct session *)((char *)io - offsetof(struct session, relay.side[1].io));
    relay_side_told(server_side(s), revents);
    if (s->state == FORWARDING)
        exchange_go(&s->forward->exchange);
    else if (revents & ~POLLOUT)
        server_close(s); /* it has ended, or says what nobody has asked for */
}

static int server_open(struct session *s, const struct arrival *arrival)
{
    struct forward *f = s->forward;
    f->pool = s->hs->pool;
    ref_get(&f->pool->ref);
    f->reused = false;
    f->dest = s->hs->dest;
    memcpy(f->name, s->hs->name, sizeof f->name);
    f->dest.name = f->name;
    s->relay.shared = s->worker->shared;
    client_side(s)->relay = server_side(s)->relay = &s->relay;
    server_side(s)->io.fd = arrival->fd;
    server_side(s)->io.ready = server_ready;
    relay_side_told(server_side(s), arrival->told);
    return io_watch(s->worker->io, &server_side(s)->io, POLLIN | POLLOUT | IO_EDGE);
}

static const char *user_of(const struct session *s)
{
    return s->hs->login ? s->hs->login->user : "";
}

/* Rules and balancers that look at the user, or are no longer what they were, might have it dialed
 * elsewhere, or not at all. */
static bool server_fits(const struct session *s)
{
    const struct forward *f = s->forward;
    bool fresh = io_now(s->worker->io) - f->idle_ns < FRESH_NS;
    bool same_way = f->service == s->worker->n_services && strcmp(f->user, user_of(s)) == 0;
    return same_way && f->pool == s->hs->pool && addr_equal(&f->dest, &s->hs->dest) &&
           (fresh || s->hs->errand->idempotent);
}

/* Is there nothing more to be read, not even the end? */
static bool server_is_silent(struct session *s)
{
    uint8_t byte;
    struct relay_side *server = server_side(s);
    if (server->readable && relay_side_receive(server, &byte, 1) != -EAGAIN)
        return false;
    server->readable = false;
    return true;
}

/* It is kept for the next request if it is sure to be where this one's answer ends. */
static void server_park(struct session *s)
{
    struct forward *f = s->forward;
    const struct exchange *ex = &f->exchange;
    bool clean = ex->server_persists && ex->up_over && !ex->up_stopped && !lane_left(&ex->down);
    if (!clean || !server_is_silent(s))
        server_close(s);
    f->idle_ns = io_now(s->worker->io);
}

/* ---- a request ---- */

static enum state begin(struct session *s)
{
    struct handshake *hs = s->hs;
    struct exchange *ex = &s->forward->exchange;
    int64_t idle = session_timeouts(s)->idle;
    client_side(s)->received += hs->errand->len + hs->len;
    ex->closing = s->worker->draining;
    if (exchange_start(ex, &s->relay, hs->errand, hs->bytes, hs->len) < 0)
        return CLOSED;
    handshake_consume(hs, hs->len);
    io_timer(s->worker->io, &s->timer, idle ? s->relay.active_ns + idle : 0);
    return FORWARDING;
}

int forward_open(struct session *s)
{
    if (!s->forward)
        s->forward = forward_new(s);
    return s->forward ? 0 : -ENOMEM;
}

enum state forward_ask(struct session *s)
{
    struct forward *f = s->forward;
    if (!server_fits(s)) {
        server_close(s);
        f->service = s->worker->n_services;
        snprintf(f->user, sizeof f->user, "%s", user_of(s));
        return session_dial(s);
    }
    f->reused = true;
    session_log_dial(s, s->stream.claim.link->name, DP_OK);
    return begin(s);
}

enum state forward_begin(struct session *s, const struct arrival *arrival)
{
    dial_free(s->hs->dial);
    s->hs->dial = NULL;
    return server_open(s, arrival) < 0 ? CLOSED : begin(s);
}

void forward_go(struct session *s)
{
    exchange_go(&s->forward->exchange);
}

/* ---- how it ends ---- */

/* What has come of the next request goes back to where requests are read. */
static int stop(struct session *s)
{
    struct exchange *ex = &s->forward->exchange;
    int err = handshake_put(s->hs, lane_next(&ex->up), lane_left(&ex->up));
    s->hs->errand->whole = ex->up_over;
    exchange_stop(ex);
    return err;
}

static enum state done(struct session *s)
{
    const struct exchange *ex = &s->forward->exchange;
    bool keep = ex->client_persists;
    server_park(s);
    if (stop(s) < 0)
        return CLOSED;
    if (keep)
        return forward_next(s);
    server_close(s);
    return session_linger(s);
}

static enum state fail(struct session *s, int err, int status, const char *text)
{
    struct refusal page;
    const char *link = s->stream.claim.link->name;
    session_log_dial(s, link, err);
    handshake_http_page(s->hs, status, text, link, &page);
    server_close(s);
    return session_answer(s, &page);
}

/* RFC 9110, section 9.2.2: what was sent by a connection that had just been closed is sent again, if
 * that can do no harm. */
static enum state unanswered(struct session *s)
{
    struct forward *f = s->forward;
    bool again = f->reused && s->hs->errand->idempotent && exchange_is_unsent(&f->exchange);
    if (stop(s) < 0)
        return CLOSED;
    if (!again)
        return fail(s, DP_ERR_NO_ANSWER, HTTP_BAD_GATEWAY,
                    "has closed the connection without an answer");
    server_close(s);
    return session_dial(s);
}

static enum state garbled(struct session *s)
{
    if (stop(s) < 0)
        return CLOSED;
    return fail(s, DP_ERR_NO_ANSWER, HTTP_BAD_GATEWAY,
                "has sent an answer that is not HTTP/1, or that others could read differently");
}

static enum state misframed(struct session *s)
{
    exchange_stop(&s->forward->exchange);
    return fail(s, DP_ERR_CANCELLED, HTTP_BAD_REQUEST,
                "was not asked: the body of the request is malformed");
}

static enum state too_large(struct session *s)
{
    struct refusal page;
    exchange_stop(&s->forward->exchange);
    session_log_dial(s, s->stream.claim.link->name, DP_ERR_CANCELLED);
    handshake_http_too_large(s->hs, &page);
    server_close(s);
    return session_answer(s, &page);
}

static enum state upgraded(struct session *s)
{
    const struct exchange *ex = &s->forward->exchange;
    const struct relay_early early[2] = {{lane_next(&ex->down), lane_left(&ex->down)},
                                         {lane_next(&ex->up), lane_left(&ex->up)}};
    enum state state = session_relay(s, early);
    forward_free(s);
    return state;
}

static enum state broken(struct session *s)
{
    socket_set_reset(s->fd);
    return CLOSED;
}

static void exchange_over(struct exchange *ex, enum exchange_end end)
{
    struct session *s =
        ((struct forward *)((char *)ex - offsetof(struct forward, exchange)))->session;
    static enum state (*const next[])(struct session *) = {
        [EXCHANGE_DONE] = done,
        [EXCHANGE_UPGRADED] = upgraded,
        [EXCHANGE_UNANSWERED] = unanswered,
        [EXCHANGE_GARBLED] = garbled,
        [EXCHANGE_MISFRAMED] = misframed,
        [EXCHANGE_TOO_LARGE] = too_large,
        [EXCHANGE_BROKEN] = broken,
        [EXCHANGE_NO_MEMORY] = broken,
    };
    s->state = next[end](s);
    session_settle(s);
}

/* Has the client been told nothing, so that it can be told the truth? */
static bool is_untold(const struct exchange *ex)
{
    return !ex->answered && lane_is_flushed(&ex->down);
}

static void give_up(struct session *s, int err, int status, const char *text)
{
    bool untold = is_untold(&s->forward->exchange);
    s->state = untold && stop(s) == 0 ? fail(s, err, status, text) : broken(s);
    session_settle(s);
}

void forward_timeout(struct session *s)
{
    give_up(s, DP_ERR_HOST_UNREACH, HTTP_GATEWAY_TIMEOUT, "has not answered");
}

void forward_lost(struct session *s)
{
    give_up(s, DP_ERR_LINK, HTTP_BAD_GATEWAY, "was being asked when the link failed");
}

/* ---- between requests ---- */

/* By the configuration of now, which may have changed since the last request. */
static enum state read_next(struct session *s, const uint8_t *bytes, size_t len)
{
    struct worker *w = s->worker;
    const struct dp_addr client = session_client(s);
    const struct acceptor *at = worker_acceptor(w, s->forward->listener);
    if (!at || !client_is_allowed(at->conf, &client) || session_handshake(s, at) < 0)
        return CLOSED;
    s->hs->protocol = &client_http;
    if (handshake_put(s->hs, bytes, len) < 0)
        return CLOSED;
    io_timer(w->io, &s->timer, io_now(w->io) + session_timeouts(s)->handshake);
    return HANDSHAKE;
}

enum state forward_wake(struct session *s)
{
    return read_next(s, NULL, 0);
}

static enum state keep(struct session *s)
{
    int64_t idle = session_timeouts(s)->idle;
    session_handshake_over(s);
    if (s->worker->draining) {
        server_close(s);
        return session_linger(s);
    }
    int64_t most = idle && idle < KEPT_NS ? idle : KEPT_NS;
    io_timer(s->worker->io, &s->timer, io_now(s->worker->io) + most);
    return KEPT;
}

enum state forward_next(struct session *s)
{
    struct handshake *old = s->hs;
    if (old->len == 0)
        return keep(s);
    s->hs = NULL;
    enum state state = read_next(s, old->bytes, old->len);
    handshake_free(old);
    s->worker->n_handshakes--;
    return state;
}

void forward_drain(struct session *s, bool at_once)
{
    s->forward->exchange.closing = true;
    if (s->state == KEPT && at_once)
        session_close(s);
}

void forward_free(struct session *s)
{
    struct forward *f = s->forward;
    if (!f)
        return;
    exchange_stop(&f->exchange);
    if (f->pool)
        ref_drop(&f->pool->ref); /* the claim has one of its own */
    free(f);
    s->forward = NULL;
}
