/* SPDX-License-Identifier: MIT
 * replay.h: what danted has set on its socket, set on the one that takes its place.
 */
#ifndef DANTE_REPLAY_H
#define DANTE_REPLAY_H

/* Each only shapes the traffic: one that cannot be set is left as it is. */
void replay_options(int from, int to);

#endif
