/* SPDX-License-Identifier: MIT
 * session_state.h: what the files of a session share: session.c has its life, session_dial.c the way
 * to a connection, session_proxy.c proxies in front, forward.c plain requests of HTTP, session_check.c
 * what comes from outside.
 *
 * Functions that return a state return the next one; session_settle() sees to it that it is carried
 * out.
 */
#ifndef TRAFFIC_SESSION_STATE_H
#define TRAFFIC_SESSION_STATE_H

#include "base/addr.h"
#include "traffic/handshake.h"
#include "traffic/session.h"

enum state { HANDSHAKE, LOGIN, DIALING, FORWARDING, KEPT, RELAYING, REFUSED, CLOSED };

struct session {
    struct session *next, **prev; /* in the worker's list */
    struct worker *worker;
    enum state state;
    int fd;
    struct io_timer timer;
    struct sockaddr_in6 client; /* of either family: struct dp_addr is large */
    bool kept_alive;            /* the kernel probes the other end when it is idle */
    uint32_t source;            /* the worker's, for worker_session_over() */
    struct handshake *hs;       /* until the relay runs, or a request is awaited */
    struct forward *forward;    /* from the first plain request on */
    struct stream stream;
    struct relay relay;
    int64_t unacked_ns[2]; /* of the relay's sides: since when; 0: not */
};

static inline struct relay_side *client_side(struct session *s)
{
    return &s->relay.side[0];
}

static inline struct relay_side *server_side(struct session *s)
{
    return &s->relay.side[1];
}

static inline const struct conf_timeouts *session_timeouts(const struct session *s)
{
    return &s->worker->env.config->timeouts;
}

struct dp_addr session_client(const struct session *s);
const char *session_client_text(const struct session *s, char buf[ADDR_TEXT]);

/* By what is configured for this listener now. Returns 0, or -1: out of memory. */
int session_handshake(struct session *s, const struct acceptor *at);
void session_handshake_over(struct session *s);

/* Reads whose connection it is, as the proxy in front says first. */
enum state session_header(struct session *s);

/* What the handshake asks for is done, if the rules allow it. session_dial(): it is dialled. */
enum state session_ask(struct session *s);
enum state session_dial(struct session *s);
void session_log_dial(const struct session *s, const char *link, int err);

/* Sends the answer; then the connection ends, or goes on with the next request. */
enum state session_answer(struct session *s, const struct refusal *answer);

/* All has been sent: waits for the client to close. */
enum state session_linger(struct session *s);

/* Joins both sides, which are to be sent `early` first. Returns RELAYING or CLOSED. */
enum state session_relay(struct session *s, const struct relay_early early[2]);

/* Ends it, as is told to both sides unless the end is RELAY_DONE. */
void session_break(struct session *s, enum relay_end end);

void session_settle(struct session *s);

#endif
