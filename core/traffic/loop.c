/* SPDX-License-Identifier: MIT
 * loop.c: io.h on libev.
 *
 * libev's watchers live in the `priv` of ours, which are embedded in their owners: nothing is
 * allocated to wait for something.
 */
#include "traffic/loop.h"
#include "base/clock.h"

#include <ev.h>
#include <stddef.h>
#include <stdlib.h>

struct loop {
    struct io io;
    struct ev_loop *ev;
    ev_async wake;
    void (*woken)(void *ctx);
    void *woken_ctx;
};

_Static_assert(sizeof(ev_io) <= sizeof(((struct io_fd *)0)->priv), "ev_io fits");
_Static_assert(sizeof(ev_timer) <= sizeof(((struct io_timer *)0)->priv), "ev_timer fits");

static struct loop *loop_of(struct io *io)
{
    return (struct loop *)io;
}

/* The real clock, not the loop's: what ran before in this turn may have taken its time. */
static int64_t loop_now(struct io *io)
{
    (void)io;
    return clock_now_ns();
}

static void fd_event(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev;
    struct io_fd *fd = (struct io_fd *)((char *)w - offsetof(struct io_fd, priv));
    short got = (short)((revents & EV_READ ? POLLIN : 0) | (revents & EV_WRITE ? POLLOUT : 0));
    fd->ready(fd, got);
}

static void loop_watch(struct io *io, struct io_fd *fd, short events)
{
    struct ev_loop *ev = loop_of(io)->ev;
    ev_io *w = (ev_io *)fd->priv;
    if (fd->events)
        ev_io_stop(ev, w);
    fd->events = events;
    if (!events)
        return;
    ev_io_init(w, fd_event, fd->fd,
               (events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0));
    ev_io_start(ev, w);
}

static void timer_event(struct ev_loop *ev, ev_timer *w, int revents)
{
    (void)ev;
    (void)revents;
    struct io_timer *t = (struct io_timer *)((char *)w - offsetof(struct io_timer, priv));
    t->at_ns = 0;
    t->fire(t);
}

static void loop_timer(struct io *io, struct io_timer *t, int64_t at_ns)
{
    struct ev_loop *ev = loop_of(io)->ev;
    ev_timer *w = (ev_timer *)t->priv;
    if (t->at_ns)
        ev_timer_stop(ev, w);
    t->at_ns = at_ns;
    if (!at_ns)
        return;
    /* libev counts from the time it cached at the start of this turn: later than that it is too
     * early by what has passed since, so that is added. */
    int64_t left = at_ns - clock_now_ns();
    ev_now_update(ev);
    ev_timer_init(w, timer_event, left > 0 ? (double)left / (double)NS_PER_S : 0., 0.);
    ev_timer_start(ev, w);
}

static const struct io_ops loop_ops = {.now = loop_now, .watch = loop_watch, .timer = loop_timer};

static void wake_event(struct ev_loop *ev, ev_async *w, int revents)
{
    (void)revents;
    (void)w;
    struct loop *loop = ev_userdata(ev);
    if (loop->woken)
        loop->woken(loop->woken_ctx);
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    if (!loop->ev) {
        free(loop);
        return NULL;
    }
    loop->io.ops = &loop_ops;
    ev_set_userdata(loop->ev, loop);
    ev_async_init(&loop->wake, wake_event);
    ev_async_start(loop->ev, &loop->wake);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    ev_async_stop(loop->ev, &loop->wake);
    ev_loop_destroy(loop->ev);
    free(loop);
}

struct io *loop_io(struct loop *loop)
{
    return &loop->io;
}

void loop_run(struct loop *loop)
{
    ev_run(loop->ev, 0);
}

void loop_stop(struct loop *loop)
{
    ev_break(loop->ev, EVBREAK_ALL);
}

void loop_on_wake(struct loop *loop, void (*woken)(void *ctx), void *ctx)
{
    loop->woken = woken;
    loop->woken_ctx = ctx;
}

void loop_wake(struct loop *loop)
{
    ev_async_send(loop->ev, &loop->wake);
}
