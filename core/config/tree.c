/* SPDX-License-Identifier: MIT
 * tree.c: the tree of a YAML document: nodes, look-up, printing. yaml.c makes it from text.
 */
#include "config/tree.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct tree_node *tree_new(struct conf_memory *memory, const struct tree_node *at,
                           enum tree_kind kind)
{
    struct tree_node *node = memory_alloc(memory, sizeof *node);
    if (!node)
        return NULL;
    node->kind = kind;
    if (at) {
        node->file = at->file;
        node->line = at->line;
        node->column = at->column;
    }
    return node;
}

struct tree_node *tree_value(struct conf_memory *memory, const struct tree_node *at,
                             const char *text, size_t len)
{
    struct tree_node *node = tree_new(memory, at, TREE_VALUE);
    if (!node)
        return NULL;
    node->text = memory_text(memory, text, len);
    node->len = len;
    return node->text ? node : NULL;
}

/* Doubles the room; the old array stays behind in the memory, so at most as much again is lost. */
static bool items_grow(struct conf_memory *memory, struct tree_node *parent)
{
    size_t room = parent->room ? parent->room * 2 : 4;
    struct tree_node **item = memory_alloc(memory, room * sizeof(struct tree_node *));
    if (!item)
        return false;
    if (parent->n)
        memcpy(item, parent->item, parent->n * sizeof(struct tree_node *));
    parent->item = item;
    parent->room = room;
    return true;
}

struct tree_node *tree_add(struct conf_memory *memory, struct tree_node *parent, const char *key,
                           struct tree_node *node)
{
    if (!parent || !node)
        return NULL;
    if (parent->n == parent->room && !items_grow(memory, parent))
        return NULL;
    node->key = key;
    node->index = parent->n;
    parent->item[parent->n++] = node;
    return node;
}

static int by_key_then_place(const void *a, const void *b)
{
    const struct tree_node *x = *(struct tree_node *const *)a, *y = *(struct tree_node *const *)b;
    int order = strcmp(x->key, y->key);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

void tree_close(struct conf_memory *memory, struct conf_errors *errors, struct tree_node *map)
{
    if (!map || map->n == 0)
        return;
    map->by_key = memory_alloc(memory, map->n * sizeof(struct tree_node *));
    if (!map->by_key)
        return;
    memcpy(map->by_key, map->item, map->n * sizeof(struct tree_node *));
    qsort(map->by_key, map->n, sizeof(struct tree_node *), by_key_then_place);
    const struct tree_node *first = map->by_key[0];
    for (size_t i = 1; i < map->n; i++) {
        const struct tree_node *node = map->by_key[i];
        if (strcmp(node->key, first->key) == 0)
            conf_error(errors, node, "\"%s\" is given twice, first in line %u", node->key,
                       first->line);
        else
            first = node;
    }
}

static int by_key_only(const void *key, const void *item)
{
    return strcmp(key, (*(struct tree_node *const *)item)->key);
}

const struct tree_node *tree_find(const struct tree_node *map, const char *key)
{
    if (!map || !map->by_key)
        return NULL;
    struct tree_node **found =
        bsearch(key, map->by_key, map->n, sizeof(struct tree_node *), by_key_only);
    return found ? *found : NULL;
}

size_t tree_items(const struct tree_node *node)
{
    return node->kind == TREE_LIST ? node->n : 1;
}

const struct tree_node *tree_item(const struct tree_node *node, size_t i)
{
    return node->kind == TREE_LIST ? node->item[i] : node;
}

/* Plain YAML everywhere, also between brackets: starts with a letter, digit or slash, and a colon
 * only inside. */
static bool is_plain(const char *text, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/";
    if (len == 0 || !memchr(letters, text[0], sizeof letters - 1) || text[len - 1] == ':')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!memchr(letters, text[i], sizeof letters - 1) && !memchr("._-:", text[i], 4))
            return false;
    return true;
}

/* The character at s and its length in UTF-8; what begins none is a byte of its own. */
static uint32_t char_at(const char *s, size_t len, size_t *n)
{
    unsigned char first = (unsigned char)s[0];
    *n = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (*n == 1 || *n > len) {
        *n = 1;
        return first;
    }
    uint32_t c = first & (0x7fu >> *n);
    for (size_t i = 1; i < *n; i++)
        c = c << 6 | ((unsigned char)s[i] & 0x3fu);
    return c;
}

/* Controls, the line breaks of Unicode, which YAML folds, and what it refuses to read. */
static bool needs_escape(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
           c == 0xfffe || c == 0xffff;
}

void tree_print(FILE *out, const char *text, size_t len)
{
    if (is_plain(text, len)) {
        fwrite(text, 1, len, out);
        return;
    }
    fputc('"', out);
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c = char_at(text + i, len - i, &n);
        if (needs_escape(c)) {
            fprintf(out, c <= 0xff ? "\\x%02X" : "\\u%04X", (unsigned)c);
            continue;
        }
        if (c == '"' || c == '\\')
            fputc('\\', out);
        fwrite(text + i, 1, n, out);
    }
    fputc('"', out);
}
