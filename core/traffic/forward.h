/* SPDX-License-Identifier: MIT
 * forward.h: the plain requests of HTTP of one session: each goes to its own server, and the
 * connection to the last one is kept for the next, should that be for the same.
 */
#ifndef TRAFFIC_FORWARD_H
#define TRAFFIC_FORWARD_H

#include "traffic/session_state.h"

/* hs->errand has been read: what is kept from one to the next is there from now on, also if this one
 * is refused. */
int forward_open(struct session *s);

/* Does it by the connection that is there, or dials. */
enum state forward_ask(struct session *s);

/* A new connection to where it is to be done. */
enum state forward_begin(struct session *s, const struct arrival *arrival);

/* FORWARDING: the client's side has been told something. */
void forward_go(struct session *s);

/* The request has been answered: what has come behind it is next, or another one is awaited. */
enum state forward_next(struct session *s);

/* KEPT: the client begins to say something. */
enum state forward_wake(struct session *s);

/* FORWARDING: nothing has moved for too long; the link has gone. */
void forward_timeout(struct session *s);
void forward_lost(struct session *s);

/* The worker is about to end: this request is the last, or the next. `at_once`: none is waited for. */
void forward_drain(struct session *s, bool at_once);

/* Closes the connection to the server, if there is one that no request is using. */
void forward_leave(struct session *s);

/* At the end of the session; the stream is the session's to close. */
void forward_free(struct session *s);

#endif
