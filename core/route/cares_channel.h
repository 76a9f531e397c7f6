/* SPDX-License-Identifier: MIT
 * cares_channel.h: a c-ares channel whose sockets leave by one link, on our own loop.
 */
#ifndef ROUTE_CARES_CHANNEL_H
#define ROUTE_CARES_CHANNEL_H

#include "base/io.h"
#include "route/link.h"

#include <ares.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct watch;

/* Belongs to one worker. */
struct channel {
    UT_hash_handle hh;
    struct channel **all; /* the table it is in, by link */
    struct io *io;
    struct link *link; /* a reference; the key */
    ares_channel ares;
    struct watch *watches;
    struct io_timer timer;
    unsigned pending; /* queries under way, as its user counts them */
    int64_t made_ns;
    int err;                      /* why its last socket could not leave by the link; 0 */
    bool deaf;                    /* a socket of it is not watched, for lack of memory */
    struct channel *next, **prev; /* among the retired; prev NULL: in the table */
    bool stale;                   /* to be freed when nothing is pending */
    bool inside;                  /* c-ares is at work on it, further up the stack */
};

/* Makes one for the link and puts it in the table; it asks the link's own name servers, or the
 * system's. NULL: out of memory. */
struct channel *channel_new(struct channel **all, struct io *io, struct link *link);

/* Takes it out of the table and frees it; c-ares calls back for what was under way. */
void channel_free(struct channel *ch);

/* Takes it out of the table, for a new one; it ends with its last query. */
void channel_retire(struct channel *ch, struct channel **retired);

/* Nothing pending, and not called from inside it: only then it may be freed. */
bool channel_is_idle(const struct channel *ch);

/* To be called after each query: sets the timer for c-ares' next time-out. */
void channel_rearm(struct channel *ch);

#endif
