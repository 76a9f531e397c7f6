/* SPDX-License-Identifier: MIT
 * dial.c: the dial engine.
 *
 * Links are tried in the order the pool's balancer picks them: the next at once when one fails, or
 * beside one that is silent for longer than connecting by it takes. The first that works wins and
 * ends the others. Blame decides (dispatch-plugin.h): whether another link is worth a try, and what
 * counts against the link.
 */
#include "route/dial.h"
#include "base/clock.h"
#include "base/error.h"
#include "route/health.h"
#include "route/socket.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LANES_MAX 17 /* links tried for one request: `retries` is at most 15; and a trial */

/* A connect that takes less has not been sent twice (RFC 6298, section 2). */
#define FIRST_RTO_NS NS_PER_S

struct lane {
    struct attempt *attempt; /* NULL: over */
    struct claim claim;      /* held while attempt is set */
};

/* A dial that failed with PATH: to blame if another link gets through. */
struct unproven {
    struct link *link; /* a reference */
    int64_t began_ns, lasted_ns;
    int err;
};

struct dial {
    struct dial_env *env;
    void (*over)(struct dial *d, void *ctx, int err);
    void *ctx;
    unsigned n_lanes, n_unproven;
    unsigned tries_left;
    unsigned path_errors;
    struct lane *winner;
    struct io_timer budget, hedge;
    int err; /* the one to report */
    char link_name[65];
    bool ended;
    struct tried tried;
    /* From tried.link on nothing is cleared: most dials need little of it. */
    struct lane lane[LANES_MAX];
    struct unproven unproven[LANES_MAX];
    struct dial_request request;
};

static void dial_finish(struct dial *d, int err)
{
    d->err = err;
    io_timer(d->env->io, &d->budget, 0);
    io_timer(d->env->io, &d->hedge, 0);
    d->over(d, d->ctx, err);
}

/* Reports from the loop, for what ended before dial_start() had returned. */
static void dial_finish_later(struct dial *d, int err)
{
    d->err = err;
    d->ended = true;
    io_timer(d->env->io, &d->hedge, 0);
    io_timer(d->env->io, &d->budget, io_now(d->env->io));
}

/* A trial that has shown nothing is left to the next flow. */
static void claim_drop(struct dial *d, struct claim *claim, int err)
{
    int64_t now = io_now(d->env->io);
    if (claim->trial)
        link_untried(claim->link, now);
    claim_end(claim, err, now, 0, 0);
}

static void lane_end(struct dial *d, struct lane *lane, int err)
{
    attempt_free(lane->attempt);
    lane->attempt = NULL;
    claim_drop(d, &lane->claim, err);
}

static void lanes_end(struct dial *d)
{
    for (unsigned i = 0; i < d->n_lanes; i++)
        if (d->lane[i].attempt && &d->lane[i] != d->winner)
            lane_end(d, &d->lane[i], DP_ERR_CANCELLED);
}

static bool any_running(const struct dial *d)
{
    for (unsigned i = 0; i < d->n_lanes; i++)
        if (d->lane[i].attempt)
            return true;
    return false;
}

/* Is this what to report? Then the link it came from is, too. */
static void error_note(struct dial *d, const struct link *link, int err)
{
    if (d->err && error_worse(d->err, err) != err)
        return;
    d->err = err;
    snprintf(d->link_name, sizeof d->link_name, "%s", link->name);
}

static void blame(struct dial *d, struct claim *claim, int err)
{
    link_failed(claim->link, claim->at_ns, io_now(d->env->io), err);
    claim->trial = false;
}

static void unproven_add(struct dial *d, const struct claim *claim, int err)
{
    if (d->n_unproven == LANES_MAX)
        return;
    ref_get(&claim->link->ref);
    d->unproven[d->n_unproven++] = (struct unproven){.link = claim->link,
                                                     .began_ns = claim->at_ns,
                                                     .lasted_ns = io_now(d->env->io) - claim->at_ns,
                                                     .err = err};
}

/* Remembers what the failure says; returns false if it settles the request. */
static bool failure_note(struct dial *d, struct claim *claim, int err)
{
    error_note(d, claim->link, err);
    switch (dp_blame(err)) {
    case DP_LINK:
        blame(d, claim, err);
        return true;
    case DP_UNABLE:
        if ((err == DP_ERR_FAMILY || dp_reply(err) == 3) && !claim->trial)
            d->tries_left++; /* skipped, not failed */
        return true;
    case DP_PATH:
        claim->trial = false;
        unproven_add(d, claim, err);
        if (++d->path_errors == 2) /* the way is bad from two sides: nothing new is started */
            d->tries_left = 0;
        return true;
    default:
        return false;
    }
}

