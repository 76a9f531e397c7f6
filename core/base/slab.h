/* SPDX-License-Identifier: MIT
 * slab.h: many small objects of one size, packed apart from all else.
 *
 * What lives long and what lives for a moment, allocated in turns, leave a heap full of holes that
 * is never given back. Here what lives long is close together. One thread's.
 */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

struct slab_chunk;

/* Starts zeroed, but for size: of each object, in bytes. */
struct slab {
    size_t size;
    struct slab_chunk *with_room; /* a list */
};

/* A zeroed object, aligned for a pointer or an int64_t; NULL: out of memory. */
void *slab_alloc(struct slab *slab);
void slab_free(struct slab *slab, void *object);

/* When all objects are free: gives back what is kept for the next. */
void slab_deinit(struct slab *slab);

#endif
