/* SPDX-License-Identifier: MIT
 * session.c: one client connection from accept to close.
 *
 *   HANDSHAKE -> DIALING -> RELAYING -> closed
 *     |    ^\        \
 *     v    | +--------+--> REFUSED (answered; drained until the client closes) -> closed
 *   LOGIN -+
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
#include "traffic/handshake.h"

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

enum state { HANDSHAKE, LOGIN, DIALING, RELAYING, REFUSED, CLOSED };

struct session {
    struct session *next, **prev; /* in the worker's list */
    struct worker *worker;
    enum state state;
    int fd;
    struct io_timer timer;
    struct sockaddr_in6 client; /* of either family: struct dp_addr is large */
    bool kept_alive;            /* the kernel probes the other end when it is idle */
    uint32_t source;            /* the worker's, for worker_session_over() */
    struct handshake *hs;       /* until the relay runs */
    struct stream stream;
    struct relay relay;
    int64_t unacked_ns[2]; /* of the relay's sides: since when; 0: not */
};

static struct relay_side *client_side(struct session *s)
{
    return &s->relay.side[0];
}

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

static void handshake_over(struct session *s)
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
    relay_stop(&s->relay);
    handshake_over(s);
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

/* ---- states ----
 *
 * What follows returns the next state; session_settle() sees to it that CLOSED is carried out. */

/* Sends the answer, then waits for the client to close: closing first, with input unread, would
 * reset the connection and could take the answer with it. */
static enum state refuse(struct session *s, const void *answer, size_t len)
{
    handshake_over(s);
    if (len == 0 || send(s->fd, answer, len, MSG_NOSIGNAL) != (ssize_t)len ||
        shutdown(s->fd, SHUT_WR) < 0)
        return CLOSED;
    io_timer(s->worker->io, &s->timer, io_now(s->worker->io) + REFUSED_NS);
    return REFUSED;
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

static void session_settle(struct session *s)
{
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

static enum state dial(struct session *s);

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
    do {
        switch (handshake_read(s->hs, &refusal)) {
        case TURN_PAY:
            return pay(s);
        case TURN_LOGIN:
            if (!log_in(s))
                return LOGIN;
            break;
        case TURN_ANSWER:
            if (!answered(s, &refusal))
                return CLOSED;
            break;
        case TURN_DIAL:
            return dial(s);
        case TURN_REFUSE:
            log_refusal(s, &refusal);
            return refuse(s, refusal.bytes, refusal.len);
        default:
            return HANDSHAKE;
        }
    } while (s->hs->len || s->hs->login->state != LOGIN_WANTED); /* the next, or the verdict */
    return HANDSHAKE;
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
        client->readable = client->more || (size_t)n == room;
        return true;
    }
    if (n == -EAGAIN)
        client->readable = false;
    else if (n < 0 || s->state == HANDSHAKE)
        s->state = CLOSED; /* an end while it waits is perhaps but half of it: the relay will see */
    return false;
}

static void client_read(struct session *s)
{
    while (s->state <= DIALING && client_side(s)->readable && s->hs->len < s->hs->size) {
        if (!fill(s))
            break;
        if (s->state == HANDSHAKE)
            s->state = on_bytes(s);
    }
}

static void client_ready(struct io_fd *io, short revents)
{
    struct session *s = (struct session *)((char *)io - offsetof(struct session, relay.side[0].io));
    relay_side_told(client_side(s), revents);
    if (revents & POLLERR)
        s->state = CLOSED; /* a reset: nobody waits for an answer any more */
    else
        client_read(s);
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
    s->state = on_bytes(s);
    client_read(s);
    session_settle(s);
}

/* Returns whether the verdict is there. */
static bool log_in(struct session *s)
{
    struct dp_addr client = client_addr(s);
    if (!login_ask(s->hs->login, s->worker, s->hs->listener, &client, s->timer.at_ns, login_over,
                   s))
        return false;
    take_pool(s);
    return true;
}

/* ---- dialing ---- */

#define USER_TEXT (7 + 4 * CONF_USER_MAX)

/* Who has logged in; empty: nobody has to. */
static struct dp_str client_user(const struct session *s)
{
    const struct login *l = s->hs->login;
    return l ? (struct dp_str){.p = l->user, .len = (uint32_t)l->user_len} : (struct dp_str){0};
}

/* ` user=NAME`, or nothing. */
static const char *user_text(const struct session *s, char buf[USER_TEXT])
{
    static const char key[] = " user=";
    const struct dp_str user = client_user(s);
    memcpy(buf, key, sizeof key);
    log_escape(buf + sizeof key - 1, USER_TEXT - sizeof key + 1, user.p, user.len);
    return user.len ? buf : "";
}

static void log_dial(const struct session *s, const char *link, int err)
{
    enum log_level level = err == DP_OK ? LOG_INFO : LOG_WARN;
    char client[ADDR_TEXT], dest[ADDR_TEXT], user[USER_TEXT];
    if (!log_enabled(level))
        return;
    log_line(level, "session", "client=%s%s dest=%s link=%s code=%02d ms=%lld",
             client_text(s, client), user_text(s, user),
             s->hs->raw ? "server" : addr_text(&s->hs->dest, dest), link, dp_reply(err),
             (long long)((io_now(s->worker->io) - s->hs->since_ns) / NS_PER_MS));
}

/* What this host lacks fails in masses, and through no fault of the request's. */
static void log_shortage(void)
{
    static struct log_rate rate;
    log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "session",
              "a connection failed: this host is out of descriptors or memory");
}

static void relay_over(struct relay *r, enum relay_end end);

