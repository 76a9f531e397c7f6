/* SPDX-License-Identifier: MIT
 * runs.h: what can be measured. Each runs to its end and prints its figures as the beginning
 * of a JSON object.
 */
#ifndef LOAD_RUNS_H
#define LOAD_RUNS_H

#include "stream.h"

/* `streams` streams that carry as much as goes through, `way` down, up or both, for `seconds`. */
void bulk_run(const struct plan *plan);

/* `count` connections, `streams` at once and `rate` a second: connect, one message each way, close.
 * Times are from connect(), or when it was due, to the first byte of the answer. */
void conn_run(const struct plan *plan);

/* Messages answered by messages on `streams` connections for `seconds`: `rate` a second, spread
 * evenly; or each as soon as the one before is answered. Times are from when each was due. */
void msg_run(const struct plan *plan);

/* Opens as many streams as each of `steps` says, and waits for a line on standard input after
 * each; then uses every one of them once more. */
void idle_run(const struct plan *plan);

#endif
