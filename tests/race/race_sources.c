/* SPDX-License-Identifier: MIT
 * race_sources.c: 4 threads whose connections come and go from the same few addresses, in a table so
 * small that places change hands all the time: no address is ever above its limit, and at the end
 * every place is free again.
 */
#include "base/addr.h"
#include "traffic/sources.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, CLIENTS = 12, CYCLES = 200000, HELD = 6 };

static struct sources *sources;
static uint32_t limit_of[CLIENTS];
static uint32_t open_of[CLIENTS]; /* atomic */

struct thread {
    pthread_t id;
    unsigned random;
    uint32_t taken, refused, above;
};

static struct dp_addr client(uint32_t i)
{
    struct dp_addr a;
    uint32_t ip = htonl(0x0a000000 + i);
    addr_from_ip(&a, AF_INET, &ip, 1);
    return a;
}

static unsigned next_random(struct thread *t)
{
    t->random = t->random * 1103515245 + 12345;
    return t->random >> 16;
}

/* One that this thread holds; client CLIENTS is none. */
struct held {
    uint32_t client, place;
};

static void end(struct held *h)
{
    if (h->client == CLIENTS)
        return;
    dp_add(&open_of[h->client], UINT32_MAX);
    sources_give(sources, h->place);
    h->client = CLIENTS;
}

static void begin(struct thread *t, struct held *h)
{
    uint32_t i = next_random(t) % CLIENTS;
    struct dp_addr a = client(i);
    if (!sources_take(sources, "main", &a, limit_of[i], &h->place)) {
        t->refused++;
        return;
    }
    h->client = i;
    t->taken++;
    t->above += dp_add(&open_of[i], 1) >= limit_of[i];
}

static void *come_and_go(void *arg)
{
    struct thread *t = arg;
    struct held held[HELD];
    for (int i = 0; i < HELD; i++)
        held[i].client = CLIENTS;
    for (int i = 0; i < CYCLES; i++) {
        struct held *h = &held[next_random(t) % HELD];
        end(h);
        begin(t, h);
    }
    for (int i = 0; i < HELD; i++)
        end(&held[i]);
    return NULL;
}

static int n_cases, failed;

static void result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    failed |= !ok;
}

/* All may be taken once more, up to the limit and not beyond. */
static bool all_free(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct dp_addr a = client(i);
        uint32_t place;
        for (uint32_t n = 0; n < limit_of[i]; n++)
            if (!sources_take(sources, "main", &a, limit_of[i], &place) || !place)
                return false;
        if (sources_take(sources, "main", &a, limit_of[i], &place))
            return false;
    }
    return true;
}

int main(void)
{
    struct thread thread[THREADS] = {{0}};
    uint32_t taken = 0, refused = 0, above = 0;
    printf("1..3\n");
    sources = sources_new(1); /* 16 places */
    if (!sources) {
        printf("Bail out! sources_new\n");
        return 1;
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        limit_of[i] = 1 + i % 3;
    for (unsigned i = 0; i < THREADS; i++) {
        thread[i].random = i + 1;
        if (pthread_create(&thread[i].id, NULL, come_and_go, &thread[i]) != 0) {
            printf("Bail out! pthread_create\n");
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i].id, NULL);
        taken += thread[i].taken;
        refused += thread[i].refused;
        above += thread[i].above;
    }
    result(above == 0, "no client is ever above its limit");
    result(taken + refused == THREADS * CYCLES && taken > CYCLES / 10 && refused > CYCLES / 10,
           "many were let in, and many not");
    result(all_free(), "nothing is left over");
    printf("# %u taken, %u refused\n", taken, refused);
    sources_free(sources);
    return failed;
}
