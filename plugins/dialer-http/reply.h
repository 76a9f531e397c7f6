/* SPDX-License-Identifier: MIT
 * reply.h: the head of an HTTP/1 server's answer (RFC 9112), read as it comes. No I/O.
 */
#ifndef DIALER_HTTP_REPLY_H
#define DIALER_HTTP_REPLY_H

#include <stddef.h>
#include <stdint.h>

#define REPLY_HEAD_MAX 16384 /* bytes, those of 1xx answers before the final one included */
#define REPLY_FIELDS_MAX 100

/* One byte is one step. A line may end with a bare LF (RFC 9112, section 2.2); one that begins with
 * white space continues the line before (section 5.2). What fields say does not matter here.
 *
 *   VERSION -> MINOR -> GAP -> CODE -> CODE_END --SP--> TEXT --CR--> LINE_END --LF--> LINE
 *   LINE --letter--> NAME --:--> TEXT     LINE --white space--> TEXT
 *   LINE --CR--> HEAD_END --LF--> DONE, or VERSION again after a 1xx
 */
enum reply_state {
    REPLY_VERSION,
    REPLY_MINOR,
    REPLY_GAP,
    REPLY_CODE,
    REPLY_CODE_END,
    REPLY_TEXT,
    REPLY_LINE_END,
    REPLY_LINE,
    REPLY_NAME,
    REPLY_HEAD_END,
    REPLY_DONE,     /* `status` is the answer */
    REPLY_BROKEN,   /* this is not HTTP/1 */
    REPLY_TOO_LONG, /* more than the two bounds above */
};

/* All zero at first. */
struct reply {
    enum reply_state state;
    uint16_t status; /* 100 to 999 */
    uint16_t fields, taken;
    uint8_t at; /* in the version or the code */
};

/* Takes what belongs to the head, and returns how many bytes that was: never one from behind it, and
 * none only if there are none or the state is one of the last three. */
size_t reply_take(struct reply *r, const char *data, size_t len);

#endif
