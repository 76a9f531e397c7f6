/* SPDX-License-Identifier: MIT
 * name_cache.h: answers of name servers, kept for as long as they hold, and those on their way.
 *
 * One thread's. Bounded: of what nobody uses just now the least recently used goes first.
 */
#ifndef ROUTE_NAME_CACHE_H
#define ROUTE_NAME_CACHE_H

#include "route/dns_answer.h"

#include <stdbool.h>
#include <sys/socket.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Whom an answer is good for, and what was asked. */
struct name_key {
    uint64_t source; /* the link and its servers: what one says holds for no other */
    int family;
    char name[]; /* lower case, no NUL */
};

struct name_entry {
    UT_hash_handle hh;
    struct name_entry *prev, *next; /* by their use, while users is 0 */
    unsigned users;
    bool listed;  /* can be found */
    bool known;   /* has an answer */
    void *asking; /* the user's, while it has none */
    int err;      /* DP_OK, or DP_ERR_NO_HOST, or why it is not known */
    int64_t expires_ns;
    size_t size; /* in memory */
    size_t n;
    uint8_t *ip; /* n addresses, packed */
    struct name_key key;
};

/* Starts zeroed, but for the limits. */
struct name_cache {
    size_t entries_max, bytes_max;
    struct name_entry *all;
    struct name_entry *unused; /* the one used least recently first */
    size_t bytes;
};

/* What is known of a name (at most 255 bytes), or to be asked for: a new entry is not `known`, and
 * stays to be found by others who want the same. To be given back. NULL: out of memory. */
struct name_entry *name_cache_take(struct name_cache *cache, uint64_t source, int family,
                                   const char *name, int64_t now_ns);
void name_cache_give_back(struct name_cache *cache, struct name_entry *entry);

/* The answer, which is kept for its TTL; an error that is none, for those who wait alone. */
void name_cache_answer(struct name_cache *cache, struct name_entry *entry,
                       const struct dns_answer *answer, int64_t now_ns);

/* When nothing is in use. */
void name_cache_deinit(struct name_cache *cache);

#endif
