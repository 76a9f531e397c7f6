/* SPDX-License-Identifier: MIT
 * resolver_cares.c: names by c-ares, asked through the link they are for.
 *
 * A look-up waits for two entries of the cache, IPv6 and IPv4. Whoever makes an entry asks for it;
 * all others who want the same wait for that. When one of the two has come the other is waited for a
 * moment only (RFC 8305, section 3). What is known already costs no wait and no system call.
 */
#include "route/resolver_cares.h"
#include "base/clock.h"
#include "route/name_cache.h"
#include "route/question.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define OTHER_FAMILY_NS (50 * NS_PER_MS) /* RFC 8305, section 8: resolution delay */
#define CACHE_ENTRIES_MAX 4096           /* a browser's day has some hundreds of names */
#define CACHE_BYTES_MAX (1 << 20)

enum { V6, V4, FAMILIES };
static const int family_of[FAMILIES] = {[V6] = AF_INET6, [V4] = AF_INET};

struct resolver_cares {
    struct resolver base;
    struct io *io;
    struct system_names system;
    struct name_servers *servers; /* of all links asked about */
    struct name_cache cache;
};

/* An entry being asked for, and who waits for it. */
struct flight {
    struct resolver_cares *resolver;
    struct name_entry *entry; /* a use */
    struct question *question;
    int64_t since_ns;
    struct wait *waiting;
};

/* A look-up's place in a flight. */
struct wait {
    struct lookup *lookup;
    struct flight *flight; /* NULL: over */
    struct wait *prev, *next;
};

struct lookup {
    struct resolver_query *query;
    struct resolver_cares *resolver;
    struct io_timer timer;
    struct name_entry *entry[FAMILIES]; /* a use of each */
    struct wait wait[FAMILIES];
};

/* ---- results ---- */

static size_t add_entry(const struct name_entry *e, struct dp_addr *addr, size_t n)
{
    size_t size = dns_ip_size(e->key.family);
    for (size_t i = 0; i < e->n && n < RESOLVER_ADDRESSES_MAX; i++, n++) {
        addr_from_ip(&addr[n], e->key.family, e->ip + i * size, 0);
        addr_unmap(&addr[n]);
    }
    return n;
}

/* What both have come to so far; no answer says less than "no such host". */
static int collect(struct name_entry *const entry[FAMILIES], struct dp_addr *addr, size_t *n)
{
    int err = DP_OK;
    *n = 0;
    for (int i = 0; i < FAMILIES; i++) {
        if (!entry[i]->known)
            continue;
        *n = add_entry(entry[i], addr, *n);
        if (err == DP_OK || err == DP_ERR_NO_HOST)
            err = entry[i]->err ? entry[i]->err : err;
    }
    return *n ? DP_OK : err;
}

static void give_back(struct resolver_cares *r, struct name_entry *const entry[FAMILIES])
{
    for (int i = 0; i < FAMILIES; i++)
        if (entry[i])
            name_cache_give_back(&r->cache, entry[i]);
}

/* ---- look-ups that wait ---- */

static void lookup_free(struct lookup *l)
{
    struct resolver_cares *r = l->resolver;
    for (int i = 0; i < FAMILIES; i++)
        if (l->wait[i].flight)
            DL_DELETE(l->wait[i].flight->waiting, &l->wait[i]);
    give_back(r, l->entry);
    io_timer(r->io, &l->timer, 0);
    free(l);
}

static void lookup_over(struct lookup *l)
{
    struct resolver_query *q = l->query;
    struct dp_addr addr[RESOLVER_ADDRESSES_MAX];
    size_t n;
    int err = collect(l->entry, addr, &n);
    lookup_free(l);
    q->done(q, err, addr, n);
}

static void lookup_timer(struct io_timer *t)
{
    lookup_over((struct lookup *)((char *)t - offsetof(struct lookup, timer)));
}

