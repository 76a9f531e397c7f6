/* SPDX-License-Identifier: MIT
 * balancer-hash: the same link for the same client, user or destination.
 *
 * Weighted rendezvous hashing: each link draws a number from the key and its own name, and the best
 * one wins. What a link draws depends on no other link, so a link that goes loses its own keys, to
 * all the others by their weights, and one that comes takes its share from all of them.
 */
#include <dispatch-plugin.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#ifdef HAVE_LIBPSL
#include <libpsl.h>
#endif

enum { ON_CLIENT, ON_HOST, ON_DOMAIN, ON_DESTINATION, ON_USER }; /* the choices of `hash-on` */

#define NAME_MAX_LEN 255 /* longer ones are no host names */

struct conf {
    uint32_t hash_on;
};

struct self {
    uint32_t hash_on;
    void *suffixes; /* ON_DOMAIN: of libpsl */
};

/* ON_DOMAIN: what names have come to, for to ask libpsl takes as long as all else of a connection. A
 * name's hash stands there mixed with its domain's, so that halves of two entries make none. */
#define KNOWN 1024
struct state {
    struct known {
        uint64_t mixed, domain;
    } known[KNOWN];
};

/* ---- registrable domains ---- */

#ifdef HAVE_LIBPSL
static int suffixes_load(const struct dp_host *host, struct self *self)
{
    self->suffixes =
        psl_latest(NULL); /* the system's list, or the library's own if that is newer */
    return self->suffixes ? 0 : host->fail(host, "hash-on", "no list of public suffixes");
}

static void suffixes_free(struct self *self)
{
    psl_free(self->suffixes);
}

/* The end of the name that was registered: example.co.uk of www.example.co.uk. The name itself if
 * there is no such thing: an address in letters, a name that is no ASCII (which would have to be
 * converted), a public suffix. The list's names are in lower case. */
static const char *registrable(const struct self *self, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] <= 0 || name[i] == ':')
            return name;
    if (!len || (name[len - 1] >= '0' && name[len - 1] <= '9'))
        return name;
    const char *domain = psl_registrable_domain(self->suffixes, name);
    return domain ? domain : name;
}
#else
static int suffixes_load(const struct dp_host *host, struct self *self)
{
    (void)self;
    return host->fail(host, "hash-on", "domain needs libpsl, which this was built without");
}

static void suffixes_free(struct self *self)
{
    (void)self;
}

static const char *registrable(const struct self *self, const char *name, size_t len)
{
    (void)self;
    (void)len;
    return name;
}
#endif

/* ---- keys ---- */

/* Without its port; an IPv4 address is the same in either family. */
static uint64_t hash_address(const struct dp_addr *addr)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&addr->sa;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&addr->sa;
    if (addr->sa.ss_family == AF_INET)
        return XXH64(&v4->sin_addr, sizeof v4->sin_addr, 0);
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return XXH64(&v6->sin6_addr.s6_addr[12], sizeof v4->sin_addr, 0);
    return XXH64(&v6->sin6_addr, sizeof v6->sin6_addr, 0);
}

/* Names are the same in any case, and with a dot at the end (RFC 4343, RFC 1034 section 3.1). */
static uint64_t hash_text(const struct self *self, const struct dp_addr *addr)
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
    const char *from = self->hash_on == ON_DOMAIN ? registrable(self, name, len) : name;
    return XXH64(from, (size_t)(name + len - from), 0);
}

/* Asks the list of public suffixes only for a name that is not known. */
static uint64_t hash_domain(const struct self *self, struct state *state,
                            const struct dp_addr *addr)
{
    uint64_t given = XXH64(addr->name, addr->name_len, 0);
    struct known *k = &state->known[given % KNOWN];
    uint64_t domain = dp_load(&k->domain);
    if ((dp_load(&k->mixed) ^ domain) != given) {
        domain = hash_text(self, addr);
        dp_store(&k->domain, domain);
        dp_store(&k->mixed, given ^ domain);
    }
    return domain;
}

static uint64_t hash_name(const struct self *self, struct state *state, const struct dp_addr *addr)
{
    return self->hash_on == ON_DOMAIN ? hash_domain(self, state, addr) : hash_text(self, addr);
}

/* What has no destination that is known, or no user, goes by its client. */
static uint64_t key_of(const struct self *self, struct state *state, const struct dp_flow *flow)
{
    const struct dp_addr *dest = &flow->dest;
    if (self->hash_on == ON_USER && flow->user.len)
        return XXH64(flow->user.p, flow->user.len, 0);
    if (self->hash_on == ON_CLIENT || self->hash_on == ON_USER || !(dest->salen || dest->name_len))
        return hash_address(&flow->client);
    uint64_t key = dest->salen ? hash_address(dest) : hash_name(self, state, dest);
    return self->hash_on == ON_DESTINATION ? XXH64(&key, sizeof key, dest->port) : key;
}

/* ---- the balancer ---- */

static int create(const struct dp_host *host, const void *conf, void **self)
{
    const struct conf *c = conf;
    struct self *s = calloc(1, sizeof *s);
    if (!s)
        return host->fail(host, NULL, "out of memory");
    s->hash_on = c->hash_on;
    int rc = s->hash_on == ON_DOMAIN ? suffixes_load(host, s) : 0;
    if (rc)
        free(s);
    else
        *self = s;
    return rc;
}

static void destroy(void *self)
{
    suffixes_free(self);
    free(self);
}

/* What the member draws: exponential, at the rate of its weight. Of several such numbers the
 * smallest is a member's as often as its weight is part of their sum. */
static double draw(uint64_t key, const struct dp_member *m)
{
    const uint64_t of[] = {key, m->id};
    double even = ((double)(XXH64(of, sizeof of, 0) >> 11) + 0.5) * 0x1p-53; /* in (0, 1) */
    return -log(even) / m->weight;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen; /* the choice rests on nobody's load */
    uint64_t key = key_of(pool->self, pool->state, flow);
    uint32_t chosen = DP_NONE;
    double least = INFINITY;
    for (uint32_t i = 0; i < pool->view->n; i++) {
        if (!dp_allowed(pool, flow, i))
            continue;
        double drawn = draw(key, pool->view->member[i]);
        if (drawn < least) {
            least = drawn;
            chosen = i;
        }
    }
    return chosen;
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .create = create,
    .destroy = destroy,
    .pick = pick,
};

static const struct dp_opt opts[] = {
    {
        .name = "hash-on",
        .type = DP_ENUM,
        .offset = offsetof(struct conf, hash_on),
        .dflt = "client",
        .choices = "client|host|domain|destination|user",
        .help = "what keeps its link: a client, a host, all of a domain, a host and port, a user",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "hash",
    .version = "1",
    .summary = "the same link for the same client, user or destination",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
