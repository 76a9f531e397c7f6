/* SPDX-License-Identifier: MIT
 * race_random.c: 4 threads throw the same dice: the shares are those of one thread that throws as
 * often, so not one throw is lost or doubled.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>
#include <string.h>

enum { THREADS = 4, PICKS = 100000, MEMBERS = 3 };

static struct fake_pool pool;

static void *work(void *arg)
{
    uint32_t *of = arg;
    for (int i = 0; i < PICKS; i++) {
        uint32_t seen = UINT32_MAX;
        uint32_t m = pool.ops->pick(&pool.pool, &pool.flow, &seen);
        of[m < MEMBERS ? m : MEMBERS]++;
    }
    return NULL;
}

static void open_pool(void)
{
    fake_pool_open(&pool, fake_load("balancer-random.so"), NULL, (uint32_t[]){5, 3, 2}, MEMBERS);
}

int main(void)
{
    pthread_t thread[THREADS];
    uint32_t of[THREADS][MEMBERS + 1] = {0}, together[MEMBERS + 1] = {0}, alone[MEMBERS + 1] = {0};
    printf("1..1\n");
    open_pool();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, of[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        for (int m = 0; m <= MEMBERS; m++)
            together[m] += of[i][m];
    }
    fake_pool_close(&pool);
    open_pool();
    for (int i = 0; i < THREADS; i++)
        work(alone);
    fake_pool_close(&pool);
    int ok = memcmp(together, alone, sizeof alone) == 0 && !alone[MEMBERS];
    printf("%sok 1 - 400,000 picks are the same throws as in one thread\n", ok ? "" : "not ");
    if (!ok)
        printf("# together %u %u %u, alone %u %u %u\n", together[0], together[1], together[2],
               alone[0], alone[1], alone[2]);
    return !ok;
}
