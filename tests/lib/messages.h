/* SPDX-License-Identifier: MIT
 * messages.h: the messages a source file can give, read out of its source, so that a test can say
 * which of them nothing provokes.
 */
#ifndef LIB_MESSAGES_H
#define LIB_MESSAGES_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct messages {
    char *text[400]; /* printf formats */
    size_t n;
};

static void messages_add(struct messages *m, const char *text)
{
    if (!strchr(text, ' ') || m->n == sizeof m->text / sizeof *m->text)
        return;
    char *copy = strdup(text);
    for (char *c = copy; (c = strstr(c, "%%"));)
        c[1] = 's'; /* a percent sign is something too */
    m->text[m->n++] = copy;
}

/* Copies one string literal, from behind its opening quote; returns what follows the closing. */
static const char *literal_read(const char *c, char *out, size_t *len, size_t size)
{
    for (; *c && *c != '"'; c++) {
        if (*c == '\\' && c[1])
            c++;
        if (*len + 1 < size)
            out[(*len)++] = *c;
    }
    out[*len] = '\0';
    return *c ? c + 1 : c;
}

/* The literals of one call, from behind its opening bracket. Neighbours are one, also around the
 * PRI macros, which stand for a conversion. A text of one word is an option's name. */
static const char *call_read(struct messages *m, const char *c)
{
    char text[2048] = "";
    size_t len = 0;
    for (int depth = 1; *c && depth > 0;) {
        if (*c == '"') {
            c = literal_read(c + 1, text, &len, sizeof text);
        } else if (strncmp(c, "PRI", 3) == 0) {
            text[len++] = 's';
            while (isalnum((unsigned char)*c))
                c++;
        } else if (isspace((unsigned char)*c)) {
            c++;
        } else {
            depth += (*c == '(') - (*c == ')');
            messages_add(m, text);
            text[len = 0] = '\0';
            c++;
        }
    }
    return c;
}

/* Adds what `file` passes to functions whose names end in `_error`. Returns false if it cannot be
 * read. */
static bool messages_read(struct messages *m, const char *file)
{
    static char source[200000];
    FILE *f = fopen(file, "r");
    if (!f)
        return false;
    source[fread(source, 1, sizeof source - 1, f)] = '\0';
    fclose(f);
    for (const char *c = source; (c = strstr(c, "_error("));)
        c = call_read(m, c + strlen("_error("));
    return true;
}

static void messages_free(struct messages *m)
{
    while (m->n)
        free(m->text[--m->n]);
}

/* The next conversion of a format, or its end. */
static const char *conversion_find(const char *format)
{
    return format + strcspn(format, "%");
}

/* Does text end as the format says? Conversions stand for anything. */
static bool message_fits(const char *format, const char *text)
{
    const char *end = conversion_find(format);
    if (!*end) {
        size_t len = strlen(format), text_len = strlen(text);
        return len <= text_len && strcmp(text + text_len - len, format) == 0;
    }
    char piece[512];
    snprintf(piece, sizeof piece, "%.*s", (int)(end - format), format);
    const char *at = strstr(text, piece);
    end += strcspn(end, "sdiuxXc") + 1;
    return at && message_fits(end, at + strlen(piece));
}

/* A format of nothing but conversions and colons says nothing itself. */
static bool message_says(const char *format)
{
    for (const char *c = format; *c; c = conversion_find(c)) {
        if (*c == '%')
            c += strcspn(c, "sdiuxXc") + 1;
        const char *end = conversion_find(c);
        for (; c < end; c++)
            if (isalpha((unsigned char)*c))
                return true;
    }
    return false;
}

/* Prints the messages that none of the lines is an example of; returns how many. */
static size_t messages_missing(const struct messages *m, char *const *line, size_t n)
{
    size_t missing = 0;
    for (size_t i = 0; i < m->n; i++) {
        bool found = !message_says(m->text[i]);
        for (size_t k = 0; k < n && !found; k++)
            found = message_fits(m->text[i], line[k]);
        if (found)
            continue;
        fprintf(stderr, "no test provokes: %s\n", m->text[i]);
        missing++;
    }
    return missing;
}

#endif
