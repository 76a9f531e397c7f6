/* SPDX-License-Identifier: MIT
 * race_failover.c: 4 threads find a link broken, see it well again, and hold it back for the same
 * time, while one of them moves the clock.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 2000, PICKS = 20, HOLD_DOWN = 10 };

static struct fake_pool pool;
static pthread_barrier_t step;

/* As the host asks: with the bits of the links that are out. */
static uint32_t pick(int64_t now, uint64_t tried)
{
    uint32_t seen = UINT32_MAX;
    struct dp_flow flow = pool.flow;
    flow.now = now;
    flow.tried = &tried;
    return pool.ops->pick(&pool.pool, &flow, &seen);
}

static uint32_t wrong_of(int64_t now, uint64_t tried, uint32_t expected)
{
    uint32_t wrong = 0;
    for (int i = 0; i < PICKS; i++)
        wrong += pick(now, tried) != expected;
    return wrong;
}

static void *work(void *arg)
{
    uint32_t *wrong = arg;
    int64_t now = 1000;
    for (int i = 0; i < ROUNDS; i++, now += 100) {
        pthread_barrier_wait(&step);
        *wrong += wrong_of(now, 1, 1); /* the first is out */
        if (pthread_barrier_wait(&step) == PTHREAD_BARRIER_SERIAL_THREAD)
            *wrong += wrong_of(now, 0, 0) != PICKS - 1; /* one tries it, the others do not */
        pthread_barrier_wait(&step);
        *wrong += wrong_of(now, 0, 1) + wrong_of(now + HOLD_DOWN - 1, 0, 1); /* held back */
        *wrong += wrong_of(now + HOLD_DOWN, 0, 0);
    }
    return NULL;
}

/* The states change while others look: nobody gets none, or one that is not allowed. */
static void *churn(void *arg)
{
    uint32_t *wrong = arg;
    for (int64_t now = 1; now < ROUNDS * PICKS; now++) {
        uint32_t out = now % 3 == 0; /* the first of them */
        dp_store(&pool.stat[0].fails, out);
        uint32_t m = pick(now, out);
        *wrong += m > 1 || (out && m == 0);
    }
    return NULL;
}

static int run(void *(*func)(void *), const char *name, int number)
{
    pthread_t thread[THREADS];
    uint32_t wrong[THREADS] = {0}, sum = 0;
    int64_t hold_down = HOLD_DOWN;
    fake_pool_open(&pool, fake_load("balancer-failover.so"), &hold_down, (uint32_t[]){1, 1}, 2);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, func, &wrong[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += wrong[i];
    }
    fake_pool_close(&pool);
    printf("%sok %d - %s\n", sum ? "not " : "", number, name);
    if (sum)
        printf("# %u picks were wrong\n", sum);
    return sum != 0;
}

int main(void)
{
    printf("1..2\n");
    pthread_barrier_init(&step, NULL, THREADS);
    int failed = run(work, "all hold it back, for the same time", 1);
    failed |= run(churn, "states that change all the time", 2);
    pthread_barrier_destroy(&step);
    return failed;
}
