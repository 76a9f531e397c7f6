/* SPDX-License-Identifier: MIT
 * units.h: numbers, durations and sizes as people write them, read and written.
 */
#ifndef CONFIG_UNITS_H
#define CONFIG_UNITS_H

#include <stdint.h>

/* Each takes the whole text. Returns 0, -1: not of that form, -2: too large for its type. */
int units_number(uint64_t *n, const char *text);
int units_duration(int64_t *ns, const char *text); /* `250ms`, `10s`, `0` */
int units_size(uint64_t *bytes, const char *text); /* `64KiB`, `20MB`, `0` */

/* In the largest unit that gives a whole number; reads back as the same. Return buf. */
#define UNITS_TEXT 32
const char *units_duration_text(int64_t ns, char buf[UNITS_TEXT]);
const char *units_size_text(uint64_t bytes, char buf[UNITS_TEXT]);

#endif
