/* SPDX-License-Identifier: MIT
 * msg.c: messages answered by messages on connections that stay open.
 *
 * At a fixed rate exchange k is due k/rate seconds after the start, on stream k modulo streams. A
 * stream whose answer is late sends what has become due meanwhile as soon as that has come, and
 * each time counts from when its exchange was due: a proxy that stalls is not spared the exchanges
 * that it kept from being sent ("coordinated omission").
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "runs.h"
#include "samples.h"

static struct {
    const struct plan *plan;
    struct end *clients;
    uint32_t opened;
    uint64_t planned; /* exchanges in all; flat out: none is planned */
    uint64_t next;    /* the first that is not yet due */
    uint64_t sent, answered;
    int64_t start_ns, stop_ns, end_ns;
} msg;

static int64_t due_ns(uint64_t exchange)
{
    return msg.start_ns + (int64_t)((double)exchange * 1e9 / (double)msg.plan->rate);
}

/* The number, among all, of the stream's next exchange. The first message went ahead. */
static uint64_t exchange_next(const struct end *client)
{
    return (client->sent - 1) * msg.plan->streams + client->id;
}

static void exchange_start(struct end *client, int64_t since_ns)
{
    client->since_ns = since_ns;
    client->busy = true;
    msg.sent++;
    message_put(client);
}

/* Starts the stream's next exchange if it is time. */
static void client_next(struct end *client)
{
    int64_t now = now_ns();
    if (msg.plan->rate == 0) {
        if (now < msg.stop_ns)
            exchange_start(client, now);
        return;
    }
    uint64_t exchange = exchange_next(client);
    if (exchange < msg.planned && due_ns(exchange) <= now)
        exchange_start(client, due_ns(exchange));
}

static void on_time(void)
{
    int64_t now = now_ns();
    for (; msg.next < msg.planned && due_ns(msg.next) <= now; msg.next++) {
        struct end *client = &msg.clients[msg.next % msg.plan->streams];
        if (!client->busy)
            client_next(client);
    }
    if (msg.next < msg.planned)
        loop_at(due_ns(msg.next), on_time);
}

static bool all_answered(void)
{
    if (msg.plan->rate == 0)
        return msg.answered == msg.sent && msg.end_ns >= msg.stop_ns;
    return msg.answered == msg.planned;
}

static void on_answer(struct end *client, uint32_t events)
{
    (void)events;
    if (!message_take(client))
        return;
    msg.end_ns = now_ns();
    samples_add(msg.end_ns - client->since_ns);
    client->busy = false;
    msg.answered++;
    client_next(client);
    if (all_answered())
        loop_stop();
}

static void start(void)
{
    msg.start_ns = now_ns();
    msg.stop_ns = msg.start_ns + (int64_t)(msg.plan->seconds * 1e9);
    msg.planned = (uint64_t)(msg.plan->seconds * (double)msg.plan->rate);
    for (uint32_t i = 0; i < msg.plan->streams; i++)
        msg.clients[i].ready = on_answer;
    if (msg.plan->rate > 0)
        on_time();
    else
        for (uint32_t i = 0; i < msg.plan->streams; i++)
            client_next(&msg.clients[i]);
}

/* The answer to the first message, which belongs to the opening. */
static void on_first_answer(struct end *client, uint32_t events)
{
    (void)events;
    if (message_take(client) && ++msg.opened == msg.plan->streams)
        start();
}

static void on_opened(struct end *client)
{
    client->ready = on_first_answer;
    end_watch(client, EPOLLIN);
    message_put(client);
}

static void on_request(struct end *server, uint32_t events)
{
    (void)events;
    if (message_take(server))
        message_put(server);
}

static void on_accepted(struct end *server)
{
    server->ready = on_request;
    message_put(server);
}

static void waiting(void)
{
    fprintf(stderr, "opened %" PRIu32 " of %" PRIu32 ", answered %" PRIu64 " of %" PRIu64 "\n",
            msg.opened, msg.plan->streams, msg.answered, msg.sent);
}

void msg_run(const struct plan *plan)
{
    msg.plan = plan;
    prctl(PR_SET_TIMERSLACK, 1000); /* 1 us instead of 50: a late start counts as latency */
    loop_init((int64_t)(plan->patience * 1e9), waiting);
    msg.clients = streams_init(plan, plan->streams, on_accepted);
    for (uint32_t i = 0; i < plan->streams; i++)
        stream_open(&msg.clients[i], on_opened);
    loop_run();
    printf("{\"count\": %" PRIu64 ", \"seconds\": %.6f, ", msg.answered,
           (double)(msg.end_ns - msg.start_ns) / 1e9);
    samples_print();
}
