/* SPDX-License-Identifier: MIT
 * loop.h: io.h on epoll: one loop, turned by one thread, that others can wake.
 */
#ifndef TRAFFIC_LOOP_H
#define TRAFFIC_LOOP_H

#include "base/io.h"

struct loop;

struct loop *loop_new(void); /* NULL, and errno: out of memory or descriptors */
void loop_free(struct loop *loop);
struct io *loop_io(struct loop *loop);

/* Turns until loop_stop(): what else that turn has found is told before. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* [the loop's thread] */

/* Calls woken(ctx) from the loop, soon, once or more. [any thread; async-signal-safe] */
void loop_on_wake(struct loop *loop, void (*woken)(void *ctx), void *ctx);
void loop_wake(struct loop *loop);

#endif
