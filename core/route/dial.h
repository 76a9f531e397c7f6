/* SPDX-License-Identifier: MIT
 * dial.h: the dial engine: one client's request, by one link after another until one has won.
 */
#ifndef ROUTE_DIAL_H
#define ROUTE_DIAL_H

#include "route/attempt.h"
#include "route/claim.h"

struct dial_request {
    struct pool *pool;
    struct dp_flow flow;         /* client, dest, listener; its pointers must outlive the dial */
    bool raw;                    /* to the picked tunnel's server, not to flow.dest */
    const struct permit *permit; /* NULL: any address may be dialed */
    int64_t connect_ns;          /* for all of it */
    int64_t attempt_ns;          /* for one link */
};

/* A way out that stands. */
struct stream {
    int fd;
    struct claim claim;
    struct chain *chain; /* what plugins keep until the end; or NULL */
};

struct dial;

/* Starts. over() is called once, later, from the loop, unless the dial is freed before. NULL: out
 * of memory. */
struct dial *dial_start(struct dial_env *env, const struct dial_request *request,
                        void (*over)(struct dial *d, void *ctx, int err), void *ctx);

/* Inside over() with DP_OK: the stream is now the caller's. */
void dial_take(struct dial *d, struct stream *stream, struct arrival *arrival);

/* Which link the reported error came from; "none" before any was tried. */
const char *dial_link_name(const struct dial *d);

/* Ends whatever is under way and frees it. NULL is fine. */
void dial_free(struct dial *d);

/* Gives the claim back and ends the plugins' part. Closes the descriptor unless it is -1. */
void stream_close(struct stream *stream, int64_t now_ns, uint64_t rx, uint64_t tx);

#endif
