/* SPDX-License-Identifier: MIT
 * monitor.h: links follow the kernel: which of them have a way out, as interfaces, addresses and
 * routes come and go.
 *
 * A link is that of the interface or address which its bottom dialer's options name, whatever they
 * are called: the first that is a DP_DEVICE, the first that is a DP_ADDRESS. What becomes of it is
 * written where workers pick (struct link_shared); a link that gets better starts afresh.
 *
 * All of it belongs to the main thread.
 */
#ifndef ROUTE_MONITOR_H
#define ROUTE_MONITOR_H

#include "base/io.h"
#include "route/devices.h"
#include "route/router.h"

struct monitor;

/* What it says of links whose connections are to end with the interface (`on-down: reset`): those by
 * `link` are dead, from whichever address (`from` NULL) or from this one. */
typedef void monitor_gone(void *ctx, struct link *link, const struct dp_addr *from);

/* Follows the kernel, in the loop behind io; NULL: it is told by monitor_look(). Returns NULL, and
 * errno: cannot. */
struct monitor *monitor_new(struct io *io, monitor_gone *gone, void *ctx);
void monitor_free(struct monitor *m); /* NULL is fine */

/* Watches the links of this configuration from now on, and no others. Those that it has watched
 * before it goes on with. -1: out of memory, it goes on as before. */
int monitor_watch(struct monitor *m, const struct router *router);

/* This is how things are now. Takes over what the picture holds. */
void monitor_look(struct monitor *m, struct devices *picture, int64_t now_ns);

#endif
