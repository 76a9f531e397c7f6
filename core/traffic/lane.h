/* SPDX-License-Identifier: MIT
 * lane.h: one direction of an exchange: heads and a body from one socket to the other, through one
 * buffer, which is there only while something is in it. Of a large body, what need not be looked at
 * goes by a pipe.
 */
#ifndef TRAFFIC_LANE_H
#define TRAFFIC_LANE_H

#include "proto/http_body.h"
#include "traffic/relay_side.h"

/* As much as is read at once; measured: below, bulk costs more. It holds any head. */
#define LANE_BUFFER 65536

/* [at, ready) is to be sent, [next, len) has not been looked through. Starts zeroed, but for the
 * sides. */
struct lane {
    struct relay_side *from, *to;
    uint8_t *bytes; /* NULL: nothing is in it */
    size_t size, at, ready, next, len;
    struct http_body_reader body;
    bool bulk;      /* the last read was large */
    bool no_chunks; /* of the body only the data is passed on */
};

/* Reads more, or has it wait for the other side in a pipe; but of what is behind the body, which the
 * next head is, no more than HTTP_HEAD_MAX. Nothing may be ready. Returns as relay_side_receive(), or -ENOMEM. */
ssize_t lane_fill(struct lane *lane);

/* The same from memory, at the start; and what is to be sent first. Return 0, or -1: out of memory. */
int lane_put(struct lane *lane, const uint8_t *bytes, size_t len);
int lane_put_ready(struct lane *lane, const uint8_t *bytes, size_t len);

/* What is not looked through. */
static inline const uint8_t *lane_next(const struct lane *lane)
{
    return lane->bytes ? lane->bytes + lane->next : NULL;
}
static inline size_t lane_left(const struct lane *lane)
{
    return lane->len - lane->next;
}

/* A head of n bytes is next: it is dropped, and `head` is to be sent, which is longer by less than
 * HTTP_REWRITE_GROWTH. Nothing may be ready. */
void lane_head(struct lane *lane, size_t n, const uint8_t *head, size_t len);

/* Looks through the body; what can be passed on is ready. Returns MORE, END or BAD. */
enum http_piece lane_body(struct lane *lane);

/* Sends what is ready. */
enum moved lane_flush(struct lane *lane);

static inline bool lane_is_flushed(const struct lane *lane)
{
    return lane->at == lane->ready && !relay_side_waits(lane->to);
}

/* Gives back the memory that is not needed just now; all of it. */
void lane_rest(struct lane *lane);
void lane_empty(struct lane *lane);

#endif
