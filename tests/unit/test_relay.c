/* SPDX-License-Identifier: MIT
 * test_relay.c: how a relay begins and ends. That it moves much is tested in test_relay_bulk.c.
 */
#include "lib/relay_rig.h"

Test(relay, both_ways_and_each_half_ends_on_its_own)
{
    for (int first = 0; first < 2; first++) {
        struct rig *rig = rig_new(0, 4);
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
        expect_over(rig, RELAY_DONE);
        cr_expect(eq(u64, rig->relay.side[first].received, 8));
        cr_expect(eq(u64, rig->relay.side[second].received, 18));
        rig_close(rig);
    }
}

/* Data and its end in one go, before the relay has begun; and both sides at once. */
Test(relay, all_said_before_it_begins)
{
    struct rig *rig = rig_new(0, 4);
    for (int i = 0; i < 2; i++) {
        say(rig, i, "all there is");
        shutdown(rig->end[i], SHUT_WR);
    }
    rig_start(rig, "reply+", 6, "early+", 6);
    expect_text(rig, 0, "reply+all there is");
    expect_text(rig, 1, "early+all there is");
    expect_end(rig, 0, 0);
    expect_end(rig, 1, 0);
    expect_over(rig, RELAY_DONE);
    rig_close(rig);
}

/* ---- what is there at the start ---- */

/* What this end has done before. */
enum before { NOTHING, BYTES, BYTES_AND_END, END, RESET, BYTES_AND_RESET };

static const char said[] = "said before it began";

static void do_before(struct rig *rig, int who, enum before before)
{
    if (before == BYTES || before == BYTES_AND_END || before == BYTES_AND_RESET)
        say(rig, who, said);
    if (before == BYTES_AND_END || before == END)
        shutdown(rig->end[who], SHUT_WR);
    delivered(rig, who);
    if (before == RESET || before == BYTES_AND_RESET)
        reset(rig, who);
}

/* As the session, which watches a side until the relay does. */
static void owner_ready(struct io_fd *io, short revents)
{
    struct relay_side *s = (struct relay_side *)((char *)io - offsetof(struct relay_side, io));
    relay_side_told(s, revents);
}

static void owner_watches(struct rig *rig, int who)
{
    rig->relay.side[who].io.ready = owner_ready;
    int err = io_watch(rig->bench->shared.io, &rig->relay.side[who].io, POLLIN | IO_EDGE);
    cr_assert(eq(int, err, 0));
    turn(rig, 0);
}

/* What comes at one end. */
struct arriving {
    uint8_t bytes[(1 << 20) + sizeof said];
    size_t len, want;
    ssize_t end; /* 0, or -errno; 1: not yet */
};

static bool arrive(struct rig *rig, int i, struct arriving *a)
{
    if (rig->end[i] < 0 || a->len == a->want || a->end <= 0)
        return false;
    ssize_t n = recv(rig->end[i], a->bytes + a->len, a->want - a->len, 0);
    if (n > 0)
        a->len += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        a->end = n < 0 ? -errno : 0;
    return n > 0;
}

/* Reads at both ends, in turns, what is wanted there, or until nothing comes any more. */
static void read_both(struct rig *rig, struct arriving a[2])
{
    int64_t until = clock_now_ns() + 2 * NS_PER_S;
    while ((a[0].len < a[0].want || a[1].len < a[1].want) && clock_now_ns() < until) {
        bool any = arrive(rig, 0, &a[0]);
        any |= arrive(rig, 1, &a[1]);
        if (rig->over && !any)
            return;
        turn(rig, 0);
    }
}

struct start {
    int who;            /* has done something */
    enum before before; /* and this is what */
    bool watched;       /* the owner has seen it */
    size_t early[2];    /* bytes to be sent first, by side */
};

static void expect_reset(struct rig *rig, const struct start *c, const struct arriving a[2])
{
    const struct arriving *other = &a[!c->who];
    expect_over(rig, RELAY_RESET);
    /* what fits into the socket's buffer at once arrives; what does not, may or may not */
    if (c->early[!c->who] < 100000)
        cr_expect(eq(sz, other->len, other->want));
    ssize_t end = other->end;
    while (end > 0)
        end = receive(rig, !c->who, rig->bench->shared.buffer, RELAY_BUFFER);
    cr_expect(eq(i64, end, -ECONNRESET), "no end is told before");
}

static void expect_both_go_on(struct rig *rig, const struct start *c, const struct arriving a[2])
{
    for (int i = 0; i < 2; i++)
        cr_expect(eq(sz, a[i].len, a[i].want), "side %d", i);
    expect_idle(rig);
    if (c->before == BYTES_AND_END || c->before == END) {
        expect_end(rig, !c->who, 0);
    } else {
        say(rig, c->who, "and on");
        expect_text(rig, !c->who, "and on");
        shutdown(rig->end[c->who], SHUT_WR);
    }
    say(rig, !c->who, "and back");
    expect_text(rig, c->who, "and back");
    shutdown(rig->end[!c->who], SHUT_WR);
    expect_over(rig, RELAY_DONE);
}

