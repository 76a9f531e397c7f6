/* SPDX-License-Identifier: MIT
 * conn.c: one connection after another: connect, a message, its answer, close.
 *
 * At a fixed rate connection k is due k/rate seconds after the start, on stream k modulo streams,
 * and its time counts from then. If that stream's last one is not over yet it waits for its end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "runs.h"
#include "samples.h"

static struct {
    const struct plan *plan;
    struct end *clients;
    uint64_t started, ended;
    uint64_t next; /* at a fixed rate: the first that is not yet due */
    int64_t start_ns, end_ns;
} conn;

static int64_t due_ns(uint64_t number)
{
    return conn.start_ns + (int64_t)((double)number * 1e9 / (double)conn.plan->rate);
}

static void client_next(struct end *client);

static void on_answer(struct end *client, uint32_t events)
{
    (void)events;
    bool first = client->in_len == 0;
    bool whole = message_take(client);
    if (first && (whole || client->in_len > 0))
        samples_add(now_ns() - client->since_ns);
    if (!whole)
        return;
    stream_close(client);
    conn.ended++;
    conn.end_ns = now_ns();
    client->id += conn.plan->streams;
    client_next(client);
    /* The proxy's connections to the server are its own in plain HTTP: it may keep them. */
    if (conn.ended == conn.plan->count && conn.plan->speech == SPEAK_GET)
        loop_stop();
}

static void on_opened(struct end *client)
{
    client->ready = on_answer;
    end_watch(client, EPOLLIN);
    message_put(client);
}

static void client_next(struct end *client)
{
    uint64_t rate = conn.plan->rate;
    if (conn.started == conn.plan->count || (rate > 0 && due_ns(client->id) > now_ns()))
        return;
    conn.started++;
    stream_open(client, on_opened);
    if (rate > 0)
        client->since_ns = due_ns(client->id);
}

static void on_time(void)
{
    int64_t now = now_ns();
    for (; conn.next < conn.plan->count && due_ns(conn.next) <= now; conn.next++) {
        struct end *client = &conn.clients[conn.next % conn.plan->streams];
        if (client->fd < 0)
            client_next(client);
    }
    if (conn.next < conn.plan->count)
        loop_at(due_ns(conn.next), on_time);
}

static void start(void)
{
    conn.start_ns = now_ns();
    if (conn.plan->rate > 0)
        on_time();
    else
        for (uint32_t i = 0; i < conn.plan->streams; i++)
            client_next(&conn.clients[i]);
}

static void on_request(struct end *server, uint32_t events)
{
    (void)events;
    if (message_take(server))
        fatal("stream %" PRIu32 ": the server got a second message", server->id);
    if (conn.ended == conn.plan->count && servers_open() == 0)
        loop_stop();
}

static void on_accepted(struct end *server)
{
    server->ready = on_request;
    message_put(server);
}

static void waiting(void)
{
    fprintf(stderr, "connections: %" PRIu64 " of %" PRIu64 ", server ends open %" PRIu32 "\n",
            conn.ended, conn.plan->count, servers_open());
}

void conn_run(const struct plan *plan)
{
    conn.plan = plan;
    loop_init((int64_t)(plan->patience * 1e9), waiting);
    conn.clients = streams_init(plan, plan->streams, on_accepted);
    start();
    loop_run();
    printf("{\"count\": %" PRIu64 ", \"seconds\": %.6f, ", conn.ended,
           (double)(conn.end_ns - conn.start_ns) / 1e9);
    samples_print();
}
