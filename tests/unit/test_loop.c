/* SPDX-License-Identifier: MIT
 * test_loop.c: io.h on epoll: what is told of descriptors and what is not, while they change hands,
 * are closed, or come again under the same number. Its timers are in test_loop_time.c.
 */
#include "lib/fake_route.h"
#include "lib/loop_seen.h"
#include "route/socket.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

TestSuite(loop, .init = loop_open, .fini = loop_close);

/* ---- the kernel's calls, counted: these stand before the C library's ---- */

static int controls; /* calls of epoll_ctl() */
static int woken_by; /* events that the kernel gave */

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    controls++;
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    int n = (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout, NULL, 0);
    woken_by += n > 0 ? n : 0;
    return n;
}

static void forget_told(struct seen *s)
{
    s->n = 0;
    s->last = s->all = 0;
}

/* Until it has been told all of these, for 2 s at most. */
static void turn_until(const struct seen *s, short revents)
{
    int64_t until = clock_now_ns() + 2 * NS_PER_S;
    while ((s->all & revents) != revents && clock_now_ns() < until)
        turn();
}

/* ---- descriptors ---- */

static void take(int fd)
{
    char c;
    cr_assert(eq(i64, recv(fd, &c, 1, 0), 1));
}

static void fill_up(int fd)
{
    static const char much[4096];
    while (send(fd, much, sizeof much, MSG_NOSIGNAL) > 0)
        ;
}

static void take_all(int fd)
{
    static char much[65536];
    while (recv(fd, much, sizeof much, 0) > 0)
        ;
}

static void tcp_pair(int fd[2])
{
    struct dp_addr addr;
    int listener = fake_listen("127.0.0.1", 1, &addr);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(eq(int, connect(fd[0], (struct sockaddr *)&addr.sa, addr.salen), 0));
    fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert(fd[1] >= 0);
    close(listener);
}

/* Gives another file the number of this one, which is closed. */
static void reuse(int fd, int *other)
{
    cr_assert(eq(int, dup3(*other, fd, O_CLOEXEC), fd));
    close(*other);
    *other = fd;
}

/* ---- what is told ---- */

Test(loop, level_is_told_until_it_is_taken)
{
    static const short asked[] = {POLLIN, POLLIN | POLLOUT, POLLIN | IO_SHARED};
    for (size_t i = 0; i < LENGTH(asked); i++) {
        short out = asked[i] & POLLOUT;
        int fd[2];
        pair(fd);
        struct seen s = seen(fd[0]);
        watch(&s, asked[i]);
        put(fd[1]);
        for (int n = 1; n <= 3; n++) {
            turn();
            cr_expect(eq(int, s.n, n));
            cr_expect(eq(int, s.last, POLLIN | out));
        }
        take(fd[0]);
        forget_told(&s);
        turn();
        cr_expect(eq(int, s.all, out), "it has been taken");
        put(fd[1]);
        turn();
        cr_expect(eq(int, s.last, POLLIN | out), "and comes again");
        watch(&s, 0);
        forget_told(&s);
        turn();
        cr_expect(eq(int, s.n, 0), "stopped");
        watch(&s, asked[i]);
        turn();
        cr_expect(eq(int, s.last, POLLIN | out), "it is still there");
        watch(&s, 0);
        unpair(fd);
    }
}

Test(loop, an_edge_is_told_once)
{
    int fd[2];
    pair(fd);
    struct seen s = seen(fd[0]);
    watch(&s, POLLIN | POLLOUT | IO_EDGE);
    turn();
    turn();
    cr_expect(eq(int, s.n, 1));
    cr_expect(eq(int, s.all, POLLOUT));
    for (int n = 2; n <= 4; n++) { /* though nothing is taken */
        put(fd[1]);
        turn();
        turn();
        cr_expect(eq(int, s.n, n));
        cr_expect(eq(int, s.last, POLLIN | POLLOUT));
    }
    take(fd[0]);
    turn();
    cr_expect(eq(int, s.n, 4), "what is left of it is nothing new");
    fill_up(fd[0]);
    forget_told(&s);
    turn();
    cr_expect(eq(int, s.n, 0));
    take_all(fd[1]);
    turn();
    turn();
    cr_expect(eq(int, s.n, 1));
    cr_expect(eq(int, s.all, POLLIN | POLLOUT), "room");
    watch(&s, 0);
    unpair(fd);
}

