/* SPDX-License-Identifier: MIT
 * socks4.h: the server's side of SOCKS4 and SOCKS4a: bytes in, event out, no I/O.
 *
 * The two have no RFC: D. Koblas's protocol, and Y. Lee's extension by host names, which come where
 * the address is 0.0.0.x, x not 0.
 */
#ifndef PROTO_SOCKS4_H
#define PROTO_SOCKS4_H

#include <dispatch-plugin.h>
#include <stdbool.h>

enum { SOCKS4_VERSION = 4 };
enum { SOCKS4_CONNECT = 1 };
enum { SOCKS4_GRANTED = 90, SOCKS4_REJECTED = 91 };

#define SOCKS4_USER_MAX 255
#define SOCKS4_REQUEST_MAX (8 + SOCKS4_USER_MAX + 1 + 255 + 1)
#define SOCKS4_REPLY_MAX 8

/* Why a request can only be rejected. */
enum { SOCKS4_MALFORMED = -1, SOCKS4_BAD_COMMAND = -2, SOCKS4_BAD_NAME = -3 };

struct socks4_request {
    struct dp_addr to; /* its name points into what was read */
    struct dp_str user;
    bool named; /* 4a */
};

/* Returns the request's length, 0 if more must come, or a reason to reject it: a user id or a name
 * without an end in sight is MALFORMED. */
int socks4_request(const uint8_t *p, size_t len, struct socks4_request *request);

/* Writes a reply; `bound` as in socks5_reply(), but IPv4 only. Returns its length. */
size_t socks4_reply(uint8_t out[SOCKS4_REPLY_MAX], int code, const struct dp_addr *bound);

#endif
