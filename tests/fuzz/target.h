/* SPDX-License-Identifier: MIT
 * target.h: what a fuzz target is: libFuzzer's entry, and how it says that something is wrong.
 */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static inline void require(int truth)
{
    if (!truth)
        abort();
}

#endif
