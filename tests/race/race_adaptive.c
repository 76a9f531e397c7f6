/* SPDX-License-Identifier: MIT
 * race_adaptive.c: 4 threads claim as the host does, over links that carry 4, 2 and 1: that is
 * learned, connections are held by it, and nothing is left over.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, CLAIMS = 25000, MEMBERS = 3 };

static struct fake_pool pool;
static const uint64_t rate[MEMBERS] = {4000000, 2000000, 1000000};

/* Picks until the count it rests on has not moved. */
static uint32_t claim(void)
{
    for (;;) {
        uint32_t seen = UINT32_MAX;
        uint32_t m = pool.ops->pick(&pool.pool, &pool.flow, &seen);
        if (m >= MEMBERS)
            return m;
        if (__atomic_compare_exchange_n(&pool.stat[m].active, &seen, seen + 1, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return m;
    }
}

/* A connection of a megabyte that has had its part of the link all the time. */
static void give_back(uint32_t m)
{
    const uint64_t bytes = 1000000;
    uint64_t part = rate[m] / dp_load(&pool.stat[m].active);
    const struct dp_outcome outcome = {
        .size = sizeof outcome, .rx = bytes, .life_ns = (int64_t)(bytes * 1000000 / part) * 1000};
    pool.ops->done(&pool.pool, m, &outcome);
    __atomic_fetch_sub(&pool.stat[m].active, 1, __ATOMIC_RELAXED);
}

static void *come_and_go(void *arg)
{
    uint32_t *wrong = arg;
    for (int i = 0; i < CLAIMS; i++) {
        uint32_t m = claim();
        if (m < MEMBERS)
            give_back(m);
        else
            ++*wrong;
    }
    return NULL;
}

static int report(int ok, int number, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", number, what);
    if (!ok)
        printf("# active %u %u %u\n", pool.stat[0].active, pool.stat[1].active,
               pool.stat[2].active);
    return !ok;
}

static int near(uint32_t n, uint32_t expected)
{
    return n >= expected - expected / 4 && n <= expected + expected / 4;
}

int main(void)
{
    pthread_t thread[THREADS];
    uint32_t wrong[THREADS] = {0}, sum = 0;
    const struct dp_stat *stat = pool.stat;
    printf("1..2\n");
    fake_pool_open(&pool, fake_load("balancer-adaptive.so"), NULL, (uint32_t[]){1, 1, 1}, MEMBERS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, come_and_go, &wrong[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += wrong[i];
    }
    int failed = report(!sum && !stat[0].active && !stat[1].active && !stat[2].active, 1,
                        "100,000 come and go: nothing left over");
    for (int i = 0; i < 700; i++)
        claim();
    failed |=
        report(near(stat[0].active, 400) && near(stat[1].active, 200) && near(stat[2].active, 100),
               2, "700 held open are some 400, 200 and 100");
    fake_pool_close(&pool);
    return failed;
}
