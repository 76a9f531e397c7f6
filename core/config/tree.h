/* SPDX-License-Identifier: MIT
 * tree.h: a YAML document as a bounded tree that knows where everything stood.
 *
 * Made once, then only read. It lives in the conf_memory it was made in.
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "config/errors.h"
#include "config/memory.h"

#include <stdio.h>

#define TREE_SIZE_MAX (1024 * 1024) /* bytes of a file */
#define TREE_DEPTH_MAX 16
#define TREE_NODES_MAX 65536 /* an alias counts for all it stands for */
#define TREE_ANCHORS_MAX 256

enum tree_kind { TREE_VALUE, TREE_LIST, TREE_MAP };

struct tree_node {
    const char *file;      /* as messages name it; NULL: not at all */
    unsigned line, column; /* from 1, of the key if it has one; line 0: not in a file */
    enum tree_kind kind;
    bool plain;       /* a value without quotes */
    const char *key;  /* in a map */
    size_t index;     /* which of its siblings it is */
    const char *text; /* of a value: len bytes and a NUL */
    size_t len;
    struct tree_node **item; /* of a list or map, in the order of the file */
    size_t n, room;
    struct tree_node **by_key; /* of a closed map: the same, sorted */
};

/* Returns the root, NULL if the text cannot be understood to its end. An empty document is an empty
 * map. Mistakes are in errors also where a tree is returned. */
struct tree_node *tree_parse(struct conf_memory *memory, struct conf_errors *errors,
                             const char *file, const char *text, size_t len);

/* A tree by hand. A new node stands where `at` does (NULL: nowhere). tree_add() takes NULL nodes,
 * so that running out of memory needs one check at the end; returns the node. */
struct tree_node *tree_new(struct conf_memory *memory, const struct tree_node *at,
                           enum tree_kind kind);
struct tree_node *tree_value(struct conf_memory *memory, const struct tree_node *at,
                             const char *text, size_t len);
struct tree_node *tree_add(struct conf_memory *memory, struct tree_node *parent, const char *key,
                           struct tree_node *node);
/* Makes a complete map fit for tree_find(); reports keys given twice. */
void tree_close(struct conf_memory *memory, struct conf_errors *errors, struct tree_node *map);

/* NULL: no such key, or not a map. */
const struct tree_node *tree_find(const struct tree_node *map, const char *key);
/* The values of a list; a single value is a list of itself. */
size_t tree_items(const struct tree_node *node);
const struct tree_node *tree_item(const struct tree_node *node, size_t i);

/* Prints text as one YAML value, in quotes if it needs them. */
void tree_print(FILE *out, const char *text, size_t len);

#endif
