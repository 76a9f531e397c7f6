/* SPDX-License-Identifier: MIT
 * type.h: what an option's type means: its values read, compared and printed.
 */
#ifndef CONFIG_TYPE_H
#define CONFIG_TYPE_H

#include "config/option.h"
#include "config/units.h"

/* A value on its way into conf. */
struct type_value {
    const struct option_scope *scope;
    const struct dp_opt *opt;
    const char *name; /* the key: the option's name, or X-file */
    const struct tree_node *node;
};

struct type {
    const char *name;
    size_t size; /* of the value in conf */
    /* Returns false after reporting a mistake. */
    bool (*parse)(const struct type_value *v, void *out);
    bool (*equal)(const void *a, const void *b);
    void (*hash)(uint64_t *hash, const void *value); /* NULL: equal ones have the same bytes */
    void (*print)(const struct dp_opt *opt, const void *value, FILE *out);
    /* Writes min or max as the user would; NULL where they mean nothing. Returns buf. */
    const char *(*bound)(int64_t bound, char buf[UNITS_TEXT]);
};

/* NULL: a type this host does not know. */
const struct type *type_find(uint32_t type);

#endif
