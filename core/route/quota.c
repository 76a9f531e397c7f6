/* SPDX-License-Identifier: MIT
 * quota.c: connections by link and destination.
 *
 * A cell is one word, the upper bits of a key above a count, and is changed by compare-and-swap; a
 * key's cell is one of the eight in its line. A cell whose count has come down to nothing is free, so
 * two flows that begin with a destination may each find another free one: all cells of a key count,
 * and whoever sees that there are too many now takes his own back, and tries again.
 */
#include "route/quota.h"
#include "base/addr.h"

#include <string.h>
#include <xxhash.h>

#define LINES 8192u /* 512 KiB that are touched as they are used */
#define CELLS 8u    /* a cache line */
#define COUNT_BITS 24
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
#define NAME_MAX_LEN 255

struct quota {
    uint64_t cell[LINES][CELLS]; /* atomic; 0: free */
};

struct quota *quota_of(struct arena *arena, bool make)
{
    struct quota *there = arena_next(arena, ARENA_QUOTA, NULL);
    return there || !make ? there : arena_share(arena, ARENA_QUOTA, 0, sizeof(struct quota));
}

static uint64_t hash_name(const struct dp_addr *dest, uint64_t seed)
{
    char name[NAME_MAX_LEN];
    size_t len = dest->name_len < NAME_MAX_LEN ? dest->name_len : NAME_MAX_LEN;
    if (len && dest->name[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = dest->name[i];
        name[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    return XXH64(name, len, seed);
}

static uint64_t hash_ip(const struct dp_addr *dest, uint64_t seed)
{
    struct dp_addr a = *dest;
    addr_unmap(&a);
    if (addr_family(&a) == AF_INET6)
        return XXH64(&((const struct sockaddr_in6 *)&a.sa)->sin6_addr, 16, seed);
    return XXH64(&((const struct sockaddr_in *)&a.sa)->sin_addr, 4, seed);
}

uint64_t quota_key(const struct link *link, const struct dp_addr *dest)
{
    if (!dest->salen && !dest->name_len)
        return 0;
    uint64_t seed = link->hash ^ dest->port;
    return dest->salen ? hash_ip(dest, seed) : hash_name(dest, seed);
}

/* The lower bits choose the line; a tag is never 0. */
static uint64_t tag_of(uint64_t key)
{
    return key >> COUNT_BITS | 1;
}

static uint32_t line_of(uint64_t key)
{
    return (uint32_t)(key % LINES);
}

static uint64_t load(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_SEQ_CST);
}

static bool swap(uint64_t *cell, uint64_t seen, uint64_t to)
{
    return __atomic_compare_exchange_n(cell, &seen, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* How many there are; *place: the cell to count one more in, as it was *seen; NULL: no room. */
static uint64_t look(const uint64_t *line, uint64_t tag, uint32_t *place, uint64_t *seen)
{
    uint64_t n = 0;
    *place = CELLS;
    *seen = 0;
    for (uint32_t i = 0; i < CELLS; i++) {
        uint64_t value = load(&line[i]);
        bool ours = value >> COUNT_BITS == tag;
        n += ours ? value & COUNT_MASK : 0;
        if (ours ? *seen == 0 : value == 0 && *place == CELLS) {
            *place = i;
            *seen = value;
        }
    }
    return n;
}

bool quota_met(const struct quota *q, uint64_t key, uint32_t limit)
{
    uint32_t place;
    uint64_t seen;
    return look(q->cell[line_of(key)], tag_of(key), &place, &seen) >= limit;
}

bool quota_take(struct quota *q, uint64_t key, uint32_t limit, uint32_t *cell)
{
    uint64_t tag = tag_of(key), *line = q->cell[line_of(key)], seen, ignored;
    uint32_t place, other;
    for (*cell = 0; look(line, tag, &place, &seen) < limit;) {
        if (place == CELLS)
            return true;
        if (!swap(&line[place], seen, seen ? seen + 1 : tag << COUNT_BITS | 1))
            continue;
        *cell = line_of(key) * CELLS + place + 1;
        if (look(line, tag, &other, &ignored) <= limit)
            return true;
        quota_give(q, *cell);
        *cell = 0;
    }
    return false;
}

void quota_give(struct quota *q, uint32_t cell)
{
    if (!cell)
        return;
    uint64_t *at = &q->cell[(cell - 1) / CELLS][(cell - 1) % CELLS], seen;
    do
        seen = load(at);
    while (!swap(at, seen, (seen & COUNT_MASK) > 1 ? seen - 1 : 0));
}
