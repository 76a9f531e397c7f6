/* SPDX-License-Identifier: MIT
 * sticky.c: which link a client or host had last.
 *
 * An entry is read and written without a lock. Its key stands there mixed with its link, so that
 * halves of two entries make none: they match no key that is asked for.
 */
#include "route/sticky.h"
#include "base/addr.h"

#include <string.h>
#define XXH_INLINE_ALL /* of a few bytes, for each connection */
#include <xxhash.h>
#ifdef HAVE_LIBPSL
#include <libpsl.h>
#endif

#define BUCKETS 16384u /* 1.5 MiB that are touched as they are used */
#define WAYS 4u
#define NAME_MAX_LEN 255

struct entry {
    uint64_t mixed, link; /* key ^ link */
    int64_t until_ns;     /* 0: never used */
};

struct sticky {
    struct entry entry[BUCKETS][WAYS];
    uint64_t pool;  /* the hash of its name */
    uint32_t users; /* pools; of a shared arena, where nothing is freed, it says nothing */
};

#ifdef HAVE_LIBPSL
/* As balancer-hash has it: the system's list of public suffixes, or the library's own if that is newer.
 * Read before the first pool is sticky, and kept. */
static psl_ctx_t *suffixes;

static void suffixes_load(void)
{
    if (!suffixes)
        suffixes = psl_latest(NULL);
}
#else
static void suffixes_load(void)
{
}
#endif

struct sticky *sticky_join(struct arena *arena, uint64_t pool)
{
    suffixes_load();
    struct sticky *s = NULL;
    do
        s = arena_next(arena, ARENA_STICKY, s);
    while (s && s->pool != pool);
    if (!s)
        s = arena_share(arena, ARENA_STICKY, pool, sizeof *s);
    if (!s)
        return NULL;
    s->pool = pool;
    dp_add(&s->users, 1);
    return s;
}

void sticky_leave(struct arena *arena, struct sticky *s)
{
    if (s && dp_add(&s->users, UINT32_MAX) == 1) /* one less */
        arena_free(arena, s);
}

/* ---- keys ---- */

/* A mapped IPv4 address is that address. */
static uint64_t hash_ip(const struct dp_addr *addr, uint64_t seed)
{
    if (addr_family(addr) == AF_INET)
        return XXH64(&((const struct sockaddr_in *)&addr->sa)->sin_addr, 4, seed);
    const struct in6_addr *six = &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr;
    return IN6_IS_ADDR_V4MAPPED(six) ? XXH64(six->s6_addr + 12, 4, seed) : XXH64(six, 16, seed);
}

/* example.co.uk of www.example.co.uk; the whole name where there is no such thing, or no list. */
static const char *registrable(const char *name)
{
#ifdef HAVE_LIBPSL
    const char *domain = suffixes ? psl_registrable_domain(suffixes, name) : NULL;
    return domain ? domain : name;
#else
    return name;
#endif
}

/* Names are the same in any case, and with a dot at the end (RFC 4343; RFC 1034, section 3.1). */
static uint64_t hash_domain(const struct dp_addr *addr)
{
    char name[NAME_MAX_LEN + 1];
    size_t len = addr->name_len < NAME_MAX_LEN ? addr->name_len : NAME_MAX_LEN;
    if (len && addr->name[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = addr->name[i];
        name[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    name[len] = '\0';
    const char *from = registrable(name);
    return XXH64(from, strlen(from), 0);
}

/* What names have come to: to ask the list takes longer than all else of a dial. In each process its
 * own; read and written as the table below is. */
static struct known {
    uint64_t mixed, domain; /* hash of the name as it was given ^ domain */
} known[1024];

static uint64_t hash_name(const struct dp_addr *addr, uint64_t seed)
{
    uint64_t given = XXH64(addr->name, addr->name_len, 0);
    struct known *k = &known[given % (sizeof known / sizeof *known)];
    uint64_t domain = dp_load(&k->domain);
    if ((dp_load(&k->mixed) ^ domain) != given) {
        domain = hash_domain(addr);
        dp_store(&k->domain, domain);
        dp_store(&k->mixed, given ^ domain);
    }
    return XXH64(&domain, sizeof domain, seed);
}

uint64_t sticky_key(unsigned by, const struct dp_flow *flow)
{
    uint64_t key = 0;
    if (by & STICKY_CLIENT && flow->client.salen)
        key = hash_ip(&flow->client, 1);
    if (by & STICKY_HOST && flow->dest.salen)
        key = hash_ip(&flow->dest, key + 2);
    else if (by & STICKY_HOST && flow->dest.name_len)
        key = hash_name(&flow->dest, key + 2);
    return key;
}

/* ---- the table ---- */

static const struct entry *bucket_of(const struct sticky *s, uint64_t key)
{
    return s->entry[key % BUCKETS];
}

uint64_t sticky_get(const struct sticky *s, uint64_t key, int64_t now_ns)
{
    const struct entry *e = bucket_of(s, key);
    for (unsigned i = 0; i < WAYS; i++, e++) {
        uint64_t link = dp_load(&e->link);
        if ((dp_load(&e->mixed) ^ link) == key && dp_load(&e->until_ns) > now_ns)
            return link;
    }
    return 0;
}

/* The key's own place, or that of the entry which would be forgotten next. */
static struct entry *place_for(struct sticky *s, uint64_t key)
{
    struct entry *bucket = s->entry[key % BUCKETS], *oldest = bucket;
    for (struct entry *e = bucket; e < bucket + WAYS; e++) {
        if ((dp_load(&e->mixed) ^ dp_load(&e->link)) == key)
            return e;
        if (dp_load(&e->until_ns) < dp_load(&oldest->until_ns))
            oldest = e;
    }
    return oldest;
}

void sticky_put(struct sticky *s, uint64_t key, uint64_t link, int64_t now_ns, int64_t ttl_ns)
{
    struct entry *e = place_for(s, key);
    int64_t until_ns = now_ns + ttl_ns;
    /* A little late is not late: most connections of a client write nothing here. */
    if (dp_load(&e->link) == link && (dp_load(&e->mixed) ^ link) == key &&
        until_ns - dp_load(&e->until_ns) < ttl_ns / 64)
        return;
    dp_store(&e->link, link);
    dp_store(&e->mixed, key ^ link);
    dp_store(&e->until_ns, until_ns);
}
