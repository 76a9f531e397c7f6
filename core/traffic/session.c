/* SPDX-License-Identifier: MIT
 * session.c: one client connection from accept to close.
 *
 *   HANDSHAKE -> DIALING -> RELAYING -> closed
 *     |    ^\        \
 *     v    | +--------+--> REFUSED (answered; drained until the client closes) -> closed
 *   LOGIN -+
 *
 * Plain requests of HTTP go another way, which forward.c shows.
 *
 * A raw session starts in DIALING, unless a proxy in front says first whose it is: that belongs to
 * HANDSHAKE. Bytes the client sends before it is answered stay in order: the
 * handshake's buffer takes some, the rest waits in the kernel.
 *
 * The client is watched by side 0 of the relay from the start, by edges: `readable` there says that a
 * read has not yet been tried in vain.
 */
#include "traffic/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"
#include "traffic/client.h"
#include "traffic/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* After a refusal the client has this long to read it and close (RFC 1928: not more than 10 s). */
#define REFUSED_NS (2 * NS_PER_S)
#define DRAIN_READS 8 /* in one go, of what it sends meanwhile */

/* What crypt(5) may take for a password, with a few others before it. */
#define VERDICT_NS NS_PER_S

struct dp_addr session_client(const struct session *s)
{
    struct dp_addr addr;
    if (s->client.sin6_family == AF_UNSPEC)
        return (struct dp_addr){.salen = 0};
    addr_from_sockaddr(&addr, (const struct sockaddr *)&s->client, sizeof s->client);
    return addr;
}

const char *session_client_text(const struct session *s, char buf[ADDR_TEXT])
{
    struct dp_addr addr = session_client(s);
    return client_text(&addr, buf);
}

size_t session_size(void)
{
    return sizeof(struct session);
}

struct session *session_next(const struct session *s)
{
    return s->next;
}

/* ---- the end ---- */

void session_handshake_over(struct session *s)
{
    if (!s->hs)
        return;
    handshake_free(s->hs);
    s->hs = NULL;
    s->worker->n_handshakes--;
}

void session_close(struct session *s)
{
    struct worker *w = s->worker;
    uint32_t source = s->source;
    io_timer(w->io, &s->timer, 0);
    io_forget(w->io, &client_side(s)->io);
    forward_free(s);
    relay_stop(&s->relay);
    session_handshake_over(s);
    if (s->stream.claim.link)
        stream_close(&s->stream, io_now(w->io), s->relay.side[1].received,
                     s->relay.side[0].received);
    close(s->fd);
    if (w->unchecked == s)
        w->unchecked = s->next;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    slab_free(&w->session_slab, s);
    worker_session_over(w, source);
}

/* ---- states: what follows returns the next one ---- */

/* Closing first, with input unread, would reset the connection and could take what was sent last
 * with it. */
enum state session_linger(struct session *s)
{
    session_handshake_over(s);
    if (shutdown(s->fd, SHUT_WR) < 0)
        return CLOSED;
    io_timer(s->worker->io, &s->timer, io_now(s->worker->io) + REFUSED_NS);
    return REFUSED;
}

