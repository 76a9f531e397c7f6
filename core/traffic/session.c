/* SPDX-License-Identifier: MIT
 * session.c: one client connection from accept to close.
 *
 *   GREETING -> REQUEST -> DIALING -> RELAYING -> closed
 *       \          \          \
 *        +----------+----------+--> REFUSED (answered; drained until the client closes) -> closed
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
#include "proto/sniff.h"
#include "proto/socks5.h"
#include "route/dial.h"
#include "route/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A greeting and a request of the greatest length, and some payload behind them. */
#define HANDSHAKE_BUFFER 768

/* The choice of a method, and the reply. */
#define SOCKS5_ANSWER_MAX (2 + SOCKS5_REPLY_MAX)

/* A peer whose kernel has been silent for so long while it owes an acknowledgement is out of reach.
 * TCP_USER_TIMEOUT would say so too, but it also ends connections whose peer just pauses reading. */
#define SILENT_NS (45 * NS_PER_S)

/* After a refusal the client has this long to read it and close (RFC 1928: not more than 10 s). */
#define REFUSED_NS (2 * NS_PER_S)
#define DRAIN_READS 8 /* in one go, of what it sends meanwhile */

enum state { GREETING, REQUEST, DIALING, RELAYING, REFUSED, CLOSED };

/* Needed until the relay runs. */
struct handshake {
    struct pool *pool; /* a reference */
    bool raw;
    bool early_reply; /* to be told success before there is any */
    bool replied;     /* has been */
    struct dial *dial;
    int64_t since_ns; /* accepted; then, when dialing, the start of that */
    struct dp_addr dest;
    size_t owed; /* bytes of an answer that can wait for the next one */
    uint8_t answer[SOCKS5_ANSWER_MAX];
    size_t len; /* of what has come and is not used up */
    uint8_t bytes[HANDSHAKE_BUFFER];
    char name[256]; /* what dest.name points to */
    char listener[65];
};

