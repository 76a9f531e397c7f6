/* SPDX-License-Identifier: MIT
 * idle.c: connections that are held and do nothing, until every one is used once more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "runs.h"

/* Fewer than anybody's queue of connections to be accepted. */
#define AT_ONCE 32

static struct {
    struct end *clients;
    uint32_t wanted, started, opened, woken;
    bool waking;
} idle;

static void next_start(void);

static void on_answer(struct end *client, uint32_t events)
{
    (void)events;
    if (!message_take(client))
        return;
    if (!idle.waking) {
        idle.opened++;
        next_start();
    } else {
        idle.woken++;
    }
    if (idle.waking ? idle.woken == idle.opened : idle.opened == idle.wanted)
        loop_stop();
}

static void on_opened(struct end *client)
{
    client->ready = on_answer;
    end_watch(client, EPOLLIN);
    message_put(client);
}

static void next_start(void)
{
    if (idle.started < idle.wanted)
        stream_open(&idle.clients[idle.started++], on_opened);
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
    fprintf(stderr, "opened %" PRIu32 " of %" PRIu32 ", woken %" PRIu32 "\n", idle.opened,
            idle.wanted, idle.woken);
}

static void line_await(void)
{
    int c;
    do {
        c = getchar();
        if (c == EOF)
            fatal("nobody says how to go on");
    } while (c != '\n');
}

/* Opens up to `wanted` streams, says so, and waits for a line. */
static void step(uint32_t wanted)
{
    idle.wanted = wanted;
    for (int i = 0; i < AT_ONCE; i++)
        next_start();
    loop_run();
    printf("held %" PRIu32 "\n", idle.opened);
    fflush(stdout);
    line_await();
}

/* The last number of a list as 1000,3000, which must grow. */
static uint32_t largest(const char *steps)
{
    unsigned long last = 0;
    for (char *end; *steps; steps = *end ? end + 1 : end) {
        unsigned long n = strtoul(steps, &end, 10);
        if (end == steps || (*end && *end != ',') || n <= last || n > 1000000)
            fatal("--steps: numbers that grow are wanted, as 1000,3000");
        last = n;
    }
    return (uint32_t)last;
}

void idle_run(const struct plan *plan)
{
    loop_init((int64_t)(plan->patience * 1e9), waiting);
    idle.clients = streams_init(plan, largest(plan->steps), on_accepted);
    for (char *steps = (char *)plan->steps; *steps; steps += *steps == ',')
        step((uint32_t)strtoul(steps, &steps, 10));
    idle.waking = true;
    for (uint32_t i = 0; i < idle.opened; i++)
        message_put(&idle.clients[i]);
    loop_run();
    printf("{\"count\": %" PRIu32, idle.woken);
}
