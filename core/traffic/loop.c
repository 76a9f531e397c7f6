/* SPDX-License-Identifier: MIT
 * loop.c: io.h on epoll: one registration for each descriptor, kept while it changes hands.
 *
 * Who waits for a descriptor stands in a table by its number, and the kernel is told that number
 * and not a pointer: so an event of a descriptor that has been closed in the same turn finds nobody,
 * or another count of registrations, and is dropped.
 */
#include "traffic/loop.h"
#include "base/clock.h"

#include <bsd/sys/tree.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS_MAX 64 /* taken from the kernel at once */

/* Of the table: what Linux allows a process unless told otherwise (fs.nr_open). Only the pages in
 * use cost memory. */
#define SLOTS_MAX (1U << 20)

struct slot {
    struct io_fd *w;        /* NULL: nobody */
    uint32_t registrations; /* so far, of this number */
    uint32_t mask;          /* what the kernel has been told; 0: nothing */
};

/* A timer's place among the others: the `priv` of struct io_timer. */
struct place {
    RB_ENTRY(place) link;
};
RB_HEAD(places, place);

struct loop {
    struct io io;
    int epoll, wake;
    struct slot *slot;
    uint32_t n_slots;
    struct places timers;
    int64_t now_ns; /* 0: between turns */
    bool stopped;
    void (*woken)(void *ctx);
    void *woken_ctx;
    struct epoll_event event[EVENTS_MAX]; /* of a turn: on its stack they would be cleared */
};

_Static_assert(sizeof(struct place) <= sizeof(((struct io_timer *)0)->priv), "a place fits");

static struct loop *loop_of(struct io *io)
{
    return (struct loop *)io;
}

/* One look at the clock does for what one wake-up brings. */
static int64_t loop_now(struct io *io)
{
    const struct loop *loop = loop_of(io);
    return loop->now_ns ? loop->now_ns : clock_now_ns();
}

/* ---- descriptors ---- */

static uint32_t mask_of(short events)
{
    uint32_t mask = (events & POLLIN ? EPOLLIN : 0U) | (events & POLLOUT ? EPOLLOUT : 0U);
    if (events & IO_EDGE)
        mask |= EPOLLET | EPOLLRDHUP | (events & POLLIN ? EPOLLPRI : 0U);
    return mask | (events & IO_SHARED ? EPOLLEXCLUSIVE : 0U);
}

static int slot_control(const struct loop *loop, int fd, int op, uint32_t mask)
{
    struct epoll_event event = {
        .events = mask, .data.u64 = (uint64_t)loop->slot[fd].registrations << 32 | (uint32_t)fd};
    return epoll_ctl(loop->epoll, op, fd, &event);
}

static void slot_forget(struct loop *loop, int fd)
{
    if (loop->slot[fd].mask)
        slot_control(loop, fd, EPOLL_CTL_DEL, 0);
    loop->slot[fd].mask = 0;
}

/* What was closed without a word is not registered any more, and what is shared cannot be changed:
 * then it is added again. */
static int slot_register(struct loop *loop, const struct io_fd *w, uint32_t mask)
{
    struct slot *slot = &loop->slot[w->fd];
    bool closed = slot->w && slot->w != w; /* that one had this number before */
    if (slot->mask == mask && !closed)
        return 0;
    if (slot->mask && slot_control(loop, w->fd, EPOLL_CTL_MOD, mask) == 0) {
        slot->mask = mask;
        return 0;
    }
    slot_forget(loop, w->fd);
    slot->registrations++;
    slot->mask = slot_control(loop, w->fd, EPOLL_CTL_ADD, mask) == 0 ? mask : 0;
    return slot->mask ? 0 : -1;
}

static void loop_leave(struct io *io, struct io_fd *w, bool closing)
{
    struct slot *slot = &loop_of(io)->slot[w->fd];
    w->events = 0;
    if (slot->w != w)
        return;
    slot->w = NULL;
    if (closing)
        slot->mask = 0;
}

static int loop_watch(struct io *io, struct io_fd *w, short events)
{
    struct loop *loop = loop_of(io);
    if (w->fd < 0 || (uint32_t)w->fd >= loop->n_slots)
        return -1;
    struct slot *slot = &loop->slot[w->fd];
    if (events && slot_register(loop, w, mask_of(events)) == 0) {
        slot->w = w;
        w->events = events;
        return 0;
    }
    if (slot->w == w)
        slot_forget(loop, w->fd);
    loop_leave(io, w, true);
    return events ? -1 : 0;
}

/* As io.h says: trouble is readiness of everything. What is not asked for any more, since an earlier
 * callback of the same turn, is not told. */
