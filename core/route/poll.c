/* SPDX-License-Identifier: MIT
 * poll.c: io.h on poll(2).
 */
#include "route/poll.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stdlib.h>

#define FAKE_WAIT_MS 20 /* what a fake clock gives real peers before it jumps */

static struct poll_loop *loop_of(struct io *io)
{
    return (struct poll_loop *)io;
}

static int64_t poll_now(struct io *io)
{
    struct poll_loop *loop = loop_of(io);
    return loop->fake_now_ns ? loop->fake_now_ns : clock_now_ns();
}

/* Makes room for one more pointer. There is no way to report failure, nor to go on without. */
static void *grow(void *array, unsigned n, unsigned *cap)
{
    if (n < *cap)
        return array;
    *cap = *cap ? *cap * 2 : 16;
    void *bigger = realloc(array, *cap * sizeof(void *));
    if (!bigger)
        abort();
    return bigger;
}

static int poll_watch(struct io *io, struct io_fd *w, short events)
{
    struct poll_loop *loop = loop_of(io);
    if (!w->events) {
        loop->fd = grow(loop->fd, loop->n_fds, &loop->cap_fds);
        loop->fd[loop->n_fds++] = w;
    }
    w->events = events;
    for (unsigned i = 0; !events && i < loop->n_fds; i++)
        if (loop->fd[i] == w)
            loop->fd[i] = loop->fd[--loop->n_fds];
    return 0;
}

static void poll_leave(struct io *io, struct io_fd *w, bool closing)
{
    (void)closing;
    poll_watch(io, w, 0);
}

static void poll_timer(struct io *io, struct io_timer *t, int64_t at_ns)
{
    struct poll_loop *loop = loop_of(io);
    if (!t->at_ns) {
        loop->timer = grow(loop->timer, loop->n_timers, &loop->cap_timers);
        loop->timer[loop->n_timers++] = t;
    }
    t->at_ns = at_ns;
    for (unsigned i = 0; !at_ns && i < loop->n_timers; i++)
        if (loop->timer[i] == t)
            loop->timer[i] = loop->timer[--loop->n_timers];
}

static const struct io_ops poll_ops = {
    .now = poll_now, .watch = poll_watch, .leave = poll_leave, .timer = poll_timer};

void poll_init(struct poll_loop *loop, int64_t fake_now_ns)
{
    *loop = (struct poll_loop){.io = {.ops = &poll_ops}, .fake_now_ns = fake_now_ns};
}

void poll_deinit(struct poll_loop *loop)
{
    free(loop->fd);
    free(loop->timer);
}

static struct io_timer *timer_first(const struct poll_loop *loop)
{
    struct io_timer *first = NULL;
    for (unsigned i = 0; i < loop->n_timers; i++)
        if (!first || loop->timer[i]->at_ns < first->at_ns)
            first = loop->timer[i];
    return first;
}

static int wait_ms(const struct poll_loop *loop, int64_t until_ns)
{
    if (loop->fake_now_ns)
        return FAKE_WAIT_MS;
    if (!until_ns)
        return -1;
    int64_t left = until_ns - clock_now_ns();
    int64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS; /* rounded up, or it would spin */
    return left <= 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* As io.h says: trouble is readiness of everything. */
static short revents_told(short revents, short events)
{
    short trouble = revents & (POLLERR | POLLHUP | POLLNVAL);
    return trouble ? trouble | events : revents & events;
}

/* A callback may change the set, so after one has run the others wait for the next turn. */
static bool run_ready(struct poll_loop *loop, const struct pollfd *ready, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        unsigned i = (loop->turn + k) % n;
        if (!ready[i].revents)
            continue;
        loop->turn = i + 1;
        loop->fd[i]->ready(loop->fd[i], revents_told(ready[i].revents, ready[i].events));
        return true;
    }
    return false;
}

static void run_timer(struct poll_loop *loop)
{
    struct io_timer *first = timer_first(loop);
    if (!first || first->at_ns > poll_now(&loop->io))
        return;
    poll_timer(&loop->io, first, 0);
    first->fire(first);
}

int poll_turn(struct poll_loop *loop, int64_t until_ns)
{
    struct io_timer *first = timer_first(loop);
    int64_t now = poll_now(&loop->io);
    int64_t next = first && (!until_ns || first->at_ns < until_ns) ? first->at_ns : until_ns;
    if ((!loop->n_fds && !first) || (until_ns && now >= until_ns))
        return -1;

    struct pollfd *set = calloc(loop->n_fds + 1, sizeof *set);
    if (!set)
        return -1;
    for (unsigned i = 0; i < loop->n_fds; i++)
        set[i] = (struct pollfd){.fd = loop->fd[i]->fd,
                                 .events = loop->fd[i]->events & (POLLIN | POLLOUT)};
    int n = poll(set, loop->n_fds, wait_ms(loop, next));
    bool ran = n > 0 && run_ready(loop, set, loop->n_fds);
    free(set);
    if (!ran && n >= 0 && loop->fake_now_ns && next > loop->fake_now_ns)
        loop->fake_now_ns = next;
    run_timer(loop);
    return 0;
}
