/* SPDX-License-Identifier: MIT
 * race_rr.c: 4 threads share one rotation of 3:2, and not one turn is lost or doubled.
 */
#include "lib/plugin_fake.h"
#include <pthread.h>

enum { THREADS = 4, PICKS = 250000 };

static struct fake_pool pool;

static void *work(void *arg)
{
    uint64_t *of = arg;
    for (int i = 0; i < PICKS; i++) {
        uint32_t seen = UINT32_MAX;
        uint32_t m = pool.ops->pick(&pool.pool, &pool.flow, &seen);
        of[m < 2 ? m : 2]++;
    }
    return NULL;
}

static int run(const struct dp_plugin *plugin, uint32_t order, const char *name, int number)
{
    pthread_t thread[THREADS];
    uint64_t of[THREADS][3] = {0}, sum[3] = {0};
    fake_pool_open(&pool, plugin, &order, (uint32_t[]){3, 2}, 2);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, work, of[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        for (int m = 0; m < 3; m++)
            sum[m] += of[i][m];
    }
    fake_pool_close(&pool);
    int ok = sum[0] == 600000 && sum[1] == 400000 && sum[2] == 0;
    printf("%sok %d - %s: 1,000,000 picks split 600,000 to 400,000\n", ok ? "" : "not ", number,
           name);
    if (!ok)
        printf("# got %ju, %ju and %ju others\n", (uintmax_t)sum[0], (uintmax_t)sum[1],
               (uintmax_t)sum[2]);
    return !ok;
}

int main(void)
{
    const struct dp_plugin *rr = fake_load("balancer-rr.so");
    printf("1..2\n");
    return run(rr, 0, "smooth", 1) | run(rr, 1, "block", 2);
}
