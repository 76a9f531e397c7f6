/* SPDX-License-Identifier: MIT
 * poll.h: io.h on poll(2), for whoever has no loop: blocking hosts, and tests with a clock of theirs.
 */
#ifndef ROUTE_POLL_H
#define ROUTE_POLL_H

#include "base/io.h"

struct poll_loop {
    struct io io; /* hand &io to what waits */
    struct io_fd **fd;
    struct io_timer **timer;
    unsigned n_fds, n_timers, cap_fds, cap_timers;
    unsigned turn;       /* whose turn it is among descriptors that are ready */
    int64_t fake_now_ns; /* not 0: the clock stands here; poll_turn() moves it instead of waiting */
};

void poll_init(struct poll_loop *loop, int64_t fake_now_ns);
void poll_deinit(struct poll_loop *loop);

/* Waits for the next event, but not past until_ns (0: no limit), and runs what is due: at most one
 * descriptor, each in its turn, and one timer. With a fake
 * clock it waits a moment of real time for descriptors, then jumps to the next timer. Returns 0, or
 * -1 when there is nothing to wait for or until_ns has come. */
int poll_turn(struct poll_loop *loop, int64_t until_ns);

#endif
