/* SPDX-License-Identifier: MIT
 * relay.h: two connected sockets joined until both directions have ended.
 *
 * Each direction ends on its own: the end of one side's data is passed on as a shutdown once all
 * before it has been written. A reset on one side becomes a reset on the other. What one side does
 * not take is not read from the other. An idle relay holds no buffer.
 */
#ifndef TRAFFIC_RELAY_H
#define TRAFFIC_RELAY_H

#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>

enum relay_end { RELAY_DONE, RELAY_RESET, RELAY_NO_MEMORY };

/* One socket, and what waits to be written to it. */
struct relay_side {
    struct io_fd io;
    struct relay *relay;
    uint8_t *pending; /* bytes for this side; NULL: none */
    size_t pending_off, pending_len;
    uint64_t received;
    bool ended; /* its data has ended */
    bool shut;  /* it has been told that the other's has */
};

/* What is read on its way through: one for each worker. */
#define RELAY_BUFFER 65536
struct relay_buffer {
    uint8_t bytes[RELAY_BUFFER];
};

/* Embedded in its owner; starts zeroed. */
struct relay {
    struct io *io;
    struct relay_buffer *buffer;
    struct relay_side side[2];
    int64_t active_ns; /* when bytes last moved */
    void (*over)(struct relay *r, enum relay_end end);
};

/* Joins two non-blocking sockets, which stay the owner's. early[i]: len bytes that side i is to
 * get first. r->over is set by the owner; it is called once, from the loop; then relay_stop() is due.
 * Returns 0, or -1 when out of memory. */
int relay_start(struct relay *r, struct io *io, struct relay_buffer *buffer, const int fd[2],
                const void *const early[2], const size_t early_len[2]);

/* Stops and frees what it holds; the sockets stay open. Safe on a relay that never started. */
void relay_stop(struct relay *r);

#endif