static short revents_told(uint32_t got, short events)
{
    short asked = events & (POLLIN | POLLOUT);
    short always = POLLERR | POLLHUP | (events & IO_EDGE ? POLLRDHUP | POLLPRI : 0);
    short told = (short)(got & (uint32_t)(asked | always));
    return got & (EPOLLERR | EPOLLHUP) ? told | asked : told;
}

static void loop_event(struct loop *loop, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    struct slot *slot = &loop->slot[fd];
    if (slot->registrations != (uint32_t)(event->data.u64 >> 32))
        return;
    if (!slot->w) {
        slot_forget(loop, fd); /* it was left, and nobody has taken it */
        return;
    }
    short told = revents_told(event->events, slot->w->events);
    if (told)
        slot->w->ready(slot->w, told);
}

/* ---- timers ---- */

static struct io_timer *timer_at(struct place *p)
{
    return (struct io_timer *)((char *)p - offsetof(struct io_timer, priv));
}

static int place_order(struct place *a, struct place *b)
{
    int64_t t = timer_at(a)->at_ns, u = timer_at(b)->at_ns;
    if (t != u)
        return t < u ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Of what this makes not all is used. */
#define MADE __attribute__((unused)) static
RB_GENERATE_INTERNAL(places, place, link, place_order, MADE)

static void loop_timer(struct io *io, struct io_timer *t, int64_t at_ns)
{
    struct loop *loop = loop_of(io);
    struct place *place = (struct place *)t->priv;
    if (t->at_ns)
        RB_REMOVE(places, &loop->timers, place);
    t->at_ns = at_ns;
    if (!at_ns)
        return;
    int64_t soon = loop_now(io) + 1; /* not in the turn that asks for it */
    if (at_ns < soon)
        t->at_ns = soon;
    RB_INSERT(places, &loop->timers, place);
}

static void timers_run(struct loop *loop)
{
    struct place *first;
    while (!loop->stopped && (first = RB_MIN(places, &loop->timers)) &&
           timer_at(first)->at_ns <= loop->now_ns) {
        struct io_timer *t = timer_at(first);
        RB_REMOVE(places, &loop->timers, first);
        t->at_ns = 0;
        t->fire(t);
    }
}

/* Rounded up, or it would spin until the moment has come. */
static int timers_wait_ms(struct loop *loop)
{
    struct place *first = RB_MIN(places, &loop->timers);
    if (!first)
        return -1;
    int64_t left = timer_at(first)->at_ns - clock_now_ns();
    int64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;
    return left <= 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* ---- life ---- */

static const struct io_ops loop_ops = {
    .now = loop_now, .watch = loop_watch, .leave = loop_leave, .timer = loop_timer};

static uint32_t slots_needed(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > SLOTS_MAX)
        return SLOTS_MAX;
    return (uint32_t)limit.rlim_max;
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    RB_INIT(&loop->timers);
    loop->io.ops = &loop_ops;
    loop->n_slots = slots_needed();
    loop->slot = calloc(loop->n_slots, sizeof *loop->slot);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = UINT64_MAX};
    if (loop->slot && loop->epoll >= 0 && loop->wake >= 0 &&
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) == 0)
        return loop;
    int err = errno;
    loop_free(loop);
    errno = err;
    return NULL;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->epoll >= 0)
        close(loop->epoll);
    if (loop->wake >= 0)
        close(loop->wake);
    free(loop->slot);
    free(loop);
}

struct io *loop_io(struct loop *loop)
{
    return &loop->io;
}

static void loop_turn(struct loop *loop)
{
    struct epoll_event *event = loop->event;
    int n = epoll_wait(loop->epoll, event, EVENTS_MAX, timers_wait_ms(loop));
    loop->now_ns = clock_now_ns();
    for (int i = 0; i < n; i++) {
        if (event[i].data.u64 != UINT64_MAX)
            loop_event(loop, &event[i]);
        else if (loop->woken)
            loop->woken(loop->woken_ctx);
    }
    timers_run(loop);
    loop->now_ns = 0;
}

void loop_run(struct loop *loop)
{
    loop->stopped = false;
    while (!loop->stopped)
        loop_turn(loop);
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

void loop_on_wake(struct loop *loop, void (*woken)(void *ctx), void *ctx)
{
    loop->woken = woken;
    loop->woken_ctx = ctx;
}

/* Written once more each time, as an edge is all that is waited for: the count is never read. */
void loop_wake(struct loop *loop)
{
    int saved = errno;
    eventfd_write(loop->wake, 1);
    errno = saved;
}
