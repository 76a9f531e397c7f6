/* SPDX-License-Identifier: MIT
 * cares_channel.h: a c-ares channel to one name server, whose sockets leave by one link, on our own
 * loop. c-ares has the sockets, the form of questions, their numbers, and TCP for what is long.
 */
#ifndef ROUTE_CARES_CHANNEL_H
#define ROUTE_CARES_CHANNEL_H

#include "base/io.h"
#include "route/link.h"

#include <ares.h>

struct watch;

/* Belongs to one worker. */
struct channel {
    struct io *io;
    const struct link *link;
    struct dp_addr server;
    ares_channel ares;
    struct watch *watches;
    struct io_timer timer;
    unsigned pending; /* questions under way */
    int err;          /* why its last socket could not leave by the link; 0 */
    bool outside;     /* may be asked from no link, where the link has no address of its family */
    bool deaf;        /* a socket of it is not watched, for lack of memory */
    bool inside;      /* c-ares is at work on it, further up the stack */
};

/* Embedded in who asks. done() is called once, also from inside channel_ask(): `status` is c-ares',
 * `msg` the server's answer or NULL. */
struct channel_question {
    struct channel *channel;
    void (*done)(struct channel_question *q, int status, const uint8_t *msg, size_t len);
};

/* To one server through a link, which must outlive it. NULL: out of memory. */
struct channel *channel_new(struct io *io, const struct link *link, const struct dp_addr *server);

/* Ends what is under way, but not from inside a done(). */
void channel_free(struct channel *ch);

/* Asks once for the addresses of a name in a family. Silence is an end only after
 * CHANNEL_ANSWER_MS. */
#define CHANNEL_ANSWER_MS 5000
void channel_ask(struct channel *ch, struct channel_question *q, const char *name, int family);

#endif
