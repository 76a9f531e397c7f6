/* SPDX-License-Identifier: MIT
 * options.h: the command line of dispatch-host: its own options, and those of go-dispatch-proxy.
 */
#ifndef HOST_OPTIONS_H
#define HOST_OPTIONS_H

#include "config/config.h"

#include <stdbool.h>

/* The first three use the configuration. */
enum action {
    ACTION_SERVE,
    ACTION_CHECK,
    ACTION_DUMP_CONFIG,
    ACTION_LIST_ADDRESSES,
    ACTION_LIST_PLUGINS,
    ACTION_DUMP_PLUGIN,
    ACTION_DANTE_STATE,
    ACTION_IMPORT_DANTE,
    ACTION_VERSION,
    ACTION_HELP
};

enum source { FROM_FILE, FROM_WORDS, FROM_AUTO };

struct options {
    enum action action;
    enum source source;
    const char *file;               /* FROM_FILE */
    struct conf_command_line words; /* FROM_WORDS; and -lhost, -lport for FROM_AUTO */
    const char *plugin;             /* ACTION_DUMP_PLUGIN */
    const char *dante_state;        /* ACTION_DANTE_STATE */
    const char *dante;              /* ACTION_IMPORT_DANTE: its configuration */
    char *const *argv;              /* all the words, NULL-terminated */
    char *const *command;           /* --run: its words, NULL-terminated; NULL: none */
    bool lhost_given;
    bool quiet, verbose;
};

/* Returns 0, or 2 with what is wrong on standard error. Strings point into argv. */
int options_parse(struct options *options, int argc, char **argv);

void options_help(FILE *out);

#endif
