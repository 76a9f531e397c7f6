/* SPDX-License-Identifier: MIT
 * sniff.h: which protocol a client speaks, from its first byte, and what to say to a wrong one.
 */
#ifndef PROTO_SNIFF_H
#define PROTO_SNIFF_H

#include <stddef.h>
#include <stdint.h>

enum sniff { SNIFF_SOCKS5, SNIFF_SOCKS4, SNIFF_HTTP, SNIFF_TLS, SNIFF_UNKNOWN };

/* One byte decides: 5 and 4 are SOCKS versions, 0x16 starts a TLS record, text is taken for HTTP. */
enum sniff sniff_first_byte(uint8_t first);

/* What is wrong with a client of a protocol that is not spoken: for the log. */
const char *sniff_mistake(enum sniff kind);

/* What a client of the wrong protocol is sent, so that it can show what is wrong. The bytes are
 * static. */
const char *sniff_refusal(enum sniff kind, size_t *len);

#endif