/* More than the kernel gives at once: each has its turn, however busy the others are. */
Test(loop, everyone_has_a_turn)
{
    enum { MANY = 200 };
    static struct seen s[MANY];
    static int fd[MANY][2];
    for (int i = 0; i < MANY; i++) {
        pair(fd[i]);
        s[i] = seen(fd[i][0]);
        watch(&s[i], POLLIN | (i % 2 ? IO_EDGE : 0));
        put(fd[i][1]);
    }
    for (int i = 0; i < 10; i++)
        turn();
    for (int i = 0; i < MANY; i++) {
        cr_expect(i % 2 ? s[i].n == 1 : s[i].n > 1, "%d: %d times", i, s[i].n);
        watch(&s[i], 0);
        unpair(fd[i]);
    }
}

/* ---- ends and errors ---- */

enum end { FIN, BOTH_FIN, RESET, RESET_AFTER_OURS, RESET_AFTER_FIN };

/* Ends fd[1], and fd[0] as far as that comes first. */
static void end(int fd[2], enum end how)
{
    if (how == BOTH_FIN || how == RESET_AFTER_OURS)
        shutdown(fd[0], SHUT_WR);
    if (how != RESET && how != RESET_AFTER_OURS)
        shutdown(fd[1], SHUT_WR);
    if (how == FIN || how == BOTH_FIN)
        return;
    socket_set_reset(fd[1]);
    close(fd[1]);
    fd[1] = -1;
}

Test(loop, ends_and_errors)
{
    static const short asked[] = {POLLIN, POLLOUT, POLLIN | POLLOUT, POLLIN | IO_EDGE,
                                  POLLIN | POLLOUT | IO_EDGE};
    for (enum end how = FIN; how <= RESET_AFTER_FIN; how++)
        for (size_t i = 0; i < LENGTH(asked); i++) {
            short told = asked[i] & (POLLIN | POLLOUT);
            told |= how == FIN ? 0 : POLLHUP;
            told |= how >= RESET ? POLLERR : 0;
            if (asked[i] & IO_EDGE)
                told |= POLLRDHUP;
            int fd[2];
            tcp_pair(fd);
            struct seen s = seen(fd[0]);
            watch(&s, asked[i]);
            turn();
            end(fd, how);
            turn_until(&s, told);
            turn();
            cr_expect(eq(int, s.all, told), "end %d, asked %#x", how, asked[i]);
            watch(&s, 0);
            unpair(fd);
        }
}

/* ---- changes ---- */

static const short all_events[] = {
    POLLIN,           POLLOUT,           POLLIN | POLLOUT,          POLLIN | IO_SHARED,
    POLLIN | IO_EDGE, POLLOUT | IO_EDGE, POLLIN | POLLOUT | IO_EDGE};

/* Runs `body` for each pair of them. */
static void each_change(void (*body)(short from, short to))
{
    for (size_t i = 0; i < LENGTH(all_events); i++)
        for (size_t k = 0; k < LENGTH(all_events); k++)
            body(all_events[i], all_events[k]);
}

/* A socket that is ready for all is told what is asked for now, and nothing else. */
static void change(short from, short to)
{
    int fd[2];
    pair(fd);
    put(fd[1]);
    struct seen s = seen(fd[0]);
    watch(&s, from);
    turn();
    cr_expect(eq(int, s.all, from &(POLLIN | POLLOUT)));
    forget_told(&s);
    watch(&s, to);
    turn();
    bool same_edge = from == to && from & IO_EDGE;
    cr_expect(eq(int, s.n, !same_edge), "from %#x to %#x", from, to);
    cr_expect(eq(int, s.all, same_edge ? 0 : (POLLIN | POLLOUT) & to), "from %#x to %#x", from, to);
    watch(&s, 0);
    unpair(fd);
}

