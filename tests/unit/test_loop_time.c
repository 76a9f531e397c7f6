/* SPDX-License-Identifier: MIT
 * test_loop_time.c: the timers of io.h on epoll, its clock, and what wakes and stops the loop.
 */
#include "lib/loop_seen.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

TestSuite(loop_time, .init = loop_open, .fini = loop_close);

/* ---- timers ---- */

static int waits; /* calls of epoll_wait(): this stands before the C library's */

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    waits++;
    return (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout, NULL, 0);
}

static int64_t last_due_ns;

static void check_due(struct seen *s)
{
    cr_expect(s->at_ns >= s->due_ns && clock_now_ns() >= s->due_ns, "early");
    cr_expect(s->due_ns >= last_due_ns, "out of order");
    cr_expect(eq(i64, s->timer.at_ns, 0), "stopped when it fires");
    last_due_ns = s->due_ns;
}

static void set_timer(struct seen *s, int64_t at_ns)
{
    io_timer(io, &s->timer, at_ns);
    s->due_ns = s->timer.at_ns; /* a time that has passed is put off to the next moment */
}

/* Thousands in random order, of which some are put off or brought forward, and some stopped. */
Test(loop_time, timers_in_their_order_and_not_early)
{
    enum { MANY = 4000, WITHIN_NS = 20 * 1000 * 1000 };
    static struct seen s[MANY];
    unsigned seed = 1;
    int64_t now = io_now(io);
    for (int i = 0; i < MANY; i++) {
        s[i] = seen(-1);
        s[i].act = check_due;
        set_timer(&s[i], now + 1 + rand_r(&seed) % WITHIN_NS);
        if (i % 4 == 1)
            set_timer(&s[i], now + 1 + rand_r(&seed) % WITHIN_NS);
    }
    for (int i = 2; i < MANY; i += 4)
        io_timer(io, &s[i].timer, 0);
    while (clock_now_ns() <= now + WITHIN_NS)
        turn();
    turn();
    for (int i = 0; i < MANY; i++)
        cr_expect(eq(int, s[i].n, i % 4 != 2), "%d", i);
}

/* The loop waits for a timer, and not in a circle. */
Test(loop_time, the_loop_sleeps_until_a_timer)
{
    for (int ms = 0; ms < 8; ms++) {
        struct seen s = seen(-1);
        s.act = check_due;
        last_due_ns = 0;
        set_timer(&s, io_now(io) + ms * NS_PER_MS + 500000);
        io_timer(io, &pause_timer, s.timer.at_ns + 1);
        waits = 0;
        loop_run(loop);
        cr_expect(eq(int, s.n, 1));
        cr_expect(waits <= 2, "%d ms: %d turns", ms, waits);
    }
}

static void again_in_the_past(struct seen *s)
{
    io_timer(io, &s->timer, 1);
    cr_expect(s->timer.at_ns > io_now(io), "not in the same turn");
}

static void move_other(struct seen *s)
{
    io_timer(io, &s->other->timer, s->other->timer.at_ns ? 0 : s->due_ns);
}

Test(loop_time, timers_that_set_and_stop_timers)
{
    int64_t now = io_now(io);
    struct seen first = seen(-1), second = seen(-1), third = seen(-1);
    first.act = third.act = move_other;
    first.other = &second;
    third.other = &first;
    third.due_ns = now + NS_PER_S;
    io_timer(io, &first.timer, now + 1);
    io_timer(io, &second.timer, now + 2); /* the first stops it */
    io_timer(io, &third.timer, now + 3);  /* sets the first again */
    while (clock_now_ns() <= now + 3)
        ;
    turn();
    cr_expect(eq(int, first.n, 1));
    cr_expect(eq(int, second.n, 0));
    cr_expect(eq(int, third.n, 1));
    cr_expect(eq(i64, first.timer.at_ns, now + NS_PER_S));
    io_timer(io, &first.timer, 0);
}

Test(loop_time, a_timer_that_is_always_due_starves_nobody)
{
    int fd[2];
    pair(fd);
    struct seen busy = seen(-1), waiting = seen(fd[0]), later = seen(-1);
    busy.act = again_in_the_past;
    io_timer(io, &busy.timer, 1);
    io_timer(io, &later.timer, io_now(io) + NS_PER_MS);
    watch(&waiting, POLLIN | IO_EDGE);
    int n = 0;
    for (; n < 1000000 && !later.n; n++)
        turn();
    put(fd[1]);
    turn();
    cr_expect(eq(int, waiting.n, 1));
    cr_expect(eq(int, later.n, 1));
    cr_expect(busy.n > n / 2 && busy.n <= n + 1, "%d times in %d turns", busy.n, n);
    io_timer(io, &busy.timer, 0);
    watch(&waiting, 0);
    unpair(fd);
}

