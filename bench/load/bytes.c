/* SPDX-License-Identifier: MIT
 * bytes.c: the bytes that are sent, and their comparison.
 */
#include <inttypes.h>
#include <string.h>

#include "bytes.h"

/* A prime: no buffer's size divides it, so whole buffers that change places are seen. Small: the
 * pattern stays in the processor's cache, and comparing costs little beside receiving. */
#define PERIOD 65521

static uint8_t pattern[PERIOD + CHUNK_LEN];

void bytes_init(void)
{
    uint32_t x = 2463534242; /* xorshift, Marsaglia 2003 */
    for (size_t i = 0; i < PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern[i] = (uint8_t)(x >> 24);
    }
    for (size_t i = PERIOD; i < sizeof pattern; i++)
        pattern[i] = pattern[i - PERIOD];
}

const uint8_t *bytes_at(const struct end *from, uint64_t place)
{
    uint64_t start = (uint64_t)from->id * 2 + from->server;
    return &pattern[(start * 7919 + place) % PERIOD]; /* 7919: another prime, to spread streams */
}

void bytes_check(const struct end *from, uint64_t place, const uint8_t *seen, uint64_t len)
{
    const uint8_t *wanted = bytes_at(from, place);
    if (memcmp(seen, wanted, len) == 0)
        return;
    uint64_t i = 0;
    while (seen[i] == wanted[i])
        i++;
    fatal("stream %" PRIu32 ": wrong byte at %" PRIu64 " from the %s: %02x, not %02x", from->id,
          place + i, from->server ? "server" : "client", seen[i], wanted[i]);
}

void message_make(uint8_t message[MESSAGE_LEN], const struct end *from, uint64_t seq)
{
    memcpy(message, bytes_at(from, seq * MESSAGE_LEN), MESSAGE_LEN);
    for (int i = 0; i < 4; i++)
        message[i] = (uint8_t)(from->id >> 8 * i);
}

uint32_t message_id(const uint8_t message[MESSAGE_LEN])
{
    uint32_t id = 0;
    for (int i = 0; i < 4; i++)
        id |= (uint32_t)message[i] << 8 * i;
    return id;
}
