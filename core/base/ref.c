/* SPDX-License-Identifier: MIT
 * ref.c: counted objects, taken apart by the main thread.
 */
#include "base/ref.h"

#include <assert.h>
#include <stddef.h>

void ref_init(struct ref *r, struct trash *trash, void (*destroy)(struct ref *r))
{
    r->count = 1;
    r->trash = trash;
    r->next = NULL;
    r->destroy = destroy;
}

void ref_get(struct ref *r)
{
    uint32_t before = __atomic_fetch_add(&r->count, 1, __ATOMIC_RELAXED);
    assert(before > 0);
    (void)before;
}

void ref_drop(struct ref *r)
{
    uint32_t before = __atomic_fetch_sub(&r->count, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before > 1)
        return;
    struct trash *trash = r->trash;
    r->next = __atomic_load_n(&trash->head, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&trash->head, &r->next, r, 1, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
    if (trash->wake)
        trash->wake(trash->ctx);
}

void trash_empty(struct trash *trash)
{
    struct ref *r;
    while ((r = __atomic_exchange_n(&trash->head, NULL, __ATOMIC_ACQUIRE))) {
        while (r) {
            struct ref *next = r->next;
            r->destroy(r);
            r = next;
        }
    }
}
