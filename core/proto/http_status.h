/* SPDX-License-Identifier: MIT
 * http_status.h: the status line of an HTTP answer: bytes in, the status out, no I/O.
 */
#ifndef PROTO_HTTP_STATUS_H
#define PROTO_HTTP_STATUS_H

#include <stddef.h>
#include <stdint.h>

/* Starts zeroed. */
struct http_status {
    uint32_t seen;     /* bytes so far */
    uint32_t line_len; /* of the line at hand */
    uint32_t code;
    uint8_t state;
};

/* Takes what has come, in pieces of any size. Returns 0 while more is needed; the status, 101 or
 * from 200 on, of the first answer that is not an interim one (RFC 9110, section 15.2); or -1: that
 * is not HTTP/1, or does not come to an end. What follows the status is not looked at. */
int http_status_read(struct http_status *h, const void *data, size_t len);

#endif
