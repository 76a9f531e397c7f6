/* SPDX-License-Identifier: MIT
 * attempt.h: one dial of one destination by one link: names, then addresses, the first that works.
 */
#ifndef ROUTE_ATTEMPT_H
#define ROUTE_ATTEMPT_H

#include "route/chain.h"
#include "route/pool.h"

struct attempt;

/* Starts to dial flow->dest by link, for flow->client, if permit (NULL: any) allows the address; raw:
 * its tunnel's server instead. The flow must outlive the attempt.
 * Returns DP_OK or DP_AGAIN with *attempt set, or an error. After DP_AGAIN over() is called once,
 * not from inside this call, unless the attempt is freed before. It fails after limit_ns. */
int attempt_start(struct dial_env *env, struct link *link, const struct dp_flow *flow, bool raw,
                  const struct permit *permit, int64_t limit_ns,
                  void (*over)(struct attempt *a, void *ctx, int result), void *ctx,
                  struct attempt **attempt);

/* After DP_OK: as chain_take(); and how long connecting to that address took. */
struct chain *attempt_take(struct attempt *a, struct arrival *arrival, int64_t *took_ns);

/* Does it wait for a tunnel, whose server is there? */
bool attempt_has_server(const struct attempt *a);

/* What it would fail with if its time were up now. */
int attempt_timeout_error(const struct attempt *a);

void attempt_free(struct attempt *a); /* NULL is fine */

#endif
