/* SPDX-License-Identifier: MIT
 * test_relay_bulk.c: much data by a relay, with pipes, with too few, and without; readers that
 * pause; relays that share a loop and its pipes. Each byte is looked at.
 */
#include "lib/relay_rig.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* ---- the kernel's calls, counted: these stand before the C library's ---- */

static int splices;  /* that moved something */
static int woken_by; /* events that the kernel gave */

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    ssize_t n = syscall(SYS_splice, from, from_at, to, to_at, len, flags);
    splices += n > 0;
    return n;
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
    int n = (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout, NULL, 0);
    woken_by += n > 0 ? n : 0;
    return n;
}

/* ---- a stream from one end to the other ---- */

enum { STREAM_MAX = 48 << 20, PIECE = 200000 };

/* What is sent; two streams begin at different places of it. */
static uint8_t *stream_bytes(unsigned stream)
{
    static uint8_t *all;
    if (!all) {
        all = malloc(STREAM_MAX + 2 * 99991);
        cr_assert(all != NULL);
        for (size_t at = 0; at < STREAM_MAX + 2 * 99991; at++)
            all[at] = byte_at(at, 0);
    }
    return all + stream * 99991;
}

struct stream_test {
    struct rig *rig;
    int from;     /* the end that sends */
    size_t total; /* to be sent; then its end, if `ends` */
    size_t piece; /* at once; 0: as much as goes */
    bool ends;
    size_t sent, got;
    bool shut, ended;
    ssize_t end; /* the last result */
};

static bool send_more(struct stream_test *s)
{
    size_t left = s->total - s->sent, piece = s->piece ? s->piece : PIECE;
    ssize_t n = 0;
    if (left > 0)
        n = send(s->rig->end[s->from], stream_bytes((unsigned)s->from) + s->sent,
                 left < piece ? left : piece, MSG_NOSIGNAL);
    s->sent += n > 0 ? (size_t)n : 0;
    if (s->sent == s->total && s->ends && !s->shut)
        s->shut = shutdown(s->rig->end[s->from], SHUT_WR) == 0;
    return n > 0;
}

static bool receive_more(struct stream_test *s)
{
    static uint8_t buf[PIECE];
    size_t piece = s->piece && s->piece < sizeof buf ? s->piece : sizeof buf;
    ssize_t n = recv(s->rig->end[!s->from], buf, piece, 0);
    if (n <= 0) {
        s->end = n < 0 ? -errno : 0;
        s->ended |= s->end != -EAGAIN;
        return false;
    }
    cr_assert(s->got + (size_t)n <= s->total);
    int differs = memcmp(buf, stream_bytes((unsigned)s->from) + s->got, (size_t)n);
    cr_assert(eq(int, differs, 0), "at %zu", s->got);
    s->got += (size_t)n;
    return true;
}

static bool stream_over(const struct stream_test *s)
{
    return s->ends ? s->ended : s->got == s->total;
}

/* Runs these until all is there. */
static void streams_run(struct stream_test *s, int n)
{
    int64_t until = clock_now_ns() + 60 * NS_PER_S;
    bool over = false;
    while (!over && clock_now_ns() < until) {
        over = true;
        for (int i = 0; i < n; i++) {
            send_more(&s[i]);
            receive_more(&s[i]);
            over &= stream_over(&s[i]);
        }
        turn(s[0].rig, 0);
    }
    for (int i = 0; i < n; i++)
        cr_assert(eq(sz, s[i].got, s[i].total), "stream %d", i);
}

/* So much more from this end, as one stream after the other. */
static void more(struct stream_test *s, size_t bytes, size_t piece)
{
    s->total += bytes;
    s->piece = piece;
    streams_run(s, 1);
}

static const unsigned pools[] = {0, 1, 4};

static void full_duplex(unsigned pipes, size_t piece, int size)
{
    enum { TOTAL = 8 << 20 };
    struct rig *rig = rig_new(size, pipes);
    struct stream_test s[2];
    for (int i = 0; i < 2; i++)
        s[i] = (struct stream_test){
            .rig = rig, .from = i, .total = TOTAL, .piece = piece, .ends = true};
    rig_start(rig, "", 0, "", 0);
    splices = 0;
    streams_run(s, 2);
    expect_over(rig, RELAY_DONE);
    for (int i = 0; i < 2; i++)
        cr_expect(eq(u64, rig->relay.side[i].received, TOTAL));
    cr_expect(eq(int, splices > 0, pipes > 0 && !size), "%u pipes: %d splices", pipes, splices);
    rig_close(rig);
}

Test(relay_bulk, eight_megabytes_both_ways)
{
    for (size_t i = 0; i < LENGTH(pools); i++) {
        full_duplex(pools[i], 0, 0);
        full_duplex(pools[i], 65536, 4096); /* buffers that are full all the time */
    }
}

