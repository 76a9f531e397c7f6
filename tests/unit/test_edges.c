/* SPDX-License-Identifier: MIT
 * test_edges.c: from the dial to the relay on the real loop: what is told once only must not get lost
 * when a descriptor changes hands, and none is left behind when a dial fails.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include "traffic/loop.h"
#include "traffic/relay.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*   client ---- inner relay stream ---- server   */
struct rig {
    struct fake_world world; /* its links, not its loop */
    struct loop *loop;
    struct io_timer pause; /* of the loop */
    struct dial *dial;
    struct stream stream;
    bool dialed;
    int err;
    char won[16];
    struct relay relay;
    struct relay_shared shared;
    int over; /* times */
    enum relay_end how;
    int client, inner, listener, server;
    char server_text[ADDR_TEXT];
};

static void on_pause(struct io_timer *t)
{
    loop_stop(((struct rig *)((char *)t - offsetof(struct rig, pause)))->loop);
}

static void turn(struct rig *rig, int ms)
{
    io_timer(rig->shared.io, &rig->pause, clock_now_ns() + ms * NS_PER_MS);
    loop_run(rig->loop);
    io_timer(rig->shared.io, &rig->pause, 0);
}

/* Its links are set next, then rig_open() is due. */
static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct dp_addr server;
    int pair[2];
    cr_assert(rig != NULL);
    rig->loop = loop_new();
    cr_assert(rig->loop != NULL);
    rig->pause.fire = on_pause;
    rig->shared.io = loop_io(rig->loop);
    rig->shared.pipes = pipes_new(4);
    rig->listener = fake_listen("127.0.0.1", 16, &server);
    addr_text(&server, rig->server_text);
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0));
    rig->client = pair[0];
    rig->inner = pair[1];
    rig->server = rig->stream.fd = -1;
    return rig;
}

static void rig_open(struct rig *rig)
{
    rig->world.real_clock = true;
    fake_world_open(&rig->world);
    rig->world.env.io = rig->shared.io;
}

static void rig_close(struct rig *rig)
{
    relay_stop(&rig->relay);
    dial_free(rig->dial);
    if (rig->stream.claim.link)
        stream_close(&rig->stream, clock_now_ns(), 0, 0);
    const char *wrong = fake_world_close(&rig->world);
    cr_expect(wrong == NULL, "%s", wrong);
    cr_expect(rig->over <= 1, "over once");
    close(rig->client);
    close(rig->inner);
    close(rig->listener);
    if (rig->server >= 0)
        close(rig->server);
    pipes_free(rig->shared.pipes);
    loop_free(rig->loop);
    free(rig);
}

static void on_over(struct relay *r, enum relay_end how)
{
    struct rig *rig = (struct rig *)((char *)r - offsetof(struct rig, relay));
    rig->over++;
    rig->how = how;
    relay_stop(r);
}

/* As the session does. */
static void on_dialed(struct dial *d, void *ctx, int err)
{
    struct rig *rig = ctx;
    rig->dialed = true;
    rig->err = err;
    if (err != DP_OK)
        return;
    struct arrival arrival;
    const struct relay_early early[2] = {{"", 0}, {"", 0}};
    dial_take(d, &rig->stream, &arrival);
    snprintf(rig->won, sizeof rig->won, "%s", rig->stream.claim.link->name);
    rig->relay.over = on_over;
    rig->relay.side[0].io.fd = rig->inner;
    rig->relay.side[1].io.fd = arrival.fd;
    relay_side_told(&rig->relay.side[1], arrival.told);
    cr_assert(eq(int, relay_start(&rig->relay, &rig->shared, early), 0));
}

static void dial(struct rig *rig, const char *dest)
{
    struct dial_request request = {.pool = rig->world.router->pool[0],
                                   .connect_ns = 10 * NS_PER_S,
                                   .attempt_ns = 3 * NS_PER_S};
    cr_assert(eq(int, addr_parse_endpoint(&request.flow.dest, dest, strlen(dest)), 0));
    rig->dial = dial_start(&rig->world.env, &request, on_dialed, rig);
    cr_assert(rig->dial != NULL);
}

/* Turns for 1 s at most, until the dial is over. */
static void wait_dialed(struct rig *rig)
{
    for (int i = 0; i < 1000 && !rig->dialed; i++)
        turn(rig, 1);
    dial_free(rig->dial);
    rig->dial = NULL;
}

/* What the client gets in 0.3 s, and how it ends: 0, or an error; ETIMEDOUT: not at all. */
static int client_gets(struct rig *rig, char *text, size_t size)
{
    size_t have = 0;
    for (int i = 0; i < 300; i++) {
        ssize_t n = recv(rig->client, text + have, size - 1 - have, 0);
        if (n <= 0 && !(n < 0 && errno == EAGAIN))
            return n == 0 ? 0 : errno;
        have += n > 0 ? (size_t)n : 0;
        turn(rig, 1);
    }
    return ETIMEDOUT;
}

/* ---- from the dial to the relay ---- */

