/* SPDX-License-Identifier: MIT
 * ref.h: counted objects that any worker may let go of, and only the main thread takes apart.
 *
 * Whoever drops the last reference pushes the object on the trash and wakes the main thread, which
 * empties it: plugin instances are destroyed there and nowhere else.
 */
#ifndef BASE_REF_H
#define BASE_REF_H

#include <stdint.h>

struct ref;

struct trash {
    struct ref *head; /* atomic; a stack */
    void (*wake)(void *ctx);
    void *ctx; /* wake NULL: trash_empty() is called by who owns it, at times of its choice */
};

struct ref {
    uint32_t count; /* atomic */
    struct trash *trash;
    struct ref *next; /* in the trash */
    void (*destroy)(struct ref *r);
};

void ref_init(struct ref *r, struct trash *trash, void (*destroy)(struct ref *r)); /* count 1 */
void ref_get(struct ref *r);  /* [any thread] */
void ref_drop(struct ref *r); /* [any thread] */

/* Destroys what has been dropped, and what that drops in turn. [main] */
void trash_empty(struct trash *trash);

#endif
