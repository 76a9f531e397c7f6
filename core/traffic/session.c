/* SPDX-License-Identifier: MIT
 * session.c: one client connection from accept to close.
 *
 *   HANDSHAKE -> DIALING -> RELAYING -> closed
 *       \           \
 *        +-----------+--> REFUSED (answered; drained until the client closes) -> closed
 *
 * Plain requests of HTTP go another way, which forward.c shows.
 *
 * A raw session starts in DIALING. Bytes the client sends before it is answered stay in order: the
 * handshake's buffer takes some, the rest waits in the kernel.
 *
 * The client is watched by side 0 of the relay from the start, by edges: `readable` there says that a
 * read has not yet been tried in vain.
 */
#include "traffic/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/rules.h"
#include "route/socket.h"
#include "traffic/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer whose kernel has been silent for so long while it owes an acknowledgement is out of reach.
 * TCP_USER_TIMEOUT would say so too, but it also ends connections whose peer just pauses reading. */
#define SILENT_NS (45 * NS_PER_S)

/* After a refusal the client has this long to read it and close (RFC 1928: not more than 10 s). */
#define REFUSED_NS (2 * NS_PER_S)
#define DRAIN_READS 8 /* in one go, of what it sends meanwhile */

static struct dp_addr client_addr(const struct session *s)
{
    struct dp_addr addr;
    addr_from_sockaddr(&addr, (const struct sockaddr *)&s->client, sizeof s->client);
    return addr;
}

static const char *client_text(const struct session *s, char buf[ADDR_TEXT])
{
    struct dp_addr addr = client_addr(s);
    return addr_text(&addr, buf);
}

size_t session_size(void)
{
    return sizeof(struct session);
}

struct session *session_next(const struct session *s)
{
    return s->next;
}

