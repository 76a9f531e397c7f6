/* SPDX-License-Identifier: MIT
 * test_relay.c: the relay between two real TCP connections: the test is client and server at once.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include "route/socket.h"
#include "traffic/loop.h"
#include "traffic/relay.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/*   client end[0] ---- inner[0] relay inner[1] ---- server end[1]   */
struct rig {
    struct loop *loop;
    struct io_timer pause; /* of the loop */
    struct relay relay;
    struct relay_shared shared;
    int end[2], inner[2];
    int over; /* times */
    enum relay_end how;
};

static void on_over(struct relay *r, enum relay_end how)
{
    struct rig *rig = (struct rig *)((char *)r - offsetof(struct rig, relay));
    rig->over++;
    rig->how = how;
    if (how != RELAY_DONE) { /* as the session does */
        socket_set_reset(rig->inner[0]);
        socket_set_reset(rig->inner[1]);
    }
    relay_stop(r);
    close(rig->inner[0]);
    close(rig->inner[1]);
    loop_stop(rig->loop);
}

static void on_pause(struct io_timer *t)
{
    loop_stop(((struct rig *)((char *)t - offsetof(struct rig, pause)))->loop);
}

/* One connection: outer is the test's end, inner the relay's. `size`: of its buffers, 0: as is. */
static void connect_pair(int *outer, int *inner, int size)
{
    struct dp_addr addr;
    int listener = fake_listen("127.0.0.1", 1, &addr);
    if (size)
        setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (size)
        setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *outer = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (size)
        setsockopt(*outer, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (size)
        setsockopt(*outer, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    connect(*outer, (struct sockaddr *)&addr.sa, addr.salen);
    *inner = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert(outer[0] >= 0 && inner[0] >= 0);
    socket_no_delay(*outer);
    socket_no_delay(*inner);
    close(listener);
}

static struct rig *rig_new(int size, unsigned pipes)
{
    struct rig *rig = calloc(1, sizeof *rig);
    cr_assert(rig != NULL);
    rig->loop = loop_new();
    cr_assert(rig->loop != NULL);
    rig->pause.fire = on_pause;
    rig->shared.io = loop_io(rig->loop);
    rig->shared.pipes = pipes_new(pipes);
    for (int i = 0; i < 2; i++)
        connect_pair(&rig->end[i], &rig->inner[i], size);
    rig->relay.over = on_over;
    return rig;
}

static struct rig *rig_open(int size)
{
    return rig_new(size, 4);
}

static void rig_start(struct rig *rig, const void *to_client, size_t n, const void *to_server,
                      size_t m)
{
    const struct relay_early early[2] = {{to_client, n}, {to_server, m}};
    rig->relay.side[0].io.fd = rig->inner[0];
    rig->relay.side[1].io.fd = rig->inner[1];
    int started = relay_start(&rig->relay, &rig->shared, early);
    cr_assert(eq(int, started, 0));
}

/* Turns for this long, or until it is over. */
static void turn(struct rig *rig, int ms)
{
    if (rig->over)
        return;
    io_timer(rig->shared.io, &rig->pause, clock_now_ns() + ms * NS_PER_MS);
    loop_run(rig->loop);
    io_timer(rig->shared.io, &rig->pause, 0);
}

static void rig_close(struct rig *rig)
{
    if (!rig->over) {
        relay_stop(&rig->relay);
        close(rig->inner[0]);
        close(rig->inner[1]);
    }
    cr_expect(rig->over <= 1, "over once");
    for (int i = 0; i < 2; i++)
        close(rig->end[i]);
    pipes_free(rig->shared.pipes);
    loop_free(rig->loop);
    free(rig);
}

/* Waits up to 2 s for the next bytes at this end; 0 at the end of the data, or -errno. */
static ssize_t receive(struct rig *rig, int i, void *buf, size_t size)
{
    int64_t until = clock_now_ns() + 2 * NS_PER_S;
    for (;;) {
        ssize_t n = recv(rig->end[i], buf, size, 0);
        if (n >= 0 || errno != EAGAIN)
            return n < 0 ? -errno : n;
        if (clock_now_ns() > until)
            return -ETIMEDOUT;
        turn(rig, 1);
    }
}

static void expect_text(struct rig *rig, int i, const char *text)
{
    char got[256] = "";
    size_t have = 0, len = strlen(text);
    while (have < len) {
        ssize_t n = receive(rig, i, got + have, len - have);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    cr_expect(eq(str, got, (char *)text));
}

static void expect_end(struct rig *rig, int i, ssize_t end)
{
    char c;
    cr_expect(eq(i64, receive(rig, i, &c, 1), end), "side %d", i);
}

static void say(struct rig *rig, int i, const char *text)
{
    cr_assert(eq(i64, send(rig->end[i], text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text)));
}

Test(relay, both_ways_and_each_half_ends_on_its_own)
{
    for (int first = 0; first < 2; first++) {
        struct rig *rig = rig_open(0);
        int second = !first;
        rig_start(rig, "", 0, "", 0);
        say(rig, first, "question");
        expect_text(rig, second, "question");
        shutdown(rig->end[first], SHUT_WR);
        expect_end(rig, second, 0);
        cr_expect(eq(int, rig->over, 0));
        for (int i = 0; i < 3; i++) { /* the other goes on */
            say(rig, second, "answer");
            expect_text(rig, first, "answer");
            turn(rig, 5);
        }
        cr_expect(eq(int, rig->over, 0));
        shutdown(rig->end[second], SHUT_WR);
        expect_end(rig, first, 0);
        turn(rig, 1000);
        cr_expect(eq(int, rig->over, 1));
        cr_expect(eq(int, (int)rig->how, RELAY_DONE));
        cr_expect(eq(u64, rig->relay.side[first].received, 8));
        cr_expect(eq(u64, rig->relay.side[second].received, 18));
        rig_close(rig);
    }
}

/* Data and its end in one go, before the relay has begun; and both sides at once. */
Test(relay, all_said_before_it_begins)
{
    struct rig *rig = rig_open(0);
    for (int i = 0; i < 2; i++) {
        say(rig, i, "all there is");
        shutdown(rig->end[i], SHUT_WR);
    }
    rig_start(rig, "reply+", 6, "early+", 6);
    expect_text(rig, 0, "reply+all there is");
    expect_text(rig, 1, "early+all there is");
    expect_end(rig, 0, 0);
    expect_end(rig, 1, 0);
    turn(rig, 1000);
    cr_expect(eq(int, rig->over, 1));
    cr_expect(eq(int, (int)rig->how, RELAY_DONE));
    rig_close(rig);
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(rand_r(&seed) >> 8);
}

/* Early bytes that the socket does not take at once come before all others. */
Test(relay, more_early_bytes_than_a_socket_takes)
{
    enum { EARLY = 400000 };
    struct rig *rig = rig_open(4096);
    uint8_t *early = malloc(EARLY), *got = malloc(EARLY + 4);
    size_t have = 0;
    cr_assert(early && got);
    fill(early, EARLY, 1);
    rig_start(rig, early, EARLY, "", 0);
    say(rig, 1, "tail");
    while (have < EARLY + 4) {
        ssize_t n = receive(rig, 0, got + have, EARLY + 4 - have);
        cr_assert(n > 0, "%zu: %zd", have, n);
        have += (size_t)n;
    }
    cr_expect(eq(int, memcmp(got, early, EARLY), 0));
    cr_expect(eq(int, memcmp(got + EARLY, "tail", 4), 0));
    free(early);
    free(got);
    rig_close(rig);
}

/* ---- much data ---- */

enum { TOTAL = 8 << 20 };

struct direction {
    uint8_t *data;
    size_t sent, got;
    bool shut, ended;
};

/* Sends and receives what goes just now. Returns true while anything moved. */
static bool exchange(struct rig *rig, struct direction d[2], size_t piece)
{
    static uint8_t buf[200000];
    bool moved = false;
    for (int i = 0; i < 2; i++) {
        size_t left = TOTAL - d[i].sent;
        ssize_t n = left ? send(rig->end[i], d[i].data + d[i].sent, left < piece ? left : piece,
                                MSG_NOSIGNAL)
                         : 0;
        d[i].sent += n > 0 ? (size_t)n : 0;
        if (d[i].sent == TOTAL && !d[i].shut)
            d[i].shut = shutdown(rig->end[i], SHUT_WR) == 0;
        ssize_t r = recv(rig->end[!i], buf, piece < sizeof buf ? piece : sizeof buf, 0);
        d[i].ended |= r == 0;
        if (r > 0) {
            cr_assert(d[i].got + (size_t)r <= TOTAL);
            cr_assert(eq(int, memcmp(buf, d[i].data + d[i].got, (size_t)r), 0), "at %zu", d[i].got);
            d[i].got += (size_t)r;
        }
        moved |= n > 0 || r > 0;
    }
    return moved;
}

static void full_duplex(size_t piece, int size)
{
    struct rig *rig = rig_open(size);
    struct direction d[2] = {{.data = malloc(TOTAL)}, {.data = malloc(TOTAL)}};
    int64_t until = clock_now_ns() + 30 * NS_PER_S;
    cr_assert(d[0].data && d[1].data);
    fill(d[0].data, TOTAL, 2);
    fill(d[1].data, TOTAL, 3);
    rig_start(rig, "", 0, "", 0);
    while (!(d[0].ended && d[1].ended) && clock_now_ns() < until) {
        exchange(rig, d, piece);
        turn(rig, 1);
    }
    turn(rig, 1000);
    for (int i = 0; i < 2; i++) {
        cr_expect(eq(sz, d[i].got, TOTAL), "%zu bytes at once, direction %d", piece, i);
        cr_expect(eq(u64, rig->relay.side[i].received, TOTAL));
        free(d[i].data);
    }
    cr_expect(eq(int, rig->over, 1));
    cr_expect(eq(int, (int)rig->how, RELAY_DONE));
    rig_close(rig);
}

Test(relay, eight_megabytes_both_ways)
{
    full_duplex(200000, 0);
    full_duplex(65536, 16384); /* buffers that are full all the time */
}

/* A reader that does not read stops the writer; what is kept is bounded, and none of it is lost. */
Test(relay, back_pressure)
{
    for (int slow = 0; slow < 2; slow++) {
        struct rig *rig = rig_open(16384);
        static uint8_t chunk[8192];
        size_t sent = 0, got = 0, quiet = 0;
        int64_t until = clock_now_ns() + 5 * NS_PER_S;
        rig_start(rig, "", 0, "", 0);
        /* a closed window may open once more after the kernel's own timers: full is when the relay
         * keeps something, and for a while nothing moves */
        while ((quiet < 50 || !rig->relay.side[slow].pending) && clock_now_ns() < until) {
            ssize_t n = send(rig->end[!slow], chunk, sizeof chunk, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
            quiet = n > 0 ? 0 : quiet + 1;
            turn(rig, 1);
            const struct relay_side *side = &rig->relay.side[slow];
            cr_assert(side->pending_len <= RELAY_BUFFER, "%zu", side->pending_len);
        }
        cr_expect(sent < 1000000, "%zu bytes taken", sent);
        cr_expect(rig->relay.side[slow].pending != NULL);
        /* the other direction goes on */
        say(rig, slow, "meanwhile");
        expect_text(rig, !slow, "meanwhile");
        shutdown(rig->end[!slow], SHUT_WR);
        for (ssize_t n = 1; n > 0; got += n > 0 ? (size_t)n : 0)
            n = receive(rig, slow, chunk, sizeof chunk);
        cr_expect(eq(sz, got, sent));
        cr_expect(rig->relay.side[slow].pending == NULL, "an idle relay holds no buffer");
        rig_close(rig);
    }
}

/* Others get the pipe, the bytes wait in memory, and none of them is lost. */
Test(relay, a_side_that_does_not_read_gives_its_pipe_back)
{
    static uint8_t piece[200000], got[sizeof piece];
    struct rig *rig = rig_new(0, 1);
    struct relay_side *stuck = &rig->relay.side[0];
    size_t sent = 0, have = 0;
    rig_start(rig, "", 0, "", 0);
    fill(piece, sizeof piece, 4);
    for (int quiet = 0; quiet < 50; turn(rig, 1)) {
        size_t at = sent % sizeof piece;
        ssize_t n = send(rig->end[1], piece + at, sizeof piece - at, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
    }
    cr_assert(stuck->pipe != NULL);
    cr_assert(eq(int, relay_rest(&rig->relay), 0));
    cr_expect(stuck->pipe != NULL, "it may just have been filled");
    cr_assert(eq(int, relay_rest(&rig->relay), 0));
    cr_expect(stuck->pipe == NULL);
    cr_assert(stuck->pending != NULL);
    cr_expect(le(sz, stuck->pending_len, PIPE_LITTLE));
    while (have < sent) {
        ssize_t n = receive(rig, 0, got, sizeof got);
        cr_assert(n > 0, "%zd after %zu of %zu", n, have, sent);
        for (ssize_t i = 0; i < n; i++, have++)
            cr_assert(eq(int, got[i], piece[have % sizeof piece]), "at %zu", have);
    }
    rig_close(rig);
}

/* ---- what stands in the way ---- */

static void on_alarm(int sig)
{
    (void)sig;
}

/* A signal, as when the process is stopped or suspended, leaves a splice in the middle. */
Test(relay, signals_interrupt_a_download)
{
    enum { ALL = 256 << 20 };
    static uint8_t piece[1 << 20];
    struct rig *rig = rig_open(0);
    struct sigaction sa = {.sa_handler = on_alarm};
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    int64_t until = clock_now_ns() + 10 * NS_PER_S;
    size_t sent = 0, got = 0;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    rig_start(rig, "", 0, "", 0);
    while (got < ALL && clock_now_ns() < until) {
        ssize_t n = 1;
        while (sent < ALL && (n = send(rig->end[1], piece, sizeof piece, MSG_NOSIGNAL)) > 0)
            sent += (size_t)n;
        turn(rig, 1);
        while ((n = recv(rig->end[0], piece, sizeof piece, 0)) > 0)
            got += (size_t)n;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    cr_expect(got >= ALL, "%zu bytes", got);
    rig_close(rig);
}

/* Reads stop short of it, and a pipe does not let it pass. */
static void urgent(size_t before, size_t after)
{
    struct rig *rig = rig_open(0);
    static uint8_t data[300000];
    size_t got = 0;
    rig_start(rig, "", 0, "", 0);
    for (int i = 0; i < 3; i++) {
        cr_assert(eq(i64, send(rig->end[0], data, before, MSG_NOSIGNAL), (ssize_t)before));
        cr_assert(eq(i64, send(rig->end[0], "!", 1, MSG_NOSIGNAL | MSG_OOB), 1));
        cr_assert(eq(i64, send(rig->end[0], data, after, MSG_NOSIGNAL), (ssize_t)after));
        turn(rig, 5);
        while (got < (size_t)(i + 1) * (before + after)) {
            ssize_t n = receive(rig, 1, data, sizeof data);
            cr_assert(n > 0, "%zu and %zu: %zd after %zu", before, after, n, got);
            got += (size_t)n;
        }
    }
    shutdown(rig->end[0], SHUT_WR);
    expect_end(rig, 1, 0);
    rig_close(rig);
}

Test(relay, urgent_data)
{
    urgent(3, 3);
    urgent(100000, 100000);
    urgent(3, 0);
}

/* ---- resets ---- */

Test(relay, a_reset_is_passed_on)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_open(0);
        rig_start(rig, "", 0, "", 0);
        say(rig, who, "before");
        expect_text(rig, !who, "before");
        say(rig, who, "last words"); /* not yet passed on when the reset comes */
        socket_set_reset(rig->end[who]);
        close(rig->end[who]);
        rig->end[who] = dup(STDERR_FILENO);
        turn(rig, 1000);
        cr_expect(eq(int, rig->over, 1));
        cr_expect(eq(int, (int)rig->how, RELAY_RESET));
        expect_text(rig, !who, "last words");
        expect_end(rig, !who, -ECONNRESET);
        rig_close(rig);
    }
}

/* What it said has nowhere to go, as the other does not read: that is no reason to wait. */
Test(relay, a_reset_while_the_other_is_stuck)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_open(16384);
        static uint8_t much[65536];
        int quiet = 0;
        rig_start(rig, "", 0, "", 0);
        while (quiet < 50) {
            bool sent = send(rig->end[who], much, sizeof much, MSG_NOSIGNAL) > 0;
            quiet = sent ? 0 : quiet + 1;
            turn(rig, 1);
        }
        cr_assert(rig->relay.side[!who].blocked, "side %d", who);
        socket_set_reset(rig->end[who]);
        close(rig->end[who]);
        rig->end[who] = dup(STDERR_FILENO);
        turn(rig, 3000);
        cr_expect(eq(int, rig->over, 1), "side %d", who);
        cr_expect(eq(int, (int)rig->how, RELAY_RESET), "side %d", who);
        rig_close(rig);
    }
}

/* It has said all it has to say and waits for the answer; then it is gone. */
Test(relay, a_reset_after_half_a_close)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_open(0);
        rig_start(rig, "", 0, "", 0);
        shutdown(rig->end[who], SHUT_WR);
        expect_end(rig, !who, 0);
        socket_set_reset(rig->end[who]);
        close(rig->end[who]);
        rig->end[who] = dup(STDERR_FILENO);
        for (int i = 0; i < 20 && !rig->over; i++) {
            send(rig->end[!who], "answer", 6, MSG_NOSIGNAL);
            turn(rig, 10);
        }
        cr_expect(eq(int, rig->over, 1));
        cr_expect(eq(int, (int)rig->how, RELAY_RESET));
        rig_close(rig);
    }
}

