/* SPDX-License-Identifier: MIT
 * race_leastconn.c: 4 threads claim as the host does; at no time is a link above its share.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, CLAIMS = 25000, MEMBERS = 3 };

static const uint32_t weight[MEMBERS] = {5, 3, 2};
static struct fake_pool pool;

/* Picks until the count it rests on has not moved. */
static uint32_t claim(void)
{
    for (;;) {
        uint32_t seen = UINT32_MAX;
        uint32_t m = pool.ops->pick(&pool.pool, &pool.flow, &seen);
        if (m == DP_NONE)
            return m;
        if (__atomic_compare_exchange_n(&pool.stat[m].active, &seen, seen + 1, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return m;
    }
}

static void *arrive(void *arg)
{
    (void)arg;
    for (int i = 0; i < CLAIMS; i++)
        claim();
    return NULL;
}

/* Counts claims that found no link, or took the first one though it has a limit and is at it. */
static void *come_and_go(void *arg)
{
    uint32_t *bad = arg;
    for (int i = 0; i < CLAIMS; i++) {
        uint32_t m = claim();
        if (m == DP_NONE || (m == 0 && pool.member[0].limit))
            ++*bad;
        if (m != DP_NONE)
            __atomic_fetch_sub(&pool.stat[m].active, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static uint32_t in_threads(void *(*work)(void *))
{
    pthread_t thread[THREADS];
    uint32_t bad[THREADS] = {0}, sum = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, &bad[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += bad[i];
    }
    return sum;
}

static int report(int ok, int number, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", number, what);
    if (!ok)
        printf("# active %u %u %u\n", pool.stat[0].active, pool.stat[1].active,
               pool.stat[2].active);
    return !ok;
}

int main(void)
{
    int failed = 0;
    printf("1..3\n");
    fake_pool_open(&pool, fake_load("balancer-leastconn.so"), NULL, weight, MEMBERS);

    in_threads(arrive);
    failed |= report(pool.stat[0].active == 50000 && pool.stat[1].active == 30000 &&
                         pool.stat[2].active == 20000,
                     1, "100,000 held open split 50,000 to 30,000 to 20,000");

    uint32_t bad = in_threads(come_and_go);
    failed |= report(pool.stat[0].active == 50000 && pool.stat[1].active == 30000 &&
                         pool.stat[2].active == 20000 && !bad,
                     2, "100,000 more come and go: nothing left over");

    for (int i = 0; i < MEMBERS; i++)
        pool.member[i].limit = 50000; /* only the first is full */
    bad = in_threads(come_and_go);
    failed |= report(pool.stat[0].active == 50000 && !bad, 3, "a full link is not picked");
    fake_pool_close(&pool);
    return failed;
}
