/* SPDX-License-Identifier: MIT
 * test_dial.c: the dial engine with scripted links and a clock of the test's own: the table of
 * blames row by row, retries, time limits, hedging, names and addresses.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void run(struct fake_world *w, const char *dest)
{
    fake_dial_start(w, dest);
    fake_dial_wait(w);
}

static void close_world(struct fake_world *w, const char *what)
{
    const char *wrong = fake_world_close(w);
    cr_expect(wrong == NULL, "%s: %s", what, wrong);
}

/* Is this the link that won, or the one to be named with the error? NULL: any. */
static bool named(const struct fake_world *w, const char *link)
{
    return !link || same(w->err == DP_OK ? w->won : w->blamed, link);
}

/* How many dials each of the links "a" to "d" has got, as digits. */
static const char *starts(const struct fake_world *w)
{
    static char text[FAKE_LINKS + 1];
    size_t i = 0;
    for (; i < w->config.n_links; i++)
        text[i] = (char)('0' + w->link[i].starts);
    text[i] = '\0';
    return text;
}

/* Their failures that counted. */
static const char *fails(const struct fake_world *w)
{
    static char text[FAKE_LINKS + 1];
    size_t i = 0;
    for (; i < w->config.n_links; i++)
        text[i] = (char)('0' + w->router->link[i]->stat->fails);
    text[i] = '\0';
    return text;
}

/* And those of their silences that may come to count. */
static const char *silences(const struct fake_world *w)
{
    static char text[FAKE_LINKS + 1];
    size_t i = 0;
    for (; i < w->config.n_links; i++)
        text[i] = (char)('0' + w->router->link[i]->shared->silences);
    text[i] = '\0';
    return text;
}

/* ---- blame ---- */

struct blame_row {
    uint32_t retries;
    int result[4]; /* of links a to d; OK ones win */
    int err;
    const char *link; /* that won, or is named with the error; NULL: one of several */
    const char *starts, *fails;
};

#define LOST(reply) DP_ERROR(DP_LINK, reply)
#define CAN_NOT DP_ERR_COMMAND

