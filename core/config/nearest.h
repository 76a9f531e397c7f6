/* SPDX-License-Identifier: MIT
 * nearest.h: which of the known words did the user mean?
 */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

/* Starts as {.word = what was written}. */
struct nearest {
    const char *word;
    const char *best;
    unsigned distance;
};

void nearest_try(struct nearest *nearest, const char *known);

/* `; did you mean "weight"?`, or nothing if no known word is near. Returns buf. */
#define NEAREST_TEXT 160
const char *nearest_text(const struct nearest *nearest, char buf[NEAREST_TEXT]);

#endif
