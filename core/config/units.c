/* SPDX-License-Identifier: MIT
 * units.c: numbers, durations and sizes as people write them, read and written.
 */
#include "config/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* From the largest, for printing. */
static const struct unit durations[] = {
    {"d", UINT64_C(86400000000000)},
    {"h", UINT64_C(3600000000000)},
    {"m", UINT64_C(60000000000)},
    {"s", UINT64_C(1000000000)},
    {"ms", UINT64_C(1000000)},
    {"us", UINT64_C(1000)},
    {"ns", UINT64_C(1)},
    {NULL, 0},
};
static const struct unit sizes[] = {
    {"GiB", UINT64_C(1) << 30}, {"GB", UINT64_C(1000000000)}, {"MiB", UINT64_C(1) << 20},
    {"MB", UINT64_C(1000000)},  {"KiB", UINT64_C(1) << 10},   {"kB", UINT64_C(1000)},
    {"KB", UINT64_C(1000)},     {"B", UINT64_C(1)},           {NULL, 0},
};

/* The digits in front; a leading zero is none of ours, for some read it as octal. Returns what
 * follows, or NULL. *too_large where 64 bits do not hold it. */
static const char *digits(uint64_t *n, const char *text, int *too_large)
{
    *n = 0;
    *too_large = 0;
    if (*text < '0' || *text > '9' || (text[0] == '0' && text[1] >= '0' && text[1] <= '9'))
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (*n > (UINT64_MAX - digit) / 10)
            *too_large = 1;
        else
            *n = *n * 10 + digit;
    }
    return text;
}

int units_number(uint64_t *n, const char *text)
{
    int too_large;
    const char *rest = digits(n, text, &too_large);
    if (!rest || *rest)
        return -1;
    return too_large ? -2 : 0;
}

static int units_parse(uint64_t *value, const char *text, const struct unit *unit, uint64_t max)
{
    uint64_t n;
    int too_large;
    const char *rest = digits(&n, text, &too_large);
    if (!rest)
        return -1;
    *value = 0;
    if (!*rest)
        return n == 0 && !too_large ? 0 : -1;
    while (unit->name && strcmp(unit->name, rest) != 0)
        unit++;
    if (!unit->name)
        return -1;
    if (too_large || n > max / unit->factor)
        return -2;
    *value = n * unit->factor;
    return 0;
}

int units_duration(int64_t *ns, const char *text)
{
    uint64_t value;
    int err = units_parse(&value, text, durations, INT64_MAX);
    *ns = err < 0 ? 0 : (int64_t)value;
    return err;
}

int units_size(uint64_t *bytes, const char *text)
{
    return units_parse(bytes, text, sizes, UINT64_MAX);
}

static const char *units_text(uint64_t value, const struct unit *unit, char buf[UNITS_TEXT])
{
    while (value && value % unit->factor != 0)
        unit++;
    if (value)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 "%s", value / unit->factor, unit->name);
    else
        snprintf(buf, UNITS_TEXT, "0");
    return buf;
}

const char *units_duration_text(int64_t ns, char buf[UNITS_TEXT])
{
    return units_text((uint64_t)ns, durations, buf);
}

const char *units_size_text(uint64_t bytes, char buf[UNITS_TEXT])
{
    return units_text(bytes, sizes, buf);
}
