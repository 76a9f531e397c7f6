/* SPDX-License-Identifier: MIT
 * relay.h: two connected sockets joined until both directions have ended.
 *
 * Each direction ends on its own: the end of one side's data is passed on as a shutdown once all
 * before it has been written. A reset on one side becomes a reset on the other. What one side does
 * not take is not read from the other. Small amounts are copied, large ones spliced. An idle relay
 * holds neither buffer nor pipe.
 */
#ifndef TRAFFIC_RELAY_H
#define TRAFFIC_RELAY_H

#include "traffic/pipes.h"
#include "traffic/relay_side.h"

enum relay_end { RELAY_DONE, RELAY_RESET, RELAY_NO_MEMORY };

/* What all relays of a worker use, one at a time. */
#define RELAY_BUFFER 65536
struct relay_shared {
    struct io *io;
    struct pipes *pipes;
    uint8_t buffer[RELAY_BUFFER];
};

/* Embedded in its owner; starts zeroed. */
struct relay {
    struct relay_shared *shared;
    struct relay_side side[2];
    struct io_timer again; /* to go on after others had their turn */
    int64_t last_ns;       /* a side has been reset: when this ends at the latest; 0: none has */
    int64_t active_ns;     /* when bytes last moved */
    void (*over)(struct relay *r, enum relay_end end);
};

/* What side i has waiting at the start. */
struct relay_early {
    const void *bytes; /* it is to be sent this first */
    size_t len;
};

/* Joins two non-blocking sockets, which stay the owner's; side[].io.fd is set. The owner may watch
 * side[].io itself until then, with IO_EDGE, and pass on to relay_side_told() what it was told.
 * r->over is called once, from the loop; then relay_stop() is due. Returns 0, or -1 when out of
 * memory. */
int relay_start(struct relay *r, struct relay_shared *shared, const struct relay_early early[2]);

/* Now and then: what has been in a pipe since the last call, for a side that does not read, waits in
 * memory, so that others get the pipe. Returns 0, or -1: the bytes are lost, and it must end. */
int relay_rest(struct relay *r);

/* Stops and frees what it holds; the sockets are the owner's to close, next. Safe on a relay that
 * never started. */
void relay_stop(struct relay *r);

#endif
