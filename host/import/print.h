/* SPDX-License-Identifier: MIT
 * print.h: what was made of a configuration of Dante, and its text as dispatch.yaml.
 */
#ifndef IMPORT_PRINT_H
#define IMPORT_PRINT_H

#include "access.h"
#include "ways.h"

#include <stdio.h>

struct listener {
    struct dp_addr listen;
    const struct dante_item *item; /* NULL: there was none */
    struct nets allow, clients;    /* clients: by the client rules alone */
};

struct time_limit {
    enum key key;
    const char *name;
    unsigned long least, most; /* seconds that are possible here */
    struct dante_item *item;   /* NULL: not given */
};

/* All that is made of a file. */
struct import {
    struct conf_memory *memory;
    const char *name; /* of the file */
    struct dante_item file;
    struct access access;
    struct ways ways;
    struct listener *listener;
    size_t n_listeners;
    struct time_limit limit[3];
};

/* There must be a listener and a way. */
void print_import(const struct import *im, FILE *out);
/* The notes alone: each item that is not in the result, or not as it was. */
void print_notes(const struct import *im, FILE *out);
/* Text from the file, so that nothing in it ends a comment or steers a terminal. */
void print_text(FILE *out, const char *text);

#endif
