/* SPDX-License-Identifier: MIT
 * race_quota.c: 4 threads count connections to a few destinations whose cells lie in one line, and
 * come and go all the time: there are never more than allowed, and nothing is left in the end.
 */
#include "route/quota.h"
#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, ROUNDS = 200000, KEYS = 3, LIMIT = 2 };

static struct quota *quota;
static uint32_t held[KEYS]; /* atomic */

struct thread {
    pthread_t id;
    uint32_t taken, refused, too_many;
};

/* All in one line. */
static uint64_t key_of(uint32_t k)
{
    return (uint64_t)(k + 1) << 40 | 5;
}

static void *work(void *arg)
{
    struct thread *t = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t k = i % KEYS, cell;
        if (!quota_take(quota, key_of(k), LIMIT, &cell)) {
            t->refused++;
            continue;
        }
        t->taken++;
        t->too_many += __atomic_add_fetch(&held[k], 1, __ATOMIC_SEQ_CST) > LIMIT;
        __atomic_sub_fetch(&held[k], 1, __ATOMIC_SEQ_CST);
        quota_give(quota, cell);
    }
    return NULL;
}

int main(void)
{
    struct thread thread[THREADS] = {0}, all = {0};
    struct arena *arena = arena_new((size_t)1 << 20, -1);
    quota = arena ? quota_of(arena, true) : NULL;
    if (!quota)
        return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i].id, NULL, work, &thread[i]);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i].id, NULL);
        all.taken += thread[i].taken;
        all.refused += thread[i].refused;
        all.too_many += thread[i].too_many;
    }
    uint32_t left = 0;
    for (uint32_t k = 0; k < KEYS; k++)
        left += quota_met(quota, key_of(k), 1);
    bool ok = all.too_many == 0 && all.taken > ROUNDS && left == 0;
    printf("1..1\n%sok 1 - never more than the limit, and none is left\n", ok ? "" : "not ");
    printf("# %u taken, %u refused, %u too many, %u left\n", all.taken, all.refused, all.too_many,
           left);
    arena_destroy(arena);
    return !ok;
}
