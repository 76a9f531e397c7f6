/* SPDX-License-Identifier: MIT
 * session_dial.c: from what a client asks for to a connection that stands, or an answer that says why
 * there is none.
 */
#include "base/clock.h"
#include "base/log.h"
#include "route/rules.h"
#include "route/socket.h"
#include "traffic/forward.h"

#include <string.h>
#include <sys/socket.h>

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

void session_log_dial(const struct session *s, const char *link, int err)
{
    enum log_level level = err == DP_OK ? LOG_INFO : LOG_WARN;
    if (!log_enabled(level))
        return;
    char client[ADDR_TEXT], dest[ADDR_TEXT], user[USER_TEXT];
    log_line(level, "session", "client=%s%s dest=%s link=%s code=%02d ms=%lld",
             session_client_text(s, client), user_text(s, user),
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

/* The pool that the rules say; `dialed`: what the name has become, NULL: not known. NULL: they deny
 * it, and the log has been told. */
static struct pool *ruled(const struct session *s, const struct dp_addr *dialed)
{
    const struct handshake *hs = s->hs;
    const struct dp_addr client = session_client(s);
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
    if (!pool) {
        s->hs->ruled_out = true;
        session_log_dial(s, rule, DP_ERR_DENIED);
    }
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

enum state session_ask(struct session *s)
{
    struct handshake *hs = s->hs;
    hs->since_ns = io_now(s->worker->io);
    if (hs->errand && forward_open(s) < 0)
        return CLOSED;
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
        .flow = {.client = session_client(s),
                 .dest = hs->dest,
                 .listener = {.p = hs->listener, .len = (uint32_t)strlen(hs->listener)},
                 .user = client_user(s)},
        .raw = hs->raw,
        .permit = hs->permit.allows ? &hs->permit : NULL,
        .connect_ns = session_timeouts(s)->connect,
        .attempt_ns = session_timeouts(s)->attempt,
    };
    io_timer(s->worker->io, &s->timer, 0); /* the dial has its own limit */
    hs->dial = dial_start(&s->worker->env, &request, dial_over, s);
    if (!hs->dial && hs->replied)
        socket_set_reset(s->fd);
    return hs->dial ? DIALING : CLOSED;
}
