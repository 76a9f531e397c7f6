/* SPDX-License-Identifier: MIT
 * test_exchange.c: one request and its answer between two sockets; the test is client and server.
 */
#include "proto/http_rewrite.h"
#include "traffic/exchange.h"
#include "traffic/loop.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define ROOM 700000

struct text {
    char *p;
    size_t len;
};

/*   end[0] ---- side 0 exchange side 1 ---- end[1]   */
struct rig {
    struct loop *loop;
    struct io_timer pause;
    struct relay_shared *shared;
    struct relay relay;
    struct exchange ex;
    struct errand *errand;
    int end[2];
    struct text got[2]; /* at each end */
    int pieces[2];      /* that has come in */
    enum exchange_end how;
};

static void on_pause(struct io_timer *t)
{
    loop_stop(((struct rig *)((char *)t - offsetof(struct rig, pause)))->loop);
}

static void on_ready(struct io_fd *io, short revents)
{
    struct relay_side *s = (struct relay_side *)((char *)io - offsetof(struct relay_side, io));
    struct rig *rig = (struct rig *)((char *)s->relay - offsetof(struct rig, relay));
    if (revents == POLLOUT && !s->blocked)
        return; /* TCP tells of room where there was none only */
    relay_side_told(s, revents);
    if (rig->how == EXCHANGE_GOES_ON)
        exchange_go(&rig->ex);
}

static void on_over(struct exchange *ex, enum exchange_end how)
{
    struct rig *rig = (struct rig *)((char *)ex - offsetof(struct rig, ex));
    cr_assert(eq(int, (int)rig->how, EXCHANGE_GOES_ON), "over once");
    rig->how = how;
}

static struct errand *errand_of(const char *head)
{
    static struct http_request r;
    struct http_scan scan = {0};
    int n = http_request((const uint8_t *)head, strlen(head), &scan, &r);
    cr_assert(eq(int, n, (int)strlen(head)), "%s", head);
    struct errand *errand = errand_new(&r, (size_t)n, UINT64_MAX);
    cr_assert_not_null(errand);
    return errand;
}

/* `type` is of the sockets; `room`: of the server's, 0: enough. */
static struct rig *rig_of(int type, const char *head, const char *rest, int room)
{
    struct rig *rig = calloc(1, sizeof *rig);
    cr_assert_not_null(rig);
    rig->loop = loop_new();
    rig->shared = calloc(1, sizeof *rig->shared);
    cr_assert(rig->loop && rig->shared);
    rig->pause.fire = on_pause;
    rig->relay.shared = rig->shared;
    rig->shared->io = loop_io(rig->loop);
    rig->shared->pipes = pipes_new(1);
    for (int i = 0; i < 2; i++) {
        struct relay_side *side = &rig->relay.side[i];
        int pair[2];
        cr_assert(eq(int, socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair), 0));
        rig->end[i] = pair[0];
        if (i == 1 && room)
            setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        side->relay = &rig->relay;
        side->io = (struct io_fd){.fd = pair[1], .ready = on_ready};
        cr_assert(io_watch(rig->shared->io, &side->io, POLLIN | POLLOUT | IO_EDGE) == 0);
        rig->got[i].p = calloc(1, ROOM);
        cr_assert_not_null(rig->got[i].p);
    }
    rig->errand = errand_of(head);
    rig->ex.over = on_over;
    cr_assert(exchange_start(&rig->ex, &rig->relay, rig->errand, (const uint8_t *)rest,
                             strlen(rest)) == 0);
    return rig;
}

static struct rig *rig_new(const char *head, const char *rest)
{
    return rig_of(SOCK_STREAM, head, rest, 0);
}

static void rig_free(struct rig *rig)
{
    exchange_stop(&rig->ex);
    cr_expect(rig->ex.up.bytes == NULL && rig->ex.down.bytes == NULL);
    for (int i = 0; i < 2; i++) {
        io_forget(rig->shared->io, &rig->relay.side[i].io);
        relay_side_empty(&rig->relay.side[i]);
        close(rig->relay.side[i].io.fd);
        if (rig->end[i] >= 0)
            close(rig->end[i]);
        free(rig->got[i].p);
    }
    loop_free(rig->loop);
    pipes_free(rig->shared->pipes);
    free(rig->shared);
    free(rig->errand);
    free(rig);
}

static void collect(struct rig *rig, int i)
{
    struct text *got = &rig->got[i];
    ssize_t n;
    while (rig->end[i] >= 0 &&
           (n = recv(rig->end[i], got->p + got->len, ROOM - 1 - got->len, 0)) > 0) {
        got->len += (size_t)n;
        rig->pieces[i]++;
    }
}