/* The server answers without hearing all, and closes: what it said arrives before the reset. */
Test(relay, an_answer_before_the_question_has_ended)
{
    struct rig *rig = rig_open(0);
    static uint8_t much[100000];
    rig_start(rig, "", 0, "", 0);
    say(rig, 0, "begin");
    expect_text(rig, 1, "begin");
    send(rig->end[0], much, sizeof much, MSG_NOSIGNAL);
    turn(rig, 20); /* it lies unread at the server, so its close is a reset */
    say(rig, 1, "enough, thank you");
    close(rig->end[1]);
    rig->end[1] = dup(STDERR_FILENO);
    turn(rig, 1000);
    cr_expect(eq(int, rig->over, 1));
    cr_expect(eq(int, (int)rig->how, RELAY_RESET));
    expect_text(rig, 0, "enough, thank you");
    expect_end(rig, 0, -ECONNRESET);
    rig_close(rig);
}

/* Gone before it begins, and before the early bytes could be sent. */
Test(relay, a_peer_gone_at_the_start)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_open(0);
        socket_set_reset(rig->end[who]);
        close(rig->end[who]);
        rig->end[who] = dup(STDERR_FILENO);
        usleep(1000);
        rig_start(rig, "reply", 5, "early", 5);
        turn(rig, 1000);
        cr_expect(eq(int, rig->over, 1), "side %d", who);
        cr_expect(eq(int, (int)rig->how, RELAY_RESET), "side %d", who);
        rig_close(rig);
    }
}

Test(relay, stopped_before_it_starts)
{
    struct relay r = {0};
    relay_stop(&r);
    cr_expect(eq(ptr, r.side[0].pending, NULL));
}
