/* SPDX-License-Identifier: MIT
 * race_p2c.c: 4 threads claim as the host does, and measure: equal links are held in equal parts,
 * and at the end the slow one is known to be slow.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, CLAIMS = 25000 };
#define MS INT64_C(1000000)

static struct fake_pool pool;
static int64_t rtt[2];

/* Picks until the count it rests on has not moved. */
static uint32_t claim(int64_t now)
{
    struct dp_flow flow = pool.flow;
    flow.now = now;
    for (;;) {
        uint32_t seen = UINT32_MAX;
        uint32_t m = pool.ops->pick(&pool.pool, &flow, &seen);
        if (m > 1)
            return m;
        if (__atomic_compare_exchange_n(&pool.stat[m].active, &seen, seen + 1, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return m;
    }
}

static void measure(uint32_t m, int64_t now)
{
    dp_store(&pool.stat[m].rtt, rtt[m]);
    dp_store(&pool.stat[m].rtt_at, now);
}

static void *hold(void *arg)
{
    uint32_t *wrong = arg;
    for (int i = 0; i < CLAIMS; i++)
        *wrong += claim(MS) > 1;
    return NULL;
}

static void *come_and_go(void *arg)
{
    uint32_t *wrong = arg;
    for (int i = 0; i < CLAIMS; i++) {
        const struct dp_outcome failed = {.size = sizeof failed, .err = DP_ERR_NO_ANSWER};
        int64_t now = i * MS;
        uint32_t m = claim(now);
        *wrong += m > 1;
        if (i % 100 == 0)
            pool.ops->done(&pool.pool, m, &failed);
        measure(m, now);
        __atomic_fetch_sub(&pool.stat[m].active, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static uint32_t in_threads(void *(*work)(void *))
{
    pthread_t thread[THREADS];
    uint32_t wrong[THREADS] = {0}, sum = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, &wrong[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += wrong[i];
    }
    return sum;
}

static int report(int ok, int number, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", number, what);
    if (!ok)
        printf("# active %u %u\n", pool.stat[0].active, pool.stat[1].active);
    return !ok;
}

int main(void)
{
    int64_t decay = 10000 * MS;
    printf("1..3\n");
    fake_pool_open(&pool, fake_load("balancer-p2c.so"), &decay, (uint32_t[]){3, 2}, 2);

    rtt[0] = rtt[1] = MS;
    measure(0, 1);
    measure(1, 1);
    uint32_t wrong = in_threads(hold);
    int failed = report(!wrong && pool.stat[0].active == 60000 && pool.stat[1].active == 40000, 1,
                        "100,000 held open split 60,000 to 40,000");

    rtt[1] = 80 * MS;
    pool.stat[0].active = pool.stat[1].active = 0;
    wrong = in_threads(come_and_go);
    failed |= report(!wrong && !pool.stat[0].active && !pool.stat[1].active, 2,
                     "100,000 come and go: nothing left over");

    measure(0, CLAIMS * MS);
    measure(1, CLAIMS * MS);
    for (int i = 1; i <= 10; i++) /* the failures before are forgotten */
        measure(0, (CLAIMS + i * 10000) * MS), claim((CLAIMS + i * 10000) * MS);
    measure(1, (CLAIMS + 100000) * MS);
    pool.stat[0].active = pool.stat[1].active = 0;
    failed |= report(claim((CLAIMS + 100000) * MS) == 0, 3, "the slow one is known to be slow");
    fake_pool_close(&pool);
    return failed;
}
