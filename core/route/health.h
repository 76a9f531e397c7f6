/* SPDX-License-Identifier: MIT
 * health.h: is a link to be used? What its own dials have come to decides, and, where there is a
 * monitor, whether the kernel has a way by it at all; and where it is checked, what that comes to.
 *
 *   IN USE --- a failure ---> OUT --- its time has come ---> DUE --- one flow gets it --+
 *     ^                        ^                                                        |
 *     |                        +------------------- for the time of its trial ----------+
 *     +--- any dial by it that succeeds
 *
 * That state is one number, shared by all threads and processes that use the link. Beside it stands
 * another, what health checks say: a link that fails them is out as well, is given to no trial, and
 * comes back by them alone.
 */
#ifndef ROUTE_HEALTH_H
#define ROUTE_HEALTH_H

#include "route/link.h"

/* Do health checks say that it does not work? */
static inline bool link_fails_checks(const struct link *link)
{
    return dp_load(&link->shared->check) < 0;
}

/* IN USE: nothing speaks against picking it. */
static inline bool link_is_in_use(const struct link *link)
{
    return dp_load(&link->shared->retry_at) == 0 && !link_fails_checks(link);
}

/* Has it a way out for one of `ways` (WAY_)? */
static inline bool link_has_way(const struct link *link, uint32_t ways)
{
    return (dp_load(&link->shared->no_way) & ways) != ways;
}
/* And one that leads further than to its own networks? */
static inline bool link_has_route(const struct link *link, uint32_t ways)
{
    return (dp_load(&link->shared->no_route) & ways) != ways;
}

/* The link is another than before: what its dials came to, and what those come to that are under
 * way, says nothing any more. */
void link_renew(const struct link *link, int64_t now_ns);

/* Of a link that is DUE one caller gets true: its flow is the trial. Until then, and for the time
 * of the trial, everybody gets false. */
bool link_try(const struct link *link, int64_t now_ns);
/* The trial ended without a word on the link, which is DUE again. */
void link_untried(const struct link *link, int64_t now_ns);

/* How long the link stays out after this many ejections in a row, from 1 on. */
int64_t link_out_ns(const struct link *link, uint32_t ejections);

/* The outcome of a dial that counts: a success measures `took_ns` (0: it does not) and ends a row of
 * failures. */
void link_worked(const struct link *link, int64_t now_ns, int64_t took_ns);
/* began_ns: when the dial began, for one that has worked since is not to blame; err: why. */
void link_failed(const struct link *link, int64_t began_ns, int64_t now_ns, int err);
/* A dial by it was still silent when one by another link, begun later, got through. That may be a
 * lost packet: it takes a row of them to be a failure. */
void link_silent(const struct link *link, int64_t began_ns, int64_t now_ns, int err);

/* How long a dial by it may be silent before another link is tried beside it. */
int64_t link_patience_ns(const struct link *link, bool trial);

/* Is it known how long connecting by it takes? */
static inline bool link_is_known(const struct link *link)
{
    return dp_load(&link->stat->rtt) != 0;
}
/* Has it failed or been silent since it last worked, or no way any more? */
bool link_is_suspect(const struct link *link);

/* A health check has passed; or has failed, and why. `fall` failures in a row take the link out of
 * use, then `rise` passes in a row bring it back, afresh. [the thread that checks] */
void link_check_passed(const struct link *link, const struct conf_check *check, int64_t now_ns);
void link_check_failed(const struct link *link, const struct conf_check *check, const char *why);
/* It is not checked any more, or in another way. [the thread that checks] */
void link_check_none(const struct link *link, int64_t now_ns);

#endif