/* One of the two has come. */
static void lookup_note(struct lookup *l)
{
    struct io *io = l->resolver->io;
    if (!l->wait[V6].flight && !l->wait[V4].flight)
        lookup_over(l);
    else if (l->entry[V6]->n || l->entry[V4]->n)
        io_timer(io, &l->timer, io_now(io) + OTHER_FAMILY_NS);
}

/* One was known before: of those who wait for the other only the first does so for long. */
static void lookup_half(struct lookup *l)
{
    const struct flight *f = l->wait[l->wait[V6].flight ? V6 : V4].flight;
    if (l->entry[V6]->n || l->entry[V4]->n)
        io_timer(l->resolver->io, &l->timer, f->since_ns + OTHER_FAMILY_NS);
}

static void lookup_wait(struct lookup *l, int i)
{
    struct wait *w = &l->wait[i];
    if (l->entry[i]->known)
        return;
    w->lookup = l;
    w->flight = l->entry[i]->asking;
    DL_APPEND(w->flight->waiting, w);
}

static int lookup_new(struct resolver_cares *r, struct name_entry *const entry[FAMILIES],
                      struct resolver_query *q)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (!l) {
        give_back(r, entry);
        return DP_ERR_LOCAL;
    }
    l->query = q;
    l->resolver = r;
    l->timer.fire = lookup_timer;
    q->lookup = l;
    for (int i = 0; i < FAMILIES; i++) {
        l->entry[i] = entry[i];
        lookup_wait(l, i);
    }
    lookup_half(l);
    return DP_AGAIN;
}

/* ---- flights ---- */

static void flight_over(void *owner, const struct dns_answer *answer)
{
    struct flight *f = owner;
    struct resolver_cares *r = f->resolver;
    struct wait *w;
    f->entry->asking = NULL;
    name_cache_answer(&r->cache, f->entry, answer, io_now(r->io));
    while ((w = f->waiting)) { /* who may cancel others, and ask anew */
        DL_DELETE(f->waiting, w);
        w->flight = NULL;
        lookup_note(w->lookup);
    }
    name_cache_give_back(&r->cache, f->entry);
    free(f);
}

static bool flight_wanted(void *owner)
{
    const struct flight *f = owner;
    return f->waiting != NULL;
}

static int flight_start(struct resolver_cares *r, struct link *link, struct name_entry *entry,
                        const char *name)
{
    static const struct question_ops ops = {.over = flight_over, .wanted = flight_wanted};
    struct name_servers *servers = name_servers_take(&r->servers, r->io, link, &r->system);
    struct flight *f = servers ? calloc(1, sizeof *f) : NULL;
    if (!f) {
        if (servers)
            name_servers_give_back(servers);
        return DP_ERR_LOCAL;
    }
    f->resolver = r;
    f->entry = entry;
    f->since_ns = io_now(r->io);
    entry->asking = f;
    entry->users++;
    if (question_start(servers, &r->system, name, entry->key.family, &ops, f, &f->question) == 0)
        return DP_OK;
    entry->users--;
    entry->asking = NULL;
    free(f);
    return DP_ERR_LOCAL;
}

/* Nobody waits for it. */
static void flight_drop(struct flight *f)
{
    question_cancel(f->question);
    f->entry->asking = NULL;
    name_cache_give_back(&f->resolver->cache, f->entry);
    free(f);
}

/* ---- names ---- */

/* RFC 6761, section 6.3: localhost and names below it are the loopback, and asked of nobody. */
static bool is_localhost(const char *name)
{
    static const char suffix[] = ".localhost";
    size_t len = strlen(name), n = sizeof suffix - 1;
    return strcmp(name, suffix + 1) == 0 || (len > n && strcmp(name + len - n, suffix) == 0);
}

static size_t localhost(struct dp_addr *addr)
{
    static const uint8_t v6[16] = {[15] = 1}, v4[4] = {127, 0, 0, 1};
    addr_from_ip(&addr[0], AF_INET6, v6, 0);
    addr_from_ip(&addr[1], AF_INET, v4, 0);
    return 2;
}

