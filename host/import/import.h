/* SPDX-License-Identifier: MIT
 * import.h: a configuration of Dante made into one of dispatch-host.
 */
#ifndef IMPORT_IMPORT_H
#define IMPORT_IMPORT_H

#include <stdio.h>

/* Prints a complete dispatch.yaml, with a comment for each line that has no counterpart. Returns 0,
 * or 1 with a line on standard error, and nothing printed. */
int import_dante(const char *file, FILE *out);

#endif