static const struct conf_timeouts *timeouts(const struct session *s)
{
    return &s->worker->env.config->timeouts;
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
    char client[ADDR_TEXT];
    if (refusal->why)
        log_rated(&rate[refusal->kind], NS_PER_S, LOG_WARN, "session",
                  "client=%s %s: refused code=%02d", client_text(s, client), refusal->why,
                  refusal->code);
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

static enum state ask(struct session *s);

static enum state on_bytes(struct session *s)
{
    struct refusal refusal;
    s->hs->unread = false;
    switch (handshake_read(s->hs, &refusal)) {
    case TURN_PAY:
        return pay(s);
    case TURN_DIAL:
        return ask(s);
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
    else if (n < 0 || s->state != DIALING)
        s->state = CLOSED; /* an end while dialing is perhaps only half of it: the relay will see */
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

/* ---- dialing ---- */

void session_log_dial(const struct session *s, const char *link, int err)
{
    enum log_level level = err == DP_OK ? LOG_INFO : LOG_WARN;
    char client[ADDR_TEXT], dest[ADDR_TEXT];
    if (!log_enabled(level))
        return;
    log_line(level, "session", "client=%s dest=%s link=%s code=%02d ms=%lld",
             client_text(s, client), s->hs->raw ? "server" : addr_text(&s->hs->dest, dest), link,
             dp_reply(err), (long long)((io_now(s->worker->io) - s->hs->since_ns) / NS_PER_MS));
}

/* What this host lacks fails in masses, and through no fault of the request's. */
static void log_shortage(void)
{
    static struct log_rate rate;
    log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "session",
              "a connection failed: this host is out of descriptors or memory");
}

static void relay_over(struct relay *r, enum relay_end end);

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
    int64_t idle = timeouts(s)->idle;
    io_timer(s->worker->io, &s->timer, idle ? s->relay.active_ns + idle : 0);
    return RELAYING;
}

/* The reply and the relay's first bytes to the client are one thing; what the client has sent
 * early goes first to the other side. */
static enum state relay_begin(struct session *s, const struct arrival *arrival)
{
    struct handshake *hs = s->hs;
    if (!hs->raw && !hs->replied)
        hs->owed += hs->protocol->grant(hs, &arrival->bound, hs->answer + hs->owed);
    const struct relay_early early[2] = {{hs->answer, hs->owed}, {hs->bytes, hs->len}};
    server_side(s)->io.fd = arrival->fd;
    relay_side_told(server_side(s), arrival->told);
    return session_relay(s, early);
}

static enum state refuse_dial(struct session *s, int err, const char *link)
{
    struct refusal refusal = {.keep = false};
    s->hs->protocol->fail(s->hs, err, link, &refusal);
    return session_answer(s, &refusal);
}

static void dial_over(struct dial *d, void *ctx, int err)
{
    struct session *s = ctx;
    if (err == DP_OK) {
        struct arrival arrival;
        dial_take(d, &s->stream, &arrival);
        session_log_dial(s, s->stream.claim.link->name, DP_OK);
        s->state = s->hs->errand ? forward_begin(s, &arrival) : relay_begin(s, &arrival);
        session_settle(s);
        return;
    }
    if (dp_blame(err) == DP_LOCAL)
        log_shortage();
    else
        session_log_dial(s, dial_link_name(d), err);
    if (s->hs->replied)
        socket_set_reset(s->fd); /* it was told success: all that is left to tell the truth with */
    s->state = s->hs->raw || s->hs->replied ? CLOSED : refuse_dial(s, err, dial_link_name(d));
    session_settle(s);
}

static int reply_early(struct session *s)
{
    struct handshake *hs = s->hs;
    size_t len = hs->owed + hs->protocol->grant(hs, NULL, hs->answer + hs->owed);
    hs->owed = 0;
    hs->replied = true;
    return send(s->fd, hs->answer, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

/* Takes the pool that the rules say. Returns false if they deny it, and has then told the log. */
static bool admit(struct session *s)
{
    struct handshake *hs = s->hs;
    const struct dp_addr client = client_addr(s);
    const struct rule_flow flow = {.listener = hs->listener,
                                   .protocol = hs->raw ? PROTO_RAW : hs->protocol->proto,
                                   .client = &client,
                                   .dest = &hs->dest};
    size_t by = 0;
    struct pool *pool = rules_pool(s->worker->service->router, &flow, hs->pool, &by);
    if (!pool) {
        char rule[32];
        snprintf(rule, sizeof rule, "none rule=%zu", by);
        session_log_dial(s, rule, DP_ERR_DENIED);
        return false;
    }
    ref_get(&pool->ref);
    ref_drop(&hs->pool->ref);
    hs->pool = pool;
    return true;
}

/* What rules there are come first. */
static enum state ask(struct session *s)
{
    struct handshake *hs = s->hs;
    hs->since_ns = io_now(s->worker->io);
    if (s->worker->env.config->n_rules && !admit(s))
        return hs->raw ? CLOSED : refuse_dial(s, DP_ERR_DENIED, "none");
    if (hs->errand)
        return forward_ask(s);
    forward_leave(s);
    forward_free(s);
    return session_dial(s);
}

enum state session_dial(struct session *s)
{
    struct handshake *hs = s->hs;
    if (hs->early_reply && !hs->errand && reply_early(s) < 0)
        return CLOSED;
    struct dial_request request = {
        .pool = hs->pool,
        .flow = {.client = client_addr(s),
                 .dest = hs->dest,
                 .listener = {.p = hs->listener, .len = (uint32_t)strlen(hs->listener)}},
        .raw = hs->raw,
        .connect_ns = timeouts(s)->connect,
        .attempt_ns = timeouts(s)->attempt,
    };
    io_timer(s->worker->io, &s->timer, 0); /* the dial has its own limit */
    hs->dial = dial_start(&s->worker->env, &request, dial_over, s);
    if (!hs->dial && hs->replied)
        socket_set_reset(s->fd);
    return hs->dial ? DIALING : CLOSED;
}

/* ---- relaying ---- */

static void relay_over(struct relay *r, enum relay_end end)
{
    struct session *s = (struct session *)((char *)r - offsetof(struct session, relay));
    if (end != RELAY_DONE) {
        socket_set_reset(s->fd);
        socket_set_reset(s->stream.fd);
    }
    if (log_enabled(LOG_DEBUG)) {
        char client[ADDR_TEXT];
        log_line(LOG_DEBUG, "session", "client=%s link=%s %s rx=%llu tx=%llu",
                 client_text(s, client), s->stream.claim.link->name,
                 end == RELAY_DONE ? "closed" : "reset", (unsigned long long)r->side[1].received,
                 (unsigned long long)r->side[0].received);
    }
    session_close(s);
}

static bool side_silent(struct session *s, int i, int64_t now_ns)
{
    struct socket_health health = socket_health(s->relay.side[i].io.fd);
    if (!health.unacked)
        s->unacked_ns[i] = 0;
    else if (!s->unacked_ns[i])
        s->unacked_ns[i] = now_ns;
    return health.unacked && health.quiet_ns >= SILENT_NS && now_ns - s->unacked_ns[i] >= SILENT_NS;
}

/* Of a connection that has long been idle nothing can be unacknowledged still. */
static bool needs_check(const struct session *s, int64_t now_ns)
{
    return now_ns - s->relay.active_ns < 2 * SILENT_NS || s->unacked_ns[0] || s->unacked_ns[1];
}

void session_check(struct session *s, int64_t now_ns)
{
    if (s->state != RELAYING && s->state != FORWARDING)
        return;
    if (!s->kept_alive)
        socket_keepalive(s->stream.fd);
    s->kept_alive = true;
    if (relay_rest(&s->relay) < 0) {
        relay_over(&s->relay, RELAY_NO_MEMORY);
        return;
    }
    for (int i = 0; i < 2 && needs_check(s, now_ns); i++) {
        if (!side_silent(s, i, now_ns))
            continue;
        if (log_enabled(LOG_INFO)) {
            char client[ADDR_TEXT];
            log_line(LOG_INFO, "session", "client=%s link=%s closed: the %s is out of reach",
                     client_text(s, client), s->stream.claim.link->name,
                     i == 0 ? "client" : "other end");
        }
        relay_over(&s->relay, RELAY_RESET);
        return;
    }
}

static bool leaves_from(const struct session *s, const struct dp_addr *from)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct dp_addr own;
    if (getsockname(s->stream.fd, (struct sockaddr *)&sa, &len) < 0)
        return false;
    addr_from_sockaddr(&own, (const struct sockaddr *)&sa, len);
    return addr_same_ip(&own, from);
}

void sessions_reset(struct worker *w, const struct link *link, const struct dp_addr *from)
{
    for (struct session *s = w->sessions, *next; s; s = next) {
        next = s->next;
        if (s->stream.claim.link != link || (from && !leaves_from(s, from)))
            continue;
        if (s->state == RELAYING)
            relay_over(&s->relay, RELAY_RESET);
        else if (s->state == FORWARDING)
            forward_lost(s);
        else
            forward_leave(s);
    }
}

void sessions_drain(struct worker *w)
{
    for (struct session *s = w->sessions, *next; s; s = next) {
        next = s->next;
        if (s->forward)
            forward_drain(s);
    }
}

static void timer_fire(struct io_timer *t)
{
    struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));
    int64_t idle = timeouts(s)->idle, at = s->relay.active_ns + idle;
    bool moves = s->state == RELAYING || s->state == FORWARDING;
    if (moves && (!idle || io_now(s->worker->io) < at))
        io_timer(s->worker->io, &s->timer, idle ? at : 0);
    else if (s->state == FORWARDING)
        forward_timeout(s);
    else
        session_close(s);
}

/* ---- the start ---- */

int session_handshake(struct session *s, const struct conf_listener *listener)
{
    struct worker *w = s->worker;
    struct pool *pool = router_pool(w->service->router, listener->pool);
    s->hs = handshake_new(listener, pool, io_now(w->io));
    w->n_handshakes += s->hs != NULL;
    w->trim_due = true;
    return s->hs ? 0 : -1;
}

void session_start(struct worker *w, int fd, const struct dp_addr *client,
                   const struct conf_listener *listener, uint32_t source)
{
    struct session *s = slab_alloc(&w->session_slab);
    if (s)
        s->worker = w;
    if (!s || session_handshake(s, listener) < 0) {
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
    if (s->hs->raw) {
        s->state = ask(s);
    } else {
        io_timer(w->io, &s->timer, s->hs->since_ns + timeouts(s)->handshake);
        client_side(s)->readable = true;
        client_read(s);
    }
    if (s->state != CLOSED && io_watch(w->io, &client_side(s)->io, POLLIN | IO_EDGE) < 0)
        s->state = CLOSED;
    session_settle(s);
}
