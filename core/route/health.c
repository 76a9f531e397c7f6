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

#include <inttypes.h>
#include <xxhash.h>

#define OUT_FIRST_NS NS_PER_S
#define OUT_MOST_NS (10 * NS_PER_S)
#define OUT_DOUBLINGS 4 /* and the most is reached */

/* A link that comes and goes all the time is told of once in this time. */
#define TELL_NS NS_PER_S

/* Silences in a row that are a failure. A SYN or its answer is lost in one of ten dials where 5 %
 * of packets are lost each way: five in a row are then one in 100,000, three would be one in 1,000
 * and put a sound link out in a day's browsing. At 25 dials a second the fifth comes after 0.2 s. */
#define SILENCES_MAX 5

/* Failures among the last dials that are too many, though some worked. With 5 % loss, as above, that
 * is one in 200,000; a link that is this bad makes every second client wait. */
#define OUTCOMES 20
#define OUTCOMES_BAD (OUTCOMES / 2)

/* How long silence is borne. Nothing is known of a new link: 250 ms, as between two addresses (RFC
 * 8305, section 8). Later RFC 6298 says how long connecting may well take, but not under 200 ms, for
 * destinations differ; that is also the least that Linux waits for an acknowledgement. */
#define PATIENCE_NEW_NS (250 * NS_PER_MS)
#define PATIENCE_LEAST_NS (200 * NS_PER_MS)

/* The trial of a link that is out may not cost its client more than need be. But each that was in
 * vain makes the next wait for twice as long, two times: a link that takes its time, or has become
 * slow, would not be found out to work otherwise. */
#define PATIENCE_TRIAL_NS (50 * NS_PER_MS)
#define PATIENCE_DOUBLINGS 2

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
    return retry_at && retry_at <= now_ns && !link_fails_checks(link) &&
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

static void tell_out(const struct link *link, int64_t now_ns, const char *why)
{
    struct link_shared *s = link->shared;
    int64_t told_at = dp_load(&s->told_at);
    if (told_at && now_ns - told_at < TELL_NS)
        return;
    dp_store(&s->told_at, now_ns);
    dp_store(&s->told, 1);
    log_line(LOG_WARN, "link", "%s: not used for %lld ms: %s", link->name,
             (long long)(link_out_ns(link, 1) / NS_PER_MS), why);
}

/* A link that works always has 0 here, and nothing to write. Of threads that write at once one is
 * heard: what gets lost is a dial of 20, but never that the count has begun anew. */