static const struct blame_row blames[] = {
    {2, {DP_OK}, DP_OK, "a", "1000", "0000"},
    /* LOCAL: no other link, no link to blame */
    {2, {DP_ERR_LOCAL, DP_OK}, DP_ERR_LOCAL, "a", "1000", "0000"},
    /* LINK: the next, and it counts */
    {2, {DP_ERR_LINK, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {DP_ERR_LINK, LOST(3), DP_OK}, DP_OK, "c", "1110", "1100"},
    {2, {DP_ERR_LINK, LOST(3), LOST(4), DP_OK}, DP_ERR_LINK, "a", "1110", "1110"},
    {0, {LOST(3), DP_OK}, LOST(3), "a", "1000", "1000"},
    {1, {LOST(3), DP_ERR_LINK, DP_OK}, LOST(3), "a", "1100", "1100"},
    {15, {LOST(1), LOST(2), LOST(3), LOST(4)}, LOST(1), "a", "1111", "1111"},
    /* DEST: it has answered; that is final, and nobody's fault */
    {2, {DP_ERR_REFUSED, DP_OK}, DP_ERR_REFUSED, "a", "1000", "0000"},
    {2, {DP_ERR_NO_HOST, DP_OK}, DP_ERR_NO_HOST, "a", "1000", "0000"},
    {2, {DP_ERR_DENIED, DP_OK}, DP_ERR_DENIED, "a", "1000", "0000"},
    {2, {DP_ERR_LINK, DP_ERR_REFUSED, DP_OK}, DP_ERR_REFUSED, "b", "1100", "1000"},
    /* PATH: one more; it counts only if another link then gets through */
    {2, {DP_ERR_NET_UNREACH, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {DP_ERR_HOST_UNREACH, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {DP_ERR_TTL, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {DP_ERR_TTL, DP_ERR_HOST_UNREACH, DP_OK}, DP_ERR_TTL, "a", "1100", "0000"},
    {2, {DP_ERR_HOST_UNREACH, DP_ERR_REFUSED}, DP_ERR_REFUSED, "b", "1100", "0000"},
    {2, {DP_ERR_HOST_UNREACH, DP_ERR_LINK, DP_OK}, DP_OK, "c", "1110", "1100"},
    {3, {DP_ERR_HOST_UNREACH, DP_ERR_LINK, DP_ERR_TTL}, DP_ERR_HOST_UNREACH, "a", "1110", "0100"},
    {0, {DP_ERR_HOST_UNREACH, DP_OK}, DP_ERR_HOST_UNREACH, "a", "1000", "0000"},
    /* UNABLE: the next, and nothing counts */
    {2, {DP_ERR_COMMAND, DP_OK}, DP_OK, "b", "1100", "0000"},
    {2, {DP_ERR_NO_ANSWER, DP_OK}, DP_OK, "b", "1100", "0000"},
    {2, {DP_ERR_FAMILY, DP_OK}, DP_OK, "b", "1100", "0000"},
    {0, {DP_ERR_COMMAND, DP_OK}, DP_ERR_COMMAND, "a", "1000", "0000"},
    {2, {CAN_NOT, DP_ERR_NO_ANSWER, CAN_NOT, DP_OK}, CAN_NOT, NULL, "1110", "0000"},
    /* ... and a link that cannot do the family is no retry: it is passed over */
    {0, {DP_ERR_FAMILY, DP_OK}, DP_OK, "b", "1100", "0000"},
    {0, {DP_ERR_FAMILY, DP_ERR_FAMILY, DP_ERR_FAMILY, DP_OK}, DP_OK, "d", "1111", "0000"},
    {1, {DP_ERR_FAMILY, DP_ERR_LINK, DP_ERR_FAMILY, DP_OK}, DP_OK, "d", "1111", "0100"},
    {9,
     {DP_ERR_FAMILY, DP_ERR_FAMILY, DP_ERR_FAMILY, DP_ERR_FAMILY},
     DP_ERR_FAMILY,
     NULL,
     "1111",
     "0000"},
    /* of several errors the one is told that says most of the destination */
    {2, {DP_ERR_COMMAND, LOST(3), CAN_NOT}, LOST(3), "b", "1110", "0100"},
    {2, {LOST(3), DP_ERR_HOST_UNREACH, CAN_NOT}, DP_ERR_HOST_UNREACH, "b", "1110", "1000"},
    /* what is no result at all is the link's fault */
    {2, {7, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {-1, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {-111, DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {DP_ERROR(100, 1), DP_OK}, DP_OK, "b", "1100", "1000"},
    {2, {INT32_MIN, DP_OK}, DP_OK, "b", "1100", "1000"},
};

static void blame_row(const struct blame_row *row, size_t i, enum fake_shape shape, int after_ms)
{
    struct fake_world w = {.retries = row->retries};
    static const char *const names[] = {"a", "b", "c", "d"};
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    for (int l = 0; l < 4; l++)
        w.link[l] = (struct fake_link){.name = names[l],
                                       .shape = shape,
                                       .hop = addr_text(&server, hop),
                                       .n_acts = 1,
                                       .act = {{row->result[l], after_ms}}};
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, row->err), "row %zu", i);
    cr_expect(named(&w, row->link), "row %zu: %s%s, not %s", i, w.won, w.blamed, row->link);
    cr_expect(same(starts(&w), row->starts), "row %zu: starts %s, not %s", i, starts(&w),
              row->starts);
    cr_expect(same(fails(&w), row->fails), "row %zu: fails %s, not %s", i, fails(&w), row->fails);
    close_world(&w, "blame");
    close(fd);
}

Test(dial, blame_at_once)
{
    for (size_t i = 0; i < LENGTH(blames); i++)
        blame_row(&blames[i], i, FAKE_STREAM, 0);
}

Test(dial, blame_after_a_while)
{
    for (size_t i = 0; i < LENGTH(blames); i++)
        blame_row(&blames[i], i, FAKE_STREAM, 10);
}

Test(dial, blame_of_tunnels)
{
    for (size_t i = 0; i < LENGTH(blames); i++)
        blame_row(&blames[i], i, FAKE_TUNNEL, i % 2);
}

/* What a success means for the counters, and what a link is told of its flow. */
Test(dial, success)
{
    struct fake_world w = {.link = {{.name = "a", .bound = "192.0.2.9:999"}}};
    fake_world_open(&w);
    ((struct dp_stat *)fake_stat(&w, "a"))->fails = 3;
    w.link[0].act[0] = (struct fake_act){DP_OK, 40};
    w.link[0].n_acts = 1;
    run(&w, "[2001:db8::1]:443");
    const struct dp_stat *stat = fake_stat(&w, "a");
    cr_expect(eq(int, w.err, DP_OK));
    cr_expect(same(w.bound, "192.0.2.9:999"));
    cr_expect(same(w.link[0].start[0].to, "[2001:db8::1]:443"));
    cr_expect(eq(u32, stat->fails, 0), "the row of failures has ended");
    cr_expect(eq(i64, stat->rtt, 40 * NS_PER_MS));
    cr_expect(eq(u32, stat->active, 1));
    cr_expect(eq(u32, stat->dialing, 0));
    cr_expect(eq(u64, stat->picks, 1));
    cr_expect(w.stream.fd >= 0 && w.link[0].ends == 0, "it lives as long as the stream");
    stream_close(&w.stream, io_now(&w.loop.io), 1000, 24);
    cr_expect(eq(u32, w.link[0].ends, 1));
    cr_expect(eq(u64, stat->rx, 1000));
    cr_expect(eq(u64, stat->tx, 24));
    close_world(&w, "success");
}

Test(dial, no_link_at_all)
{
    struct fake_world w = {.retries = 2, .link = {{.name = "a", .limit = 1}}};
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    struct stream held = w.stream;
    w.stream = (struct stream){.fd = -1};
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, dp_blame(w.err), DP_LINK), "the only one is at its limit");
    cr_expect(same(w.blamed, "none"));
    cr_expect(same(starts(&w), "1"));
    stream_close(&held, io_now(&w.loop.io), 0, 0);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, DP_OK));
    close_world(&w, "full");
}

/* More links than one request ever tries, all passed over for their family, the last one good. */
Test(dial, many_links_passed_over)
{
    static const char *const names[FAKE_LINKS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                                  "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"};
    struct fake_world w = {0};
    for (int i = 0; i < FAKE_LINKS; i++)
        w.link[i] = (struct fake_link){
            .name = names[i], .n_acts = i + 1 < FAKE_LINKS, .act = {{DP_ERR_FAMILY, 0}}};
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, DP_OK));
    cr_expect(same(w.won, "t"), "%s", w.won);
    close_world(&w, "many links");
}

