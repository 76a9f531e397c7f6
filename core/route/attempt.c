/* SPDX-License-Identifier: MIT
 * attempt.c: one dial of one destination by one link.
 *
 *   RESOLVE target k -> ... -> LAUNCH chains, one each 250 ms or at once when one fails -> over
 */
#include "route/attempt.h"
#include "base/clock.h"
#include "base/error.h"
#include "route/health.h"

#include <stdlib.h>
#include <string.h>

/* RFC 8305, section 8: between the starts of two connection attempts. */
#define NEXT_ADDRESS_NS (250 * NS_PER_MS)
#define ADDRESSES_MAX 16 /* of one name */
#define CHAINS_MAX 8     /* at once */
#define CHOICES_MAX 32   /* ways through the addresses of all targets, tried one after another */

struct attempt {
    struct dial_env *env;
    struct link *link;
    void (*over)(struct attempt *a, void *ctx, int result);
    void *ctx;
    struct chain_plan plan;
    struct resolver_query query;
    bool resolving;
    unsigned at;           /* target being resolved */
    unsigned next, n_ways; /* address choices: started so far, in all */
    struct chain *chain[CHAINS_MAX];
    int64_t began_ns[CHAINS_MAX]; /* when each of them did */
    struct chain *winner;
    int64_t took_ns; /* it alone */
    struct io_timer limit, stagger;
    int err; /* the one to report */
    struct target {
        struct dp_addr asked;
        struct dp_addr *found; /* what the name stands for; NULL: use `asked` */
        size_t n_found;
    } target[]; /* those of the plan */
};

static void attempt_end(struct attempt *a, int result)
{
    io_timer(a->env->io, &a->limit, 0);
    io_timer(a->env->io, &a->stagger, 0);
    a->over(a, a->ctx, result);
}

/* ---- addresses ---- */

/* The way number `way` as a choice of one address for each target; the first target turns fastest. */
static void way_pick(const struct attempt *a, unsigned way, struct dp_addr *to)
{
    for (unsigned k = 0; k < a->plan.n_targets; k++) {
        const struct target *t = &a->target[k];
        to[k] = t->asked;
        if (t->found) {
            to[k] = t->found[way % t->n_found];
            way /= (unsigned)t->n_found;
            addr_set_port(&to[k], t->asked.port);
        }
        addr_unmap(&to[k]);
    }
}

static unsigned ways_count(const struct attempt *a)
{
    size_t n = 1;
    for (unsigned k = 0; k < a->plan.n_targets; k++)
        if (a->target[k].found)
            n *= a->target[k].n_found;
    return n < CHOICES_MAX ? (unsigned)n : CHOICES_MAX;
}

static void chain_over(struct chain *chain, void *ctx, int result);

static struct chain **free_place(struct attempt *a)
{
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        if (!a->chain[i])
            return &a->chain[i];
    return NULL;
}

static bool any_running(const struct attempt *a)
{
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        if (a->chain[i])
            return true;
    return false;
}

/* Starts the next way; those that fail at once make room for the one after. */
static int launch(struct attempt *a)
{
    struct chain **place;
    while (a->next < a->n_ways && (place = free_place(a))) {
        struct dp_addr to[CHAIN_TARGETS_MAX];
        way_pick(a, a->next++, to);
        a->began_ns[place - a->chain] = io_now(a->env->io);
        int result = chain_start(a->env, &a->plan, to, chain_over, a, place);
        if (result == DP_OK) {
            a->winner = *place;
            *place = NULL;
            return DP_OK;
        }
        if (result == DP_AGAIN) {
            bool more = a->next < a->n_ways;
            io_timer(a->env->io, &a->stagger, more ? io_now(a->env->io) + NEXT_ADDRESS_NS : 0);
            return DP_AGAIN;
        }
        a->err = error_worse(a->err, result);
        if (dp_blame(result) == DP_LOCAL)
            return result;
    }
    return any_running(a) ? DP_AGAIN : a->err;
}

