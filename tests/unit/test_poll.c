/* SPDX-License-Identifier: MIT
 * test_poll.c: io.h on poll(2), with the real clock and with one that stands still.
 */
#include "base/clock.h"
#include "route/poll.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#define START NS_PER_S

struct event {
    struct io_timer timer;
    struct io_fd fd;
    struct poll_loop *loop;
    int n;
    int64_t at_ns;
    short revents;
    struct event *stops; /* what it stops when it happens */
};

static int happened; /* in all */

static void happen(struct event *e)
{
    e->n++;
    e->at_ns = io_now(&e->loop->io);
    happened++;
    if (e->stops) {
        io_timer(&e->loop->io, &e->stops->timer, 0);
        io_watch(&e->loop->io, &e->stops->fd, 0);
    }
}

static void fire(struct io_timer *t)
{
    happen((struct event *)((char *)t - offsetof(struct event, timer)));
}

static void ready(struct io_fd *w, short revents)
{
    struct event *e = (struct event *)((char *)w - offsetof(struct event, fd));
    e->revents = revents;
    happen(e);
}

static struct event event(struct poll_loop *loop, int fd)
{
    return (struct event){.loop = loop, .timer = {.fire = fire}, .fd = {.fd = fd, .ready = ready}};
}

Test(poll, timers_in_their_order)
{
    struct poll_loop loop;
    struct event e[40];
    poll_init(&loop, START);
    cr_expect(eq(int, poll_turn(&loop, 0), -1), "nothing to wait for");
    for (int i = 0; i < 40; i++) {
        e[i] = event(&loop, -1);
        io_timer(&loop.io, &e[i].timer, START + (i * 7 % 40) * NS_PER_MS);
    }
    e[3].stops = &e[4]; /* at 21 ms, and the other is due at 28 */
    for (int n = 1; poll_turn(&loop, 0) == 0; n++)
        cr_assert(eq(int, happened, n), "one a turn");
    for (int i = 0; i < 40; i++) {
        cr_expect(eq(int, e[i].n, i != 4), "%d", i);
        cr_expect(i == 4 || e[i].at_ns == START + (i * 7 % 40) * NS_PER_MS, "%d", i);
        cr_expect(eq(i64, e[i].timer.at_ns, 0), "%d is stopped", i);
    }
    poll_deinit(&loop);
}

Test(poll, a_time_that_has_passed_and_one_put_off)
{
    struct poll_loop loop;
    poll_init(&loop, START);
    struct event past = event(&loop, -1), moved = event(&loop, -1);
    io_timer(&loop.io, &past.timer, 1);
    cr_expect(eq(int, past.n, 0), "never from inside");
    io_timer(&loop.io, &moved.timer, START + 10);
    io_timer(&loop.io, &moved.timer, START + 20);
    cr_expect(eq(int, poll_turn(&loop, 0), 0));
    cr_expect(eq(int, past.n, 1));
    cr_expect(eq(i64, past.at_ns, START));
    cr_expect(eq(int, poll_turn(&loop, START + 15), 0), "not past the limit");
    cr_expect(eq(int, moved.n, 0));
    cr_expect(eq(int, poll_turn(&loop, START + 15), -1), "which has come");
    cr_expect(eq(int, poll_turn(&loop, 0), 0));
    cr_expect(eq(int, moved.n, 1));
    cr_expect(eq(i64, moved.at_ns, START + 20));
    poll_deinit(&loop);
}

Test(poll, the_real_clock)
{
    struct poll_loop loop;
    poll_init(&loop, 0);
    struct event e = event(&loop, -1);
    int64_t now = clock_now_ns();
    io_timer(&loop.io, &e.timer, now + 5 * NS_PER_MS);
    while (!e.n && poll_turn(&loop, 0) == 0)
        ;
    cr_expect(e.at_ns >= now + 5 * NS_PER_MS, "not too early");
    poll_deinit(&loop);
}

/* io.h: errors and hang-ups are reported as readiness of whatever was asked for. */
Test(poll, the_other_end_has_gone)
{
    struct poll_loop loop;
    int in[2], out[2];
    cr_assert(eq(int, pipe(in), 0));
    cr_assert(eq(int, pipe(out), 0));
    poll_init(&loop, START);
    struct event reader = event(&loop, in[0]), writer = event(&loop, out[1]);
    close(in[1]); /* POLLHUP alone */
    io_watch(&loop.io, &reader.fd, POLLIN);
    poll_turn(&loop, 0);
    cr_expect(eq(int, reader.revents, POLLIN | POLLHUP));
    io_watch(&loop.io, &reader.fd, 0);

    fcntl(out[1], F_SETFL, O_NONBLOCK);
    static char much[1 << 20];
    cr_assert(write(out[1], much, sizeof much) > 0); /* it is full */
    close(out[0]);
    io_watch(&loop.io, &writer.fd, POLLOUT);
    poll_turn(&loop, 0);
    cr_expect(eq(int, writer.revents, POLLOUT | POLLERR));
    io_watch(&loop.io, &writer.fd, 0);
    cr_expect(eq(int, poll_turn(&loop, 0), -1));
    poll_deinit(&loop);
    close(in[0]);
    close(out[1]);
}

/* A descriptor that is always ready keeps nobody else waiting. */
Test(poll, everyone_has_a_turn)
{
    struct poll_loop loop;
    int busy[2], other[2];
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, busy), 0));
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, other), 0));
    cr_assert(write(busy[1], "x", 1) == 1 && write(other[1], "x", 1) == 1);
    poll_init(&loop, 0);
    struct event first = event(&loop, busy[0]), second = event(&loop, other[0]),
                 timer = event(&loop, -1);
    io_watch(&loop.io, &first.fd, POLLIN);
    io_watch(&loop.io, &second.fd, POLLIN);
    io_timer(&loop.io, &timer.timer, 1);
    for (int i = 0; i < 20; i++)
        poll_turn(&loop, 0);
    cr_expect(first.n > 0);
    cr_expect(second.n > 0, "the other descriptor");
    cr_expect(eq(int, timer.n, 1), "the timer that is due");
    poll_deinit(&loop);
    for (int i = 0; i < 2; i++) {
        close(busy[i]);
        close(other[i]);
    }
}

/* Of two that are ready the first stops the second: it must not be called. */
Test(poll, stopped_by_another)
{
    struct poll_loop loop;
    int fd[2];
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0));
    cr_assert(write(fd[0], "x", 1) == 1 && write(fd[1], "x", 1) == 1);
    poll_init(&loop, START);
    struct event a = event(&loop, fd[0]), b = event(&loop, fd[1]);
    a.stops = &b;
    b.stops = &a;
    io_watch(&loop.io, &a.fd, POLLIN);
    io_watch(&loop.io, &b.fd, POLLIN);
    poll_turn(&loop, 0);
    cr_expect(eq(int, a.n + b.n, 1));
    io_watch(&loop.io, &a.fd, 0);
    io_watch(&loop.io, &b.fd, 0);
    poll_deinit(&loop);
    close(fd[0]);
    close(fd[1]);
}