/* ---- time ---- */

#define HANG         \
    {                \
        FAKE_HANG, 0 \
    }
#define SILENCE DP_ERR_HOST_UNREACH

struct time_row {
    int connect_ms, attempt_ms;
    uint32_t retries;
    int rtt_ms, var_ms; /* of a before */
    struct fake_act act[3];
    int err;
    const char *link;
    int took_ms, at_ms[3]; /* when each started; -1: never */
    const char *fails, *silences;
};

static const struct time_row times[] = {
    /* nobody answers: each has the limit of an attempt; nobody is to blame */
    {10000, 3000, 2, 0, 0, {HANG, HANG, HANG}, SILENCE, NULL, 3500, {0, 250, 500}, "000", "000"},
    {10000, 3000, 1, 0, 0, {HANG, HANG}, SILENCE, NULL, 3250, {0, 250, -1}, "000", "000"},
    {10000, 3000, 0, 0, 0, {HANG}, SILENCE, "a", 3000, {0, -1, -1}, "000", "000"},
    /* silence, and an answer: the silent one has had its time */
    {10000, 3000, 2, 0, 0, {HANG, {DP_OK, 5}}, DP_OK, "b", 255, {0, 250, -1}, "000", "100"},
    {10000, 3000, 2, 0, 0, {HANG, {DP_OK, 0}}, DP_OK, "b", 250, {0, 250, -1}, "000", "100"},
    {10000, 3000, 2, 0, 0, {HANG, HANG, {DP_OK, 0}}, DP_OK, "c", 500, {0, 250, 500}, "000", "110"},
    {10000, 3000, 2, 0, 0, {HANG, HANG, {DP_OK, 9}}, DP_OK, "c", 509, {0, 250, 500}, "000", "110"},
    /* ... unless it is the destination that is slow */
    {10000, 3000, 1, 0, 0, {HANG, {DP_OK, 240}}, DP_OK, "b", 490, {0, 250, -1}, "000", "100"},
    {10000, 3000, 1, 0, 0, {HANG, {DP_OK, 260}}, DP_OK, "b", 510, {0, 250, -1}, "000", "000"},
    {10000, 3000, 1, 0, 0, {HANG, {DP_OK, 2900}}, DP_OK, "b", 3150, {0, 250, -1}, "000", "000"},
    /* all of its time, where another needs a moment, is a failure */
    {10000, 400, 2, 0, 0, {HANG, HANG, {DP_OK, 5}}, DP_OK, "c", 405, {0, 200, 400}, "100", "010"},
    /* it may still win, and then the one beside it is not to blame */
    {10000, 3000, 2, 0, 0, {{DP_OK, 300}, HANG}, DP_OK, "a", 300, {0, 250, -1}, "000", "000"},
    {10000, 3000, 2, 0, 0, {{DP_OK, 249}}, DP_OK, "a", 249, {0, -1, -1}, "000", "000"},
    /* the budget ends it all, also in the middle of an attempt */
    {600, 3000, 2, 0, 0, {HANG, HANG, HANG}, SILENCE, NULL, 600, {0, 250, 500}, "000", "000"},
    {2000, 3000, 0, 0, 0, {HANG}, SILENCE, "a", 2000, {0, -1, -1}, "000", "000"},
    {3000, 3000, 0, 0, 0, {HANG}, SILENCE, "a", 3000, {0, -1, -1}, "000", "000"},
    {2000, 3000, 1, 0, 0, {{DP_ERR_LINK, 0}, HANG}, SILENCE, "b", 2000, {0, 0, -1}, "100", "000"},
    /* what is known of the link: its time, and four times what that varies; half an attempt at most */
    {10000, 3000, 2, 10, 5, {HANG, {DP_OK, 0}}, DP_OK, "b", 200, {0, 200, -1}, "000", "100"},
    {10000, 3000, 2, 100, 50, {HANG, {DP_OK, 0}}, DP_OK, "b", 300, {0, 300, -1}, "000", "100"},
    {10000, 3000, 2, 700, 0, {{DP_OK, 690}}, DP_OK, "a", 690, {0, -1, -1}, "000", "000"},
    {10000, 3000, 2, 900, 200, {HANG, {DP_OK, 0}}, DP_OK, "b", 1500, {0, 1500, -1}, "000", "100"},
    {10000, 300, 2, 0, 0, {HANG, {DP_OK, 5}}, DP_OK, "b", 155, {0, 150, -1}, "000", "100"},
    /* whoever comes next waits for no delay when one has failed */
    {10000, 3000, 2, 0, 0, {HANG, {DP_ERR_LINK, 9}}, DP_OK, "c", 259, {0, 250, 259}, "010", "100"},
    {10000, 3000, 2, 0, 0, {{DP_ERR_LINK, 20}}, DP_OK, "b", 20, {0, 20, -1}, "100", "000"},
    /* the destination's own word, by either, ends it */
    {10000,
     3000,
     2,
     0,
     0,
     {HANG, {DP_ERR_REFUSED, 0}},
     DP_ERR_REFUSED,
     "b",
     250,
     {0, 250, -1},
     "000",
     "000"},
};