/* The bytes to be sent first, of this side. */
static const uint8_t *early_bytes(unsigned side)
{
    static uint8_t early[2][1 << 20];
    static bool made[2];
    for (size_t at = 0; !made[side] && at < sizeof early[side]; at++)
        early[side][at] = byte_at(at, side);
    made[side] = true;
    return early[side];
}

static void start(const struct start *c)
{
    static struct arriving a[2];
    struct rig *rig = rig_new(0, 1);
    bool bytes = c->before == BYTES || c->before == BYTES_AND_END || c->before == BYTES_AND_RESET;
    for (int i = 0; i < 2; i++) {
        a[i].want = c->early[i] + (bytes && i != c->who ? strlen(said) : 0);
        a[i].len = 0;
        a[i].end = 1;
    }
    do_before(rig, c->who, c->before);
    if (c->watched)
        owner_watches(rig, c->who);
    rig_start(rig, early_bytes(0), c->early[0], early_bytes(1), c->early[1]);
    read_both(rig, a);
    for (unsigned i = 0; i < 2; i++) {
        size_t of_early = a[i].len < c->early[i] ? a[i].len : c->early[i];
        cr_expect(eq(int, memcmp(a[i].bytes, early_bytes(i), of_early), 0));
        cr_expect(eq(int, memcmp(a[i].bytes + of_early, said, a[i].len - of_early), 0));
    }
    if (c->before == RESET || c->before == BYTES_AND_RESET)
        expect_reset(rig, c, a);
    else
        expect_both_go_on(rig, c, a);
    rig_close(rig);
}

Test(relay, all_that_can_be_there_at_the_start)
{
    static const size_t sizes[] = {0, 1, 65536, 1 << 20};
    for (int i = 0; i < 24; i++)
        for (size_t k = 0; k < 4; k++)
            for (size_t l = 0; l < 4; l++) {
                struct start c = {.who = i % 2,
                                  .before = i / 2 % 6,
                                  .watched = i / 12,
                                  .early = {sizes[k], sizes[l]}};
                start(&c);
            }
}

Test(relay, a_descriptor_that_cannot_be_watched)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_new(0, 1);
        char name[] = "/tmp/test_relay.XXXXXX";
        int file = mkstemp(name);
        unlink(name);
        rig->relay.side[who].io.fd = file;
        const struct relay_early early[2] = {{"a", 1}, {"b", 1}};
        int err = relay_start(&rig->relay, &rig->bench->shared, early);
        cr_expect(eq(int, err, -1));
        relay_stop(&rig->relay);
        close(file);
        rig_close(rig);
    }
}

/* A read stops at a byte that is urgent, though there is more behind it, and nothing more will be
 * told. The byte itself has its place among the others. */
Test(relay, urgent_data)
{
    for (int early = 0; early < 2; early++)
        for (int who = 0; who < 2; who++) {
            struct rig *rig = rig_new(0, 1);
            if (!early)
                rig_start(rig, "", 0, "", 0);
            for (int i = 0; i < 3; i++) {
                say(rig, who, "before-");
                cr_assert(eq(i64, send(rig->end[who], "!", 1, MSG_OOB), 1));
                say(rig, who, "-behind ");
                delivered(rig, who);
                if (early && i == 0)
                    rig_start(rig, "", 0, "", 0);
                expect_text(rig, !who, "before-!-behind ");
            }
            rig_close(rig);
        }
}

/* ---- resets ---- */

Test(relay, a_reset_is_passed_on)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_new(0, 4);
        rig_start(rig, "", 0, "", 0);
        say(rig, who, "before");
        expect_text(rig, !who, "before");
        say(rig, who, "last words"); /* not yet passed on when the reset comes */
        reset(rig, who);
        expect_over(rig, RELAY_RESET);
        expect_text(rig, !who, "last words");
        expect_end(rig, !who, -ECONNRESET);
        rig_close(rig);
    }
}

/* It has said all it has to say and waits for the answer; then it is gone. */
Test(relay, a_reset_after_half_a_close)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_new(0, 4);
        rig_start(rig, "", 0, "", 0);
        shutdown(rig->end[who], SHUT_WR);
        expect_end(rig, !who, 0);
        reset(rig, who);
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
    struct rig *rig = rig_new(0, 4);
    static uint8_t much[100000];
    rig_start(rig, "", 0, "", 0);
    say(rig, 0, "begin");
    expect_text(rig, 1, "begin");
    send(rig->end[0], much, sizeof much, MSG_NOSIGNAL);
    turn(rig, 20); /* it lies unread at the server, so its close is a reset */
    say(rig, 1, "enough, thank you");
    close(rig->end[1]);
    rig->end[1] = -1;
    expect_over(rig, RELAY_RESET);
    expect_text(rig, 0, "enough, thank you");
    expect_end(rig, 0, -ECONNRESET);
    rig_close(rig);
}

/* Gone before it begins, and before the early bytes could be sent. */
Test(relay, a_peer_gone_at_the_start)
{
    for (int who = 0; who < 2; who++) {
        struct rig *rig = rig_new(0, 4);
        reset(rig, who);
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