/* Turns until nothing moves. */
static void turn(struct rig *rig)
{
    size_t before;
    do {
        before = rig->got[0].len + rig->got[1].len;
        for (int i = 0; i < 3; i++) {
            io_timer(rig->shared->io, &rig->pause, 1);
            loop_run(rig->loop);
        }
        collect(rig, 0);
        collect(rig, 1);
    } while (rig->got[0].len + rig->got[1].len > before);
}

static void say(struct rig *rig, int i, const char *p, size_t len)
{
    while (len > 0 && rig->how == EXCHANGE_GOES_ON) {
        ssize_t n = send(rig->end[i], p, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        turn(rig);
    }
}

static void say_text(struct rig *rig, int i, const char *text)
{
    say(rig, i, text, strlen(text));
}

static void finish(struct rig *rig, int i)
{
    close(rig->end[i]);
    rig->end[i] = -1;
    turn(rig);
}

#define GET "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
#define PUT "PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
#define GET_OUT "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 dispatch\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\n"
#define VIA "Via: 1.1 dispatch\r\n\r\n"

static void expect(struct rig *rig, enum exchange_end how, const char *to_client)
{
    turn(rig);
    cr_expect(eq(int, (int)rig->how, (int)how));
    cr_expect(eq(str, rig->got[0].p, (char *)to_client));
}

Test(exchange, a_request_and_its_answer)
{
    struct rig *rig = rig_new(GET, "");
    turn(rig);
    cr_expect(eq(str, rig->got[1].p, (char *)GET_OUT));
    cr_expect(exchange_is_unsent(&rig->ex));
    say_text(rig, 1, OK "Content-Length: 3\r\n\r\nabc");
    expect(rig, EXCHANGE_DONE, OK "Content-Length: 3\r\n" VIA "abc");
    cr_expect(rig->ex.client_persists && rig->ex.server_persists);
    cr_expect(exchange_is_unsent(&rig->ex) == false);
    rig_free(rig);
}

/* Such sockets keep apart what was sent apart. */
Test(exchange, what_has_come_together_leaves_together)
{
    static const char *const answers[] = {
        OK "Content-Length: 3\r\n\r\nabc",
        OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    };
    for (size_t i = 0; i < LENGTH(answers); i++) {
        struct rig *rig = rig_of(SOCK_SEQPACKET, PUT, "abcde", 0);
        say_text(rig, 1, answers[i]);
        turn(rig);
        cr_expect(eq(int, (int)rig->how, (int)EXCHANGE_DONE));
        cr_expect(eq(int, rig->pieces[1], 1), "the request");
        cr_expect(eq(int, rig->pieces[0], 1), "answer %zu", i);
        rig_free(rig);
    }
}

Test(exchange, idle_it_holds_nothing)
{
    struct rig *rig = rig_new(PUT, "ab");
    turn(rig);
    cr_expect(rig->ex.up.bytes == NULL && rig->ex.down.bytes == NULL);
    say_text(rig, 1, OK "Content-");
    cr_expect(rig->ex.down.bytes != NULL && rig->ex.down.size < 1024, "no more than has come");
    rig_free(rig);
}

/* Room for that many bytes at once, as far as this user may have it. */
static void room_make(int fd, int len)
{
    int most = 2 * len;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &most, sizeof most) < 0)
        cr_assert(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof most) == 0);
}

/* Bytes that tell where they stand. */
static char *large_body(size_t len)
{
    char *body = malloc(len + 1);
    cr_assert_not_null(body);
    for (size_t i = 0; i < len; i++)
        body[i] = (char)('a' + i * 7919 / 13 % 26);
    body[len] = 0;
    return body;
}