static void time_row(const struct time_row *row, size_t i)
{
    static const char *const names[] = {"a", "b", "c"};
    struct fake_world w = {
        .retries = row->retries, .connect_ms = row->connect_ms, .attempt_ms = row->attempt_ms};
    for (int l = 0; l < 3; l++)
        w.link[l] = (struct fake_link){.name = names[l], .n_acts = 1, .act = {row->act[l]}};
    fake_world_open(&w);
    w.router->link[0]->stat->rtt = row->rtt_ms * NS_PER_MS;
    w.router->link[0]->shared->rtt_var = row->var_ms * NS_PER_MS;
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, row->err), "row %zu", i);
    cr_expect(named(&w, row->link), "row %zu: %s%s, not %s", i, w.won, w.blamed, row->link);
    cr_expect(eq(int, w.took_ms, row->took_ms), "row %zu", i);
    for (int l = 0; l < 3; l++) {
        int at_ms = w.link[l].starts ? w.link[l].start[0].at_ms : -1;
        cr_expect(eq(int, at_ms, row->at_ms[l]), "row %zu, link %s", i, names[l]);
    }
    cr_expect(same(fails(&w), row->fails), "row %zu: fails %s, not %s", i, fails(&w), row->fails);
    cr_expect(same(silences(&w), row->silences), "row %zu: silences %s, not %s", i, silences(&w),
              row->silences);
    close_world(&w, "time");
}

