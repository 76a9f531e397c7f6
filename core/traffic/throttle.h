/* SPDX-License-Identifier: MIT
 * throttle.h: client addresses whose logins fail, and how long they wait for the next try.
 */
#ifndef TRAFFIC_THROTTLE_H
#define TRAFFIC_THROTTLE_H

#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stdint.h>

struct throttle;

/* So many failures in a row cost nothing. Then tries wait for each other: 1 s, twice as long each
 * time, THROTTLE_MOST_NS at most. */
#define THROTTLE_FREE 5
#define THROTTLE_MOST_NS (INT64_C(8) * 1000000000)

struct throttle *throttle_new(int64_t now_ns); /* NULL: out of memory */
void throttle_free(struct throttle *t);

/* What stands for an address, or for the /64 of an IPv6 one. [any thread, as all below] */
uint64_t throttle_source(const struct throttle *t, const struct dp_addr *client);

/* May it try to log in? *at_ns says when: now, or later. False: it would have to wait beyond
 * latest_ns. */
bool throttle_admit(struct throttle *t, uint64_t source, int64_t now_ns, int64_t latest_ns,
                    int64_t *at_ns);

/* What has come of a try. One that was right makes all forgotten, and so do ten minutes. */
void throttle_told(struct throttle *t, uint64_t source, bool right, int64_t now_ns);

#endif
