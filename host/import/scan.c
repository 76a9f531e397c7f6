/* SPDX-License-Identifier: MIT
 * scan.c: the words of Dante's configuration.
 */
#include "scan.h"
#include "keyword.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

char scan_peek(const struct scan *s, size_t ahead)
{
    return (size_t)(s->end - s->at) > ahead ? s->at[ahead] : '\0';
}

void scan_blanks(struct scan *s)
{
    for (;;) {
        if (is_blank(scan_peek(s, 0))) {
            s->at++;
        } else if (scan_peek(s, 0) == '\\' && scan_peek(s, 1) == '\n') {
            s->at += 2;
            s->line++;
        } else {
            return;
        }
    }
}

void scan_lines(struct scan *s)
{
    for (;;) {
        scan_blanks(s);
        if (scan_peek(s, 0) == '#')
            while (s->at < s->end && *s->at != '\n')
                s->at++;
        if (scan_peek(s, 0) != '\n')
            return;
        s->at++;
        s->line++;
    }
}

size_t scan_name(const struct scan *s)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = 0;
    while (scan_peek(s, len) && strchr(letters, scan_peek(s, len)))
        len++;
    return len;
}

static size_t word_len(const struct scan *s)
{
    size_t len = 0;
    while (s->at + len < s->end && !is_blank(s->at[len]) && !strchr("\n{}#", s->at[len]))
        len++;
    return len;
}

bool scan_is(const struct scan *s, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(s->at, word, len) == 0;
}

/* `redirect from` and `bounce to` are keywords of two words. */
static size_t second_word(const struct scan *s, size_t len)
{
    struct scan next = *s;
    if (!scan_is(s, len, "redirect") && !scan_is(s, len, "bounce"))
        return len;
    next.at += len;
    scan_blanks(&next);
    size_t more = scan_name(&next);
    return scan_is(&next, more, "from") || scan_is(&next, more, "to")
               ? (size_t)(next.at - s->at) + more
               : len;
}

size_t scan_keyword(const struct scan *s, size_t *behind)
{
    struct scan next = *s;
    size_t len = second_word(s, scan_name(s));
    if (len == 0 || scan_is(s, len, "port"))
        return 0;
    next.at += len;
    if (len > 9 && memcmp(next.at - 9, "mtu-error", 9) == 0 && keyword_find(s->at, len)) {
        *behind = len; /* the only one without a value */
        return len;
    }
    scan_blanks(&next);
    bool colon = scan_peek(&next, 0) == ':';
    bool word_ends = scan_peek(&next, 1) == '\0' || strchr(" \t\r\n", scan_peek(&next, 1));
    if (!colon || !(word_ends || keyword_find(s->at, len)))
        return 0;
    *behind = (size_t)(next.at - s->at) + 1;
    return len;
}

static bool value_ends(const struct scan *s)
{
    size_t behind;
    return s->at == s->end || strchr("\n#{}", *s->at) || scan_keyword(s, &behind) > 0;
}

size_t scan_value(struct scan *s, char *out)
{
    size_t len = 0;
    for (scan_blanks(s); !value_ends(s); scan_blanks(s)) {
        size_t word = word_len(s);
        if (len && out)
            out[len] = ' ';
        len += len > 0;
        if (out)
            memcpy(out + len, s->at, word);
        len += word;
        s->at += word;
    }
    return len;
}