Test(dial, time_limits_and_hedging)
{
    for (size_t i = 0; i < LENGTH(times); i++)
        time_row(&times[i], i);
}

/* A new tunnel whose server is there, but has not answered yet, has longer, unless something speaks
 * against the link, or it is known to be quick. */
Test(dial, tunnels_that_take_their_time)
{
    static const struct {
        int answers_ms; /* -1: never */
        uint32_t silences;
        int rtt_ms, took_ms, b_at_ms;
    } table[] = {
        {1000, 0, 0, 1000, -1}, {-1, 0, 0, 1505, 1500}, {-1, 1, 0, 255, 250},
        {1000, 1, 0, 255, 250}, {-1, 0, 10, 205, 200},
    };
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    addr_text(&server, hop);
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_act act = HANG;
        if (table[i].answers_ms >= 0)
            act = (struct fake_act){DP_OK, table[i].answers_ms};
        struct fake_world w = {
            .retries = 1,
            .link = {{.name = "a", .shape = FAKE_TUNNEL, .hop = hop, .n_acts = 1, .act = {act}},
                     {.name = "b", .n_acts = 1, .act = {{DP_OK, 5}}}}};
        fake_world_open(&w);
        w.router->link[0]->stat->rtt = table[i].rtt_ms * NS_PER_MS;
        w.router->link[0]->shared->silences = table[i].silences;
        run(&w, "192.0.2.1:80");
        cr_expect(eq(int, w.err, DP_OK), "row %zu", i);
        cr_expect(eq(int, w.took_ms, table[i].took_ms), "row %zu", i);
        int b_at_ms = w.link[1].starts ? w.link[1].start[0].at_ms : -1;
        cr_expect(eq(int, b_at_ms, table[i].b_at_ms), "row %zu", i);
        close_world(&w, "tunnel");
    }
    close(fd);
}

/* Given up at every moment of its life: nothing is left over, and over() is not called. */
Test(dial, cancelled)
{
    static const struct fake_name names[] = {{"name.example", 1, DP_OK, {"192.0.2.1", "::2"}},
                                             {NULL, 0, 0, {NULL}}};
    for (int turns = 0; turns < 6; turns++) {
        struct fake_world w = {
            .retries = 2,
            .names = names,
            .link = {{.name = "a", .n_acts = 2, .act = {{DP_ERR_LINK, 1}, {DP_ERR_LINK, 1}}},
                     {.name = "b", .n_acts = 2, .act = {HANG, HANG}}}};
        fake_world_open(&w);
        fake_dial_start(&w, "name.example:80");
        for (int i = 0; i < turns; i++)
            poll_turn(&w.loop, 0);
        cr_assert(not(w.over), "after %d turns", turns);
        fake_dial_end(&w);
        const char *wrong = fake_world_idle(&w);
        cr_expect(wrong == NULL, "after %d turns: %s", turns, wrong);
        close_world(&w, "cancelled");
    }
}

/* Nobody takes what has been won: it is closed. */
static void leave(struct dial *d, void *ctx, int err)
{
    (void)d;
    *(int *)ctx = err;
}

Test(dial, not_taken)
{
    for (int after_ms = 0; after_ms <= 1; after_ms++) {
        struct fake_world w = {.link = {{.name = "a", .n_acts = 1, .act = {{DP_OK, after_ms}}}}};
        int err = -1;
        fake_world_open(&w);
        struct dial_request request = {
            .pool = w.router->pool[0], .connect_ns = NS_PER_S, .attempt_ns = NS_PER_S};
        addr_from_ip(&request.flow.dest, AF_INET, "\300\0\2\1", 80);
        struct dial *d = dial_start(&w.env, &request, leave, &err);
        while (err == -1 && poll_turn(&w.loop, 0) == 0)
            ;
        cr_expect(eq(int, err, DP_OK));
        dial_free(d);
        close_world(&w, "not taken");
    }
}

/* ---- names and addresses ---- */

