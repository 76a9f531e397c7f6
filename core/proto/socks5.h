/* SPDX-License-Identifier: MIT
 * socks5.h: the server's side of SOCKS5 (RFC 1928): bytes in, event out, no I/O.
 *
 * Parsers take what has come so far and return the bytes the message takes up, 0 if more must come,
 * or a negative code. Lengths are explicit throughout: a name may hold any byte.
 */
#ifndef PROTO_SOCKS5_H
#define PROTO_SOCKS5_H

#include <dispatch-plugin.h>
#include <stdbool.h>

enum { SOCKS5_VERSION = 5 };
enum { SOCKS5_NO_AUTH = 0, SOCKS5_LOGIN = 2, SOCKS5_NO_METHOD = 0xff };
enum { SOCKS5_CONNECT = 1 };

/* Section 6. */
enum {
    SOCKS5_OK,
    SOCKS5_FAILURE,
    SOCKS5_DENIED,
    SOCKS5_NET_UNREACH,
    SOCKS5_HOST_UNREACH,
    SOCKS5_REFUSED,
    SOCKS5_TTL,
    SOCKS5_BAD_COMMAND,
    SOCKS5_BAD_ADDRESS
};

#define SOCKS5_GREETING_MAX 257 /* version, count, 255 methods */
#define SOCKS5_REQUEST_MAX 262  /* 4, length, 255 bytes of name, port */
#define SOCKS5_REPLY_MAX 22

#define SOCKS5_MALFORMED (-1)

/* Has the greeting offered `method`? Returns its length, 0, or SOCKS5_MALFORMED. */
int socks5_greeting(const uint8_t *p, size_t len, uint8_t method, bool *offered);

/* A name and a password (RFC 1929), which point into p and may hold any byte, or none. Returns the
 * length, 0, or SOCKS5_MALFORMED: of another version. */
int socks5_login(const uint8_t *p, size_t len, struct dp_str *user, struct dp_str *password);

/* Writes whether they were right. Returns its length. */
size_t socks5_login_reply(uint8_t out[2], bool right);

/* Returns the request's length, 0, or -(reply code) when the request can only be refused: a wrong
 * version or reserved byte is 01, a command other than CONNECT 07, an address type 08, a name that
 * is empty, holds NUL, control or blank bytes, or ends in a number 04. A name that is an IP literal becomes one. The
 * name in `to` points into p. */
int socks5_request(const uint8_t *p, size_t len, struct dp_addr *to);

/* Writes a reply; `bound` NULL: 0.0.0.0:0, without an address: 0.0.0.0 and its port, for many
 * clients cannot read a name here. Returns its length. */
size_t socks5_reply(uint8_t out[SOCKS5_REPLY_MAX], int code, const struct dp_addr *bound);

#endif
