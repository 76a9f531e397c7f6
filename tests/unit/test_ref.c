/* SPDX-License-Identifier: MIT
 * test_ref.c: counted objects go to the trash with their last reference, and end when it is emptied.
 */
#include "base/ref.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stddef.h>

struct thing {
    struct ref ref;
    struct thing *holds; /* a reference, dropped with it */
    unsigned destroyed;
};

static void thing_destroy(struct ref *r)
{
    struct thing *t = (struct thing *)((char *)r - offsetof(struct thing, ref));
    t->destroyed++;
    if (t->holds)
        ref_drop(&t->holds->ref);
}

static void wake(void *ctx)
{
    __atomic_fetch_add((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

Test(ref, the_last_drop_wakes_and_the_owner_destroys)
{
    unsigned woken = 0;
    struct trash trash = {.wake = wake, .ctx = &woken};
    struct thing t = {0};
    ref_init(&t.ref, &trash, thing_destroy);
    ref_get(&t.ref);
    ref_get(&t.ref);
    ref_drop(&t.ref);
    ref_drop(&t.ref);
    trash_empty(&trash);
    cr_expect(eq(u32, woken, 0));
    cr_expect(eq(u32, t.destroyed, 0), "one reference is left");
    ref_drop(&t.ref);
    cr_expect(eq(u32, woken, 1));
    cr_expect(eq(u32, t.destroyed, 0), "not where it is dropped");
    trash_empty(&trash);
    trash_empty(&trash);
    cr_expect(eq(u32, t.destroyed, 1));
}

Test(ref, what_a_destroyed_one_held_goes_with_it)
{
    enum { N = 10 };
    struct trash trash = {0}; /* without a wake-up */
    struct thing t[N] = {0};
    for (int i = 0; i < N; i++) {
        ref_init(&t[i].ref, &trash, thing_destroy);
        if (i > 0)
            t[i].holds = &t[i - 1]; /* the only reference */
    }
    ref_drop(&t[N - 1].ref);
    trash_empty(&trash);
    for (int i = 0; i < N; i++)
        cr_expect(eq(u32, t[i].destroyed, 1), "%d", i);
    cr_expect(eq(ptr, trash.head, NULL));
}

enum { THREADS = 4, THINGS = 2000 };

static struct thing shared[THINGS];

static void *drop_all(void *arg)
{
    (void)arg;
    for (int i = 0; i < THINGS; i++) {
        ref_get(&shared[i].ref);
        ref_drop(&shared[i].ref);
        ref_drop(&shared[i].ref);
    }
    return NULL;
}

/* Each is destroyed once, whoever was last, while the trash is emptied beside it. */
Test(ref, dropped_by_several_threads)
{
    unsigned woken = 0;
    struct trash trash = {.wake = wake, .ctx = &woken};
    pthread_t thread[THREADS];
    for (int i = 0; i < THINGS; i++) {
        ref_init(&shared[i].ref, &trash, thing_destroy);
        for (int k = 1; k < THREADS; k++)
            ref_get(&shared[i].ref);
    }
    for (int i = 0; i < THREADS; i++)
        cr_assert(eq(int, pthread_create(&thread[i], NULL, drop_all, NULL), 0));
    for (int i = 0; i < 1000; i++)
        trash_empty(&trash);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    trash_empty(&trash);
    for (int i = 0; i < THINGS; i++)
        cr_assert(eq(u32, shared[i].destroyed, 1), "%d", i);
    cr_expect(eq(u32, woken, THINGS));
}
