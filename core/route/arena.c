/* SPDX-License-Identifier: MIT
 * arena.c: first fit over a mapping; freed neighbours are joined when the next block is looked for.
 *
 * In a shared arena nothing is freed and one process makes all blocks, so that others may walk over
 * them meanwhile: a block is complete before the size of the one before it leads there.
 */
#include "route/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGN 64
#define ARENA_MAGIC UINT64_C(0x6170732d68637464) /* "dtch-spa" */
#define ARENA_VERSION \
    3 /* of what lies in blocks as well: one program writes it, another reads it */

struct block {
    uint64_t size; /* of the whole block, this header included */
    uint32_t used;
    uint32_t kind;
    uint64_t key;
    char pad[ALIGN - 24];
};

struct arena {
    uint64_t magic;
    uint32_t version;
    uint32_t owner; /* a shared one's: the process that makes blocks; 0: private */
    uint64_t size;
    char pad[ALIGN - 24];
    /* blocks follow */
};

_Static_assert(sizeof(struct block) == ALIGN && sizeof(struct arena) == ALIGN, "aligned headers");

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static struct block *block_first(const struct arena *a)
{
    return (struct block *)((char *)a + sizeof *a);
}

static struct block *block_next(const struct arena *a, const struct block *b)
{
    uint64_t size = __atomic_load_n(&b->size, __ATOMIC_ACQUIRE);
    uint64_t left = a->size - arena_offset(a, b);
    /* Another program's arena may be damaged. */
    return size >= sizeof *b && size % ALIGN == 0 && left >= sizeof *b && size <= left - sizeof *b
               ? (struct block *)((char *)b + size)
               : NULL;
}

static struct arena *arena_map(size_t size, int flags, int fd, uint32_t owner)
{
    size = round_up(size < 4096 ? 4096 : size);
    /* All of the file now: a file system that is full must not end who writes into it later. */
    int err = fd < 0 ? 0 : posix_fallocate(fd, 0, (off_t)size);
    if (err) {
        errno = err;
        return NULL;
    }
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_NORESERVE | flags, fd, 0);
    if (map == MAP_FAILED)
        return NULL;
    struct arena *a = map;
    a->magic = ARENA_MAGIC;
    a->version = ARENA_VERSION;
    a->owner = owner;
    a->size = size;
    block_first(a)->size = size - sizeof *a;
    return a;
}

struct arena *arena_new(size_t size, int fd)
{
    if (fd < 0)
        return arena_map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return arena_map(size, MAP_SHARED, fd, (uint32_t)getpid());
}

struct arena *arena_new_shared(size_t size)
{
    return arena_map(size, MAP_SHARED | MAP_ANONYMOUS, -1, (uint32_t)getpid());
}

struct arena *arena_look(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 4096)
        return NULL;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return NULL;
    const struct arena *a = map;
    if (a->magic == ARENA_MAGIC && a->version == ARENA_VERSION && a->size == (uint64_t)st.st_size)
        return map;
    munmap(map, (size_t)st.st_size);
    return NULL;
}

void arena_destroy(struct arena *a)
{
    if (a)
        munmap(a, a->size);
}

bool arena_is_shared(const struct arena *a)
{
    return a->owner != 0;
}

bool arena_is_mine(const struct arena *a)
{
    return a->owner == (uint32_t)getpid();
}

void arena_own(struct arena *a)
{
    a->owner = (uint32_t)getpid();
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
    __atomic_store_n(&b->size, need, __ATOMIC_RELEASE);
}

static void *block_make(struct arena *a, enum arena_kind kind, uint64_t key, size_t size)
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
        b->kind = kind;
        b->key = key;
        /* Fresh pages of a shared mapping are zero, and most of them are never touched. */
        if (!arena_is_shared(a))
            memset(b + 1, 0, b->size - sizeof *b);
        __atomic_store_n(&b->used, 1, __ATOMIC_RELEASE);
        return b + 1;
    }
    return NULL;
}

void *arena_alloc(struct arena *a, size_t size)
{
    return block_make(a, ARENA_ANY, 0, size);
}

static bool is_kind(const struct block *b, enum arena_kind kind)
{
    return __atomic_load_n(&b->used, __ATOMIC_ACQUIRE) && b->kind == kind;
}

void *arena_share(struct arena *a, enum arena_kind kind, uint64_t key, size_t size)
{
    if (!arena_is_shared(a))
        return block_make(a, kind, key, size);
    for (struct block *b = block_first(a); b; b = block_next(a, b))
        if (is_kind(b, kind) && b->key == key && b->size >= sizeof *b + size)
            return b + 1;
    return arena_is_mine(a) ? block_make(a, kind, key, size) : NULL;
}

void *arena_next(const struct arena *a, enum arena_kind kind, const void *block)
{
    struct block *b = block ? block_next(a, (const struct block *)block - 1) : block_first(a);
    while (b && !is_kind(b, kind))
        b = block_next(a, b);
    return b ? b + 1 : NULL;
}

size_t arena_room(const struct arena *a, const void *block)
{
    uint64_t size = ((const struct block *)block - 1)->size - sizeof(struct block);
    uint64_t left = a->size - arena_offset(a, block);
    return size <= left ? size : 0;
}

void arena_free(struct arena *a, void *block)
{
    if (block && !arena_is_shared(a))
        ((struct block *)block - 1)->used = 0;
}
