/* SPDX-License-Identifier: MIT
 * ramp.h: slow start: a link that is back gets its share of new connections little by little.
 *
 * Its state is two numbers beside those of health.h, for all threads and processes that use the link.
 */
#ifndef ROUTE_RAMP_H
#define ROUTE_RAMP_H

#include "route/link.h"

/* The link is back: it was out, or had no way. */
void ramp_begin(const struct link *link, int64_t now_ns);

/* Of a link that is back, slow_start_ns for the whole way up: may it be used by this flow too? */
bool ramp_grants(const struct link *link, int64_t slow_start_ns, int64_t now_ns);

/* The same of any link. */
static inline bool ramp_allows(const struct link *link, int64_t slow_start_ns, int64_t now_ns)
{
    return dp_load(&link->shared->back_at) == 0 || ramp_grants(link, slow_start_ns, now_ns);
}

#endif
