/* SPDX-License-Identifier: MIT
 * test_slab.c: objects packed in chunks.
 */
#include "base/slab.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 5000

/* Pages this process has mapped. */
static long mapped(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    return pages;
}

static void shuffle(void **p, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)rand() % i;
        void *swap = p[i - 1];
        p[i - 1] = p[k];
        p[k] = swap;
    }
}

Test(slab, objects_are_apart_zeroed_and_keep_what_is_in_them)
{
    static const size_t sizes[] = {8, 9, 64, 408, 4000, 60000};
    static void *object[MANY];
    srand(1);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct slab slab = {.size = sizes[s]};
        size_t n = sizes[s] > 4000 ? 20 : MANY, wrong = 0;
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < n; i++) {
                unsigned char *p = object[i] = slab_alloc(&slab);
                cr_assert(p != NULL);
                cr_assert(eq(sz, (uintptr_t)p % 8, 0));
                wrong += p[0] != 0 || memcmp(p, p + 1, slab.size - 1) != 0;
                memset(p, (int)(i % 255) + 1, slab.size);
            }
            for (size_t i = 0; i < n; i++) {
                const unsigned char *p = object[i];
                wrong += p[0] != i % 255 + 1 || memcmp(p, p + 1, slab.size - 1) != 0;
            }
            shuffle(object, n);
            for (size_t i = 0; i < n; i++)
                slab_free(&slab, object[i]);
        }
        cr_expect(eq(sz, wrong, 0), "objects of %zu bytes", sizes[s]);
        slab_deinit(&slab);
        cr_expect(slab.with_room == NULL);
    }
}

Test(slab, what_is_free_is_given_back)
{
    if (getenv("DISPATCH_VALGRIND"))
        cr_skip_test("valgrind maps memory of its own");
    static void *object[MANY];
    struct slab slab = {.size = 4000};
    long before = mapped();
    for (size_t i = 0; i < MANY; i++)
        object[i] = slab_alloc(&slab);
    cr_expect(mapped() - before >= MANY * 4000L / 4096);
    for (size_t i = 0; i < MANY; i++)
        slab_free(&slab, object[i]);
    cr_expect(mapped() - before < 100, "%ld pages", mapped() - before);
    slab_deinit(&slab);
}

Test(slab, one_that_comes_and_goes_stays_where_it_was)
{
    struct slab slab = {.size = 400};
    void *first = slab_alloc(&slab);
    for (int i = 0; i < 1000; i++) {
        slab_free(&slab, first);
        cr_assert_eq(slab_alloc(&slab), first);
    }
    slab_free(&slab, first);
    slab_deinit(&slab);
}
