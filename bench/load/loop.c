/* SPDX-License-Identifier: MIT
 * loop.c: one epoll, one timer, and the ends of streams that are watched.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

static struct {
    int epoll;
    bool stopped;
    int64_t moved_ns; /* when the last event came */
    int64_t patience_ns;
    int64_t at_ns; /* of the timer; INT64_MAX: none */
    void (*at)(void);
    void (*waiting)(void);
} loop;

void fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    fflush(NULL);
    _exit(1); /* streams known to epoll alone are no leaks that a sanitizer should look for */
}

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void loop_init(int64_t patience_ns, void (*waiting)(void))
{
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop.epoll < 0)
        fatal("epoll: %s", strerror(errno));
    loop.patience_ns = patience_ns;
    loop.waiting = waiting;
    loop.at_ns = INT64_MAX;
}

void loop_at(int64_t at_ns, void (*func)(void))
{
    loop.at_ns = at_ns;
    loop.at = func;
}

static void timer_serve(int64_t now)
{
    if (now < loop.at_ns)
        return;
    loop.at_ns = INT64_MAX;
    loop.at();
}

/* Waits for events, the timer, or the end of patience. */
static int events_wait(struct epoll_event *events, int max)
{
    int64_t until = loop.moved_ns + loop.patience_ns;
    if (until > loop.at_ns)
        until = loop.at_ns;
    int64_t left = until - now_ns();
    if (left < 0)
        left = 0;
    struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    int n = epoll_pwait2(loop.epoll, events, max, &wait, NULL);
    if (n < 0 && errno != EINTR)
        fatal("epoll: %s", strerror(errno));
    return n < 0 ? 0 : n;
}

void loop_run(void)
{
    struct epoll_event events[256];
    loop.stopped = false;
    loop.moved_ns = now_ns();
    while (!loop.stopped) {
        int n = events_wait(events, 256);
        for (int i = 0; i < n && !loop.stopped; i++) {
            struct end *end = events[i].data.ptr;
            if (end->fd >= 0) /* else closed by an event before */
                end->ready(end, events[i].events);
        }
        int64_t now = now_ns();
        if (n > 0)
            loop.moved_ns = now;
        timer_serve(now);
        if (now - loop.moved_ns > loop.patience_ns && !loop.stopped) {
            loop.waiting();
            fatal("nothing has moved for %.1f s", (double)loop.patience_ns / 1e9);
        }
    }
}

void loop_stop(void)
{
    loop.stopped = true;
}

void end_watch(struct end *end, uint32_t events)
{
    if (end->events == events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = end};
    int op = !end->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (epoll_ctl(loop.epoll, op, end->fd, &e) != 0)
        fatal("epoll: %s", strerror(errno));
    end->events = events;
}

void end_close(struct end *end)
{
    close(end->fd);
    end->fd = -1;
    end->events = 0;
}
