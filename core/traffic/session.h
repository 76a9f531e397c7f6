/* SPDX-License-Identifier: MIT
 * session.h: one client connection from accept to close.
 */
#ifndef TRAFFIC_SESSION_H
#define TRAFFIC_SESSION_H

#include "traffic/worker.h"

/* Serves a connection that was accepted there; its descriptor is now the session's. */
void session_start(struct worker *w, const struct acceptor *at, int fd,
                   const struct dp_addr *client, uint32_t source);

/* Of one session, for the worker's slab. */
size_t session_size(void);

/* Ends it at once, whatever it is doing. */
void session_close(struct session *s);

/* Looks, now and then, whether its peers are still there; ends it if one has gone in silence. */
void session_check(struct session *s, int64_t now_ns);

/* Resets the worker's connections by `link`: all of them, or those from one of its addresses. */
void sessions_reset(struct worker *w, const struct link *link, const struct dp_addr *from);

/* The worker is about to end: connections that are kept for a next request are closed at once, or end
 * with the answer to it. */
void sessions_drain(struct worker *w, bool at_once);

/* The next in the worker's list. */
struct session *session_next(const struct session *s);

#endif
