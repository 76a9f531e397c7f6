/* SPDX-License-Identifier: MIT
 * sources.c: how many connections each client address has, over all workers.
 *
 * A table of atomic words, each the hash of a listener and a client, and below that the client's
 * number of connections. A client's word is in one of a few places, which lie in two lines of the
 * cache; whose number is 0 is free. While others free theirs, two threads may put the same client in
 * two places: what counts is the sum.
 */
#include "traffic/sources.h"
#include "base/addr.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define COUNT_BITS 24 /* more than a process has descriptors */
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

#define LINE 8            /* words in a line of the cache */
#define PLACES (2 * LINE) /* where a client can be */

/* Places for each connection, so that a client hardly ever finds all of its own taken. */
#define SPARSE 4

struct sources {
    uint64_t *word; /* atomic */
    uint32_t mask;
    uint8_t secret[XXH3_SECRET_SIZE_MIN]; /* so that nobody can choose whose place he takes */
};

struct sources *sources_new(uint32_t connections)
{
    const uint32_t most = UINT32_C(1) << 24;
    uint32_t n = PLACES;
    struct sources *s = calloc(1, sizeof *s);
    if (!s || getentropy(s->secret, sizeof s->secret) < 0) {
        free(s);
        return NULL;
    }
    while (n < most && n / SPARSE < connections)
        n *= 2;
    s->mask = n - 1;
    s->word = calloc(n, sizeof *s->word); /* only touched pages cost memory */
    if (s->word)
        return s;
    free(s);
    return NULL;
}

void sources_free(struct sources *s)
{
    if (!s)
        return;
    free(s->word);
    free(s);
}

static uint64_t source_hash(const struct sources *s, const char *listener,
                            const struct dp_addr *client)
{
    struct {
        uint64_t listener;
        uint64_t family;
        uint64_t net;
    } source = {.listener = XXH64(listener, strlen(listener), 0),
                .family = (uint64_t)addr_family(client)};
    if (source.family == AF_INET6)
        memcpy(&source.net, &((const struct sockaddr_in6 *)&client->sa)->sin6_addr,
               sizeof source.net);
    else
        source.net = ((const struct sockaddr_in *)&client->sa)->sin_addr.s_addr;
    return XXH3_64bits_withSecret(&source, sizeof source, s->secret, sizeof s->secret);
}

/* What the places of a client hold. */
struct look {
    uint64_t total;
    uint32_t place; /* of its word, else of a free one, */
    uint64_t word;  /* which holds this; */
    bool found;     /* there is either */
};

static struct look places_look(const struct sources *s, uint64_t hash)
{
    struct look look = {0};
    uint32_t first = (uint32_t)hash & s->mask & ~(uint32_t)(LINE - 1);
    for (uint32_t i = 0; i < PLACES; i++) {
        uint32_t place = (first + i) & s->mask;
        uint64_t word = __atomic_load_n(&s->word[place], __ATOMIC_SEQ_CST);
        uint64_t count = word & COUNT_MASK;
        if (count && word >> COUNT_BITS != hash >> COUNT_BITS)
            continue;
        if (!look.found || (count && !look.total)) {
            look.place = place;
            look.word = word;
        }
        look.found = true;
        look.total += count;
    }
    return look;
}

/* Counts one more at the place looked at, if it is still as it was. */
static bool place_raise(struct sources *s, uint64_t hash, const struct look *look)
{
    uint64_t was = look->word;
    uint64_t will = (hash & ~COUNT_MASK) + (was & COUNT_MASK) + 1;
    return __atomic_compare_exchange_n(&s->word[look->place], &was, will, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

void sources_give(struct sources *s, uint32_t place)
{
    if (place)
        __atomic_fetch_sub(&s->word[place - 1], 1, __ATOMIC_SEQ_CST);
}

bool sources_take(struct sources *s, const char *listener, const struct dp_addr *client,
                  uint32_t limit, uint32_t *place)
{
    uint64_t hash = source_hash(s, listener, client);
    *place = 0;
    for (;;) {
        struct look look = places_look(s, hash);
        if (look.total >= limit)
            return false;
        if (!look.found)
            return true;
        if (!place_raise(s, hash, &look))
            continue;
        /* Somebody may have counted it elsewhere meanwhile: then one of the two is undone. */
        if (places_look(s, hash).total <= limit) {
            *place = look.place + 1;
            return true;
        }
        sources_give(s, look.place + 1);
    }
}