/* Small amounts are copied, large ones spliced, and small ones copied again. */
Test(relay_bulk, small_then_much_then_small)
{
    enum { MUCH = 4 << 20, SMALL = 100, CALM = 8 };
    for (int from = 0; from < 2; from++) {
        struct rig *rig = rig_new(0, 4);
        struct stream_test s = {.rig = rig, .from = from};
        rig_start(rig, "", 0, "", 0);
        splices = 0;
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 2 * CALM; i++) /* the pipe is let go of little by little */
                more(&s, SMALL, 0);
            cr_expect(splices == 0 || round > 0);
            splices = 0;
            for (int i = 0; i < 20; i++) {
                more(&s, SMALL, 0);
                expect_idle(rig);
            }
            cr_expect(eq(int, splices, 0), "round %d", round);
            more(&s, MUCH, 0);
            cr_expect(splices > 0, "round %d", round);
            turn(rig, 1);
            expect_idle(rig);
        }
        rig_close(rig);
    }
}

/* By a pipe nothing behind an urgent byte is reached. */
Test(relay_bulk, urgent_data_behind_much)
{
    for (size_t i = 0; i < LENGTH(pools); i++) {
        struct rig *rig = rig_new(0, pools[i]);
        struct stream_test s = {.rig = rig};
        rig_start(rig, "", 0, "", 0);
        for (int round = 0; round < 3; round++) {
            more(&s, 1 << 20, 0);
            say(rig, 0, "before-");
            cr_assert(eq(i64, send(rig->end[0], "!", 1, MSG_OOB), 1));
            say(rig, 0, "-behind");
            delivered(rig, 0);
            expect_text(rig, 1, "before-!-behind");
        }
        rig_close(rig);
    }
}

/* ---- a reader that pauses ---- */

static const struct relay_side *reader_side(const struct stream_test *s)
{
    return &s->rig->relay.side[!s->from];
}

/* Sends until the relay holds something and no more goes. A closed window may open once more after
 * the kernel's own timers, so this takes a while. */
static void send_until_full(struct stream_test *s)
{
    int64_t until = clock_now_ns() + 5 * NS_PER_S;
    for (int quiet = 0; quiet < 50 && clock_now_ns() < until; quiet++) {
        if (send_more(s))
            quiet = 0;
        turn(s->rig, quiet ? 1 : 0);
        cr_assert(reader_side(s)->pending_len <= RELAY_BUFFER);
    }
    cr_assert(reader_side(s)->pending || reader_side(s)->pipe);
}

static void expect_held(const struct stream_test *s, unsigned pipes)
{
    const struct relay_side *side = reader_side(s);
    cr_expect(eq(int, side->pipe != NULL, pipes > 0));
    cr_expect(eq(int, side->pending != NULL, pipes == 0));
    cr_expect(eq(u32, pipes_held(s->rig->bench), pipes > 0));
    cr_expect(pipes == 0 || side->pipe->len > 0);
}

static void receive_all(struct stream_test *s)
{
    int64_t until = clock_now_ns() + 5 * NS_PER_S;
    while (!s->ended && s->got < s->sent && clock_now_ns() < until)
        if (!receive_more(s))
            turn(s->rig, 0);
}

enum then { READS_ON, WRITER_ENDS, WRITER_RESETS, READER_RESETS, OWNER_STOPS };

static void reads_on(struct stream_test *s)
{
    receive_all(s);
    cr_expect(eq(sz, s->got, s->sent));
    turn(s->rig, 1);
    expect_idle(s->rig);
    s->total = s->sent;
    more(s, 1 << 20, 0);
}

static void writer_ends(struct stream_test *s)
{
    shutdown(s->rig->end[s->from], SHUT_WR);
    turn(s->rig, 5);
    cr_expect(eq(int, s->rig->over, 0));
    receive_all(s);
    cr_expect(eq(sz, s->got, s->sent));
    expect_end(s->rig, !s->from, 0);
    expect_idle(s->rig);
    say(s->rig, !s->from, "answer");
    expect_text(s->rig, s->from, "answer");
    shutdown(s->rig->end[!s->from], SHUT_WR);
    expect_over(s->rig, RELAY_DONE);
}

/* What the relay has taken still reaches the reader, as far as it goes on reading. */
static void writer_resets(struct stream_test *s)
{
    uint64_t had = s->rig->relay.side[s->from].received;
    reset(s->rig, s->from);
    turn(s->rig, 5);
    receive_all(s);
    cr_expect(s->got >= had, "%zu of %ju", s->got, (uintmax_t)had);
    expect_over(s->rig, RELAY_RESET);
    cr_expect(eq(i64, s->end, -ECONNRESET));
}

static void paused(unsigned pipes, int from, enum then then)
{
    struct rig *rig = rig_new(0, pipes);
    struct stream_test s = {.rig = rig, .from = from, .total = STREAM_MAX};
    rig_start(rig, "", 0, "", 0);
    send_until_full(&s);
    expect_held(&s, pipes);
    say(rig, !from, "meanwhile"); /* the other direction goes on */
    expect_text(rig, from, "meanwhile");
    if (then == READS_ON) {
        reads_on(&s);
    } else if (then == WRITER_ENDS) {
        writer_ends(&s);
    } else if (then == WRITER_RESETS) {
        writer_resets(&s);
    } else if (then == READER_RESETS) {
        reset(rig, !from);
        expect_over(rig, RELAY_RESET);
        expect_end(rig, from, -ECONNRESET);
    }
    cr_expect(eq(u32, pipes_held(rig->bench), then == OWNER_STOPS && pipes > 0));
    rig_close(rig);
}