Test(loop, events_change_while_it_is_watched)
{
    each_change(change);
}

static void other_to(struct seen *s)
{
    s->act = s->other->act = NULL;
    watch(s->other, s->events);
}

/* What the kernel gave before the change is not told after it. */
Test(loop, a_change_holds_in_the_same_turn)
{
    int fd[2];
    pair(fd);
    struct seen a = seen(fd[0]), b = seen(fd[1]);
    a.other = &b;
    b.other = &a;
    a.act = b.act = other_to;
    a.events = b.events = POLLIN; /* and nothing is there */
    watch(&a, POLLOUT);
    watch(&b, POLLOUT);
    turn();
    turn();
    cr_expect(eq(int, a.fd.events + b.fd.events, POLLIN + POLLOUT));
    cr_expect(eq(int, (a.fd.events == POLLIN ? &a : &b)->n, 0));
    watch(&a, 0);
    watch(&b, 0);
    unpair(fd);
}

/* ---- from hand to hand ---- */

static void hand_over(struct seen *s)
{
    s->act = NULL;
    controls = 0;
    io_leave(io, &s->fd);
    cr_expect(eq(int, s->fd.events, 0));
    watch(s->other, s->events);
}

static void changes_hands(short from, short to)
{
    int fd[2];
    pair(fd);
    put(fd[1]);
    struct seen a = seen(fd[0]), b = seen(fd[0]);
    a.act = hand_over;
    a.other = &b;
    a.events = to;
    watch(&a, from);
    turn();
    cr_expect(eq(int, a.n, 1));
    cr_expect(from != to || controls == 0, "%#x: %d calls for the same again", from, controls);
    turn();
    cr_expect(eq(int, a.n, 1), "the first has left");
    if (from == to && from & IO_EDGE) { /* that has been told */
        cr_expect(eq(int, b.n, 0), "%#x", from);
        take(fd[0]);
        fill_up(fd[0]);
        take_all(fd[1]);
        put(fd[1]);
        turn();
    }
    cr_expect(eq(int, b.all, (POLLIN | POLLOUT) & to), "from %#x to %#x", from, to);
    watch(&b, 0);
    forget_told(&b);
    turn();
    cr_expect(eq(int, a.n + b.n, 1), "nobody any more");
    watch(&a, from); /* from the beginning */
    turn();
    cr_expect(eq(int, a.n, 2));
    watch(&a, 0);
    unpair(fd);
}

Test(loop, a_watcher_leaves_and_another_takes_over)
{
    each_change(changes_hands);
}

/* It is dropped at the first event, and is all there for whoever comes later. */
Test(loop, left_and_never_taken)
{
    for (size_t i = 0; i < LENGTH(all_events); i++) {
        int fd[2];
        pair(fd);
        put(fd[1]);
        struct seen a = seen(fd[0]), b = seen(fd[0]);
        watch(&a, all_events[i]);
        io_leave(io, &a.fd);
        turn();
        woken_by = 0;
        put(fd[1]);
        for (int n = 0; n < 5; n++)
            turn();
        cr_expect(eq(int, woken_by, 0), "%#x", all_events[i]);
        watch(&b, all_events[i]);
        turn();
        cr_expect(eq(int, b.all, all_events[i] & (POLLIN | POLLOUT)), "%#x", all_events[i]);
        cr_expect(eq(int, a.n, 0));
        watch(&b, 0);
        unpair(fd);
    }
}

/* ---- a number comes again ---- */

enum closed { FORGOTTEN, STOPPED, STOPPED_LATE, STOPPED_WHEN_REUSED, WITHOUT_A_WORD };