enum state session_answer(struct session *s, const struct refusal *answer)
{
    size_t len = answer->len;
    if (len == 0 || send(s->fd, answer->bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        return CLOSED;
    return answer->keep ? forward_next(s) : session_linger(s);
}

/* Like recv(); -errno. */
static ssize_t receive(struct session *s, void *buffer, size_t size)
{
    ssize_t n;
    while ((n = recv(s->fd, buffer, size, 0)) < 0 && errno == EINTR)
        ;
    return n < 0 ? -errno : n;
}

/* Reads until the client closes, but lets others have their turn: of one that does not stop sending
 * the rest is told again, or is lost with the connection. */
static enum state drain(struct session *s)
{
    ssize_t n = 1;
    for (int i = 0; i < DRAIN_READS && n > 0; i++)
        n = receive(s, s->worker->shared->buffer, RELAY_BUFFER);
    client_side(s)->readable = false;
    return n > 0 || n == -EAGAIN ? REFUSED : CLOSED;
}

static void client_read(struct session *s);

void session_settle(struct session *s)
{
    client_read(s);
    if (s->state == REFUSED && client_side(s)->readable)
        s->state = drain(s);
    if (s->state == CLOSED)
        session_close(s);
}

/* ---- the handshake ---- */

static void log_refusal(const struct session *s, const struct refusal *refusal)
{
    static struct log_rate rate[REFUSAL_KINDS];
    char client[ADDR_TEXT], code[20] = "";
    if (refusal->code)
        snprintf(code, sizeof code, " code=%02d", refusal->code);
    if (refusal->why)
        log_rated(&rate[refusal->kind], NS_PER_S, LOG_WARN, "session", "client=%s %s: refused%s",
                  session_client_text(s, client), refusal->why, code);
}

/* The client waits for this before it goes on. */
static enum state pay(struct session *s)
{
    struct handshake *hs = s->hs;
    if (hs->owed && send(s->fd, hs->answer, hs->owed, MSG_NOSIGNAL) != (ssize_t)hs->owed)
        return CLOSED;
    hs->owed = 0;
    return HANDSHAKE;
}

/* A refusal after which the client may do better. */
static bool answered(struct session *s, const struct refusal *refusal)
{
    log_refusal(s, refusal);
    return send(s->fd, refusal->bytes, refusal->len, MSG_NOSIGNAL) == (ssize_t)refusal->len;
}

static bool log_in(struct session *s);

static enum state on_bytes(struct session *s)
{
    struct refusal refusal;
    s->hs->unread = false;
    if (s->hs->header_due)
        return session_header(s);
    switch (handshake_read(s->hs, &refusal)) {
    case TURN_PAY:
        return pay(s);
    case TURN_LOGIN:
        s->hs->unread = true; /* once more, with the verdict */
        return log_in(s) ? HANDSHAKE : LOGIN;
    case TURN_ANSWER:
        s->hs->unread = s->hs->len > 0;
        return answered(s, &refusal) ? HANDSHAKE : CLOSED;
    case TURN_DIAL:
        return session_ask(s);
    case TURN_REFUSE:
        log_refusal(s, &refusal);
        return session_answer(s, &refusal);
    default:
        return HANDSHAKE;
    }
}

/* Reads what the client has sent. Returns false when there was nothing, or it has gone. */
static bool fill(struct session *s)
{
    struct handshake *hs = s->hs;
    struct relay_side *client = client_side(s);
    size_t room = hs->size - hs->len;
    ssize_t n = receive(s, hs->bytes + hs->len, room);
    if (n > 0) {
        hs->len += (size_t)n;
        hs->unread = true;
        client->readable = client->more || (size_t)n == room;
        return true;
    }
    if (n == -EAGAIN)
        client->readable = false;
    else if (n < 0 || s->state == HANDSHAKE)
        s->state = CLOSED; /* an end while it waits is perhaps but half of it: the relay will see */
    return false;
}

/* Returns whether there may be more to do at once. */
static bool client_step(struct session *s)
{
    struct relay_side *client = client_side(s);
    if (s->state == KEPT && client->readable)
        s->state = forward_wake(s);
    else if (s->state == HANDSHAKE && s->hs->unread)
        s->state = on_bytes(s);
    else
        return s->state <= DIALING && client->readable && s->hs->len < s->hs->size && fill(s);
    return true;
}

static void client_read(struct session *s)
{
    while (client_step(s))
        ;
}

static void client_ready(struct io_fd *io, short revents)
{
    struct session *s = (struct session *)((char *)io - offsetof(struct session, relay.side[0].io));
    relay_side_told(client_side(s), revents);
    if (revents & POLLERR)
        s->state = CLOSED; /* a reset: nobody waits for an answer any more */
    if (s->state == FORWARDING) {
        forward_go(s);
        return;
    }
    session_settle(s);
}

/* ---- the login ---- */

/* A user's own pool is one of the configuration by which the verdict was made: just now. */
static void take_pool(struct session *s)
{
    const struct conf_pool *pool = s->hs->login->pool;
    if (pool)
        handshake_pool(s->hs, router_pool(s->worker->service->router, pool));
}

static void login_over(struct login *l, void *ctx)
{
    struct session *s = ctx;
    (void)l;
    take_pool(s);
    s->state = HANDSHAKE;
    session_settle(s);
}

/* Returns whether the verdict is there. Its turn must come so early that it is there in time. */
static bool log_in(struct session *s)
{
    struct dp_addr client = session_client(s);
    if (!login_ask(s->hs->login, s->worker, s->hs->listener, &client, s->timer.at_ns - VERDICT_NS,
                   login_over, s))
        return false;
    take_pool(s);
    return true;
}

/* ---- relaying ---- */

void session_break(struct session *s, enum relay_end end)
{
    const struct relay *r = &s->relay;
    if (end != RELAY_DONE) {
        socket_set_reset(s->fd);
        socket_set_reset(s->stream.fd);
    }
    if (log_enabled(LOG_DEBUG)) {
        char client[ADDR_TEXT];
        log_line(LOG_DEBUG, "session", "client=%s link=%s %s rx=%llu tx=%llu",
                 session_client_text(s, client), s->stream.claim.link->name,
                 end == RELAY_DONE ? "closed" : "reset", (unsigned long long)r->side[1].received,
                 (unsigned long long)r->side[0].received);
    }
    session_close(s);
}

static void relay_over(struct relay *r, enum relay_end end)
{
    session_break((struct session *)((char *)r - offsetof(struct session, relay)), end);
}

enum state session_relay(struct session *s, const struct relay_early early[2])
{
    s->relay.over = relay_over;
    int failed = relay_start(&s->relay, s->worker->shared, early);
    session_handshake_over(s);
    if (failed) {
        socket_set_reset(s->fd);
        socket_set_reset(s->stream.fd);
        return CLOSED;
    }
    int64_t idle = session_timeouts(s)->idle;
    io_timer(s->worker->io, &s->timer, idle ? s->relay.active_ns + idle : 0);
    return RELAYING;
}

/* Its time is over. Who has not said what it wants may be waiting itself: for a server that speaks
 * first. */
static void session_end(struct session *s)
{
    static struct log_rate rate;
    char client[ADDR_TEXT];
    if (s->state == HANDSHAKE)
        log_rated(&rate, NS_PER_S, LOG_INFO, "session",
                  "client=%s has not said what it wants: closed ms=%lld",
                  session_client_text(s, client),
                  (long long)((io_now(s->worker->io) - s->hs->since_ns) / NS_PER_MS));
    session_close(s);
}

static void timer_fire(struct io_timer *t)
{
    struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));
    int64_t idle = session_timeouts(s)->idle, at = s->relay.active_ns + idle;
    bool moves = s->state == RELAYING || s->state == FORWARDING;
    if (moves && (!idle || io_now(s->worker->io) < at))
        io_timer(s->worker->io, &s->timer, idle ? at : 0);
    else if (s->state == FORWARDING)
        forward_timeout(s);
    else
        session_end(s);
}

