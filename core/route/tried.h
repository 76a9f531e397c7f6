/* SPDX-License-Identifier: MIT
 * tried.h: which links a flow has tried.
 *
 * In a pool that is alone one bit a slot says it, which is what balancers look at. Where there are
 * more pools than one the links are kept instead, and each pool's bits are made from them.
 */
#ifndef ROUTE_TRIED_H
#define ROUTE_TRIED_H

#include "route/link.h"

#define POOL_TRIED_WORDS 16
#define POOL_SLOTS_MAX (POOL_TRIED_WORDS * 64)
#define TRIED_LINKS_MAX 64 /* after so many a flow has tried enough */

/* All zero at first, but for the links. */
struct tried {
    uint64_t slot[POOL_TRIED_WORDS];
    bool (*bar)(const struct link *link); /* true: it is not to be tried; NULL: all may */
    unsigned n_links;
    bool trial; /* a link that was out among them: one flow shall not wait for many */
    uint64_t link[TRIED_LINKS_MAX]; /* n_links hashes */
};

static inline void slot_bar(uint64_t *slots, uint32_t slot)
{
    slots[slot / 64] |= UINT64_C(1) << (slot % 64);
}

static inline bool tried_by_links(const struct tried *tried)
{
    return tried->n_links > 0 || tried->bar;
}

static inline void tried_add(struct tried *tried, const struct link *link)
{
    if (tried->n_links < TRIED_LINKS_MAX)
        tried->link[tried->n_links++] = link->hash;
}

static inline bool tried_has(const struct tried *tried, const struct link *link)
{
    for (unsigned i = 0; i < tried->n_links; i++)
        if (tried->link[i] == link->hash)
            return true;
    return tried->bar && tried->bar(link);
}

#endif