struct session {
    struct session *next, **prev; /* in the worker's list */
    struct worker *worker;
    enum state state;
    int fd;
    struct io_timer timer;
    struct sockaddr_in6 client; /* of either family: struct dp_addr is large */
    bool kept_alive;            /* the kernel probes the other end when it is idle */
    uint32_t source;            /* the worker's, for worker_session_over() */
    struct handshake *hs;
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

static void handshake_free(struct session *s)
{
    if (!s->hs)
        return;
    dial_free(s->hs->dial);
    ref_drop(&s->hs->pool->ref);
    free(s->hs);
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
    handshake_free(s);
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
    handshake_free(s);
    if (len == 0 || send(s->fd, answer, len, MSG_NOSIGNAL) != (ssize_t)len ||
        shutdown(s->fd, SHUT_WR) < 0)
        return CLOSED;
    io_timer(s->worker->io, &s->timer, io_now(s->worker->io) + REFUSED_NS);
    return REFUSED;
}

static enum state refuse_socks5(struct session *s, int code)
{
    uint8_t answer[SOCKS5_ANSWER_MAX];
    size_t len = s->hs->owed;
    memcpy(answer, s->hs->answer, len);
    len += socks5_reply(answer + len, code, NULL);
    return refuse(s, answer, len);
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

static void log_mistake(const struct session *s, enum sniff kind)
{
    static struct log_rate rate[SNIFF_UNKNOWN + 1];
    char client[ADDR_TEXT];
    log_rated(&rate[kind], NS_PER_S, LOG_WARN, "session",
              "client=%s speaks %s, but this port speaks SOCKS5: set it as a SOCKS5 proxy "
              "(socks5h://) in that program",
              client_text(s, client), sniff_name(kind));
}

static enum state refuse_protocol(struct session *s, enum sniff kind)
{
    size_t len;
    const char *answer = sniff_refusal(kind, &len);
    log_mistake(s, kind);
    return refuse(s, answer, len);
}

static void log_refusal(const struct session *s, const char *what, int code)
{
    static struct log_rate rate;
    char client[ADDR_TEXT];
    log_rated(&rate, NS_PER_S, LOG_WARN, "session", "client=%s %s: refused code=%02d",
              client_text(s, client), what, code);
}

static void consume(struct handshake *hs, size_t n)
{
    hs->len -= n;
    memmove(hs->bytes, hs->bytes + n, hs->len);
}

static enum state on_greeting(struct session *s)
{
    struct handshake *hs = s->hs;
    bool offered = false;
    enum sniff kind = sniff_first_byte(hs->bytes[0]);
    if (kind != SNIFF_SOCKS5)
        return refuse_protocol(s, kind);
    int n = socks5_greeting(hs->bytes, hs->len, SOCKS5_NO_AUTH, &offered);
    if (n <= 0)
        return GREETING;
    hs->answer[0] = SOCKS5_VERSION;
    hs->answer[1] = offered ? SOCKS5_NO_AUTH : SOCKS5_NO_METHOD;
    if (!offered) {
        const uint8_t answer[2] = {hs->answer[0], hs->answer[1]};
        log_refusal(s, "offers no way to go on without a login", SOCKS5_NO_METHOD);
        return refuse(s, answer, sizeof answer);
    }
    hs->owed = 2;
    consume(hs, (size_t)n);
    return REQUEST;
}

/* The client waits for this before it goes on. */
static enum state pay(struct session *s)
{
    struct handshake *hs = s->hs;
    if (hs->owed && send(s->fd, hs->answer, hs->owed, MSG_NOSIGNAL) != (ssize_t)hs->owed)
        return CLOSED;
    hs->owed = 0;
    return REQUEST;
}

static enum state dial(struct session *s);

static enum state on_request(struct session *s)
{
    struct handshake *hs = s->hs;
    int n = socks5_request(hs->bytes, hs->len, &hs->dest);
    if (n == 0)
        return pay(s);
    if (n < 0) {
        log_refusal(s,
                    -n == SOCKS5_BAD_COMMAND ? "asks for a command that is not CONNECT"
                                             : "sent a request that cannot be served",
                    -n);
        return refuse_socks5(s, -n);
    }
    if (!hs->dest.salen) {
        memcpy(hs->name, hs->dest.name, hs->dest.name_len);
        hs->dest.name = hs->name;
    }
    consume(hs, (size_t)n);
    return dial(s);
}

/* Reads what the client has sent. Returns false when there was nothing, or it has gone. */
static bool fill(struct session *s)
{
    struct handshake *hs = s->hs;
    struct relay_side *client = client_side(s);
    size_t room = sizeof hs->bytes - hs->len;
    ssize_t n = receive(s, hs->bytes + hs->len, room);
    if (n > 0) {
        hs->len += (size_t)n;
        client->readable = client->more || (size_t)n == room;
        return true;
    }
    if (n == -EAGAIN)
        client->readable = false;
    else if (n < 0 || s->state != DIALING)
        s->state = CLOSED; /* an end while dialing is perhaps only half of it: the relay will see */
    return false;
}

static void client_read(struct session *s)
{
    while (s->state <= DIALING && client_side(s)->readable && s->hs->len < sizeof s->hs->bytes) {
        if (!fill(s))
            break;
        if (s->state == GREETING)
            s->state = on_greeting(s);
        if (s->state == REQUEST)
            s->state = on_request(s);
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

/* ---- dialing ---- */

static void log_dial(const struct session *s, const char *link, int err)
{
    enum log_level level = err == DP_OK ? LOG_INFO : LOG_WARN;
    if (!log_enabled(level))
        return;
    char client[ADDR_TEXT], dest[ADDR_TEXT];
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

/* The reply and the relay's first bytes to the client are one thing; what the client has sent
 * early goes first to the other side. */
static void relay_begin(struct session *s, const struct arrival *arrival)
{
    struct handshake *hs = s->hs;
    uint8_t answer[SOCKS5_ANSWER_MAX];
    size_t len = hs->owed;
    memcpy(answer, hs->answer, len);
    if (!hs->raw && !hs->replied)
        len += socks5_reply(answer + len, SOCKS5_OK, &arrival->bound);
    const struct relay_early early[2] = {{answer, len}, {hs->bytes, hs->len}};

    s->state = RELAYING;
    s->relay.over = relay_over;
    s->relay.side[1].io.fd = arrival->fd;
    relay_side_told(&s->relay.side[1], arrival->told);
    int failed = relay_start(&s->relay, s->worker->shared, early);
    handshake_free(s);
    if (failed) {
        relay_over(&s->relay, RELAY_NO_MEMORY);
        return;
    }
    int64_t idle = timeouts(s)->idle;
    io_timer(s->worker->io, &s->timer, idle ? s->relay.active_ns + idle : 0);
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
    if (s->hs->raw || s->hs->replied)
        s->state = CLOSED;
    else
        s->state = refuse_socks5(s, dp_reply(err) ? dp_reply(err) : SOCKS5_FAILURE);
    session_settle(s);
}

static int reply_early(struct session *s)
{
    struct handshake *hs = s->hs;
    size_t len = hs->owed + socks5_reply(hs->answer + hs->owed, SOCKS5_OK, NULL);
    hs->owed = 0;
    hs->replied = true;
    return send(s->fd, hs->answer, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

static enum state dial(struct session *s)
{
    struct handshake *hs = s->hs;
    if (hs->early_reply && reply_early(s) < 0)
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
    hs->since_ns = io_now(s->worker->io);
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

static struct handshake *handshake_new(struct session *s, const struct acceptor *at)
{
    const struct conf_listener *listener = at->conf;
    struct handshake *hs = calloc(1, sizeof *hs);
    if (!hs)
        return NULL;
    s->worker->n_handshakes++;
    s->worker->trim_due = true;
    hs->pool = at->pool;
    ref_get(&hs->pool->ref);
    hs->raw = listener->protocols == PROTO_RAW;
    hs->early_reply = listener->early_reply;
    hs->since_ns = io_now(s->worker->io);
    memcpy(hs->listener, listener->name, strnlen(listener->name, sizeof hs->listener - 1));
    return hs;
}

void session_start(struct worker *w, const struct acceptor *at, int fd,
                   const struct dp_addr *client, uint32_t source)
{
    struct session *s = slab_alloc(&w->session_slab);
    if (s) {
        s->worker = w;
        s->hs = handshake_new(s, at);
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
