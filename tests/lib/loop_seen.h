/* SPDX-License-Identifier: MIT
 * loop_seen.h: a loop that is turned by hand, and watchers and timers that note what they are told.
 */
#ifndef LIB_LOOP_SEEN_H
#define LIB_LOOP_SEEN_H

#include "base/clock.h"
#include "traffic/loop.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct io *io;
static struct io_timer pause_timer;

struct seen {
    struct io_fd fd;
    struct io_timer timer;
    int n;           /* calls of either */
    short last, all; /* revents: of the last call, of all together */
    int64_t at_ns;   /* of the last */
    int64_t due_ns;
    void (*act)(struct seen *s);
    struct seen *other; /* of act() */
    short events;
};

static int happened; /* calls in all */

static inline void happen(struct seen *s)
{
    s->n++;
    s->at_ns = io_now(io);
    happened++;
    if (s->act)
        s->act(s);
}

static inline void ready(struct io_fd *w, short revents)
{
    struct seen *s = (struct seen *)((char *)w - offsetof(struct seen, fd));
    s->last = revents;
    s->all |= revents;
    happen(s);
}

static inline void fire(struct io_timer *t)
{
    happen((struct seen *)((char *)t - offsetof(struct seen, timer)));
}

static inline struct seen seen(int fd)
{
    return (struct seen){.fd = {.fd = fd, .ready = ready}, .timer = {.fire = fire}};
}

static inline void watch(struct seen *s, short events)
{
    cr_assert(eq(int, io_watch(io, &s->fd, events), 0));
    cr_assert(eq(int, s->fd.events, events));
}

static inline void pause_fire(struct io_timer *t)
{
    (void)t;
    loop_stop(loop);
}

/* One turn that does not wait: the pause is due when it ends. */
static inline void turn(void)
{
    io_timer(io, &pause_timer, 1);
    loop_run(loop);
}

static inline void loop_open(void)
{
    signal(SIGPIPE, SIG_IGN);
    loop = loop_new();
    cr_assert(loop != NULL);
    io = loop_io(loop);
    pause_timer.fire = pause_fire;
}

static inline void loop_close(void)
{
    loop_free(loop);
}

/* ---- descriptors that are watched ---- */

static inline void pair(int fd[2])
{
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0));
}

static inline void unpair(int fd[2])
{
    close(fd[0]);
    close(fd[1]);
}

static inline void put(int fd)
{
    cr_assert(eq(i64, send(fd, "x", 1, MSG_NOSIGNAL), 1));
}

#endif
