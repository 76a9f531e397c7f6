/* SPDX-License-Identifier: MIT
 * errors.h: the mistakes found in a configuration, all of them, in the order of the file.
 */
#ifndef CONFIG_ERRORS_H
#define CONFIG_ERRORS_H

#include <stddef.h>

struct tree_node;

/* Starts zeroed. */
struct conf_errors {
    char **line; /* `dispatch.yaml:14:5: link "vps": password: a password needs a username` */
    size_t n;
    struct conf_place *place; /* where each stood, to keep them in order */
    size_t n_more;            /* mistakes not kept; the last line tells their number */
};

/* Adds `WHERE:LINE:COLUMN: text`, as much of it as the node has; node NULL: the text alone. After 50 mistakes: counted, not kept. */
__attribute__((format(printf, 3, 4))) //
void conf_error(struct conf_errors *errors, const struct tree_node *node, const char *fmt, ...);
void conf_errors_free(struct conf_errors *errors);

#endif
