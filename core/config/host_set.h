/* SPDX-License-Identifier: MIT
 * host_set.h: host names and patterns, many of them, and whether a name is among them.
 */
#ifndef CONFIG_HOST_SET_H
#define CONFIG_HOST_SET_H

#include "config/memory.h"

#include <stdbool.h>
#include <stddef.h>

struct host_set;

/* For up to n patterns; lives in memory. NULL: out of memory. */
struct host_set *host_set_new(struct conf_memory *memory, size_t n);

enum { HOST_SET_OK, HOST_SET_NO_NAME, HOST_SET_ADDRESS, HOST_SET_NOT_ASCII };

/* `name` itself, or `*.name`, all below it; with `domain` a name stands for both. Any case, a dot at
 * the end does not count. Returns why it cannot be taken, if it cannot. */
int host_set_add(struct host_set *set, const char *pattern, size_t len, bool domain);

/* Costs a look for each label of the name, however many patterns there are. */
bool host_set_has(const struct host_set *set, const char *name, size_t len);

#endif