/* Closes a watched descriptor, and gives its number to *other. */
static void close_and_reuse(struct seen *s, enum closed how, int *other)
{
    if (how == STOPPED)
        watch(s, 0);
    else if (how == FORGOTTEN)
        io_forget(io, &s->fd);
    close(s->fd.fd);
    if (how == STOPPED_LATE)
        watch(s, 0);
    reuse(s->fd.fd, other);
    if (how == STOPPED_WHEN_REUSED)
        watch(s, 0);
}

/* The new one is watched as if it had never had that number. */
static void number_again(short from, short to, enum closed how)
{
    int old[2], new[2];
    pair(old);
    pair(new);
    struct seen a = seen(old[0]);
    watch(&a, from);
    close_and_reuse(&a, how, &new[0]);
    forget_told(&a);
    struct seen b = seen(new[0]);
    watch(&b, to);
    if (how == WITHOUT_A_WORD)
        watch(&a, 0);
    put(new[1]);
    turn();
    cr_expect(eq(int, a.n, 0), "from %#x to %#x, closed %d", from, to, how);
    cr_expect(eq(int, b.all, (POLLIN | POLLOUT) & to), "from %#x to %#x, closed %d", from, to, how);
    watch(&b, 0);
    turn();
    cr_expect(eq(int, b.n, 1));
    close(old[1]);
    unpair(new);
}

static void number_again_each(short from, short to)
{
    for (enum closed how = FORGOTTEN; how <= WITHOUT_A_WORD; how++)
        number_again(from, to, how);
}

Test(loop, a_descriptor_is_closed_and_its_number_reused)
{
    each_change(number_again_each);
}

Test(loop, forgetting_costs_no_call)
{
    int fd[2];
    pair(fd);
    struct seen s = seen(fd[0]);
    watch(&s, POLLIN | IO_EDGE);
    controls = 0;
    io_forget(io, &s.fd);
    cr_expect(eq(int, controls, 0));
    cr_expect(eq(int, s.fd.events, 0));
    unpair(fd);
}

/* What takes the place of a descriptor: a socket ready for nothing, as one that connects. */
static struct stand_in {
    int fd[2];
    enum closed how;
    struct seen seen;
} stand_in;

/* The other one's descriptor is closed, and its number goes to the stand-in, which is watched. */
static void replace_other(struct seen *s)
{
    s->act = s->other->act = NULL;
    close_and_reuse(s->other, stand_in.how, &stand_in.fd[0]);
    stand_in.seen = seen(stand_in.fd[0]);
    watch(&stand_in.seen, s->events);
    if (stand_in.how == WITHOUT_A_WORD)
        watch(s->other, 0);
}

/* The kernel gave the event of the old one before: it says nothing of the new one. */
static void same_turn(enum closed how, short events)
{
    int one[2], two[2];
    pair(one);
    pair(two);
    struct seen a = seen(one[0]), b = seen(two[0]);
    a.other = &b;
    b.other = &a;
    a.act = b.act = replace_other;
    a.events = b.events = events;
    stand_in.how = how;
    pair(stand_in.fd);
    fill_up(stand_in.fd[0]);
    watch(&a, events);
    watch(&b, events);
    turn();
    cr_expect(eq(int, a.n + b.n, 1), "one of them");
    turn();
    cr_expect(eq(int, stand_in.seen.n, 0), "closed %d, %#x", how, events);
    take_all(stand_in.fd[1]);
    turn();
    cr_expect(eq(int, stand_in.seen.last, POLLOUT), "closed %d, %#x", how, events);
    watch(&stand_in.seen, 0);
    watch(&a, 0);
    watch(&b, 0);
    unpair(one);
    unpair(two);
    close(stand_in.fd[1]);
}

Test(loop, a_number_is_reused_within_the_turn)
{
    for (size_t i = 0; i < LENGTH(all_events); i++)
        for (enum closed how = FORGOTTEN; how <= WITHOUT_A_WORD; how++)
            if (all_events[i] & POLLOUT)
                same_turn(how, all_events[i]);
}

/* ---- callbacks that stop and free ---- */

