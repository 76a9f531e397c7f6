/* SPDX-License-Identifier: MIT
 * sources.h: how many connections each client address has, over all workers.
 */
#ifndef TRAFFIC_SOURCES_H
#define TRAFFIC_SOURCES_H

#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stdint.h>

struct sources;

/* For about so many connections at once. NULL: out of memory. */
struct sources *sources_new(uint32_t connections);
void sources_free(struct sources *s);

/* Counts one more connection of `client` (an IPv6 one by its /64) to `listener`; false if it has
 * `limit` of them already. `place` is for sources_give() when the connection is over; 0 is none, and
 * needs none: neither has a client for which there is no room among all the others. Never above the
 * limit, whatever other threads do meanwhile. [any thread] */
bool sources_take(struct sources *s, const char *listener, const struct dp_addr *client,
                  uint32_t limit, uint32_t *place);
void sources_give(struct sources *s, uint32_t place);

#endif
