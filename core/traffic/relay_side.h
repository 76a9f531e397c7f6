/* SPDX-License-Identifier: MIT
 * relay_side.h: one of two connected sockets, watched by edges: what it can do is remembered until it
 * has been tried in vain.
 */
#ifndef TRAFFIC_RELAY_SIDE_H
#define TRAFFIC_RELAY_SIDE_H

#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct relay;
struct pipe;

/* One socket, and what waits to be written to it: in a block of memory, or in a pipe. */
struct relay_side {
    struct io_fd io;
    struct relay *relay;
    uint8_t *pending;
    uint32_t pending_off, pending_len;
    struct pipe *pipe;
    uint64_t received;
    bool readable; /* a read may find something */
    bool more;     /* behind what a read brings: its end, an error, urgent data */
    bool urgent;   /* it has sent urgent data */
    bool blocked;  /* a write found no room */
    bool ended;    /* its data has ended */
    bool shut;     /* it has been told that the other's has */
    uint8_t calm;  /* reads in a row that were small; CALM or more: it is copied */
};

enum moved { MOVED, BLOCKED, BROKEN, NO_MEMORY };

/* Readiness that was told by whoever watches it. */
void relay_side_told(struct relay_side *s, short revents);

/* Does anything wait to be written to it? Writes that: MOVED, nothing does any more. */
static inline bool relay_side_waits(const struct relay_side *to)
{
    return to->pending || to->pipe;
}
enum moved relay_side_flush(struct relay_side *to);

/* Drops it. */
void relay_side_empty(struct relay_side *to);

/* Asks for the edge that tells when there is room again. Returns BLOCKED or NO_MEMORY. */
enum moved relay_side_blocked(struct relay_side *to);

/* MOVED: all of it, else *sent has been taken. */
enum moved relay_side_send(struct relay_side *to, const uint8_t *bytes, size_t len, size_t *sent);

/* Like recv(), but -errno. Where a read stops short it has got all there was; but for what is told
 * once only. */
ssize_t relay_side_receive(struct relay_side *from, uint8_t *buffer, size_t size);

/* A read of so much is worth a pipe: below, copying costs less (measured: equal at 16 KiB). */
#define BULK_BYTES 16384

/* The same by an empty pipe, which waits to be written to `to` then, or is given back. That it was not
 * filled does not say that the socket is empty: it takes a bounded number of pieces, however small.
 * -EINVAL: this socket cannot. */
ssize_t relay_side_pour(struct relay_side *from, struct relay_side *to, struct pipe *pipe);

#endif
