/* SPDX-License-Identifier: MIT
 * cuts.h: bytes cut in pieces, which must make no difference to who reads them.
 */
#ifndef FUZZ_CUTS_H
#define FUZZ_CUTS_H

#include "fuzz/target.h"
#include <string.h>

/* The length of the next piece of `left` bytes; of none: 0. A seed of 0 makes them of one byte. */
static inline size_t cut_next(uint32_t *seed, size_t left)
{
    if (*seed == 0)
        return left > 0;
    *seed = *seed * 1103515245 + 12345;
    size_t most = *seed >> 31 ? 9 : 900, n = 1 + (*seed >> 8) % most;
    return n < left ? n : left;
}

/* A reader of one message: its length, 0 if more must come, or a negative code. */
typedef int message_read(const uint8_t *p, size_t len);

/* Whatever it says of a beginning, it says of all that is longer. Each lies at the end of its
 * memory, so that a read past it is seen. */
static inline void require_no_cut_matters(message_read *read, const uint8_t *p, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    int known = 0;
    if (!copy)
        abort();
    for (size_t n = 0; n <= len; n++) {
        uint8_t *at = copy + 1 + len - n;
        memcpy(at, p, n);
        int said = read(at, n);
        require(said <= (int)n && (known == 0 || said == known));
        known = said;
    }
    free(copy);
}

#endif
