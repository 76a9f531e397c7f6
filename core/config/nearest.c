/* SPDX-License-Identifier: MIT
 * nearest.c: which of the known words did the user mean?
 */
#include "config/nearest.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 64 /* longer words are not compared */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Levenshtein: insertions, deletions and replacements that turn a into b. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[WORD_MAX + 1];
    for (unsigned j = 0; j <= b_len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned same = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min3(same, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[b_len];
}

void nearest_try(struct nearest *nearest, const char *known)
{
    size_t a_len = strlen(nearest->word), b_len = strlen(known);
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return;
    unsigned d = distance(nearest->word, a_len, known, b_len);
    /* A third of the word may be wrong, and two letters of a short one: `wieght` is 2 away. */
    unsigned limit = a_len < 4 ? 1 : a_len < 9 ? 2 : (unsigned)a_len / 3;
    if (d <= limit && (!nearest->best || d < nearest->distance)) {
        nearest->best = known;
        nearest->distance = d;
    }
}

const char *nearest_text(const struct nearest *nearest, char buf[NEAREST_TEXT])
{
    buf[0] = '\0';
    if (nearest->best)
        snprintf(buf, NEAREST_TEXT, "; did you mean \"%s\"?", nearest->best);
    return buf;
}