static const struct fake_name names[] = {
    {"one.example", 5, DP_OK, {"192.0.2.1"}},
    {"two.example", 5, DP_OK, {"192.0.2.1", "192.0.2.2"}},
    {"both.example", 5, DP_OK, {"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}},
    {"many.example",
     0,
     DP_OK,
     {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7",
      "192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13",
      "192.0.2.14", "192.0.2.15", "192.0.2.16", "192.0.2.17", "192.0.2.18", "192.0.2.19"}},
    {"none.example", 5, DP_ERR_NO_HOST, {NULL}},
    {"dead.example", 5, DP_ERR_HOST_UNREACH, {NULL}},
    {"late.example", 60000, DP_OK, {"192.0.2.1"}},
    {NULL, 0, 0, {NULL}},
};

struct name_row {
    const char *dest;
    bool takes_names;
    struct fake_act act[4]; /* of a's dials in turn; then OK at once */
    unsigned n_acts;
    int err;
    const char *won;
    int took_ms;
    unsigned asked;
    int at_ms[4]; /* when each of its dials started; -1: that was all */
    const char *to[4], *fails;
};

#define IN_TURN                                                                \
    {                                                                          \
        "[2001:db8::1]:80", "192.0.2.1:80", "[2001:db8::2]:80", "192.0.2.2:80" \
    }
#define BOTH                           \
    {                                  \
        "192.0.2.1:80", "192.0.2.2:80" \
    }

static const struct name_row name_rows[] = {
    {"one.example:80", false, {{0}}, 0, DP_OK, "a", 5, 1, {5, -1}, {"192.0.2.1:80"}, "00"},
    {"one.example:80", true, {{0}}, 0, DP_OK, "a", 0, 0, {0, -1}, {"one.example:80"}, "00"},
    {"192.0.2.7:80", false, {{0}}, 0, DP_OK, "a", 0, 0, {0, -1}, {"192.0.2.7:80"}, "00"},
    /* IPv6 first, then in turn; 250 ms apart if there is no answer, the first may still win */
    {"both.example:80",
     false,
     {HANG, HANG, HANG, {DP_OK, 1}},
     4,
     DP_OK,
     "a",
     756,
     1,
     {5, 255, 505, 755},
     IN_TURN,
     "00"},
    {"two.example:80",
     false,
     {{DP_OK, 300}, HANG},
     2,
     DP_OK,
     "a",
     305,
     1,
     {5, 255, -1},
     BOTH,
     "00"},
    /* ... at once when one fails, in whichever way */
    {"both.example:80",
     false,
     {{DP_ERR_REFUSED, 0}, {DP_ERR_TTL, 1}, {DP_ERR_FAMILY, 1}},
     3,
     DP_OK,
     "a",
     7,
     1,
     {5, 5, 6, 7},
     IN_TURN,
     "00"},
    {"both.example:80",
     false,
     {HANG, {DP_ERR_REFUSED, 10}, {DP_OK, 1}},
     3,
     DP_OK,
     "a",
     266,
     1,
     {5, 255, 265, -1},
     IN_TURN,
     "00"},
    {"two.example:80",
     false,
     {{DP_ERR_LINK, 0}, {DP_ERR_LINK, 1}},
     2,
     DP_OK,
     "b",
     11,
     2,
     {5, 5, -1},
     BOTH,
     "10"},
    /* an address has answered: that counts for more than another's silence */
    {"two.example:80",
     false,
     {HANG, {DP_ERR_REFUSED, 0}},
     2,
     DP_ERR_REFUSED,
     "",
     3000,
     1,
     {5, 255, -1},
     BOTH,
     "00"},
    {"two.example:80",
     false,
     {{DP_ERR_REFUSED, 0}, {DP_ERR_LINK, 0}},
     2,
     DP_ERR_REFUSED,
     "",
     5,
     1,
     {5, 5, -1},
     BOTH,
     "00"},
    /* not a second one when this host is out of something */
    {"two.example:80", false, {{DP_ERR_LOCAL, 0}}, 1, DP_ERR_LOCAL, "", 5, 1, {5, -1}, BOTH, "00"},
    /* what the name servers say */
    {"none.example:80", false, {{0}}, 0, DP_ERR_NO_HOST, "", 5, 1, {-1}, {NULL}, "00"},
    {"nowhere.example:80", false, {{0}}, 0, DP_ERR_NO_HOST, "", 0, 1, {-1}, {NULL}, "00"},
    {"dead.example:80", false, {{0}}, 0, DP_ERR_HOST_UNREACH, "", 10, 2, {-1}, {NULL}, "00"},
    {"late.example:80", false, {{0}}, 0, DP_ERR_HOST_UNREACH, "", 3250, 2, {-1}, {NULL}, "00"},
};

static void name_row(const struct name_row *row, size_t i)
{
    struct fake_world w = {.retries = row->asked > 1, /* b, beside a that is still at it */
                           .names = names,
                           .link = {{.name = "a", .names = row->takes_names}, {.name = "b"}}};
    w.link[0].n_acts = row->n_acts;
    memcpy(w.link[0].act, row->act, sizeof row->act);
    fake_world_open(&w);
    run(&w, row->dest);
    cr_expect(eq(int, w.err, row->err), "row %zu", i);
    cr_expect(same(w.won, row->won), "row %zu: %s, not %s", i, w.won, row->won);
    cr_expect(eq(int, w.took_ms, row->took_ms), "row %zu", i);
    cr_expect(eq(u32, w.asked, row->asked), "row %zu", i);
    unsigned n = 0;
    for (; n < 4 && row->at_ms[n] >= 0; n++) {
        cr_expect(same(w.link[0].start[n].to, row->to[n]), "row %zu: dial %u to \"%s\"", i, n,
                  w.link[0].start[n].to);
        cr_expect(eq(int, w.link[0].start[n].at_ms, row->at_ms[n]), "row %zu, %u", i, n);
    }
    cr_expect(eq(u32, w.link[0].starts, n), "row %zu", i);
    cr_expect(same(fails(&w), row->fails), "row %zu: fails %s, not %s", i, fails(&w), row->fails);
    close_world(&w, "names");
}

Test(dial, names)
{
    for (size_t i = 0; i < LENGTH(name_rows); i++)
        name_row(&name_rows[i], i);
}

/* How long the link takes is not what another address has cost. */
Test(dial, the_address_that_won_is_measured)
{
    struct fake_world w = {.names = names,
                           .link = {{.name = "a", .n_acts = 3, .act = {HANG, HANG, {DP_OK, 20}}}}};
    fake_world_open(&w);
    run(&w, "both.example:80");
    cr_expect(eq(int, w.took_ms, 525));
    cr_expect(eq(i64, fake_stat(&w, "a")->rtt, 20 * NS_PER_MS));
    close_world(&w, "measured");
}

/* A family by which the link leads nowhere comes last. */
Test(dial, families_without_a_route)
{
    static const struct {
        uint32_t no_route;
        const char *to[4];
    } table[] = {
        {0, IN_TURN},
        {WAY_IPV6, {"192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80", "[2001:db8::2]:80"}},
        {WAY_IPV4, {"[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80", "192.0.2.2:80"}},
        {WAY_ANY, IN_TURN},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {.names = names, .link = {{.name = "a"}}};
        for (int n = 0; n < 4; n++)
            w.link[0].act[w.link[0].n_acts++] = (struct fake_act){DP_ERR_REFUSED, 0};
        fake_world_open(&w);
        w.router->link[0]->shared->no_route = table[i].no_route;
        run(&w, "both.example:80");
        for (int n = 0; n < 4; n++)
            cr_expect(same(w.link[0].start[n].to, table[i].to[n]), "row %zu: dial %d to %s", i, n,
                      w.link[0].start[n].to);
        close_world(&w, "no route");
    }
}

/* Of a name with very many addresses 16 are tried, of them 8 at a time. */
Test(dial, many_addresses)
{
    struct fake_world w = {
        .names = names, .link = {{.name = "a"}}, .connect_ms = 60000, .attempt_ms = 10000};
    for (int i = 0; i < 19; i++)
        w.link[0].act[w.link[0].n_acts++] = (struct fake_act)HANG;
    fake_world_open(&w);
    run(&w, "many.example:80");
    cr_expect(eq(int, w.err, DP_ERR_HOST_UNREACH));
    cr_expect(eq(u32, w.link[0].starts, 8));
    cr_expect(eq(int, w.took_ms, 10000));
    close_world(&w, "hanging");

    struct fake_world r = {.names = names, .link = {{.name = "a"}}};
    for (int i = 0; i < 19; i++)
        r.link[0].act[r.link[0].n_acts++] = (struct fake_act){DP_ERR_REFUSED, i % 2};
    fake_world_open(&r);
    run(&r, "many.example:80");
    cr_expect(eq(int, r.err, DP_ERR_REFUSED));
    cr_expect(eq(u32, r.link[0].starts, 16));
    close_world(&r, "refusing");
}