static void chain_over(struct chain *chain, void *ctx, int result)
{
    struct attempt *a = ctx;
    unsigned at = 0;
    while (a->chain[at] != chain)
        at++;
    a->chain[at] = NULL;
    if (result == DP_OK) {
        a->took_ns = io_now(a->env->io) - a->began_ns[at];
        a->winner = chain;
    } else {
        chain_free(chain);
        a->err = error_worse(a->err, result);
        if (dp_blame(result) != DP_LOCAL)
            result = launch(a);
    }
    if (result != DP_AGAIN)
        attempt_end(a, result);
}

static void stagger_fire(struct io_timer *t)
{
    struct attempt *a = (struct attempt *)((char *)t - offsetof(struct attempt, stagger));
    int result = launch(a);
    if (result != DP_AGAIN)
        attempt_end(a, result);
}

/* ---- names ---- */

/* IPv6 and IPv4 in turn, IPv6 first (RFC 8305, section 4). */
static size_t interleave(struct dp_addr *out, const struct dp_addr *in, size_t n)
{
    size_t v6 = 0, v4 = 0, o = 0;
    while (o < ADDRESSES_MAX && (v6 < n || v4 < n)) {
        while (v6 < n && addr_family(&in[v6]) != AF_INET6)
            v6++;
        if (v6 < n)
            out[o++] = in[v6++];
        while (v4 < n && addr_family(&in[v4]) != AF_INET)
            v4++;
        if (v4 < n && o < ADDRESSES_MAX)
            out[o++] = in[v4++];
    }
    return o;
}

static size_t family_add(struct dp_addr *out, size_t o, const struct dp_addr *in, size_t n,
                         int family)
{
    for (size_t i = 0; i < n && o < ADDRESSES_MAX; i++)
        if (addr_family(&in[i]) == family)
            out[o++] = in[i];
    return o;
}

/* Can the link lead the first hop there by this family (WAY_), for all the kernel has said? What
 * comes after is up to the tunnels. */
static bool leads_by(const struct attempt *a, uint32_t way)
{
    return a->at > 0 || !a->plan.bottom || link_has_route(a->plan.bottom, way);
}

/* A family by which it does not comes last, for its packets may vanish, and the next address would
 * wait for that. */
static size_t addresses_order(const struct attempt *a, struct dp_addr *out,
                              const struct dp_addr *in, size_t n)
{
    bool v6 = leads_by(a, WAY_IPV6), v4 = leads_by(a, WAY_IPV4);
    if (v6 == v4)
        return interleave(out, in, n);
    size_t o = family_add(out, 0, in, n, v6 ? AF_INET6 : AF_INET);
    return family_add(out, o, in, n, v6 ? AF_INET : AF_INET6);
}

/* A name that leads to a server below the top is the link's own matter. */
static int blame_name(const struct attempt *a, int err)
{
    return a->plan.raw || a->at + 1 < a->plan.n_targets ? DP_ERR_LINK : err;
}

/* What a name has turned out to be; the next target is due if there is no error. */
static int target_found(struct attempt *a, int err, const struct dp_addr *addr, size_t n)
{
    struct target *t = &a->target[a->at];
    if (err == DP_OK && !(t->found = calloc(ADDRESSES_MAX, sizeof *t->found)))
        err = DP_ERR_LOCAL;
    if (err != DP_OK)
        return blame_name(a, err);
    t->n_found = addresses_order(a, t->found, addr, n);
    a->at++;
    return DP_OK;
}

static int target_resolve(struct attempt *a)
{
    const struct dp_addr *asked = &a->target[a->at].asked;
    struct dp_addr addr[RESOLVER_ADDRESSES_MAX];
    size_t n = 0;
    int err = resolver_start(a->env->resolver, (struct link *)a->link->chain[0], asked->name,
                             asked->name_len, &a->query, addr, &n);
    a->resolving = err == DP_AGAIN;
    return err == DP_AGAIN ? err : target_found(a, err, addr, n);
}

static int resolve_next(struct attempt *a)
{
    while (a->at < a->plan.n_targets) {
        if (a->target[a->at].asked.salen || chain_plan_takes_names(&a->plan, a->at)) {
            a->at++;
            continue;
        }
        int err = target_resolve(a);
        if (err != DP_OK)
            return err;
    }
    a->n_ways = ways_count(a);
    return launch(a);
}

