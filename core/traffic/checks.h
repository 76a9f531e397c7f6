/* SPDX-License-Identifier: MIT
 * checks.h: health checks of all links that have one: when, and what they come to.
 */
#ifndef TRAFFIC_CHECKS_H
#define TRAFFIC_CHECKS_H

#include "base/io.h"
#include "route/router.h"

struct checks;

/* Checks nothing yet. All of it belongs to the thread of io. NULL: out of memory. */
struct checks *checks_new(struct io *io);

/* Checks the links of this router as its configuration says, from now on, and no others. A link
 * that stays, with a check that does, goes on as it was; one that is not checked any more, or in
 * another way, is as if it had never been. Returns 0; or -1, out of memory: then all goes on as before. */
int checks_watch(struct checks *c, const struct router *router);

/* How many descriptors the checks of a configuration may take at once. */
size_t checks_descriptors(const struct config *config);

/* Ends all; what they have found out stays. NULL is fine. */
void checks_free(struct checks *c);

#endif
