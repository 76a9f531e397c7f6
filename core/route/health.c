/* SPDX-License-Identifier: MIT
 * health.c: is a link to be used?
 *
 * Whoever changes retry_at by compare-and-swap has made the transition, and writes the rest. What
 * comes in between from elsewhere leaves at worst one wait that is shorter or longer by a step.
 */
#include "route/health.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/ramp.h"

#include <xxhash.h>

#define OUT_FIRST_NS NS_PER_S
#define OUT_MOST_NS (10 * NS_PER_S)
#define OUT_DOUBLINGS 4 /* and the most is reached */

/* A link that comes and goes all the time is told of once in this time. */
#define TELL_NS NS_PER_S

/* So long after a change by which it became another a link may do so again. */
#define UNSTEADY_NS (10 * NS_PER_S)

/* Up to a fifth less, so that links which failed together are not tried together: always the same
 * for the same link. */
int64_t link_out_ns(const struct link *link, uint32_t ejections)
{
    uint32_t doublings = ejections - 1 < OUT_DOUBLINGS ? ejections - 1 : OUT_DOUBLINGS;
    int64_t most = OUT_FIRST_NS << doublings;
    most = most < OUT_MOST_NS ? most : OUT_MOST_NS;
    uint64_t chance = XXH64(&ejections, sizeof ejections, link->id);
    return most - (int64_t)(chance % (uint64_t)(most / 5));
}

/* Whoever still finds it at `seen` sends it out, for the nth time in a row. */
static bool eject(const struct link *link, int64_t seen, int64_t now_ns, uint32_t nth)
{
    struct link_shared *s = link->shared;
    if (!__atomic_compare_exchange_n(&s->retry_at, &seen, now_ns + link_out_ns(link, nth), false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    dp_store(&s->ejections, nth);
    return true;
}

bool link_try(const struct link *link, int64_t now_ns)
{
    int64_t retry_at = dp_load(&link->shared->retry_at);
    return retry_at && retry_at <= now_ns &&
           eject(link, retry_at, now_ns, dp_load(&link->shared->ejections) + 1);
}

void link_untried(const struct link *link, int64_t now_ns)
{
    int64_t retry_at = dp_load(&link->shared->retry_at);
    if (retry_at > now_ns)
        __atomic_compare_exchange_n(&link->shared->retry_at, &retry_at, now_ns, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static const char *reason(int err)
{
    switch (err) {
    case DP_ERR_NET_UNREACH:
        return "network unreachable, where another link got through";
    case DP_ERR_HOST_UNREACH:
        return "no answer, where another link got through";
    case DP_ERR_TTL:
        return "TTL expired, where another link got through";
    default:
        return "the link or its server failed";
    }
}

static void tell_out(const struct link *link, int64_t now_ns, int err)
{
    struct link_shared *s = link->shared;
    int64_t told_at = dp_load(&s->told_at);
    if (told_at && now_ns - told_at < TELL_NS)
        return;
    dp_store(&s->told_at, now_ns);
    dp_store(&s->told, 1);
    log_line(LOG_WARN, "link", "%s: not used for %lld ms: %s", link->name,
             (long long)(link_out_ns(link, 1) / NS_PER_MS), reason(err));
}

void link_failed(const struct link *link, int64_t began_ns, int64_t now_ns, int err)
{
    struct dp_stat *stat = link->stat;
    dp_add(&stat->fails, 1);
    dp_store(&stat->failed_at, now_ns);
    if (!link_has_way(link, WAY_ANY)) /* known, and told, already */
        return;
    if (dp_load(&stat->rtt_at) <= began_ns && dp_load(&link->shared->renewed_at) <= began_ns &&
        eject(link, 0, now_ns, 1))
        tell_out(link, now_ns, err);
}

static void back_in_use(const struct link *link, int64_t now_ns)
{
    struct link_shared *s = link->shared;
    if (__atomic_exchange_n(&s->retry_at, 0, __ATOMIC_ACQ_REL) == 0)
        return;
    dp_store(&s->ejections, 0);
    ramp_begin(link, now_ns);
    if (__atomic_exchange_n(&s->told, 0, __ATOMIC_RELAXED))
        log_line(LOG_INFO, "link", "%s: in use again", link->name);
}

void link_worked(const struct link *link, int64_t now_ns, int64_t took_ns)
{
    struct dp_stat *stat = link->stat;
    int64_t rtt = dp_load(&stat->rtt);
    /* The smoothing of RFC 6298: 7/8 old, 1/8 new. A lost update between threads is harmless. */
    dp_store(&stat->rtt, rtt ? rtt - rtt / 8 + took_ns / 8 : took_ns);
    dp_store(&stat->rtt_at, now_ns);
    if (dp_load(&stat->fails))
        dp_store(&stat->fails, 0);
    if (!link_is_in_use(link))
        back_in_use(link, now_ns);
}

void link_renew(const struct link *link, int64_t now_ns)
{
    struct link_shared *s = link->shared;
    dp_store(&s->renewed_at, now_ns);
    dp_store(&link->stat->fails, 0);
    if (!link_is_in_use(link))
        back_in_use(link, now_ns);
}

/* Shortly before counts only where it is known how long connecting takes. */
bool link_is_unsteady(const struct link *link, int64_t began_ns)
{
    int64_t since = dp_load(&link->stat->rtt) ? began_ns - UNSTEADY_NS : began_ns;
    return dp_load(&link->shared->renewed_at) > since;
}

bool link_is_suspect(const struct link *link)
{
    return dp_load(&link->stat->fails) > 0 || !link_has_way(link, WAY_ANY);
}