Test(relay_bulk, a_reader_pauses)
{
    for (size_t i = 0; i < LENGTH(pools); i++)
        for (int from = 0; from < 2; from++)
            for (enum then then = READS_ON; then <= OWNER_STOPS; then++)
                paused(pools[i], from, then);
}

/* While nothing can be passed on, what else comes wakes nobody. */
Test(relay_bulk, a_source_that_has_to_wait_is_not_listened_to)
{
    for (size_t i = 0; i < LENGTH(pools); i++) {
        struct rig *rig = rig_new(0, pools[i]);
        struct stream_test s = {.rig = rig, .total = STREAM_MAX};
        rig_start(rig, "", 0, "", 0);
        while (!reader_side(&s)->blocked) {
            cr_assert(send_more(&s));
            turn(rig, 0);
        }
        turn(rig, 2);
        int n = 0;
        woken_by = 0;
        s.piece = 1000;
        for (; n < 50 && send_more(&s); n++)
            turn(rig, 1);
        cr_expect(n > 10, "%d pieces taken", n);
        cr_expect(woken_by <= 5, "%d events for %d pieces", woken_by, n);
        s.total = s.sent;
        s.piece = 0;
        streams_run(&s, 1);
        more(&s, 1 << 20, 0);
        rig_close(rig);
    }
}

/* ---- several on one loop ---- */

/* One holds the only pipe, as its reader pauses: the other goes on, copied. */
Test(relay_bulk, two_share_one_pipe)
{
    struct rig *a = rig_new(0, 1), *b = rig_on(a->bench, 0);
    struct stream_test s = {.rig = a, .total = STREAM_MAX}, t = {.rig = b, .from = 1};
    rig_start(a, "", 0, "", 0);
    rig_start(b, "", 0, "", 0);
    send_until_full(&s);
    expect_held(&s, 1);
    splices = 0;
    more(&t, 4 << 20, 0);
    cr_expect(eq(int, splices, 0));
    expect_held(&s, 1);
    receive_all(&s);
    cr_expect(eq(sz, s.got, s.sent));
    splices = 0;
    more(&t, 4 << 20, 0);
    cr_expect(splices > 0, "it has been given back");
    s.total = s.sent + (4 << 20);
    t.total += 4 << 20;
    struct stream_test both[] = {s, t};
    streams_run(both, 2);
    expect_idle(a);
    expect_idle(b);
    rig_close(a);
    rig_close(b);
}

/* A turn moves at most this one way: each of 3 reasons to run (two descriptors, the timer) half a
 * MiB, and one piece more, which is a pipe at most. */
enum { TURN_MOST = 3 * ((512 << 10) + (1 << 20)) };

static void wait_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    cr_assert(eq(int, poll(&wait, 1, 1000), 1));
}

static void serve_mouse(struct rig *mouse, int n)
{
    char text[65];
    snprintf(text, sizeof text, "%064d", n);
    for (int i = 0; i < 2; i++) {
        say(mouse, i, text);
        wait_readable(mouse->inner[i]);
    }
    turn(mouse, 0);
    for (int i = 0; i < 2; i++) {
        char got[65] = "";
        wait_readable(mouse->end[i]); /* it has been served */
        cr_assert(eq(i64, recv(mouse->end[i], got, 64, 0), 64));
        cr_expect(eq(str, got, text));
    }
}

/* So much lies ready that one could go on for long: the other is served in each turn. */
static void elephant_and_mouse(unsigned pipes, bool elephant_first)
{
    enum { ELEPHANT = 32 << 20 };
    struct bench *bench = bench_new(pipes);
    struct rig *elephant = NULL, *mouse;
    if (elephant_first)
        elephant = rig_on(bench, ELEPHANT);
    mouse = rig_on(bench, 0);
    if (!elephant)
        elephant = rig_on(bench, ELEPHANT);
    struct stream_test s = {.rig = elephant, .total = STREAM_MAX};
    while (send_more(&s))
        ;
    s.total = s.sent;
    rig_start(elephant, "", 0, "", 0);
    rig_start(mouse, "", 0, "", 0);
    uint64_t before = 0, most = 0;
    int n = 0;
    for (bool any = true; any && n < 10000; n++) {
        serve_mouse(mouse, n);
        uint64_t now = elephant->relay.side[0].received;
        any = now > before || n < 5;
        most = now - before > most ? now - before : most;
        before = now;
    }
    cr_expect(most > 0 && most <= TURN_MOST, "%ju in one turn", (uintmax_t)most);
    cr_expect(n >= (int)(s.sent / 2 / TURN_MOST), "%d turns for %zu", n, s.sent);
    streams_run(&s, 1);
    rig_close(elephant);
    rig_close(mouse);
}

Test(relay_bulk, an_elephant_and_a_mouse)
{
    for (size_t i = 0; i < LENGTH(pools); i++)
        for (int first = 0; first < 2; first++)
            elephant_and_mouse(pools[i], first);
}
