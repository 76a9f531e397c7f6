/* SPDX-License-Identifier: MIT
 * memory.h: everything a configuration is made of, in one piece that is freed as one.
 */
#ifndef CONFIG_MEMORY_H
#define CONFIG_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

struct conf_memory;

struct conf_memory *memory_new(void); /* NULL: out of memory */
/* Wipes it first: it held passwords. NULL is allowed. */
void memory_free(struct conf_memory *memory);

/* Zeroed and aligned for anything. NULL: out of memory, and memory_failed() says so from then on:
 * callers give up quietly, whoever made the memory reports it once. */
void *memory_alloc(struct conf_memory *memory, size_t size);
bool memory_failed(const struct conf_memory *memory);

/* A copy of len bytes, with a NUL behind. */
char *memory_text(struct conf_memory *memory, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) //
char *
memory_printf(struct conf_memory *memory, const char *fmt, ...);

#endif