static void outcome_add(const struct link *link, bool failed)
{
    uint32_t *outcomes = &link->shared->outcomes, before = dp_load(outcomes);
    uint32_t after = (before << 1 | failed) & ((1U << OUTCOMES) - 1);
    if (before || failed)
        __atomic_compare_exchange_n(outcomes, &before, after, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
}

/* What began before the link became another says nothing of it. */
static bool is_outdated(const struct link *link, int64_t began_ns)
{
    return dp_load(&link->shared->renewed_at) > began_ns;
}

static void failure_add(const struct link *link, int64_t began_ns)
{
    if (!is_outdated(link, began_ns))
        outcome_add(link, true);
}

static bool fails_often(const struct link *link)
{
    return __builtin_popcount(dp_load(&link->shared->outcomes)) >= OUTCOMES_BAD;
}

static bool worked_since(const struct link *link, int64_t began_ns)
{
    return dp_load(&link->stat->rtt_at) > began_ns || is_outdated(link, began_ns);
}

static void out_by_rate(const struct link *link, int64_t now_ns)
{
    if (!fails_often(link) || !eject(link, 0, now_ns, 1))
        return;
    dp_store(&link->shared->rated_at, now_ns);
    tell_out(link, now_ns, "half of its last dials failed");
}

static void failed(const struct link *link, int64_t began_ns, int64_t now_ns, int err)
{
    struct dp_stat *stat = link->stat;
    dp_add(&stat->fails, 1);
    dp_store(&stat->failed_at, now_ns);
    if (!link_has_way(link, WAY_ANY) || link_fails_checks(link)) /* known, and told, already */
        return;
    if (worked_since(link, began_ns))
        out_by_rate(link, now_ns);
    else if (eject(link, 0, now_ns, 1))
        tell_out(link, now_ns, reason(err));
}

void link_failed(const struct link *link, int64_t began_ns, int64_t now_ns, int err)
{
    failure_add(link, began_ns);
    failed(link, began_ns, now_ns, err);
}

void link_silent(const struct link *link, int64_t began_ns, int64_t now_ns, int err)
{
    failure_add(link, began_ns);
    if (!worked_since(link, began_ns) && dp_add(&link->shared->silences, 1) + 1 >= SILENCES_MAX)
        failed(link, began_ns, now_ns, err);
    else if (link_has_way(link, WAY_ANY) && !link_fails_checks(link))
        out_by_rate(link, now_ns);
}

/* The row of failures has ended. */
static void row_end(const struct link *link)
{
    if (dp_load(&link->stat->fails))
        dp_store(&link->stat->fails, 0);
    if (dp_load(&link->shared->silences))
        dp_store(&link->shared->silences, 0);
}

static void back_in_use(const struct link *link, int64_t now_ns)
{
    struct link_shared *s = link->shared;
    if (__atomic_exchange_n(&s->retry_at, 0, __ATOMIC_ACQ_REL) == 0)
        return;
    dp_store(&s->ejections, 0);
    dp_store(&s->outcomes, 0);
    ramp_begin(link, now_ns);
    if (__atomic_exchange_n(&s->told, 0, __ATOMIC_RELAXED) && !link_fails_checks(link))
        log_line(LOG_INFO, "link", "%s: in use again", link->name);
}

/* RFC 6298, section 2, but that one late connect, which may be its destination's matter, counts for
 * no more than what is expected at most. A lost update between threads is harmless. */
static void time_add(const struct link *link, int64_t took_ns)
{
    int64_t rtt = dp_load(&link->stat->rtt), var = dp_load(&link->shared->rtt_var);
    int64_t most = link_patience_ns(link, false);
    if (!rtt) {
        dp_store(&link->shared->rtt_var, took_ns / 2);
        dp_store(&link->stat->rtt, took_ns);
        return;
    }
    took_ns = took_ns < most ? took_ns : most;
    int64_t off = took_ns < rtt ? rtt - took_ns : took_ns - rtt;
    dp_store(&link->shared->rtt_var, var - var / 4 + off / 4);
    dp_store(&link->stat->rtt, rtt - rtt / 8 + took_ns / 8);
}

/* One that began before the link was put out for its many failures is one of those that were known
 * to work now and then. */
void link_worked(const struct link *link, int64_t now_ns, int64_t took_ns)
{
    if (took_ns)
        time_add(link, took_ns);
    dp_store(&link->stat->rtt_at, now_ns);
    row_end(link);
    outcome_add(link, false);
    if (!link_is_in_use(link) && now_ns - took_ns > dp_load(&link->shared->rated_at))
        back_in_use(link, now_ns);
}

void link_renew(const struct link *link, int64_t now_ns)
{
    struct link_shared *s = link->shared;
    dp_store(&s->renewed_at, now_ns);
    dp_store(&s->outcomes, 0);
    row_end(link);
    if (!link_is_in_use(link))
        back_in_use(link, now_ns);
}

/* The first trial is the second ejection in a row. */
static int64_t patience_least(const struct link *link, bool trial)
{
    bool known = link_is_known(link);
    if (!trial)
        return known ? PATIENCE_LEAST_NS : PATIENCE_NEW_NS;
    uint32_t nth = dp_load(&link->shared->ejections), doublings = nth > 2 ? nth - 2 : 0;
    doublings = doublings < PATIENCE_DOUBLINGS ? doublings : PATIENCE_DOUBLINGS;
    return (known ? PATIENCE_TRIAL_NS : PATIENCE_NEW_NS) << doublings;
}

int64_t link_patience_ns(const struct link *link, bool trial)
{
    int64_t least = patience_least(link, trial);
    int64_t learned = dp_load(&link->stat->rtt) + 4 * dp_load(&link->shared->rtt_var);
    return learned > least ? learned : least;
}

bool link_is_suspect(const struct link *link)
{
    return dp_load(&link->stat->fails) > 0 || dp_load(&link->shared->silences) > 0 ||
           !link_has_way(link, WAY_ANY);
}

/* ---- what checks say ---- */

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

/* Its dials are not heard before `check` is 0: what they come to from then on counts. */
static void check_back(const struct link *link, int64_t now_ns)
{
    dp_store(&link->shared->told, 0);
    link_renew(link, now_ns);
    ramp_begin(link, now_ns);
    dp_store(&link->shared->check, 0);
}

void link_check_passed(const struct link *link, const struct conf_check *check, int64_t now_ns)
{
    struct link_shared *s = link->shared;
    int32_t state = dp_load(&s->check);
    if (state == 0)
        return;
    if (state == -1) {
        check_back(link, now_ns);
        log_line(LOG_INFO, "link", "%s: in use again: health check passed %" PRIu32 " time%s",
                 link->name, check->rise, plural(check->rise));
        return;
    }
    dp_store(&s->check, state > 0 ? 0 : state + 1);
}

void link_check_failed(const struct link *link, const struct conf_check *check, const char *why)
{
    struct link_shared *s = link->shared;
    int32_t state = dp_load(&s->check);
    if (state >= 0 && (uint32_t)state + 1 < check->fall) {
        dp_store(&s->check, state + 1);
        return;
    }
    dp_store(&s->check, -(int32_t)check->rise);
    if (state >= 0)
        log_line(LOG_WARN, "link", "%s: not used: health check failed %" PRIu32 " time%s: %s",
                 link->name, check->fall, plural(check->fall), why);
}

void link_check_none(const struct link *link, int64_t now_ns)
{
    if (!link_fails_checks(link)) {
        dp_store(&link->shared->check, 0);
        return;
    }
    check_back(link, now_ns);
    log_line(LOG_INFO, "link", "%s: in use again: not checked so any more", link->name);
}
