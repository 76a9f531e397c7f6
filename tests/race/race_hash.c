/* SPDX-License-Identifier: MIT
 * race_hash.c: 4 threads ask for the same 10,000 keys, while links come to their limit and go from
 * it: each key has its own link, or, where that is full, always the same other one.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, KEYS = 10000, MEMBERS = 5 };

static struct fake_pool pool;
static uint32_t first[KEYS], second[KEYS];

static uint32_t pick(uint32_t key, uint64_t tried)
{
    uint32_t seen = UINT32_MAX;
    struct dp_flow flow = pool.flow;
    flow.tried = &tried;
    flow.dest = (struct dp_addr){.name = (const char *)&key, .name_len = sizeof key};
    return pool.ops->pick(&pool.pool, &flow, &seen);
}

static void *work(void *arg)
{
    uint32_t *wrong = arg;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t m = pick(i, 0);
        *wrong += m != first[i] && m != second[i];
        dp_store(&pool.stat[0].active, i % 2); /* its limit is 1 */
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    uint32_t wrong[THREADS] = {0}, sum = 0, on_host = 1;
    printf("1..1\n");
    fake_pool_open(&pool, fake_load("balancer-hash.so"), &on_host, (uint32_t[]){5, 4, 3, 2, 1},
                   MEMBERS);
    for (uint32_t i = 0; i < KEYS; i++) {
        first[i] = pick(i, 0);
        second[i] = first[i] == 0 ? pick(i, 1) : first[i];
    }
    pool.member[0].limit = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, &wrong[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += wrong[i];
    }
    fake_pool_close(&pool);
    printf("%sok 1 - each key keeps its link, and its other one\n", sum ? "not " : "");
    if (sum)
        printf("# %u keys were elsewhere\n", sum);
    return sum != 0;
}