static void look_at_the_clock(struct seen *s)
{
    while (clock_now_ns() <= s->at_ns + 1000)
        ;
    cr_expect(eq(i64, io_now(io), s->at_ns), "one moment for one turn");
}

Test(loop_time, now)
{
    int64_t before = clock_now_ns(), now = io_now(io);
    cr_expect(now >= before && now <= clock_now_ns(), "between turns it is the clock");
    struct seen a = seen(-1), b = seen(-1);
    a.act = b.act = look_at_the_clock;
    io_timer(io, &a.timer, 1);
    io_timer(io, &b.timer, 1);
    turn();
    turn();
    cr_expect(a.at_ns > now && b.at_ns > now);
    before = clock_now_ns();
    cr_expect(io_now(io) >= before, "and again");
}

/* ---- waking ---- */

enum { WAKERS = 4, WAKES = 2000 };
static uint32_t asked[WAKERS], answered[WAKERS]; /* atomic */
static int wakes;

static void woken(void *ctx)
{
    cr_expect(eq(ptr, ctx, asked));
    uint32_t done = 0;
    for (int i = 0; i < WAKERS; i++) {
        uint32_t n = __atomic_load_n(&asked[i], __ATOMIC_ACQUIRE);
        __atomic_store_n(&answered[i], n, __ATOMIC_RELEASE);
        done += n == WAKES;
    }
    wakes++;
    if (done == WAKERS)
        loop_stop(loop);
}

/* Each is waited for: were one lost, this would not end. */
static void *waker(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    for (uint32_t n = 1; n <= WAKES; n++) {
        __atomic_store_n(&asked[i], n, __ATOMIC_RELEASE);
        loop_wake(loop);
        while (n % 10 == 0 && __atomic_load_n(&answered[i], __ATOMIC_ACQUIRE) < n)
            sched_yield();
    }
    return NULL;
}

Test(loop_time, threads_wake_it, .timeout = 60)
{
    pthread_t id[WAKERS];
    loop_on_wake(loop, woken, asked);
    for (size_t i = 0; i < WAKERS; i++)
        cr_assert(eq(int, pthread_create(&id[i], NULL, waker, (void *)(uintptr_t)i), 0));
    loop_run(loop);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(id[i], NULL);
    cr_expect(wakes >= WAKES / 10, "%d", wakes);
}

static void on_signal(int sig)
{
    (void)sig;
    loop_wake(loop);
}

static void count(void *ctx)
{
    ++*(int *)ctx;
}

Test(loop_time, a_signal_wakes_it)
{
    int n = 0;
    loop_on_wake(loop, count, &n);
    signal(SIGUSR1, on_signal);
    for (int i = 1; i <= 3; i++) {
        errno = ENOTTY;
        raise(SIGUSR1);
        raise(SIGUSR1);
        cr_expect(eq(int, errno, ENOTTY));
        turn();
        turn();
        cr_expect(eq(int, n, i), "once for all that came before");
    }
}

/* ---- stopping ---- */

static void stop_loop(struct seen *s)
{
    (void)s;
    loop_stop(loop);
}

static void stop_woken(void *ctx)
{
    ++*(int *)ctx;
    loop_stop(loop);
}

/* It ends the run soon; and nothing that was to be told is lost when it runs again. */
Test(loop_time, callbacks_stop_the_loop)
{
    enum { MANY = 30 };
    struct seen s[MANY];
    int fd[MANY][2], n = 0;
    loop_on_wake(loop, stop_woken, &n);
    for (int i = 0; i < MANY; i++) {
        pair(fd[i]);
        s[i] = seen(fd[i][0]);
        s[i].act = stop_loop;
        if (i % 3)
            watch(&s[i], POLLIN | IO_EDGE);
        else
            io_timer(io, &s[i].timer, 1);
        put(fd[i][1]);
    }
    loop_wake(loop);
    int runs = 0;
    for (; happened + n < MANY + 1 && runs < 2 * MANY; runs++) {
        io_timer(io, &pause_timer, io_now(io) + 10 * NS_PER_MS);
        loop_run(loop);
    }
    cr_expect(runs > 1, "it has stopped");
    for (int i = 0; i < MANY; i++) {
        cr_expect(eq(int, s[i].n, 1), "%d", i);
        watch(&s[i], 0);
        unpair(fd[i]);
    }
    cr_expect(eq(int, n, 1), "the wake");
}
