/* SPDX-License-Identifier: MIT
 * wants.h: what a dial waits for, as a plugin says it in a struct dp_want: descriptors and a time.
 *
 * One of the descriptors is the stream, which stays with the same watcher until it changes hands: of
 * that nobody may lose sight.
 */
#ifndef ROUTE_WANTS_H
#define ROUTE_WANTS_H

#include "base/io.h"
#include "plugin/dispatch-plugin.h"

#define WANT_FDS 4 /* as in struct dp_want */

/* Embedded in its owner, who sets io and ready; the rest is zero at first. */
struct wants {
    struct io *io;
    void (*ready)(struct wants *wants); /* something of it has happened */
    struct want_fd {
        struct io_fd io;
        struct wants *wants;
        short revents;
    } fd[WANT_FDS];
    unsigned n;
    struct io_timer timer;
};

/* Waits for what `want` says; how: 0 or IO_EDGE. What was watched before and is wanted again costs
 * nothing. Returns DP_AGAIN or DP_ERR_LOCAL. */
int wants_await(struct wants *wants, const struct dp_want *want, int stream, short how);

/* Tells what has happened. */
void wants_happened(const struct wants *wants, struct dp_want *want);

/* Waits no more, but for the stream. */
void wants_drop(struct wants *wants, int stream);

/* Nor for that: it is watched by another right away, or closed. */
void wants_let_go(struct wants *wants, int stream, bool closing);

#endif
