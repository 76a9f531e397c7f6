/* SPDX-License-Identifier: MIT
 * bulk.c: streams that carry as much as goes through.
 *
 * All streams are opened through to the server first, then all start at once. When the time is over
 * nothing more is sent; a stream has ended well when all that was sent has come. Then the client
 * closes. So no proxy has to pass on a half-closed stream, which not all of them can.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bytes.h"
#include "runs.h"

static struct {
    const struct plan *plan;
    struct end *clients;
    uint32_t accepted, complete;
    bool down, up;
    bool over; /* nothing more is sent */
    int64_t start_ns, end_ns;
    uint64_t bytes;
} bulk;

static bool sends(const struct end *end)
{
    return !bulk.over && (end->server ? bulk.down : bulk.up);
}

static bool stream_complete(const struct end *client)
{
    return bulk.over && client->twin && client->got == client->twin->sent &&
           client->twin->got == client->sent;
}

static void client_settle(struct end *client)
{
    if (!stream_complete(client))
        return;
    bulk.bytes += client->got + client->sent;
    bulk.end_ns = now_ns();
    bulk.complete++;
    stream_close(client);
}

static void end_send(struct end *end)
{
    for (int i = 0; i < 4; i++) { /* then the others' turn */
        ssize_t n = send(end->fd, bytes_at(end, end->sent), CHUNK_LEN, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fatal("stream %" PRIu32 ": send: %s", end->id, strerror(errno));
        end->sent += (uint64_t)n;
        if (n < CHUNK_LEN)
            return;
    }
}

static void end_eof(struct end *end, const char *why)
{
    if (!end->server || !client_gone(end))
        fatal("stream %" PRIu32 ": closed after %" PRIu64 " bytes: %s", end->id, end->got, why);
    server_close(end);
    if (bulk.complete == bulk.plan->streams && servers_open() == 0)
        loop_stop();
}

static void end_receive(struct end *end)
{
    static uint8_t seen[CHUNK_LEN];
    ssize_t n = recv(end->fd, seen, sizeof seen, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        end_eof(end, n < 0 ? strerror(errno) : "end of the stream");
        return;
    }
    if (!end->twin || client_gone(end) || end->got + (uint64_t)n > end->twin->sent)
        fatal("stream %" PRIu32 ": bytes that nobody has sent", end->id);
    bytes_check(end->twin, end->got, seen, (uint64_t)n);
    end->got += (uint64_t)n;
    client_settle(end->server ? end->twin : end);
}

static void on_event(struct end *end, uint32_t events)
{
    if (events & EPOLLOUT && sends(end))
        end_send(end);
    if (events & ~(uint32_t)EPOLLOUT)
        end_receive(end);
}

static void bulk_over(void)
{
    bulk.over = true;
    for (uint32_t i = 0; i < bulk.plan->streams; i++) {
        struct end *client = &bulk.clients[i];
        end_watch(client, EPOLLIN);
        end_watch(client->twin, EPOLLIN);
        client_settle(client);
    }
}

/* The first message is none of the bytes that are counted. */
static void end_start(struct end *end)
{
    end->sent = end->got = 0;
    end->ready = on_event;
    end_watch(end, sends(end) ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void bulk_start(void)
{
    bulk.start_ns = now_ns();
    loop_at(bulk.start_ns + (int64_t)(bulk.plan->seconds * 1e9), bulk_over);
    for (uint32_t i = 0; i < bulk.plan->streams; i++) {
        end_start(&bulk.clients[i]);
        end_start(bulk.clients[i].twin);
    }
}

static void on_accepted(struct end *server)
{
    server->ready = on_event;
    if (++bulk.accepted == bulk.plan->streams)
        bulk_start();
}

static void on_opened(struct end *client)
{
    client->ready = on_event;
    end_watch(client, EPOLLIN);
    message_put(client);
}

static void waiting(void)
{
    for (uint32_t i = 0; i < bulk.plan->streams; i++) {
        const struct end *client = &bulk.clients[i];
        if (client->fd >= 0 && client->twin)
            fprintf(stderr,
                    "stream %" PRIu32 ": down %" PRIu64 " of %" PRIu64 " bytes, up %" PRIu64
                    " of %" PRIu64 "\n",
                    client->id, client->got, client->twin->sent, client->twin->got, client->sent);
    }
    fprintf(stderr, "accepted %" PRIu32 ", complete %" PRIu32 ", server ends open %" PRIu32 "\n",
            bulk.accepted, bulk.complete, servers_open());
}

void bulk_run(const struct plan *plan)
{
    bulk.plan = plan;
    bulk.down = strcmp(plan->way, "up") != 0;
    bulk.up = strcmp(plan->way, "down") != 0;
    loop_init((int64_t)(plan->patience * 1e9), waiting);
    bulk.clients = streams_init(plan, plan->streams, on_accepted);
    for (uint32_t i = 0; i < plan->streams; i++)
        stream_open(&bulk.clients[i], on_opened);
    loop_run();
    printf("{\"bytes\": %" PRIu64 ", \"seconds\": %.6f", bulk.bytes,
           (double)(bulk.end_ns - bulk.start_ns) / 1e9);
}
