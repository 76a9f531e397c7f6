/* SPDX-License-Identifier: MIT
 * throttle.c: client addresses whose logins fail.
 *
 * A table of atomic words, each of one address: some bits of its hash, how often it has failed, and
 * until when it waits. An address has a few places; where all are taken the one that would be
 * forgotten first makes room. 0 is free.
 */
#include "traffic/throttle.h"
#include "base/addr.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define PLACES 8 /* where an address can be: a line of the cache */
#define WORDS 4096
#define FORGET_NS (600 * NS_PER_S)
#define TICK_NS (100 * NS_PER_MS) /* in 32 bits: 13 years */

/* From the top: 28 bits of the hash, 4 of the number, 32 of the time. */
#define TAG_MASK (~UINT64_C(0) << 36)
#define FAILS_SHIFT 32
#define FAILS_MAX 15

struct throttle {
    int64_t start_ns;
    uint8_t secret[XXH3_SECRET_SIZE_MIN]; /* so that nobody can choose whose place he takes */
    uint64_t word[WORDS];                 /* atomic */
};

struct throttle *throttle_new(int64_t now_ns)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (!t || getentropy(t->secret, sizeof t->secret) < 0) {
        free(t);
        return NULL;
    }
    t->start_ns = now_ns - TICK_NS; /* no time is 0 */
    return t;
}

void throttle_free(struct throttle *t)
{
    free(t);
}

uint64_t throttle_source(const struct throttle *t, const struct dp_addr *client)
{
    struct {
        uint64_t family, net;
    } source = {.family = (uint64_t)addr_family(client)};
    if (source.family == AF_INET6)
        memcpy(&source.net, &((const struct sockaddr_in6 *)&client->sa)->sin6_addr,
               sizeof source.net);
    else
        source.net = ((const struct sockaddr_in *)&client->sa)->sin_addr.s_addr;
    return XXH3_64bits_withSecret(&source, sizeof source, t->secret, sizeof t->secret);
}

/* ---- words ---- */

static int64_t word_time(const struct throttle *t, uint64_t word)
{
    return t->start_ns + (int64_t)(uint32_t)word * TICK_NS;
}

static unsigned word_fails(uint64_t word)
{
    return word >> FAILS_SHIFT & FAILS_MAX;
}

static uint64_t word_make(const struct throttle *t, uint64_t source, unsigned fails, int64_t at_ns)
{
    uint64_t ticks = (uint64_t)((at_ns - t->start_ns + TICK_NS - 1) / TICK_NS);
    return (source & TAG_MASK) | (uint64_t)fails << FAILS_SHIFT | (uint32_t)ticks;
}

static bool word_forgotten(const struct throttle *t, uint64_t word, int64_t now_ns)
{
    return !word || now_ns - word_time(t, word) > FORGET_NS;
}

/* The place of this address, or else the one to take for it: *known says which. */
static uint64_t *place_find(struct throttle *t, uint64_t source, int64_t now_ns, bool *known)
{
    uint64_t *first = &t->word[source % (WORDS / PLACES) * PLACES], *oldest = first;
    *known = true;
    for (uint64_t *word = first; word < first + PLACES; word++) {
        uint64_t seen = dp_load(word);
        if ((seen & TAG_MASK) == (source & TAG_MASK) && !word_forgotten(t, seen, now_ns))
            return word;
        if ((uint32_t)seen < (uint32_t)dp_load(oldest))
            oldest = word;
    }
    *known = false;
    return oldest;
}

/* Between one try and the next after so many failures. */
static int64_t penalty(unsigned fails)
{
    unsigned doubled = fails < THROTTLE_FREE ? 0 : fails - THROTTLE_FREE;
    int64_t ns = doubled < 8 ? NS_PER_S << doubled : THROTTLE_MOST_NS;
    return fails < THROTTLE_FREE ? 0 : ns < THROTTLE_MOST_NS ? ns : THROTTLE_MOST_NS;
}

/* ---- tries ---- */

bool throttle_admit(struct throttle *t, uint64_t source, int64_t now_ns, int64_t latest_ns,
                    int64_t *at_ns)
{
    for (;;) {
        bool known;
        uint64_t *word = place_find(t, source, now_ns, &known), was = dp_load(word);
        unsigned fails = word_fails(was);
        *at_ns = now_ns;
        if (!known || fails < THROTTLE_FREE)
            return true;
        if (word_time(t, was) > now_ns)
            *at_ns = word_time(t, was);
        if (*at_ns > latest_ns)
            return false;
        uint64_t will = word_make(t, source, fails, *at_ns + penalty(fails));
        if ((was & TAG_MASK) == (source & TAG_MASK) &&
            __atomic_compare_exchange_n(word, &was, will, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return true;
    }
}

/* The word of an address that has failed once more. */
static uint64_t word_failed(const struct throttle *t, uint64_t source, uint64_t was, bool known,
                            int64_t now_ns)
{
    unsigned fails = known ? word_fails(was) + 1 : 1;
    if (fails > FAILS_MAX)
        fails = FAILS_MAX;
    int64_t at_ns = now_ns + penalty(fails);
    if (known && word_time(t, was) > at_ns)
        at_ns = word_time(t, was);
    return word_make(t, source, fails, at_ns);
}

void throttle_told(struct throttle *t, uint64_t source, bool right, int64_t now_ns)
{
    for (;;) {
        bool known;
        uint64_t *word = place_find(t, source, now_ns, &known), was = dp_load(word);
        if (right && !known)
            return;
        bool mine = (was & TAG_MASK) == (source & TAG_MASK);
        if (known && !mine) /* it has just lost its place */
            continue;
        uint64_t will = right ? 0 : word_failed(t, source, was, known, now_ns);
        if (__atomic_compare_exchange_n(word, &was, will, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
            return;
    }
}
