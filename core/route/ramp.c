/* SPDX-License-Identifier: MIT
 * ramp.c: slow start.
 *
 * Of the flows that a balancer offers to the link a part is granted, which grows with the time since
 * it came back. Which ones is no matter of chance: the multiples of the golden ratio, from the first
 * on, lie as evenly between 0 and 1 as can be.
 */
#include "route/ramp.h"

#define LEAST 0.2          /* of its share, at first: enough to see soon whether it holds */
#define GOLDEN 0x9e3779b9u /* of 2^32 */
#define WHOLE 4294967296.0 /* 2^32 */

void ramp_begin(const struct link *link, int64_t now_ns)
{
    dp_store(&link->shared->offers, 0);
    dp_store(&link->shared->back_at, now_ns);
}

bool ramp_grants(const struct link *link, int64_t slow_start_ns, int64_t now_ns)
{
    int64_t since_ns = now_ns - dp_load(&link->shared->back_at);
    if (since_ns >= slow_start_ns)
        return true;
    double share = (double)since_ns / (double)slow_start_ns;
    share = share > LEAST ? share : LEAST;
    return dp_add(&link->shared->offers, 1) * GOLDEN < share * WHOLE;
}
