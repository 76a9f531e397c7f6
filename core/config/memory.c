/* SPDX-License-Identifier: MIT
 * memory.c: everything a configuration is made of, in one piece that is freed as one.
 */
#include "config/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE 16384 /* an ordinary file fits into one */

struct chunk {
    struct chunk *next;
    size_t size, used;
    max_align_t data[];
};

struct conf_memory {
    struct chunk *chunk;
    bool failed;
};

struct conf_memory *memory_new(void)
{
    return calloc(1, sizeof(struct conf_memory));
}

void memory_free(struct conf_memory *memory)
{
    if (!memory)
        return;
    for (struct chunk *c = memory->chunk, *next; c; c = next) {
        next = c->next;
        explicit_bzero(c->data, c->used);
        free(c);
    }
    free(memory);
}

static struct chunk *chunk_add(struct conf_memory *memory, size_t size)
{
    size = size > CHUNK_SIZE ? size : CHUNK_SIZE;
    struct chunk *c = size > SIZE_MAX - sizeof *c ? NULL : calloc(1, sizeof *c + size);
    if (!c) {
        memory->failed = true;
        return NULL;
    }
    c->size = size;
    c->next = memory->chunk;
    memory->chunk = c;
    return c;
}

void *memory_alloc(struct conf_memory *memory, size_t size)
{
    const size_t align = sizeof(max_align_t);
    if (size > SIZE_MAX - align) {
        memory->failed = true;
        return NULL;
    }
    size = size ? (size + align - 1) / align * align : align;
    struct chunk *c = memory->chunk;
    if (!c || c->size - c->used < size)
        c = chunk_add(memory, size);
    if (!c)
        return NULL;
    void *p = (char *)c->data + c->used;
    c->used += size;
    return p;
}

bool memory_failed(const struct conf_memory *memory)
{
    return memory->failed;
}

char *memory_text(struct conf_memory *memory, const char *text, size_t len)
{
    char *copy = memory_alloc(memory, len + 1);
    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}

char *memory_printf(struct conf_memory *memory, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    char *text = len < 0 ? NULL : memory_alloc(memory, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}
