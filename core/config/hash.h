/* SPDX-License-Identifier: MIT
 * hash.h: numbers that tell whether two configurations mean the same. Inside core/config only.
 */
#ifndef CONFIG_HASH_H
#define CONFIG_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Each goes on from what was added before, so that order and length count. */
void hash_add(uint64_t *hash, const void *data, size_t len);
void hash_text(uint64_t *hash, const char *text);
/* A dp_str, dp_addr or dp_list as it stands in conf. */
void hash_str(uint64_t *hash, const void *value);
void hash_addr(uint64_t *hash, const void *value);
void hash_list(uint64_t *hash, const void *value);

#endif
