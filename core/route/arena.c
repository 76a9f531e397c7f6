/* SPDX-License-Identifier: MIT
 * arena.c: first fit over a mapping; freed neighbours are joined when the next block is looked for.
 */
#include "route/arena.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN 64

struct block {
    uint64_t size; /* of the whole block, this header included */
    uint64_t used;
    char pad[ALIGN - 16];
};

struct arena {
    size_t size;
    char pad[ALIGN - sizeof(size_t)];
    /* blocks follow */
};

_Static_assert(sizeof(struct block) == ALIGN && sizeof(struct arena) == ALIGN, "aligned headers");

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static struct block *block_first(struct arena *a)
{
    return (struct block *)((char *)a + sizeof *a);
}

static struct block *block_next(struct arena *a, struct block *b)
{
    char *next = (char *)b + b->size;
    return next < (char *)a + a->size ? (struct block *)next : NULL;
}

struct arena *arena_new(size_t size, bool shared)
{
    size = round_up(size < 4096 ? 4096 : size);
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_ANONYMOUS | MAP_NORESERVE | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    struct arena *a = map;
    a->size = size;
    block_first(a)->size = size - sizeof *a;
    return a;
}

void arena_destroy(struct arena *a)
{
    if (a)
        munmap(a, a->size);
}

static void block_join(struct arena *a, struct block *b)
{
    struct block *next;
    while ((next = block_next(a, b)) && !next->used)
        b->size += next->size;
}

static void block_split(struct block *b, size_t need)
{
    if (b->size - need < 2 * ALIGN)
        return;
    struct block *rest = (struct block *)((char *)b + need);
    rest->size = b->size - need;
    rest->used = 0;
    b->size = need;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->size)
        return NULL;
    size_t need = sizeof(struct block) + round_up(size ? size : 1);
    for (struct block *b = block_first(a); b; b = block_next(a, b)) {
        if (b->used)
            continue;
        block_join(a, b);
        if (b->size < need)
            continue;
        block_split(b, need);
        b->used = 1;
        return memset(b + 1, 0, b->size - sizeof *b);
    }
    return NULL;
}

void arena_free(struct arena *a, void *block)
{
    (void)a;
    if (block)
        ((struct block *)block - 1)->used = 0;
}
