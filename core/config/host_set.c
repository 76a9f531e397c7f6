/* SPDX-License-Identifier: MIT
 * host_set.c: host names and patterns, many of them.
 *
 * A hash table of names, at most half full, each with whether it counts itself, or what is below it.
 */
#include "config/host_set.h"
#include "base/addr.h"

#include <string.h>
#include <xxhash.h>

#define NAME_LEN_MAX 255

enum { ITSELF = 1, BELOW = 2 };

struct slot {
    const char *name; /* lower case; NULL: free */
    uint32_t len, counts;
};

struct host_set {
    struct conf_memory *memory;
    size_t mask;
    struct slot slot[];
};

struct host_set *host_set_new(struct conf_memory *memory, size_t n)
{
    size_t slots = 2;
    while (slots < 2 * n)
        slots *= 2;
    struct host_set *set = memory_alloc(memory, sizeof *set + slots * sizeof(struct slot));
    if (!set)
        return NULL;
    set->memory = memory;
    set->mask = slots - 1;
    return set;
}

/* In lower case and without a dot at its end; returns its length, 0 if there is none. */
static size_t canonical(char out[NAME_LEN_MAX], const char *name, size_t len)
{
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len > NAME_LEN_MAX)
        return 0;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 32 : name[i]);
    return len;
}

/* The slot of the name, or the free one where it would be. */
static size_t slot_find(const struct host_set *set, const char *name, size_t len)
{
    size_t i = XXH3_64bits(name, len) & set->mask;
    while (set->slot[i].name &&
           (set->slot[i].len != len || memcmp(set->slot[i].name, name, len) != 0))
        i = (i + 1) & set->mask;
    return i;
}

/* What a name in a request may be, and of that only what is written: xn-- for others. */
static int name_check(const char *name, size_t len)
{
    struct dp_addr addr;
    bool empty_label = len == 0 || name[0] == '.' || name[len - 1] == '.';
    for (size_t i = 0; i < len; i++) {
        if (name[i] & 0x80)
            return HOST_SET_NOT_ASCII;
        if (name[i] <= ' ' || name[i] == 0x7f || strchr("*/:@", name[i]))
            return addr_parse_ip(&addr, name, len) == 0 ? HOST_SET_ADDRESS : HOST_SET_NO_NAME;
        empty_label |= i > 0 && name[i] == '.' && name[i - 1] == '.';
    }
    if (empty_label)
        return HOST_SET_NO_NAME;
    return addr_parse_ip(&addr, name, len) == 0 ? HOST_SET_ADDRESS : HOST_SET_OK;
}

int host_set_add(struct host_set *set, const char *pattern, size_t len, bool domain)
{
    char name[NAME_LEN_MAX];
    bool star = len > 2 && pattern[0] == '*' && pattern[1] == '.';
    size_t skip = star ? 2 : 0;
    size_t n = canonical(name, pattern + skip, len - skip);
    int err = name_check(name, n);
    if (err != HOST_SET_OK)
        return err;
    struct slot *slot = &set->slot[slot_find(set, name, n)];
    if (!slot->name) {
        slot->name = memory_text(set->memory, name, n);
        slot->len = (uint32_t)n;
    }
    slot->counts |= domain ? ITSELF | BELOW : star ? BELOW : ITSELF;
    return HOST_SET_OK;
}

static bool counts(const struct host_set *set, const char *name, size_t len, uint32_t how)
{
    const struct slot *slot = &set->slot[slot_find(set, name, len)];
    return slot->name && slot->counts & how;
}

bool host_set_has(const struct host_set *set, const char *name, size_t len)
{
    char buf[NAME_LEN_MAX];
    len = canonical(buf, name, len);
    if (len == 0)
        return false;
    if (counts(set, buf, len, ITSELF))
        return true;
    for (size_t i = 1; i + 1 < len; i++)
        if (buf[i] == '.' && counts(set, buf + i + 1, len - i - 1, BELOW))
            return true;
    return false;
}