static void resolved(struct resolver_query *q, int err, const struct dp_addr *addr, size_t n)
{
    struct attempt *a = (struct attempt *)((char *)q - offsetof(struct attempt, query));
    a->resolving = false;
    err = target_found(a, err, addr, n);
    if (err == DP_OK)
        err = resolve_next(a);
    if (err != DP_AGAIN)
        attempt_end(a, err);
}

/* ---- life ---- */

/* Silence: on the way to the destination, or before its link's own server was reached? */
static int silence_error(const struct attempt *a)
{
    if (a->resolving)
        return blame_name(a, DP_ERR_HOST_UNREACH);
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        if (a->chain[i] && chain_at_top(a->chain[i]))
            return DP_ERR_HOST_UNREACH;
    return DP_ERR_LINK;
}

bool attempt_has_server(const struct attempt *a)
{
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        if (a->chain[i] && chain_has_server(a->chain[i]))
            return true;
    return false;
}

int attempt_timeout_error(const struct attempt *a)
{
    return error_worse(a->err, silence_error(a));
}

static void limit_fire(struct io_timer *t)
{
    struct attempt *a = (struct attempt *)((char *)t - offsetof(struct attempt, limit));
    attempt_end(a, attempt_timeout_error(a));
}

static int targets_fill(struct attempt *a, const struct dp_addr *to)
{
    unsigned n = a->plan.n_targets;
    for (unsigned k = 0; k < n; k++) {
        const struct link *tunnel = a->plan.tunnel[k]; /* the one whose server is at target k */
        if (k + 1 == n && !a->plan.raw) {
            a->target[k].asked = *to;
            break;
        }
        const struct dp_dialer_ops *ops = instance_dialer(tunnel->dialer);
        int err = ops->hop(tunnel->dialer->self, &a->target[k].asked);
        if (err != DP_OK)
            return DP_ERR_LINK;
    }
    return DP_OK;
}

static int attempt_begin(struct attempt *a, const struct dp_addr *to, int64_t limit_ns)
{
    int err = targets_fill(a, to);
    if (err == DP_OK)
        err = resolve_next(a);
    if (err != DP_AGAIN)
        return err;
    io_timer(a->env->io, &a->limit, io_now(a->env->io) + limit_ns);
    return DP_AGAIN;
}

int attempt_start(struct dial_env *env, struct link *link, const struct dp_flow *flow, bool raw,
                  const struct permit *permit, int64_t limit_ns,
                  void (*over)(struct attempt *a, void *ctx, int result), void *ctx,
                  struct attempt **attempt)
{
    struct chain_plan plan;
    chain_plan_init(&plan, link, raw);
    *attempt = NULL;
    if (!plan.n_targets) /* no tunnel any more, since a reload */
        return DP_ERR_COMMAND;
    struct attempt *a = calloc(1, sizeof *a + plan.n_targets * sizeof *a->target);
    if (!a)
        return DP_ERR_LOCAL;
    a->plan = plan;
    a->env = env;
    a->link = link;
    a->over = over;
    a->ctx = ctx;
    a->query.done = resolved;
    a->limit.fire = limit_fire;
    a->stagger.fire = stagger_fire;
    a->plan.permit = permit;
    a->plan.client = &flow->client;
    int result = attempt_begin(a, &flow->dest, limit_ns);
    if (result < 0)
        attempt_free(a);
    else
        *attempt = a;
    return result;
}

struct chain *attempt_take(struct attempt *a, struct arrival *arrival, int64_t *took_ns)
{
    struct chain *winner = a->winner;
    a->winner = NULL;
    *took_ns = a->took_ns;
    return chain_take(winner, arrival);
}

void attempt_free(struct attempt *a)
{
    if (!a)
        return;
    if (a->resolving)
        resolver_cancel(a->env->resolver, &a->query);
    io_timer(a->env->io, &a->limit, 0);
    io_timer(a->env->io, &a->stagger, 0);
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        chain_free(a->chain[i]);
    chain_free(a->winner);
    for (unsigned k = 0; k < a->plan.n_targets; k++)
        free(a->target[k].found);
    free(a);
}