/* The reply and the relay's first bytes to the client are one thing; what the client has sent
 * early goes first to the other side. */
static void relay_begin(struct session *s, const struct arrival *arrival)
{
    struct handshake *hs = s->hs;
    if (!hs->raw && !hs->replied)
        hs->owed += hs->protocol->grant(hs, &arrival->bound, hs->answer + hs->owed);
    const struct relay_early early[2] = {{hs->answer, hs->owed}, {hs->bytes, hs->len}};

    s->state = RELAYING;
    s->relay.over = relay_over;
    s->relay.side[1].io.fd = arrival->fd;
    relay_side_told(&s->relay.side[1], arrival->told);
    int failed = relay_start(&s->relay, s->worker->shared, early);
    handshake_over(s);
    if (failed) {
        relay_over(&s->relay, RELAY_NO_MEMORY);
        return;
    }
    int64_t idle = timeouts(s)->idle;
    io_timer(s->worker->io, &s->timer, idle ? s->relay.active_ns + idle : 0);
}

static enum state refuse_dial(struct session *s, int err, const char *link)
{
    struct refusal refusal;
    s->hs->protocol->fail(s->hs, err, link, &refusal);
    return refuse(s, refusal.bytes, refusal.len);
}

static void dial_over(struct dial *d, void *ctx, int err)
{
    struct session *s = ctx;
    if (err == DP_OK) {
        struct arrival arrival;
        dial_take(d, &s->stream, &arrival);
        log_dial(s, s->stream.claim.link->name, DP_OK);
        relay_begin(s, &arrival);
        return;
    }
    if (dp_blame(err) == DP_LOCAL)
        log_shortage();
    else
        log_dial(s, dial_link_name(d), err);
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

/* The pool that the rules say; `dialed`: what the name has become, NULL: not known. NULL: they deny
 * it, and the log has been told. */
static struct pool *ruled(const struct session *s, const struct dp_addr *dialed)
{
    const struct handshake *hs = s->hs;
    const struct dp_addr client = client_addr(s);
    const struct rule_flow flow = {.listener = hs->listener,
                                   .protocol = hs->raw ? PROTO_RAW : hs->protocol->proto,
                                   .client = &client,
                                   .dest = &hs->dest,
                                   .user = client_user(s),
                                   .dialed = dialed};
    size_t by = 0;
    struct pool *pool = rules_pool(s->worker->service->router, &flow, hs->pool, &by);
    char rule[32];
    snprintf(rule, sizeof rule, "none rule=%zu", by);
    if (!pool)
        log_dial(s, rule, DP_ERR_DENIED);
    return pool;
}

/* A name that is allowed may stand for an address that is not. */
static bool is_allowed(const struct permit *permit, const struct dp_addr *to)
{
    const struct handshake *hs =
        (const struct handshake *)((const char *)permit - offsetof(struct handshake, permit));
    return hs->dest.salen || ruled(hs->session, to);
}

/* Takes the pool that the rules say. Returns false if they deny it. */
static bool admit(struct session *s)
{
    struct pool *pool = ruled(s, NULL);
    if (pool)
        handshake_pool(s->hs, pool);
    s->hs->session = s;
    s->hs->permit.allows = is_allowed;
    return pool != NULL;
}

static enum state dial(struct session *s)
{
    struct handshake *hs = s->hs;
    hs->since_ns = io_now(s->worker->io);
    if (s->worker->env.config->n_rules && !admit(s))
        return hs->raw ? CLOSED : refuse_dial(s, DP_ERR_DENIED, "none");
    if (hs->early_reply && reply_early(s) < 0)
        return CLOSED;
    struct dial_request request = {
        .pool = hs->pool,
        .flow = {.client = client_addr(s),
                 .dest = hs->dest,
                 .listener = {.p = hs->listener, .len = (uint32_t)strlen(hs->listener)},
                 .user = client_user(s)},
        .raw = hs->raw,
        .permit = hs->permit.allows ? &hs->permit : NULL,
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
    if (s->state != RELAYING)
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
        if (s->state == RELAYING && s->stream.claim.link == link && (!from || leaves_from(s, from)))
            relay_over(&s->relay, RELAY_RESET);
    }
}

static void timer_fire(struct io_timer *t)
{
    struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));
    int64_t idle = timeouts(s)->idle, at = s->relay.active_ns + idle;
    if (s->state == RELAYING && (!idle || io_now(s->worker->io) < at))
        io_timer(s->worker->io, &s->timer, idle ? at : 0);
    else
        session_close(s);
}

/* ---- the start ---- */

static struct handshake *handshake_begin(struct worker *w, const struct conf_listener *listener)
{
    struct pool *pool = router_pool(w->service->router, listener->pool);
    struct handshake *hs = handshake_new(listener, pool, io_now(w->io));
    w->n_handshakes += hs != NULL;
    w->trim_due = true;
    return hs;
}

void session_start(struct worker *w, int fd, const struct dp_addr *client,
                   const struct conf_listener *listener, uint32_t source)
{
    struct session *s = slab_alloc(&w->session_slab);
    if (s) {
        s->worker = w;
        s->hs = handshake_begin(w, listener);
    }
    if (!s || !s->hs) {
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
        s->state = dial(s);
    } else {
        io_timer(w->io, &s->timer, s->hs->since_ns + timeouts(s)->handshake);
        client_side(s)->readable = true;
        client_read(s);
    }
    if (s->state != CLOSED && io_watch(w->io, &client_side(s)->io, POLLIN | IO_EDGE) < 0)
        s->state = CLOSED;
    session_settle(s);
}
