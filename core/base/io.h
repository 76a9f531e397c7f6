/* SPDX-License-Identifier: MIT
 * io.h: what waiting code asks of whoever turns the loop: readiness, a time, now.
 *
 * traffic/loop.c implements it on libev, route/poll.c on poll(2). Everything belongs to one thread.
 * A watcher or timer is embedded in its owner, starts zeroed, and must be stopped before the owner
 * is freed. Callbacks may stop, restart or free any watcher or timer, also their own.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <poll.h>
#include <stdint.h>

struct io;

struct io_fd {
    int fd;
    short events; /* POLLIN | POLLOUT as now asked for; io_watch() sets it */
    void (*ready)(struct io_fd *w, short revents);
    uint64_t priv[8]; /* the loop's */
};

struct io_timer {
    int64_t at_ns; /* when it fires; 0: stopped */
    void (*fire)(struct io_timer *t);
    uint64_t priv[8]; /* the loop's */
};

struct io_ops {
    int64_t (*now)(struct io *io);
    void (*watch)(struct io *io, struct io_fd *w, short events);
    void (*timer)(struct io *io, struct io_timer *t, int64_t at_ns);
};

struct io {
    const struct io_ops *ops;
};

/* CLOCK_MONOTONIC in ns, as of the last wake-up of the loop or later. */
static inline int64_t io_now(struct io *io)
{
    return io->ops->now(io);
}

/* Waits for `events` on w->fd from now on; 0 stops. Errors and hang-ups are reported as readiness
 * of whatever was asked for. w->fd and w->ready are set by the owner and must not change while
 * started. */
static inline void io_watch(struct io *io, struct io_fd *w, short events)
{
    if (events != w->events)
        io->ops->watch(io, w, events);
}

/* Fires once at at_ns, or at once if that has passed (from the loop, never from inside this call);
 * 0 stops. */
static inline void io_timer(struct io *io, struct io_timer *t, int64_t at_ns)
{
    if (at_ns != t->at_ns)
        io->ops->timer(io, t, at_ns);
}

#endif
