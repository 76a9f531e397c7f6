/* SPDX-License-Identifier: MIT
 * arena.h: the memory for shared numbers: counters and health of links, state of balancers.
 *
 * One mapping of a fixed size, private in dispatch-host, shared by forked processes in the Dante
 * module, so nothing in it is a pointer. Blocks are zeroed and 64-aligned (a cache line each, at
 * least). Allocation is for the main thread alone; what lies in a block is atomic numbers.
 */
#ifndef ROUTE_ARENA_H
#define ROUTE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* What lies in a block, for processes that look for the same one. */
enum arena_kind {
    ARENA_ANY,
    ARENA_LINK,
    ARENA_POOL,
    ARENA_SLOTS,
    ARENA_LEDGER,
    ARENA_OWNER,
    ARENA_STICKY,
    ARENA_POOL_STAT,
    ARENA_QUOTA
};

/* Room for `size` bytes; untouched pages cost nothing. `fd` -1: memory of this process alone. Else
 * shared: with processes forked from it, and with whoever maps the file; it must be empty, gets all
 * of its room at once, and may be closed then. NULL: no memory; with a file errno says why. */
struct arena *arena_new(size_t size, int fd);
/* Memory shared with processes forked from this one, without a file. */
struct arena *arena_new_shared(size_t size);
/* A look at a shared one in its file, as another program made it. NULL: it is none, or of another
 * version. Read only. */
struct arena *arena_look(int fd);
void arena_destroy(struct arena *arena);

bool arena_is_shared(const struct arena *arena);

/* NULL: full. size 0 gives a block too. */
void *arena_alloc(struct arena *arena, size_t size);
/* In a shared arena: the block of this kind and key, which only the process that made the arena
 * makes (or whoever arena_own()s it); everybody else finds it, or NULL. It is never freed. In a
 * private one: as arena_alloc(). */
void *arena_share(struct arena *arena, enum arena_kind kind, uint64_t key, size_t size);
void arena_free(struct arena *arena, void *block);

/* Does this process make the blocks of a shared one? From now on it does. */
bool arena_is_mine(const struct arena *arena);
void arena_own(struct arena *arena);

/* The block of this kind after `block`, or the first if that is NULL. */
void *arena_next(const struct arena *arena, enum arena_kind kind, const void *block);

/* Bytes in a block, at least as many as were asked for. 0: in another program's arena, a damaged
 * one. */
size_t arena_room(const struct arena *arena, const void *block);

/* A block as a number that means the same in every process, and back. */
static inline uint64_t arena_offset(const struct arena *arena, const void *block)
{
    return (uint64_t)((const char *)block - (const char *)arena);
}
static inline void *arena_at(struct arena *arena, uint64_t offset)
{
    return (char *)arena + offset;
}

#endif
