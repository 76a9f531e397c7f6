/* SPDX-License-Identifier: MIT
 * interfaces.h: this machine's network interfaces: what -list prints and --auto takes.
 */
#ifndef HOST_INTERFACES_H
#define HOST_INTERFACES_H

#include <stddef.h>
#include <stdio.h>

/* The Go tool's text, to the letter. Returns 0, or -1 if the interfaces cannot be read. */
int interfaces_list(FILE *out);

/* The names of all interfaces that are up, have carrier and a global address, are not the loopback,
 * and have a default route in some table. Returns their number; *names is the caller's to free, in
 * one piece. For those passed over, a line with the reason goes to `why`. -1: cannot be read. */
int interfaces_auto(const char *const **names, FILE *why);

#endif
