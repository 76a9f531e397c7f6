/* SPDX-License-Identifier: MIT
 * name_cache.c: answers of name servers, kept for as long as they hold, and those on their way.
 *
 *   NEW (asked for once, waited for by many) -> KNOWN -> expired, or pushed out
 *
 * An entry in use is never freed; one that is not to be found any more goes with its last user.
 */
#include "route/name_cache.h"
#include "base/clock.h"

#include <dispatch-plugin.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static void entry_free(struct name_entry *e)
{
    free(e->ip);
    free(e);
}

static void entry_unlist(struct name_cache *cache, struct name_entry *e)
{
    if (!e->listed)
        return;
    e->listed = false;
    HASH_DEL(cache->all, e);
    cache->bytes -= e->size;
    if (e->users)
        return;
    DL_DELETE(cache->unused, e);
    entry_free(e);
}

static void make_room(struct name_cache *cache)
{
    while (cache->unused &&
           (HASH_COUNT(cache->all) > cache->entries_max || cache->bytes > cache->bytes_max))
        entry_unlist(cache, cache->unused);
}

static struct name_entry *entry_new(struct name_cache *cache, const struct name_key *key,
                                    size_t key_len)
{
    size_t size = offsetof(struct name_entry, key) + key_len;
    struct name_entry *e = calloc(1, size > sizeof *e ? size : sizeof *e);
    if (!e)
        return NULL;
    memcpy(&e->key, key, key_len);
    e->size = size;
    e->users = 1;
    HASH_ADD_KEYPTR(hh, cache->all, &e->key, key_len, e);
    if (!e->hh.tbl) {
        free(e);
        return NULL;
    }
    e->listed = true;
    cache->bytes += size;
    make_room(cache);
    return e;
}

struct name_entry *name_cache_take(struct name_cache *cache, uint64_t source, int family,
                                   const char *name, int64_t now_ns)
{
    _Alignas(struct name_key) char room[sizeof(struct name_key) + 256];
    struct name_key *key = (struct name_key *)room;
    size_t len = strnlen(name, 255), key_len = offsetof(struct name_key, name) + len;
    struct name_entry *e;
    key->source = source;
    key->family = family;
    memcpy(key->name, name, len);
    HASH_FIND(hh, cache->all, key, key_len, e);
    if (e && e->known && e->expires_ns <= now_ns) {
        entry_unlist(cache, e);
        e = NULL;
    }
    if (!e)
        return entry_new(cache, key, key_len);
    if (e->users++ == 0)
        DL_DELETE(cache->unused, e);
    return e;
}

void name_cache_give_back(struct name_cache *cache, struct name_entry *e)
{
    if (--e->users)
        return;
    if (!e->listed) {
        entry_free(e);
        return;
    }
    DL_APPEND(cache->unused, e);
    if (e->known)
        make_room(cache);
    else /* nobody asks any more */
        entry_unlist(cache, e);
}

/* Packed: most names have one or two addresses. */
static bool entry_fill(struct name_entry *e, const struct dns_answer *answer)
{
    size_t size = dns_ip_size(e->key.family);
    if (answer->n == 0)
        return true;
    e->ip = malloc(answer->n * size);
    if (!e->ip)
        return false;
    for (size_t i = 0; i < answer->n; i++)
        memcpy(e->ip + i * size, answer->ip[i], size);
    e->n = answer->n;
    return true;
}

void name_cache_answer(struct name_cache *cache, struct name_entry *e,
                       const struct dns_answer *answer, int64_t now_ns)
{
    e->known = true;
    e->err = entry_fill(e, answer) ? answer->err : DP_ERR_LOCAL;
    e->expires_ns = now_ns + answer->ttl_s * NS_PER_S;
    size_t more = e->n * dns_ip_size(e->key.family);
    e->size += more;
    cache->bytes += e->listed ? more : 0;
    bool holds = e->err == DP_OK || e->err == DP_ERR_NO_HOST;
    if (!holds || answer->ttl_s == 0)
        entry_unlist(cache, e);
}

void name_cache_deinit(struct name_cache *cache)
{
    while (cache->unused)
        entry_unlist(cache, cache->unused);
}
