/* SPDX-License-Identifier: MIT
 * conn.c: one connection after another: connect, a message, its answer, close.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "runs.h"
#include "samples.h"

static struct {
    const struct plan *plan;
    uint64_t started, ended;
    int64_t start_ns, end_ns;
} conn;

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
}

static void on_opened(struct end *client)
{
    client->ready = on_answer;
    end_watch(client, EPOLLIN);
    message_put(client);
}

static void client_next(struct end *client)
{
    if (conn.started == conn.plan->count)
        return;
    conn.started++;
    stream_open(client, on_opened);
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
    struct end *clients = streams_init(plan, plan->streams, on_accepted);
    conn.start_ns = now_ns();
    for (uint32_t i = 0; i < plan->streams; i++)
        client_next(&clients[i]);
    loop_run();
    printf("{\"count\": %" PRIu64 ", \"seconds\": %.6f, ", conn.ended,
           (double)(conn.end_ns - conn.start_ns) / 1e9);
    samples_print();
}