/* How long to wait for it alone. The server of a new tunnel that has accepted is there, and what
 * lies behind it may take its time. In any case half an attempt is left to the next. */
static int64_t patience(const struct dial *d, const struct lane *lane)
{
    const struct link *link = lane->claim.link;
    int64_t most = d->request.attempt_ns / 2, ns = link_patience_ns(link, lane->claim.trial);
    if (!link_is_known(link) && !link_is_suspect(link) && attempt_has_server(lane->attempt))
        return most;
    return ns < most ? ns : most;
}

/* Was a silence of `lasted_ns` too long, where the winner took `took_ns` to the same destination?
 * That one had begun when the silent link's usual time was over, so if it takes no longer than that
 * the destination was not the slow one. */
static bool is_too_long(int64_t lasted_ns, int64_t took_ns)
{
    return lasted_ns >= 2 * took_ns;
}

/* One still silent. A trial is a single one, and has failed: the next shall not wait again. */
static void silence_note(struct dial *d, struct lane *lane, int64_t took_ns)
{
    struct claim *claim = &lane->claim;
    int64_t now = io_now(d->env->io), lasted_ns = now - claim->at_ns;
    int err = attempt_timeout_error(lane->attempt);
    if (lasted_ns < patience(d, lane))
        return;
    if (claim->trial)
        blame(d, claim, err);
    else if (is_too_long(lasted_ns, took_ns))
        link_silent(claim->link, claim->at_ns, now, err);
}

/* One link got through: those that did not are to blame. */
static void success_note(struct dial *d)
{
    int64_t now = io_now(d->env->io), took_ns = now - d->winner->claim.at_ns;
    for (struct unproven *u = d->unproven; u < d->unproven + d->n_unproven; u++)
        if (u->lasted_ns < d->request.attempt_ns || is_too_long(u->lasted_ns, took_ns))
            link_failed(u->link, u->began_ns, now, u->err);
    for (struct lane *lane = d->lane; lane < d->winner; lane++)
        if (lane->attempt)
            silence_note(d, lane, took_ns);
}

static void attempt_over(struct attempt *a, void *ctx, int result);

static void hedge_arm(struct dial *d, const struct lane *lane)
{
    int64_t at = lane->claim.at_ns + patience(d, lane);
    io_timer(d->env->io, &d->hedge, d->tries_left > 0 ? at : 0);
}

static int64_t attempt_limit(const struct dial *d)
{
    int64_t left = d->budget.at_ns - io_now(d->env->io);
    return left < d->request.attempt_ns ? left : d->request.attempt_ns;
}

static int lane_start(struct dial *d, struct lane *lane)
{
    return attempt_start(d->env, lane->claim.link, &d->request.flow, d->request.raw,
                         d->request.permit, attempt_limit(d), attempt_over, d, &lane->attempt);
}

/* Tries the next link; one that fails at once makes room for the one after. Returns DP_AGAIN while
 * anything runs, DP_OK with a winner, or the error to report. */
static int dial_next(struct dial *d)
{
    bool go_on = true;
    while (go_on && d->tries_left > 0 && d->n_lanes < LANES_MAX) {
        struct lane *lane = &d->lane[d->n_lanes];
        d->request.flow.now = io_now(d->env->io);
        if (!pool_claim(d->request.pool, &d->request.flow, &d->tried, &lane->claim))
            break;
        d->tries_left -= !lane->claim.trial; /* that one is tried for its own sake */
        d->request.flow.attempt++;
        int result = lane_start(d, lane);
        if (result >= 0)
            d->n_lanes++;
        if (result == DP_AGAIN) {
            hedge_arm(d, lane);
            return DP_AGAIN;
        }
        if (result == DP_OK) {
            d->winner = lane;
            return DP_OK;
        }
        go_on = failure_note(d, &lane->claim, result);
        claim_drop(d, &lane->claim, result);
    }
    if (go_on && any_running(d))
        return DP_AGAIN;
    return d->err ? d->err : pool_refusal(d->request.pool, &d->request.flow);
}

/* Ends the dial unless it goes on (DP_AGAIN). */
static void dial_settle(struct dial *d, int result)
{
    if (result == DP_AGAIN)
        return;
    if (result == DP_OK)
        success_note(d);
    lanes_end(d);
    dial_finish(d, result);
}

