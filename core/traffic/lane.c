/* SPDX-License-Identifier: MIT
 * lane.c: one direction of an exchange.
 */
#include "traffic/lane.h"
#include "proto/http_rewrite.h"
#include "traffic/relay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the buffer ---- */

static int lane_grow(struct lane *l)
{
    if (l->size == LANE_BUFFER)
        return 0;
    uint8_t *bytes = realloc(l->bytes, LANE_BUFFER);
    if (!bytes)
        return -1;
    if (!l->bytes)
        l->at = l->ready = l->next = l->len = HTTP_REWRITE_GROWTH;
    l->bytes = bytes;
    l->size = LANE_BUFFER;
    return 0;
}

/* Nothing is ready: there is room for the growth of a head before what is next, and for more
 * behind. */
static void lane_pack(struct lane *l)
{
    size_t left = lane_left(l);
    if (l->next != HTTP_REWRITE_GROWTH)
        memmove(l->bytes + HTTP_REWRITE_GROWTH, lane_next(l), left);
    l->at = l->ready = l->next = HTTP_REWRITE_GROWTH;
    l->len = l->next + left;
}

void lane_empty(struct lane *l)
{
    free(l->bytes);
    l->bytes = NULL;
    l->size = l->at = l->ready = l->next = l->len = 0;
}

void lane_rest(struct lane *l)
{
    if (l->at == l->ready && lane_left(l) == 0) {
        lane_empty(l);
        return;
    }
    uint8_t *bytes = l->len < l->size ? realloc(l->bytes, l->len) : NULL;
    if (!bytes)
        return;
    l->bytes = bytes;
    l->size = l->len;
}

/* ---- in ---- */

/* Of a body of known length nothing behind it is read. Else what is behind it must fit where a
 * request's head is read. */
static size_t lane_room(const struct lane *l)
{
    size_t room = l->size - l->len, left = lane_left(l);
    uint64_t most = l->body.kind == HTTP_LENGTH ? l->body.left : UINT64_MAX;
    if (l->body.kind == HTTP_CHUNKED)
        most = l->body.left + HTTP_HEAD_MAX - left;
    return room < most ? room : (size_t)most;
}

static ssize_t fill_buffer(struct lane *l)
{
    if (lane_grow(l) < 0)
        return -ENOMEM;
    lane_pack(l);
    ssize_t n = relay_side_receive(l->from, l->bytes + l->len, lane_room(l));
    if (n > 0)
        l->len += (size_t)n;
    return n;
}

/* No byte behind the data may get into the pipe. */
static ssize_t fill_pipe(struct lane *l, struct pipe *pipe)
{
    enum http_piece piece;
    uint64_t ahead = http_body_ahead(&l->body);
    if (pipe->most > ahead)
        pipe->most = (size_t)ahead;
    ssize_t n = relay_side_pour(l->from, l->to, pipe);
    if (n == -EINVAL) /* this socket cannot */
        return fill_buffer(l);
    if (n > 0)
        http_body_next(&l->body, NULL, (size_t)n, &piece);
    return n;
}

ssize_t lane_fill(struct lane *l)
{
    bool splices =
        l->bulk && lane_left(l) == 0 && !l->from->urgent && http_body_ahead(&l->body) >= BULK_BYTES;
    struct pipe *pipe = splices ? pipes_take(l->from->relay->shared->pipes) : NULL;
    ssize_t n = pipe ? fill_pipe(l, pipe) : fill_buffer(l);
    l->bulk = n >= BULK_BYTES;
    return n;
}

int lane_put(struct lane *l, const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    if (lane_grow(l) < 0)
        return -1;
    assert(len <= l->size - l->len);
    memcpy(l->bytes + l->len, bytes, len);
    l->len += len;
    return 0;
}

int lane_put_ready(struct lane *l, const uint8_t *bytes, size_t len)
{
    if (lane_put(l, bytes, len) < 0)
        return -1;
    l->ready = l->next = l->len;
    return 0;
}

/* ---- through ---- */

void lane_head(struct lane *l, size_t n, const uint8_t *head, size_t len)
{
    assert(lane_is_flushed(l) && l->next + n >= len);
    l->next += n;
    l->ready = l->next;
    l->at = l->next - len;
    memcpy(l->bytes + l->at, head, len);
}

static void pass(struct lane *l, size_t n)
{
    if (l->ready != l->next)
        memmove(l->bytes + l->ready, lane_next(l), n);
    l->ready += n;
    l->next += n;
}

static bool is_for_both(const struct lane *l, enum http_piece piece)
{
    return piece == HTTP_PIECE_DATA || (piece == HTTP_PIECE_FRAMING && !l->no_chunks);
}

enum http_piece lane_body(struct lane *l)
{
    enum http_piece piece;
    for (;;) {
        size_t n = http_body_next(&l->body, lane_next(l), lane_left(l), &piece);
        if (n == 0)
            return piece;
        if (is_for_both(l, piece))
            pass(l, n);
        else
            l->next += n;
    }
}

/* ---- out ---- */

enum moved lane_flush(struct lane *l)
{
    size_t sent;
    if (lane_is_flushed(l))
        return MOVED;
    if (relay_side_waits(l->to))
        return relay_side_flush(l->to);
    if (l->to->blocked)
        return BLOCKED;
    enum moved m = relay_side_send(l->to, l->bytes + l->at, l->ready - l->at, &sent);
    l->at += sent;
    return m;
}
