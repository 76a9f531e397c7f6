/* SPDX-License-Identifier: MIT
 * samples.h: times, and their percentiles.
 */
#ifndef LOAD_SAMPLES_H
#define LOAD_SAMPLES_H

#include <stdint.h>

void samples_add(int64_t ns);

/* Prints `"p50_us": 12.3, ...` of all that were added. */
void samples_print(void);

#endif
