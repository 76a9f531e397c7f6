/* SPDX-License-Identifier: MIT
 * test_relay_hindered.c: the relay beside sides that do not read, and with signals in between.
 */
#include "base/clock.h"
#include "lib/relay_rig.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* Others get the pipe, the bytes wait in memory, and none of them is lost. */
Test(relay_hindered, a_side_that_does_not_read_gives_its_pipe_back)
{
    static uint8_t piece[200000], got[sizeof piece];
    struct rig *rig = rig_new(0, 1);
    struct relay_side *stuck = &rig->relay.side[0];
    size_t sent = 0, have = 0;
    rig_start(rig, "", 0, "", 0);
    for (size_t i = 0; i < sizeof piece; i++)
        piece[i] = byte_at(i, 4);
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

static void on_alarm(int sig)
{
    (void)sig;
}

/* A signal, as when the process is stopped or suspended, leaves a splice in the middle. */
Test(relay_hindered, signals_interrupt_a_download)
{
    enum { ALL = 256 << 20 };
    static uint8_t piece[1 << 20];
    struct rig *rig = rig_new(0, 4);
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

/* What it said has nowhere to go, as the other does not read: that is no reason to wait. */
Test(relay_hindered, a_reset_while_the_other_is_stuck)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_new(16384, 4);
        static uint8_t much[65536];
        int quiet = 0;
        rig_start(rig, "", 0, "", 0);
        while (quiet < 50) {
            bool sent = send(rig->end[who], much, sizeof much, MSG_NOSIGNAL) > 0;
            quiet = sent ? 0 : quiet + 1;
            turn(rig, 1);
        }
        cr_assert(rig->relay.side[!who].blocked, "side %d", who);
        reset(rig, who);
        turn(rig, 3000);
        cr_expect(eq(int, rig->over, 1), "side %d", who);
        cr_expect(eq(int, (int)rig->how, RELAY_RESET), "side %d", who);
        rig_close(rig);
    }
}