/* Of several messages nothing but the body of the first may be taken for it. */
Test(exchange, large_bodies_go_by_a_pipe)
{
    enum { LEN = 300000 };
    static const struct {
        const char *request, *head, *tail;
        int speaker;
        enum exchange_end how;
    } table[] = {
        {GET, OK "Content-Length: 300000\r\n", "", 1, EXCHANGE_DONE},
        {GET, OK "Content-Length: 300001\r\n", "", 1, EXCHANGE_GOES_ON},
        {GET, OK "Transfer-Encoding: chunked\r\n", "\r\n0\r\n\r\n", 1, EXCHANGE_DONE},
        {GET, OK, "", 1, EXCHANGE_GOES_ON},
        {"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n", "", "", 0,
         EXCHANGE_GOES_ON},
    };
    char *body = large_body(LEN);
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct rig *rig = rig_new(table[i].request, "");
        const bool chunked = strstr(table[i].head, "chunked");
        const int speaker = table[i].speaker;
        turn(rig);
        rig->got[1 - speaker].len = 0;
        say_text(rig, speaker, table[i].head);
        say_text(rig, speaker, speaker ? "\r\n" : "");
        say_text(rig, speaker, chunked ? "493e0\r\n" : "");
        say(rig, speaker, body, LEN);
        say_text(rig, speaker, table[i].tail);
        turn(rig);
        cr_expect(eq(int, (int)rig->how, (int)table[i].how), "row %zu", i);
        const struct text *got = &rig->got[1 - speaker];
        const char *at = got->p + got->len - strlen(table[i].tail) - LEN;
        cr_expect(got->len >= LEN && memcmp(at, body, LEN) == 0, "row %zu", i);
        cr_expect(pipes_trim(rig->shared->pipes) > 0, "row %zu: by a pipe", i);
        rig_free(rig);
    }
    free(body);
}

/* The last read of a turn may find all there is. */
Test(exchange, nothing_is_left_unseen_at_the_end_of_a_turn)
{
    for (size_t len = 500000; len < 620000; len += 5000) {
        static const char last[] = "\r\n0\r\n\r\n";
        char head[64], *body = large_body(len);
        struct rig *rig = rig_new(GET, "");
        room_make(rig->end[1], ROOM);
        room_make(rig->relay.side[0].io.fd, ROOM);
        turn(rig);
        snprintf(head, sizeof head, OK "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", len);
        const struct iovec parts[] = {
            {head, strlen(head)}, {body, len}, {(char *)last, strlen(last)}};
        cr_assert(eq(sz, (size_t)writev(rig->end[1], parts, 3), parts[0].iov_len + len + 7));
        turn(rig);
        cr_expect(eq(int, (int)rig->how, EXCHANGE_DONE), "%zu", len);
        rig_free(rig);
        free(body);
    }
}