/* What nobody needs to be asked about. Returns how many addresses that are. */
static size_t find_here(const struct resolver_cares *r, const char *name, struct dp_addr *addr)
{
    char bare[NAME_SIZE];
    size_t len = strlen(name);
    memcpy(bare, name, len + 1);
    if (bare[len - 1] == '.')
        bare[len - 1] = '\0';
    if (is_localhost(bare))
        return localhost(addr);
    if (addr_parse_ip(addr, bare, strlen(bare)) == 0)
        return 1;
    return hosts_find(&r->system.hosts, bare, addr, RESOLVER_ADDRESSES_MAX);
}

static int name_read(char out[NAME_SIZE], const char *name, size_t len)
{
    if (len == 0 || len >= NAME_SIZE || memchr(name, '\0', len))
        return DP_ERR_NO_HOST;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)name[i]);
    out[len] = '\0';
    return DP_OK;
}

/* Both families, each asked for if nobody has yet. */
static int take_entries(struct resolver_cares *r, struct link *link, const char *name,
                        struct name_entry *entry[FAMILIES])
{
    uint64_t source = name_servers_source(link, &r->system);
    for (int i = 0; i < FAMILIES; i++) {
        struct name_entry *e =
            name_cache_take(&r->cache, source, family_of[i], name, io_now(r->io));
        entry[i] = e;
        if (!e)
            return DP_ERR_LOCAL;
        if (!e->known && !e->asking && flight_start(r, link, e, name) != DP_OK)
            return DP_ERR_LOCAL;
    }
    return DP_OK;
}

static int cares_start(struct resolver *base, struct link *bottom, const char *name, size_t len,
                       struct resolver_query *q, struct dp_addr *addr, size_t *n)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct name_entry *entry[FAMILIES] = {0};
    char text[NAME_SIZE];
    int err = name_read(text, name, len);
    if (err != DP_OK)
        return err;
    system_names_refresh(&r->system, io_now(r->io));
    *n = find_here(r, text, addr);
    if (*n)
        return DP_OK;
    err = take_entries(r, bottom, text, entry);
    if (err == DP_OK && !(entry[V6]->known && entry[V4]->known))
        return lookup_new(r, entry, q);
    if (err == DP_OK)
        err = collect(entry, addr, n);
    give_back(r, entry);
    return err;
}

int resolver_cares_ask(struct resolver *base, struct link *bottom, const char *name,
                       const struct question_ops *ops, void *owner, struct question **question)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    system_names_refresh(&r->system, io_now(r->io));
    struct name_servers *servers = name_servers_take(&r->servers, r->io, bottom, &r->system);
    if (!servers || question_start(servers, &r->system, name, AF_INET, ops, owner, question) < 0)
        return DP_ERR_LOCAL;
    return DP_OK;
}

static void cares_cancel(struct resolver *base, struct resolver_query *q)
{
    (void)base;
    lookup_free(q->lookup);
}

/* ---- life ---- */

static const struct resolver_ops cares_ops = {.start = cares_start, .cancel = cares_cancel};

struct resolver *resolver_cares_new(struct io *io)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return NULL;
    struct resolver_cares *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->base.ops = &cares_ops;
    r->io = io;
    r->cache.entries_max = CACHE_ENTRIES_MAX;
    r->cache.bytes_max = CACHE_BYTES_MAX;
    system_names_init(&r->system);
    return &r->base;
}

void resolver_cares_trim(struct resolver *base)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    name_servers_retire(&r->servers);
    r->system.checked_ns = 0; /* a reload is a reason to look */
}

void resolver_cares_free(struct resolver *base)
{
    struct resolver_cares *r = (struct resolver_cares *)base;
    struct name_entry *e, *next;
    HASH_ITER(hh, r->cache.all, e, next)
    if (e->asking)
        flight_drop(e->asking);
    name_servers_free(&r->servers);
    name_cache_deinit(&r->cache);
    system_names_deinit(&r->system);
    free(r);
    ares_library_cleanup();
}
