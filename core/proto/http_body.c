/* SPDX-License-Identifier: MIT
 * http_body.c: where the body of an HTTP/1 message ends, and what of it is data.
 *
 *   SIZE -> EXTENSION -> SIZE_END -> DATA -> DATA_END -> SIZE ...
 *                              \
 *                               +-> TRAILER (the last chunk is empty) -> OVER
 */
#include "proto/http_body.h"
#include "proto/http_rewrite.h"

#include <string.h>

void http_body_begin(struct http_body_reader *b, enum http_body kind, uint64_t len, uint64_t most)
{
    *b = (struct http_body_reader){
        .kind = kind, .left = kind == HTTP_LENGTH ? len : 0, .room = most};
}

/* ---- lines ---- */

/* The whole line at p. Returns its length with its end, 0 if more must come, or -1. */
static int line_whole(const uint8_t *p, size_t len, size_t most, struct dp_str *line)
{
    size_t n = len < most ? len : most;
    if (n > 0 && memchr(p, '\n', n)) {
        int taken = http_line(p, n, line);
        return taken < 0 ? -1 : taken;
    }
    return n == most ? -1 : 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Those before the number proper: readers of 16 digits may take no more. */
static uint32_t zeros(struct dp_str line)
{
    uint32_t n = 0;
    while (n + 1 < line.len && line.p[n] == '0' && hex_digit(line.p[n + 1]) >= 0)
        n++;
    return n;
}

/* Returns how many digits there are; 0: none, or too large a number. */
static uint32_t size_read(struct dp_str line, uint64_t *size)
{
    uint32_t n = 0;
    *size = 0;
    for (; n < line.len && hex_digit(line.p[n]) >= 0; n++) {
        if (*size > (uint64_t)INT64_MAX >> 4)
            return 0;
        *size = *size << 4 | (uint64_t)hex_digit(line.p[n]);
    }
    return n;
}

static size_t bad(enum http_piece *piece)
{
    *piece = HTTP_PIECE_BAD;
    return 0;
}

static size_t too_large(enum http_piece *piece)
{
    *piece = HTTP_PIECE_TOO_LARGE;
    return 0;
}

/* ---- the states: each returns the piece it finds at p ---- */

static size_t chunk_size(struct http_body_reader *b, const uint8_t *p, size_t len,
                         enum http_piece *piece)
{
    struct dp_str line;
    int n = line_whole(p, len, HTTP_CHUNK_LINE_MAX, &line);
    if (n <= 0)
        return n < 0 ? bad(piece) : 0;
    *piece = HTTP_PIECE_DROP;
    if (zeros(line))
        return zeros(line);
    uint32_t digits = size_read(line, &b->left);
    if (digits == 0 || !http_is_text(line) || (digits < line.len && line.p[digits] != ';'))
        return bad(piece);
    if (b->left > b->room)
        return too_large(piece);
    b->room -= b->left;
    b->extension = line.len - digits;
    b->state = b->extension ? HTTP_CHUNK_EXTENSION : HTTP_CHUNK_SIZE_END;
    *piece = HTTP_PIECE_FRAMING;
    return digits;
}

static size_t chunk_extension(struct http_body_reader *b, size_t len, enum http_piece *piece)
{
    size_t n = len < b->extension ? len : b->extension;
    b->extension -= (uint32_t)n;
    if (b->extension == 0)
        b->state = HTTP_CHUNK_SIZE_END;
    *piece = n ? HTTP_PIECE_DROP : HTTP_PIECE_MORE;
    return n;
}

static size_t chunk_line_end(struct http_body_reader *b, const uint8_t *p, size_t len,
                             enum http_chunk next, enum http_piece *piece)
{
    if ((len > 0 && p[0] != '\r') || (len > 1 && p[1] != '\n'))
        return bad(piece);
    if (len < 2)
        return 0;
    b->state = next;
    *piece = HTTP_PIECE_FRAMING;
    return 2;
}

static size_t data(struct http_body_reader *b, size_t len, enum http_piece *piece)
{
    size_t n = len < b->left ? len : (size_t)b->left;
    b->left -= n;
    *piece = n ? HTTP_PIECE_DATA : HTTP_PIECE_MORE;
    return n;
}

static size_t chunk_data(struct http_body_reader *b, size_t len, enum http_piece *piece)
{
    size_t n = data(b, len, piece);
    if (b->left == 0)
        b->state = HTTP_CHUNK_DATA_END;
    return n;
}

/* What would change the framing or the target comes too late, but not for all (RFC 9110, section
 * 6.5.1). */
static bool is_forbidden(const struct http_field *field)
{
    return http_resembles(field->name, "Content-Length") ||
           http_resembles(field->name, "Transfer-Encoding") || http_same(field->name, "Host");
}

static size_t trailer(struct http_body_reader *b, const uint8_t *p, size_t len,
                      enum http_piece *piece)
{
    struct dp_str line;
    struct http_field field;
    int n = line_whole(p, len, HTTP_HEAD_MAX - b->trailer_bytes, &line);
    if (n <= 0)
        return n < 0 ? bad(piece) : 0;
    b->trailer_bytes += (uint32_t)n;
    *piece = HTTP_PIECE_FRAMING;
    if (line.len == 0) {
        b->state = HTTP_CHUNK_OVER;
        return (size_t)n;
    }
    if (b->trailers == HTTP_FIELDS_MAX || http_field_line(line, &field) < 0 || is_forbidden(&field))
        return bad(piece);
    b->trailers++;
    if (http_is_hop_by_hop(field.name))
        *piece = HTTP_PIECE_DROP;
    return (size_t)n;
}

static size_t chunked(struct http_body_reader *b, const uint8_t *p, size_t len,
                      enum http_piece *piece)
{
    switch (b->state) {
    case HTTP_CHUNK_SIZE:
        return chunk_size(b, p, len, piece);
    case HTTP_CHUNK_EXTENSION:
        return chunk_extension(b, len, piece);
    case HTTP_CHUNK_SIZE_END:
        return chunk_line_end(b, p, len, b->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER, piece);
    case HTTP_CHUNK_DATA:
        return chunk_data(b, len, piece);
    case HTTP_CHUNK_DATA_END:
        return chunk_line_end(b, p, len, HTTP_CHUNK_SIZE, piece);
    case HTTP_CHUNK_TRAILER:
        return trailer(b, p, len, piece);
    default:
        *piece = HTTP_PIECE_END;
        return 0;
    }
}

uint64_t http_body_ahead(const struct http_body_reader *b)
{
    if (b->kind == HTTP_TO_END)
        return UINT64_MAX;
    return b->kind == HTTP_CHUNKED && b->state != HTTP_CHUNK_DATA ? 0 : b->left;
}

size_t http_body_next(struct http_body_reader *b, const uint8_t *p, size_t len,
                      enum http_piece *piece)
{
    *piece = HTTP_PIECE_MORE;
    if (b->kind == HTTP_CHUNKED)
        return chunked(b, p, len, piece);
    if (b->kind == HTTP_TO_END) {
        *piece = len ? HTTP_PIECE_DATA : HTTP_PIECE_MORE;
        return len;
    }
    if (b->left > b->room)
        return too_large(piece);
    if (b->left)
        return data(b, len, piece);
    *piece = HTTP_PIECE_END;
    return 0;
}