Test(exchange, what_is_stuck_in_the_pipe_waits_in_memory)
{
    enum { LEN = 390000 };
    struct rig *rig = rig_new(GET, "");
    struct relay_side *to = &rig->relay.side[0];
    char *body = large_body(LEN);
    size_t said = 0;
    int room = 32768;
    cr_assert(setsockopt(to->io.fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    turn(rig);
    say_text(rig, 1, OK "Content-Length: 390000\r\n\r\n");
    int client = rig->end[0];
    rig->end[0] = -1; /* it does not read */
    for (int i = 0; i < 20; i++) {
        ssize_t n = send(rig->end[1], body + said, LEN - said, MSG_NOSIGNAL);
        said += n > 0 ? (size_t)n : 0;
        turn(rig);
    }
    cr_assert(to->pipe && to->blocked && said > 0);
    cr_expect(relay_rest(&rig->relay) == 0 && relay_rest(&rig->relay) == 0);
    cr_expect(to->pending && !to->pipe);
    rig->end[0] = client;
    say(rig, 1, body + said, LEN - said);
    turn(rig);
    cr_expect(eq(int, (int)rig->how, EXCHANGE_DONE));
    cr_expect(strcmp(rig->got[0].p + rig->got[0].len - LEN, body) == 0);
    rig_free(rig);
    free(body);
}

Test(exchange, what_is_behind_the_request_stays)
{
    struct rig *rig = rig_new(PUT, "abcde" GET);
    turn(rig);
    cr_expect(strstr(rig->got[1].p, "\r\n\r\nabcde") != NULL);
    say_text(rig, 1, OK "Content-Length: 0\r\n\r\n");
    expect(rig, EXCHANGE_DONE, OK "Content-Length: 0\r\n" VIA);
    cr_expect(eq(sz, lane_left(&rig->ex.up), strlen(GET)));
    cr_expect(memcmp(lane_next(&rig->ex.up), GET, strlen(GET)) == 0);
    rig_free(rig);
}

struct end_row {
    const char *head, *rest, *said;
    bool closes; /* the server, then */
    enum exchange_end how;
    const char *to_client;
};

static const struct end_row ends[] = {
    {GET, "", "", true, EXCHANGE_UNANSWERED, ""},
    {GET, "", OK "X", true, EXCHANGE_UNANSWERED, ""},
    {GET, "", "HTTP/1.1 100 Go\r\n\r\n", true, EXCHANGE_UNANSWERED, "HTTP/1.1 100 Go\r\n" VIA},
    {GET, "", "nonsense\r\n", false, EXCHANGE_GARBLED, ""},
    {GET, "", "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", false, EXCHANGE_GARBLED, ""},
    {GET, "", OK "Content-Length: 3\r\n\r\nab", true, EXCHANGE_BROKEN,
     OK "Content-Length: 3\r\n" VIA "ab"},
    {GET, "", OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", true, EXCHANGE_BROKEN,
     OK "Transfer-Encoding: chunked\r\n" VIA "1\r\na\r\n"},
    {GET, "", OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n", false, EXCHANGE_BROKEN,
     OK "Transfer-Encoding: chunked\r\n" VIA "1\r\na\r\n"},
    {GET, "", OK "\r\nab", true, EXCHANGE_DONE, OK "Connection: close\r\n" VIA "ab"},
    {"GET http://a/ HTTP/1.0\r\n\r\n", "",
     OK "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", false, EXCHANGE_DONE,
     OK "Connection: close\r\n" VIA "ab"},
    {"GET http://a/ HTTP/1.0\r\n\r\n", "", "HTTP/1.1 103 H\r\n\r\n" OK "Content-Length: 0\r\n\r\n",
     false, EXCHANGE_DONE, OK "Content-Length: 0\r\nConnection: close\r\n" VIA},
    {PUT, "ab", OK "Content-Length: 1\r\n\r\nx", true, EXCHANGE_DONE,
     OK "Content-Length: 1\r\nConnection: close\r\n" VIA "x"},
    {PUT, "ab", OK "Content-Length: 1\r\nConnection: close\r\n\r\nx", false, EXCHANGE_DONE,
     OK "Content-Length: 1\r\nConnection: close\r\n" VIA "x"},
    {PUT, "ab", OK "Content-Length: 1\r\n\r\nx", false, EXCHANGE_GOES_ON,
     OK "Content-Length: 1\r\nConnection: close\r\n" VIA "x"},
    {"PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nax", "",
     false, EXCHANGE_MISFRAMED, ""},
    {"GET http://a/ HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "",
     "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nmore", false, EXCHANGE_UPGRADED,
     "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n" VIA},
};

Test(exchange, ends)
{
    for (size_t i = 0; i < LENGTH(ends); i++) {
        const struct end_row *row = &ends[i];
        struct rig *rig = rig_new(row->head, row->rest);
        say_text(rig, 1, row->said);
        if (row->closes)
            finish(rig, 1);
        if (rig->how == EXCHANGE_GOES_ON) /* a word of the client's */
            say_text(rig, 0, row->how == EXCHANGE_GOES_ON ? "c" : "cde");
        expect(rig, row->how, row->to_client);
        cr_expect(rig->how == row->how, "row %zu", i);
        rig_free(rig);
    }
}

Test(exchange, a_client_that_leaves_in_the_middle)
{
    struct rig *rig = rig_new(PUT, "ab");
    finish(rig, 0);
    cr_expect(eq(int, (int)rig->how, EXCHANGE_BROKEN));
    rig_free(rig);
}

/* The server grants it before it has read all that asks for it. */
Test(exchange, an_early_upgrade)
{
    static const char said[] = "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n";
    char head[12000];
    snprintf(head, sizeof head,
             "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n"
             "X: %010000d\r\n\r\n",
             0);
    struct rig *rig = rig_of(SOCK_STREAM, head, "", 1);
    cr_assert(lane_is_flushed(&rig->ex.up) == false);
    cr_assert(send(rig->end[1], said, sizeof said - 1, MSG_NOSIGNAL) > 0);
    relay_side_told(&rig->relay.side[1], POLLIN);
    exchange_go(&rig->ex);
    cr_expect(eq(int, (int)rig->how, EXCHANGE_GOES_ON));
    turn(rig);
    cr_expect(eq(int, (int)rig->how, EXCHANGE_UPGRADED));
    cr_expect(rig->got[1].len > 10000 &&
              strcmp(rig->got[1].p + rig->got[1].len - 4, "\r\n\r\n") == 0);
    rig_free(rig);
}

/* The client is told so, unless it has been told something else. */
Test(exchange, a_body_that_becomes_too_large)
{
    static const char head[] = "PUT http://a/ HTTP/1.1\r\nHost: a\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    for (int answered = 0; answered < 2; answered++) {
        struct rig *rig = rig_new(head, "3\r\nabc\r\n");
        rig->ex.up.body.room = 2;
        if (answered)
            say_text(rig, 1, OK "Content-Length: 5\r\n\r\nx");
        say_text(rig, 0, "2\r\nde\r\n");
        turn(rig);
        cr_expect(eq(int, (int)rig->how, EXCHANGE_GOES_ON));
        say_text(rig, 0, "1\r\n");
        turn(rig);
        cr_expect(eq(int, (int)rig->how, answered ? EXCHANGE_BROKEN : EXCHANGE_TOO_LARGE));
        cr_expect(strstr(rig->got[1].p, "3\r\nabc\r\n2\r\nde\r\n") != NULL);
        cr_expect(strstr(rig->got[1].p, "\r\n1\r\n") == NULL);
        rig_free(rig);
    }
}

/* ---- however it is cut ---- */

static void add(struct text *t, const char *p, size_t len)
{
    memcpy(t->p + t->len, p, len);
    t->len += len;
}

static void add_text(struct text *t, const char *text)
{
    add(t, text, strlen(text));
}

/* Chunks of random sizes, with extensions and trailers. */
static void add_chunks(struct text *t, unsigned *seed)
{
    static const char *const extension[] = {"", "", ";a", ";b=\"c\""};
    static const char *const trailer[] = {"", "", "X: y\r\n", "TE: z\r\nX: y\r\n"};
    static char bytes[20000];
    char line[64];
    for (int n = rand_r(seed) % 5; n > 0; n--) {
        size_t len = 1 + (size_t)rand_r(seed) % (rand_r(seed) % 4 ? 40 : sizeof bytes);
        memset(bytes, 'a' + n, len);
        snprintf(line, sizeof line, "%zx%s\r\n", len, extension[rand_r(seed) % 4]);
        add_text(t, line);
        add(t, bytes, len);
        add_text(t, "\r\n");
    }
    snprintf(line, sizeof line, "0\r\n%s\r\n", trailer[rand_r(seed) % 4]);
    add_text(t, line);
}

/* Both sides say all they have, in turns and in pieces at random; 0: each in one. */
static void play(struct rig *rig, const struct text said[2], unsigned *seed)
{
    size_t at[2] = {0, 0};
    while (rig->how == EXCHANGE_GOES_ON && (at[0] < said[0].len || at[1] < said[1].len)) {
        int i = seed ? rand_r(seed) % 2 : at[0] == said[0].len;
        size_t left = said[i].len - at[i];
        size_t most =
            seed && left ? 1 + (size_t)rand_r(seed) % (rand_r(seed) % 3 ? 20 : left) : left;
        size_t n = most < left ? most : left;
        say(rig, i, said[i].p + at[i], n);
        at[i] += n;
    }
    turn(rig);
}

/* Of a request whose answer breaks off, more or less may have been sent by then. */
static void expect_same(const struct rig *a, const struct rig *b, int round)
{
    cr_assert(eq(int, (int)a->how, (int)b->how), "round %d", round);
    for (int i = 0; i < 2; i++) {
        const struct text *x = &a->got[i], *y = &b->got[i];
        size_t shorter = x->len < y->len ? x->len : y->len;
        if (i == 0 || a->how == EXCHANGE_DONE)
            cr_assert(eq(sz, x->len, y->len), "round %d, end %d", round, i);
        cr_assert(memcmp(x->p, y->p, shorter) == 0, "round %d, end %d", round, i);
    }
}

Test(exchange, cuts_change_nothing, .timeout = 120)
{
    static const char head[] = "PUT http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    static char room[2][ROOM];
    unsigned seed = 1;
    for (int round = 0; round < 150; round++) {
        struct text said[2] = {{.p = room[0]}, {.p = room[1]}};
        add_chunks(&said[0], &seed);
        if (rand_r(&seed) % 2)
            add_text(&said[1], "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n");
        add_text(&said[1], OK "Server: y\r\nTransfer-Encoding: chunked\r\n\r\n");
        add_chunks(&said[1], &seed);
        if (rand_r(&seed) % 4 == 0) /* a byte that is wrong, perhaps */
            said[1].p[said[1].len - 1 - (size_t)rand_r(&seed) % 20] = (char)(rand_r(&seed) % 128);
        struct rig *whole = rig_new(head, ""), *cut = rig_new(head, "");
        play(whole, said, NULL);
        play(cut, said, &seed);
        expect_same(whole, cut, round);
        rig_free(whole);
        rig_free(cut);
    }
}