enum { CROWD = 12 };
static struct seen *crowd[CROWD];
static int crowd_far[CROWD];
static bool crowd_forgets;

static void crowd_free(int i)
{
    struct seen *s = crowd[i];
    io_timer(io, &s->timer, 0);
    if (crowd_forgets)
        io_forget(io, &s->fd);
    else
        io_watch(io, &s->fd, 0);
    close(s->fd.fd);
    close(crowd_far[i]);
    free(s);
}

/* All of them, also the one that is being told. */
static void free_all(struct seen *s)
{
    (void)s;
    for (int i = 0; i < CROWD; i++)
        crowd_free(i);
}

/* Ready all at once, and due. `by`: 0: by descriptors, 1: by timers, 2: by both. */
static void crowd_of(int by, bool forgets)
{
    crowd_forgets = forgets;
    for (int i = 0; i < CROWD; i++) {
        int fd[2];
        pair(fd);
        crowd[i] = malloc(sizeof *crowd[i]);
        cr_assert(crowd[i] != NULL);
        *crowd[i] = seen(fd[0]);
        crowd[i]->act = free_all;
        crowd_far[i] = fd[1];
        if (by != 1)
            watch(crowd[i], POLLIN | (i % 2 ? IO_EDGE : 0));
        if (by != 0)
            io_timer(io, &crowd[i]->timer, 1 + i);
        put(fd[1]);
    }
}

Test(loop, a_callback_frees_all_and_itself)
{
    for (int by = 0; by < 3; by++)
        for (int forgets = 0; forgets < 2; forgets++) {
            crowd_of(by, forgets);
            happened = 0;
            turn();
            turn();
            cr_expect(eq(int, happened, 1), "by %d", by);
        }
}

static void stop_next(struct seen *s)
{
    watch(s->other, 0);
}

/* Of each two the first that is told stops the other. */
Test(loop, a_callback_stops_another)
{
    struct seen s[CROWD];
    int fd[CROWD][2];
    for (int i = 0; i < CROWD; i++) {
        pair(fd[i]);
        s[i] = seen(fd[i][0]);
        s[i].act = stop_next;
        s[i].other = &s[i ^ 1];
        watch(&s[i], POLLIN);
        put(fd[i][1]);
    }
    turn();
    turn();
    for (int i = 0; i < CROWD; i += 2)
        cr_expect(eq(int, s[i].n + 4 * s[i + 1].n, s[i].n ? 2 : 8), "%d", i);
    for (int i = 0; i < CROWD; i++) {
        watch(&s[i], 0);
        unpair(fd[i]);
    }
}

/* ---- what cannot be watched ---- */

Test(loop, a_descriptor_that_cannot_be_watched)
{
    struct rlimit limit;
    cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
    int beyond = limit.rlim_max < 1 << 20 ? (int)limit.rlim_max : 1 << 20;
    char name[] = "/tmp/test_loop.XXXXXX";
    int file = mkstemp(name);
    unlink(name);
    const int bad[] = {-1,  beyond - 1 /* nobody's */, beyond, beyond + 1, INT32_MAX, INT32_MIN,
                       file};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        struct seen s = seen(bad[i]);
        for (int n = 0; n < 2; n++) {
            cr_expect(eq(int, io_watch(io, &s.fd, POLLIN), -1), "%d", bad[i]);
            cr_expect(eq(int, s.fd.events, 0));
        }
        cr_expect(eq(int, io_watch(io, &s.fd, 0), 0), "stopping cannot fail");
        io_leave(io, &s.fd);
        io_forget(io, &s.fd);
        turn();
        cr_expect(eq(int, s.n, 0));
    }
    int fd[2];
    pair(fd);
    reuse(file, &fd[0]); /* a better one by that number */
    struct seen s = seen(file);
    watch(&s, POLLIN);
    put(fd[1]);
    turn();
    cr_expect(eq(int, s.n, 1));
    watch(&s, 0);
    unpair(fd);
}
