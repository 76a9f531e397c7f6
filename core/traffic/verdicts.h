/* SPDX-License-Identifier: MIT
 * verdicts.h: names and passwords that were found right lately, by their keyed hash. One worker's.
 */
#ifndef TRAFFIC_VERDICTS_H
#define TRAFFIC_VERDICTS_H

#include "traffic/mac.h"

#define VERDICTS 1024

struct verdict {
    struct mac mac;
    int64_t until_ns; /* 0: free */
};

/* Starts zeroed. */
struct verdicts {
    struct verdict all[VERDICTS];
};

bool verdicts_know(const struct verdicts *v, const struct mac *mac, int64_t now_ns);
/* One that would be forgotten first makes room. */
void verdicts_keep(struct verdicts *v, const struct mac *mac, int64_t until_ns);

#endif
