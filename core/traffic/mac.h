/* SPDX-License-Identifier: MIT
 * mac.h: a keyed hash (HMAC-SHA-256, RFC 2104) of what must not lie about in memory, and bytes
 * compared in constant time.
 */
#ifndef TRAFFIC_MAC_H
#define TRAFFIC_MAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAC_LEN 32

struct mac_key {
    uint8_t bytes[MAC_LEN];
};
struct mac {
    uint8_t bytes[MAC_LEN];
};
struct mac_part {
    const void *p;
    size_t len;
};

/* A random key of this process alone, in a page that no core dump has and that is not swapped out,
 * where the system allows so much. NULL, and errno: cannot. */
struct mac_key *mac_key_new(void);
void mac_key_free(struct mac_key *key);

/* Of n parts as if they were one text: whoever needs to tell ("ab", "c") from ("a", "bc") makes the
 * lengths parts of it. */
void mac_make(const struct mac_key *key, const struct mac_part *part, size_t n, struct mac *out);

/* Takes as long wherever they differ. */
bool mac_same(const void *a, const void *b, size_t len);

#endif
