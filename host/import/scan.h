/* SPDX-License-Identifier: MIT
 * scan.h: the words of Dante's configuration.
 *
 * A setting ends where its line does, or the next one on that line begins: at a keyword and a
 * colon. A comment runs to the end of its line, a backslash there joins the next one.
 */
#ifndef IMPORT_SCAN_H
#define IMPORT_SCAN_H

#include <stdbool.h>
#include <stddef.h>

struct scan {
    const char *at, *end;
    unsigned line;
};

/* The character so far ahead; NUL: the text is over. */
char scan_peek(const struct scan *s, size_t ahead);

/* Passes over blanks, and line ends behind a backslash. */
void scan_blanks(struct scan *s);
/* Over the rest of the line as well, if it is a comment, and all empty lines. */
void scan_lines(struct scan *s);

/* The bytes of a name that begins here. Are they this word? */
size_t scan_name(const struct scan *s);
bool scan_is(const struct scan *s, size_t len, const char *word);

/* The bytes of a keyword, if one begins here; `*behind`: to where its value begins. A word that no
 * keyword is counts as one if a colon ends it, so that it can be reported. */
size_t scan_keyword(const struct scan *s, size_t *behind);

/* Takes the words up to where the setting ends, with one blank between; returns their length. `out`
 * may be NULL. */
size_t scan_value(struct scan *s, char *out);

#endif
