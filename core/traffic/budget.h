/* SPDX-License-Identifier: MIT
 * budget.h: how many sessions at once this process has descriptors for.
 */
#ifndef TRAFFIC_BUDGET_H
#define TRAFFIC_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

/* Shared by all workers; all atomic. */
struct budget {
    uint32_t sessions; /* at most so many at once */
    uint32_t used;
    uint32_t pipes; /* at most so many for the relays of all workers together */
};

/* How many descriptors this process may have, and has. */
uint64_t budget_limit(void);
uint64_t budget_open(void);

/* Shares out `limit` descriptors, of which `open` are taken for good; false: not even one session
 * fits. */
bool budget_set(struct budget *b, uint64_t limit, uint64_t open);

/* A place for one more session; false: there is none. [any thread] */
bool budget_take(struct budget *b);
void budget_give(struct budget *b);

/* Is there none just now? [any thread] */
bool budget_full(const struct budget *b);

#endif
