/* SPDX-License-Identifier: MIT
 * session_check.c: what ends sessions from outside: a peer that is out of reach, a link that has gone,
 * the end of the worker.
 */
#include "base/clock.h"
#include "base/log.h"
#include "route/socket.h"
#include "traffic/forward.h"

/* A peer whose kernel has been silent for so long while it owes an acknowledgement is out of reach.
 * TCP_USER_TIMEOUT would say so too, but it also ends connections whose peer just pauses reading. */
#define SILENT_NS (45 * NS_PER_S)

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
        session_break(s, RELAY_NO_MEMORY);
        return;
    }
    for (int i = 0; i < 2 && needs_check(s, now_ns); i++) {
        if (!side_silent(s, i, now_ns))
            continue;
        if (log_enabled(LOG_INFO)) {
            char client[ADDR_TEXT];
            log_line(LOG_INFO, "session", "client=%s link=%s closed: the %s is out of reach",
                     session_client_text(s, client), s->stream.claim.link->name,
                     i == 0 ? "client" : "other end");
        }
        session_break(s, RELAY_RESET);
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
            session_break(s, RELAY_RESET);
        else if (s->state == FORWARDING)
            forward_lost(s);
        else
            forward_leave(s);
    }
}

void sessions_drain(struct worker *w, bool at_once)
{
    for (struct session *s = w->sessions, *next; s; s = next) {
        next = s->next;
        if (s->forward)
            forward_drain(s, at_once);
    }
}