/* ---- the start ---- */

int session_handshake(struct session *s, const struct acceptor *at)
{
    struct worker *w = s->worker;
    s->hs = handshake_new(at->conf, at->pool, io_now(w->io));
    w->n_handshakes += s->hs != NULL;
    w->trim_due = true;
    return s->hs ? 0 : -1;
}

void session_start(struct worker *w, const struct acceptor *at, int fd,
                   const struct dp_addr *client, uint32_t source)
{
    struct session *s = slab_alloc(&w->session_slab);
    if (s)
        s->worker = w;
    if (!s || session_handshake(s, at) < 0) {
        if (s)
            slab_free(&w->session_slab, s);
        close(fd);
        worker_session_over(w, source);
        return;
    }
    s->fd = client_side(s)->io.fd = fd;
    client_side(s)->io.ready = client_ready;
    s->stream.fd = -1;
    memcpy(&s->client, &client->sa, client->salen);
    s->source = source;
    s->timer.fire = timer_fire;
    s->next = w->sessions;
    s->prev = &w->sessions;
    if (s->next)
        s->next->prev = &s->next;
    w->sessions = s;
    worker_watch_sessions(w);
    /* What clients begin with has mostly come already: then the loop need not say so. */
    s->hs->header_due = client_is_proxy(at->conf, client);
    if (s->hs->raw && !s->hs->header_due) {
        s->state = session_ask(s);
    } else {
        io_timer(w->io, &s->timer, s->hs->since_ns + session_timeouts(s)->handshake);
        client_side(s)->readable = true;
        client_read(s);
    }
    if (s->state != CLOSED && io_watch(w->io, &client_side(s)->io, POLLIN | IO_EDGE) < 0)
        s->state = CLOSED;
    session_settle(s);
}