static void attempt_over(struct attempt *a, void *ctx, int result)
{
    struct dial *d = ctx;
    struct lane *lane = d->lane;
    while (lane->attempt != a)
        lane++;
    if (result == DP_OK) {
        d->winner = lane;
    } else {
        bool go_on = failure_note(d, &lane->claim, result);
        lane_end(d, lane, result);
        result = go_on ? dial_next(d) : d->err;
    }
    dial_settle(d, result);
}

static const struct lane *newest_running(const struct dial *d)
{
    unsigned i = d->n_lanes - 1;
    while (!d->lane[i].attempt)
        i--;
    return &d->lane[i];
}

/* How far it has come, and what other dials have found out in the meantime, counts as well. */
static void hedge_fire(struct io_timer *t)
{
    struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, hedge));
    const struct lane *lane = newest_running(d);
    if (io_now(d->env->io) < lane->claim.at_ns + patience(d, lane))
        hedge_arm(d, lane);
    else
        dial_settle(d, dial_next(d));
}

static void budget_fire(struct io_timer *t)
{
    struct dial *d = (struct dial *)((char *)t - offsetof(struct dial, budget));
    for (unsigned i = 0; i < d->n_lanes && !d->ended; i++)
        if (d->lane[i].attempt)
            failure_note(d, &d->lane[i].claim, attempt_timeout_error(d->lane[i].attempt));
    lanes_end(d);
    dial_finish(d, d->err);
}

static struct dial *dial_alloc(void)
{
    struct dial *d = malloc(sizeof *d);
    if (d)
        memset(d, 0, offsetof(struct dial, tried.link));
    return d;
}

static void request_copy(struct dial *d, const struct dial_request *request)
{
    d->request = *request;
    d->request.flow.size = sizeof d->request.flow;
    d->request.flow.proto = DP_TCP;
    ref_get(&request->pool->ref);
}

struct dial *dial_start(struct dial_env *env, const struct dial_request *request,
                        void (*over)(struct dial *d, void *ctx, int err), void *ctx)
{
    struct dial *d = dial_alloc();
    if (!d)
        return NULL;
    d->env = env;
    d->over = over;
    d->ctx = ctx;
    request_copy(d, request);
    d->tries_left = 1 + dp_load(&request->pool->retries);
    snprintf(d->link_name, sizeof d->link_name, "none");
    d->budget.fire = budget_fire;
    d->hedge.fire = hedge_fire;
    io_timer(env->io, &d->budget, io_now(env->io) + request->connect_ns);
    int result = dial_next(d);
    if (result != DP_AGAIN) {
        if (result == DP_OK)
            success_note(d);
        lanes_end(d);
        dial_finish_later(d, result);
    }
    return d;
}

/* What was lost once says nothing of how long it takes (Karn; RFC 6298, section 3). */
static int64_t measured_ns(int fd, int64_t took_ns)
{
    return took_ns >= FIRST_RTO_NS && socket_has_resent(fd) ? 0 : took_ns;
}

void dial_take(struct dial *d, struct stream *stream, struct arrival *arrival)
{
    struct lane *lane = d->winner;
    int64_t took_ns, now = io_now(d->env->io);
    stream->chain = attempt_take(lane->attempt, arrival, &took_ns);
    stream->fd = arrival->fd;
    stream->claim = lane->claim;
    link_worked(stream->claim.link, now, measured_ns(stream->fd, took_ns));
    claim_connected(&stream->claim, now);
    attempt_free(lane->attempt);
    lane->attempt = NULL;
    d->winner = NULL;
}

const char *dial_link_name(const struct dial *d)
{
    return d->link_name;
}

void dial_free(struct dial *d)
{
    if (!d)
        return;
    io_timer(d->env->io, &d->budget, 0);
    io_timer(d->env->io, &d->hedge, 0);
    d->winner = NULL;
    lanes_end(d);
    for (unsigned i = 0; i < d->n_unproven; i++)
        ref_drop(&d->unproven[i].link->ref);
    ref_drop(&d->request.pool->ref);
    free(d);
}

void stream_close(struct stream *stream, int64_t now_ns, uint64_t rx, uint64_t tx)
{
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    chain_free(stream->chain);
    stream->chain = NULL;
    claim_end(&stream->claim, DP_OK, now_ns, rx, tx);
}
