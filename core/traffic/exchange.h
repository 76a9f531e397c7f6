/* SPDX-License-Identifier: MIT
 * exchange.h: one plain request of HTTP and its answer, between two connected sockets (RFC 9112).
 *
 * The request's body and the answer go on side by side, each through a lane of its own: an answer may
 * come before the request has been sent. What one side does not take is not read from the other.
 */
#ifndef TRAFFIC_EXCHANGE_H
#define TRAFFIC_EXCHANGE_H

#include "traffic/errand.h"
#include "traffic/lane.h"
#include "traffic/relay.h"

enum exchange_end {
    EXCHANGE_GOES_ON,
    EXCHANGE_DONE,       /* what may go on is in client_persists and server_persists */
    EXCHANGE_UPGRADED,   /* from here on the connection speaks another protocol */
    EXCHANGE_UNANSWERED, /* the server has closed, and the client has been told nothing */
    EXCHANGE_GARBLED,    /* the answer cannot be passed on, and so */
    EXCHANGE_MISFRAMED,  /* the request's body is malformed, and so */
    EXCHANGE_TOO_LARGE,  /* so is what has come of it */
    EXCHANGE_BROKEN,     /* in the middle of the answer; or the client has gone */
    EXCHANGE_NO_MEMORY
};

/* Embedded in its owner; starts zeroed. Sides 0 and 1 of the relay are client and server; the relay
 * itself rests. */
struct exchange {
    struct relay *relay;
    const struct errand *errand;
    struct lane up, down;
    struct http_scan scan; /* of the answer's head */
    struct io_timer again; /* to go on after others had their turn */
    bool closing;          /* the owner's: the client's connection is to end with this */
    bool heard;            /* the server has sent something */
    bool body_begun;       /* of the request, on its way to the server */
    bool up_over;          /* the end of the request has come */
    bool up_stopped;       /* the server takes no more */
    bool answered;         /* the head of the answer proper has come */
    bool down_over;        /* and the end of it */
    bool upgraded;
    bool client_persists, server_persists;
    void (*over)(struct exchange *ex, enum exchange_end end);
};

/* Sends errand's head and begins; `rest` is what the client has sent behind it. The sides' descriptors
 * are set and watched by the owner, who calls exchange_go() when one is told something. over() is
 * called once, not from inside this. Returns 0, or -1 when out of memory. */
int exchange_start(struct exchange *ex, struct relay *relay, const struct errand *errand,
                   const uint8_t *rest, size_t len);

void exchange_go(struct exchange *ex);

/* Is the request as if it had never been sent? */
bool exchange_is_unsent(const struct exchange *ex);

/* Stops, and frees what it holds. Safe on one that never started. */
void exchange_stop(struct exchange *ex);

#endif