/* The server speaks, or ends, or both, before anybody has looked whether it is connected. */
static void early_server(enum fake_shape shape, bool says, bool ends)
{
    struct rig *rig = rig_new();
    char got[16] = "";
    rig->world.link[0] = (struct fake_link){.name = "a", .shape = shape, .local = "127.0.0.2"};
    rig->world.link[0].hop = rig->server_text;
    rig_open(rig);
    dial(rig, shape == FAKE_TUNNEL ? "192.0.2.1:80" : rig->server_text);
    rig->server = accept(rig->listener, NULL, NULL);
    cr_assert(rig->server >= 0);
    if (says)
        cr_assert(eq(int, (int)write(rig->server, "welcome", 7), 7));
    if (ends)
        shutdown(rig->server, SHUT_WR);
    wait_dialed(rig);
    cr_expect(rig->dialed && rig->err == DP_OK);
    int end = client_gets(rig, got, sizeof got);
    cr_expect(eq(str, got, says ? "welcome" : ""), "shape %d, ends %d", shape, ends);
    cr_expect(eq(int, end, ends ? 0 : ETIMEDOUT), "shape %d, says %d", shape, says);
    rig_close(rig);
}

Test(edges, a_server_that_speaks_and_ends_at_once)
{
    for (int i = 1; i < 4; i++) {
        early_server(FAKE_SOCKET, i & 1, i & 2);
        early_server(FAKE_TUNNEL, i & 1, i & 2); /* one that has nothing to wait for */
    }
}

/* ---- dials that fail, and plugins that wait ---- */

/* The next socket has the number of the one that was closed, and must be watched as well. */
Test(edges, a_tunnel_fails_before_it_waits)
{
    struct rig *rig = rig_new();
    rig->world.retries = 1;
    rig->world.link[0] = (struct fake_link){.name = "a",
                                            .shape = FAKE_TUNNEL,
                                            .hop = rig->server_text,
                                            .n_acts = 1,
                                            .act = {{DP_ERR_LINK, 0}}};
    rig->world.link[1] =
        (struct fake_link){.name = "b", .shape = FAKE_TUNNEL, .hop = rig->server_text};
    rig_open(rig);
    dial(rig, "192.0.2.1:80");
    wait_dialed(rig);
    cr_expect(rig->dialed && rig->err == DP_OK);
    cr_expect(eq(str, rig->won, "b"));
    rig_close(rig);
}

/* A stream dialer that waits for two descriptors, then for the second alone. */
struct two {
    int in[2], out[2];
    unsigned steps;
};

static int two_create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return DP_OK;
}

static int two_start(const void *self, void *dial, const struct dp_dial_req *req,
                     struct dp_want *want, struct dp_conn *conn)
{
    const struct two *two = self;
    (void)req;
    (void)conn;
    *(struct two **)dial = (struct two *)two;
    want->nfds = 2;
    for (int i = 0; i < 2; i++)
        want->fd[i] = (struct pollfd){.fd = two->in[i], .events = POLLIN};
    return DP_AGAIN;
}

static int two_step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    struct two *two = *(struct two **)dial;
    char c;
    two->steps++;
    want->nfds = 1;
    want->fd[0] = (struct pollfd){.fd = two->in[1], .events = POLLIN};
    if (recv(two->in[1], &c, 1, MSG_DONTWAIT) < 0)
        return recv(two->in[0], &c, 1, MSG_DONTWAIT) < 0 ? DP_ERR_LINK : DP_AGAIN;
    conn->fd = dup(two->in[1]);
    return DP_OK;
}

static void two_end(void *dial)
{
    (void)dial;
}

Test(edges, a_dialer_with_two_descriptors_goes_on_with_one)
{
    static const struct dp_dialer_ops ops = {.dial_size = sizeof(struct two *),
                                             .create = two_create,
                                             .start = two_start,
                                             .step = two_step,
                                             .end = two_end};
    static const struct dp_plugin plugin = {.size = sizeof plugin,
                                            .abi = DP_ABI,
                                            .kind = DP_DIALER,
                                            .ops_size = sizeof ops,
                                            .name = "two",
                                            .ops = &ops};
    struct rig *rig = rig_new();
    struct two two = {0};
    for (int i = 0; i < 2; i++) {
        int pair[2];
        cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0));
        two.in[i] = pair[0];
        two.out[i] = pair[1];
    }
    rig->world.link[0] = (struct fake_link){.name = "a", .plugin = &plugin, .conf = &two};
    rig_open(rig);
    dial(rig, "192.0.2.1:80");
    for (int i = 0; i < 2; i++) {
        cr_assert(eq(int, (int)write(two.out[i], "x", 1), 1));
        turn(rig, 20);
        cr_expect(eq(u32, two.steps, i + 1));
    }
    wait_dialed(rig);
    cr_expect(rig->dialed && rig->err == DP_OK);
    rig_close(rig);
    for (int i = 0; i < 2; i++) {
        close(two.in[i]);
        close(two.out[i]);
    }
}
