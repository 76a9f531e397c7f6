/* SPDX-License-Identifier: MIT
 * slab.c: objects of one size in chunks of pages, which are unmapped when they are empty.
 */
#include "base/slab.h"

#include <sanitizer/asan_interface.h> /* nothing, without that sanitizer */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_SIZE 65536

/* In front of each object. */
struct cell {
    struct slab_chunk *chunk;
    union {
        struct cell *next; /* while it is free */
        uint64_t object;   /* the first 8 bytes of it */
    } u;
};

struct slab_chunk {
    struct slab_chunk *next, *prev; /* among those with room */
    struct cell *free;
    uint32_t used;  /* objects */
    uint32_t fresh; /* where the part begins that was never used, from the chunk's start */
};

static size_t cell_size(const struct slab *slab)
{
    return (offsetof(struct cell, u) + slab->size + 7) / 8 * 8;
}

static bool has_room(const struct slab *slab, const struct slab_chunk *c)
{
    return c->free || c->fresh + cell_size(slab) <= CHUNK_SIZE;
}

static void room_add(struct slab *slab, struct slab_chunk *c)
{
    c->prev = NULL;
    c->next = slab->with_room;
    if (c->next)
        c->next->prev = c;
    slab->with_room = c;
}

static void room_remove(struct slab *slab, struct slab_chunk *c)
{
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        slab->with_room = c->next;
}

static struct slab_chunk *chunk_new(struct slab *slab)
{
    struct slab_chunk *c =
        mmap(NULL, CHUNK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED)
        return NULL;
    c->fresh = sizeof *c;
    room_add(slab, c);
    return c;
}

static void chunk_free(struct slab *slab, struct slab_chunk *c)
{
    room_remove(slab, c);
    ASAN_UNPOISON_MEMORY_REGION(c, CHUNK_SIZE);
    munmap(c, CHUNK_SIZE);
}

static struct cell *cell_take(struct slab *slab, struct slab_chunk *c)
{
    struct cell *cell = c->free;
    if (cell) {
        c->free = cell->u.next;
    } else {
        cell = (struct cell *)((char *)c + c->fresh);
        c->fresh += (uint32_t)cell_size(slab);
    }
    ASAN_UNPOISON_MEMORY_REGION(cell, cell_size(slab));
    cell->chunk = c;
    c->used++;
    if (!has_room(slab, c))
        room_remove(slab, c);
    return cell;
}

void *slab_alloc(struct slab *slab)
{
    struct slab_chunk *c = slab->with_room ? slab->with_room : chunk_new(slab);
    if (!c)
        return NULL;
    return memset(&cell_take(slab, c)->u, 0, slab->size);
}

/* The last chunk with room is kept, or one object that comes and goes would map and unmap. */
void slab_free(struct slab *slab, void *object)
{
    struct cell *cell = (struct cell *)((char *)object - offsetof(struct cell, u));
    struct slab_chunk *c = cell->chunk;
    if (!has_room(slab, c))
        room_add(slab, c);
    cell->u.next = c->free;
    c->free = cell;
    ASAN_POISON_MEMORY_REGION(cell + 1, cell_size(slab) - sizeof *cell);
    if (--c->used > 0 || (!c->next && !c->prev))
        return;
    chunk_free(slab, c);
}

void slab_deinit(struct slab *slab)
{
    while (slab->with_room)
        chunk_free(slab, slab->with_room);
}
