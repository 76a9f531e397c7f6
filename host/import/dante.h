/* SPDX-License-Identifier: MIT
 * dante.h: a configuration of Dante (sockd.conf(5)) as a list of its settings and blocks.
 */
#ifndef IMPORT_DANTE_H
#define IMPORT_DANTE_H

#include "keyword.h"
#include "place.h"

enum dante_kind {
    DANTE_SETTING, /* `key: value` */
    DANTE_CLIENT,  /* the others are blocks of settings: rules, */
    DANTE_HOSTID,
    DANTE_SOCKS,
    DANTE_MONITOR, /* and two that are none */
    DANTE_ROUTE
};

/* What is not taken is reported: nothing gets lost by being forgotten. */
struct dante_item {
    struct dante_item *next, *child; /* child: the settings of a block */
    unsigned line;
    enum dante_kind kind;
    bool pass;           /* of a rule: not block */
    enum key key;        /* of a setting */
    const char *text;    /* the whole of it, on one line */
    const char *value;   /* of a setting: its words, one blank between */
    struct place *place; /* of a setting that is an address */
    bool taken;          /* it is in the result */
    const char *why;     /* not, or not in full; NULL: nothing to say */
};

struct dante_error {
    unsigned line;
    const char *text; /* NULL: out of memory */
};

/* Returns 0 with the first of the items (NULL: there is none), which live in memory, or -1 with the
 * error. */
int dante_parse(struct conf_memory *memory, const char *text, size_t len, struct dante_item **first,
                struct dante_error *error);

/* The setting of that key in a block, the last one if there are several; NULL: none. */
struct dante_item *dante_child(const struct dante_item *block, enum key key);
/* Is `word` among the words of the value? Of any setting of that key? */
bool dante_has(const struct dante_item *setting, const char *word);
bool dante_lists(const struct dante_item *block, enum key key, const char *word);

#endif
