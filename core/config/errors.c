/* SPDX-License-Identifier: MIT
 * errors.c: the mistakes found in a configuration, all of them, in the order of the file.
 */
#include "config/errors.h"
#include "config/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 50
#define ERROR_TEXT 1024 /* a longer line is cut: what the user wrote can be of any length */

struct conf_place {
    unsigned line, column;
};

static bool place_before(const struct conf_place *a, const struct conf_place *b)
{
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

static struct conf_place error_place(const struct tree_node *node)
{
    return node ? (struct conf_place){node->line, node->column} : (struct conf_place){0, 0};
}

static size_t error_prefix(char *text, size_t size, const struct tree_node *node)
{
    int len = 0;
    if (node && node->file && node->line && !node->column)
        len = snprintf(text, size, "%s:%u: ", node->file, node->line);
    else if (node && node->file && node->line)
        len = snprintf(text, size, "%s:%u:%u: ", node->file, node->line, node->column);
    else if (node && node->file)
        len = snprintf(text, size, "%s: ", node->file);
    return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
}

/* Room for all that will ever be kept, and for the line about the rest. */
static bool errors_init(struct conf_errors *errors)
{
    if (!errors->line)
        errors->line = calloc(ERRORS_MAX + 1, sizeof *errors->line);
    if (!errors->place)
        errors->place = calloc(ERRORS_MAX + 1, sizeof *errors->place);
    return errors->line && errors->place;
}

/* After those that stand before it or at the same place. */
static void errors_insert(struct conf_errors *errors, char *line, struct conf_place place)
{
    size_t at = errors->n++;
    for (; at > 0 && place_before(&place, &errors->place[at - 1]); at--) {
        errors->line[at] = errors->line[at - 1];
        errors->place[at] = errors->place[at - 1];
    }
    errors->line[at] = line;
    errors->place[at] = place;
}

static void errors_tell_more(struct conf_errors *errors)
{
    char text[64];
    snprintf(text, sizeof text, "and %zu more", errors->n_more);
    char *line = strdup(text);
    if (!line)
        return;
    free(errors->line[ERRORS_MAX]);
    errors->line[ERRORS_MAX] = line;
    errors->n = ERRORS_MAX + 1;
}

/* What the user wrote may hold control characters; a mistake is one line all the same. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

void conf_error(struct conf_errors *errors, const struct tree_node *node, const char *fmt, ...)
{
    if (!errors_init(errors)) {
        errors->n_more++;
        return;
    }
    if (errors->n >= ERRORS_MAX) {
        errors->n_more++;
        errors_tell_more(errors);
        return;
    }
    char text[ERROR_TEXT];
    size_t len = error_prefix(text, sizeof text, node);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text + len, sizeof text - len, fmt, ap);
    va_end(ap);
    make_printable(text);
    char *line = strdup(text);
    if (line)
        errors_insert(errors, line, error_place(node));
    else
        errors->n_more++;
}

void conf_errors_free(struct conf_errors *errors)
{
    for (size_t i = 0; i < errors->n; i++)
        free(errors->line[i]);
    free(errors->line);
    free(errors->place);
    *errors = (struct conf_errors){0};
}
