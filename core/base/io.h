/* SPDX-License-Identifier: MIT
 * io.h: what waiting code asks of whoever turns the loop: readiness, a time, now.
 *
 * traffic/loop.c implements it on epoll, route/poll.c on poll(2). Everything belongs to one thread.
 * A watcher or timer is embedded in its owner, starts zeroed, and must be stopped before the owner
 * is freed; a descriptor has one watcher. Callbacks may stop, restart or free any watcher or timer,
 * also their own.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct io;

/* Besides POLLIN and POLLOUT in `events`. */
#define IO_EDGE 0x1000   /* tell readiness when it begins, and not again while it lasts */
#define IO_SHARED 0x2000 /* others wait for the same descriptor: one is enough; not with IO_EDGE */

struct io_fd {
    int fd;
    short events; /* as now asked for; io_watch() sets it */
    void (*ready)(struct io_fd *w, short revents);
};

struct io_timer {
    int64_t at_ns; /* when it fires; 0: stopped */
    void (*fire)(struct io_timer *t);
    void *priv[4]; /* the loop's */
};

struct io_ops {
    int64_t (*now)(struct io *io);
    int (*watch)(struct io *io, struct io_fd *w, short events);
    void (*leave)(struct io *io, struct io_fd *w, bool closing);
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

/* Waits for `events` on w->fd from now on; 0 stops. `revents` of ready() are of poll(2): what was
 * asked for of it, and POLLERR and POLLHUP, with which all that was asked for is told as well; with
 * IO_EDGE also POLLRDHUP, and POLLPRI with POLLIN. w->fd must not change while started. Returns 0,
 * or -1 when out of memory: then nothing is waited for. Stopping cannot fail. */
static inline int io_watch(struct io *io, struct io_fd *w, short events)
{
    return events == w->events ? 0 : io->ops->watch(io, w, events);
}

/* Stops without telling the kernel, as the descriptor is about to be watched by another watcher of
 * this loop, and not closed before (io_leave), or to be closed (io_forget). */
static inline void io_leave(struct io *io, struct io_fd *w)
{
    if (w->events)
        io->ops->leave(io, w, false);
}
static inline void io_forget(struct io *io, struct io_fd *w)
{
    if (w->events)
        io->ops->leave(io, w, true);
}

/* Fires once at at_ns, or soon if that has passed (from the loop, after what else is due, never
 * from inside this call); 0 stops. */
static inline void io_timer(struct io *io, struct io_timer *t, int64_t at_ns)
{
    if (at_ns != t->at_ns)
        io->ops->timer(io, t, at_ns);
}

#endif
