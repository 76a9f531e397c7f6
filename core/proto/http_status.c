/* SPDX-License-Identifier: MIT
 * http_status.c: the status line of an HTTP answer.
 *
 *   IN_STATUS --- `HTTP/1.x nnn ` ---> the status, unless it is an interim one
 *       ^                                  |
 *       +--- an empty line --- IN_HEAD <---+
 */
#include "proto/http_status.h"

#include <stdbool.h>

/* Of interim answers and their heads before the one that counts. */
#define SEEN_MAX 16384

#define STATUS_PATTERN "HTTP/1.d ddd" /* d: a digit (RFC 9112, section 4) */
#define STATUS_LEN (sizeof STATUS_PATTERN - 1)
#define CODE_AT (STATUS_LEN - 3)

#define SWITCHING_PROTOCOLS 101 /* interim by its number only: no other answer follows */

enum { IN_STATUS, IN_HEAD };

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* One that the client has to read past. */
static bool is_interim(uint32_t code)
{
    return code < 200 && code != SWITCHING_PROTOCOLS;
}

static int status_byte(struct http_status *h, uint8_t byte)
{
    uint32_t at = h->line_len++;
    if (at < STATUS_LEN) {
        uint8_t want = (uint8_t)STATUS_PATTERN[at];
        if (at >= CODE_AT)
            h->code = h->code * 10 + (uint32_t)(byte - '0');
        return (want == 'd' ? is_digit(byte) : byte == want) ? 0 : -1;
    }
    if (h->code < 100 || (byte != ' ' && byte != '\r' && byte != '\n'))
        return -1;
    if (!is_interim(h->code))
        return (int)h->code;
    h->state = IN_HEAD;
    h->line_len = byte != '\n';
    return 0;
}

static void head_byte(struct http_status *h, uint8_t byte)
{
    if (byte != '\n') {
        h->line_len += byte != '\r';
        return;
    }
    if (h->line_len == 0) {
        h->state = IN_STATUS;
        h->code = 0;
    }
    h->line_len = 0;
}

int http_status_read(struct http_status *h, const void *data, size_t len)
{
    const uint8_t *byte = data;
    for (size_t i = 0; i < len; i++) {
        int result = 0;
        if (h->state == IN_STATUS)
            result = status_byte(h, byte[i]);
        else
            head_byte(h, byte[i]);
        if (result != 0)
            return result;
        if (++h->seen == SEEN_MAX)
            return -1;
    }
    return 0;
}
