/* SPDX-License-Identifier: MIT
 * bytes.h: the bytes that are sent. Each depends on its stream, its direction and its place, so
 * that a byte changed, lost, doubled, moved or given to another stream is found.
 */
#ifndef LOAD_BYTES_H
#define LOAD_BYTES_H

#include "loop.h"

/* The most that is sent or received at once. */
#define CHUNK_LEN (128 * 1024)

void bytes_init(void);

/* The CHUNK_LEN bytes that `from` sends after its first `place` bytes. */
const uint8_t *bytes_at(const struct end *from, uint64_t place);

/* Ends the program if these are not what `from` has sent at this place. */
void bytes_check(const struct end *from, uint64_t place, const uint8_t *seen, uint64_t len);

/* The message that `from` sends as its number `seq`. */
void message_make(uint8_t message[MESSAGE_LEN], const struct end *from, uint64_t seq);

/* The stream's number in a message. */
uint32_t message_id(const uint8_t message[MESSAGE_LEN]);

#endif
