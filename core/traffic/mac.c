/* SPDX-License-Identifier: MIT
 * mac.c: a keyed hash of what must not lie about in memory.
 *
 * The hash itself is libmd's, which dpkg needs too.
 */
#include "traffic/mac.h"

#include <sha2.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct mac_key *mac_key_new(void)
{
    struct mac_key *key =
        mmap(NULL, sizeof *key, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (key == MAP_FAILED)
        return NULL;
    madvise(key, sizeof *key, MADV_DONTDUMP);
    mlock(key, sizeof *key);
    if (getentropy(key, sizeof *key) == 0)
        return key;
    munmap(key, sizeof *key);
    return NULL;
}

void mac_key_free(struct mac_key *key)
{
    if (!key)
        return;
    explicit_bzero(key, sizeof *key);
    munmap(key, sizeof *key);
}

/* Begins a hash with the key, as RFC 2104 mixes it with `pad`. */
static void hash_begin(SHA2_CTX *hash, const struct mac_key *key, uint8_t pad)
{
    uint8_t block[SHA256_BLOCK_LENGTH];
    memset(block, pad, sizeof block);
    for (size_t i = 0; i < sizeof key->bytes; i++)
        block[i] ^= key->bytes[i];
    SHA256Init(hash);
    SHA256Update(hash, block, sizeof block);
    explicit_bzero(block, sizeof block);
}

void mac_make(const struct mac_key *key, const struct mac_part *part, size_t n, struct mac *out)
{
    SHA2_CTX hash;
    hash_begin(&hash, key, 0x36);
    for (size_t i = 0; i < n; i++)
        SHA256Update(&hash, part[i].p, part[i].len);
    SHA256Final(out->bytes, &hash);
    hash_begin(&hash, key, 0x5c);
    SHA256Update(&hash, out->bytes, sizeof out->bytes);
    SHA256Final(out->bytes, &hash);
    explicit_bzero(&hash, sizeof hash);
}

bool mac_same(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;
    for (size_t i = 0; i < len; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}
