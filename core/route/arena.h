/* SPDX-License-Identifier: MIT
 * arena.h: the memory for shared numbers: counters and health of links, state of balancers.
 *
 * One mapping of a fixed size, private in dispatch-host, shared by forked processes elsewhere, so
 * nothing in it is a pointer. Blocks are zeroed and 64-aligned (a cache line each, at least).
 * Allocation is for the main thread alone; what lies in a block is atomic numbers.
 */
#ifndef ROUTE_ARENA_H
#define ROUTE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena;

/* Room for `size` bytes; untouched pages cost nothing. NULL: no memory. */
struct arena *arena_new(size_t size, bool shared);
void arena_destroy(struct arena *arena);

/* NULL: full. size 0 gives a block too. */
void *arena_alloc(struct arena *arena, size_t size);
void arena_free(struct arena *arena, void *block);

#endif
