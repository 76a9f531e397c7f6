/* SPDX-License-Identifier: MIT
 * samples.c: times, and their percentiles.
 */
#include <stdio.h>
#include <stdlib.h>

#include "loop.h"
#include "samples.h"

static struct {
    int64_t *ns;
    size_t n, room;
} samples;

void samples_add(int64_t ns)
{
    if (samples.n == samples.room) {
        samples.room = samples.room ? 2 * samples.room : 65536;
        samples.ns = realloc(samples.ns, samples.room * sizeof *samples.ns);
        if (!samples.ns)
            fatal("out of memory");
    }
    samples.ns[samples.n++] = ns;
}

static int order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The smallest time that this many of a million do not exceed. */
static double percentile_us(uint64_t per_million)
{
    size_t rank = (size_t)((samples.n * per_million + 999999) / 1000000);
    return (double)samples.ns[rank ? rank - 1 : 0] / 1e3;
}

void samples_print(void)
{
    if (samples.n == 0)
        fatal("nothing was measured");
    qsort(samples.ns, samples.n, sizeof *samples.ns, order);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f",
           percentile_us(500000), percentile_us(990000), percentile_us(999000),
           percentile_us(1000000));
}
