/* SPDX-License-Identifier: MIT
 * http_body.h: where the body of an HTTP/1 message ends, and what of it is data: bytes in, pieces
 * out, no I/O (RFC 9112, sections 6 and 7).
 *
 * Chunks are read as strictly as heads. What may be passed on of their framing means the same to
 * everybody: extensions, in which servers have found different things, are left out.
 */
#ifndef PROTO_HTTP_BODY_H
#define PROTO_HTTP_BODY_H

#include "proto/http_head.h"

/* Of the line that begins a chunk, with extensions. */
#define HTTP_CHUNK_LINE_MAX 256

enum http_piece {
    HTTP_PIECE_MORE, /* more must come */
    HTTP_PIECE_DATA,
    HTTP_PIECE_FRAMING,   /* for those who take chunks */
    HTTP_PIECE_DROP,      /* for nobody */
    HTTP_PIECE_END,       /* no byte from here on is of this body */
    HTTP_PIECE_TOO_LARGE, /* what comes next, with what has come */
    HTTP_PIECE_BAD
};

enum http_chunk {
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_EXTENSION,
    HTTP_CHUNK_SIZE_END,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_END,
    HTTP_CHUNK_TRAILER,
    HTTP_CHUNK_OVER
};

struct http_body_reader {
    enum http_body kind;
    uint64_t left;         /* of LENGTH, or of the chunk */
    uint64_t room;         /* for data of CHUNKED; of LENGTH, for all of it */
    enum http_chunk state; /* of CHUNKED */
    uint32_t extension;    /* its length */
    uint32_t trailers, trailer_bytes;
};

/* `len`: of LENGTH; `most`: more data than this, of LENGTH or CHUNKED, is TOO_LARGE. */
void http_body_begin(struct http_body_reader *body, enum http_body kind, uint64_t len,
                     uint64_t most);

/* So many bytes that are next are data, whatever they are: p may be NULL for them. */
uint64_t http_body_ahead(const struct http_body_reader *body);

/* How many of these bytes are the next piece, of which kind; 0 with MORE, END, TOO_LARGE and BAD.
 * However the bytes are cut, the pieces come to the same. A body TO_END has no END of its own. */
size_t http_body_next(struct http_body_reader *body, const uint8_t *p, size_t len,
                      enum http_piece *piece);

#endif
