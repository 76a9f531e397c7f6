/* SPDX-License-Identifier: MIT
 * shared.h: the memory that all of danted's processes have in common.
 *
 * The arena holds numbers only, and may lie in a file for `dispatch-host --dante-state`. The
 * configuration as text, with its secrets, lies in memory without a name.
 */
#ifndef DANTE_SHARED_H
#define DANTE_SHARED_H

#include "route/arena.h"

#define SHARED_TEXT_MAX ((size_t)4 << 20) /* a file of 1 MiB with its defaults written out */

/* In the arena's block of kind ARENA_OWNER: whose it is. */
struct dante_owner {
    uint32_t pid;        /* danted's mother; atomic */
    uint32_t generation; /* of the configuration in use, from 1; atomic */
    int64_t sweep_ns;    /* when the dead are looked for next; atomic */
};

struct shared {
    struct arena *arena;
    struct dante_owner *owner;
    struct published *published;
};

/* `file`: where the arena is to be seen, or NULL; it is tried whether it can be made. Returns 0 or a
 * negative errno. [mother] */
int shared_make(struct shared *shared, const char *file);

/* Puts the arena into the file, before there are other processes. Not earlier than danted serves: one
 * that only checks its configuration, or does not get its port, must not take the place of the one
 * that does. [mother] */
int shared_show(const struct shared *shared, const char *file);

/* Publishes a configuration as text, SHARED_TEXT_MAX at most, of its next generation. [mother] */
void shared_publish(struct shared *shared, const char *text, size_t len);

/* The text of the newest generation, for the caller to free; NULL: out of memory. */
char *shared_read(const struct shared *shared, uint32_t *generation, size_t *len);

static inline uint32_t shared_generation(const struct shared *shared)
{
    return __atomic_load_n(&shared->owner->generation, __ATOMIC_ACQUIRE);
}

#endif
