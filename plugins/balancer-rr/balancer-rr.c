/* SPDX-License-Identifier: MIT
 * balancer-rr: weighted round robin, smooth (A B A B A for 3:2) or in blocks (A A A B B).
 */
#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SMOOTH, BLOCK }; /* the choices of `order` */

/* A smooth table takes turns * members steps at each change of the view: 2^23 of them some 20 ms.
 * Longer tables are cut in proportion. */
#define TURNS_MAX (1u << 20)
#define STEPS_MAX (1u << 23)

/* Places looked at for one that is allowed before the members are scanned instead. */
#define WALK_MAX 64u

struct conf {
    uint32_t order;
};

/* Shared by all threads and processes that serve the pool. */
struct state {
    uint64_t turn;
};

/* The usable members of one view in the order of their turns. Smooth: a member has one place for
 * each turn. Block: it has one place, and the turns up to `end` of it. */
struct picker {
    uint64_t turns; /* in a round */
    uint32_t n;     /* places */
    uint32_t *member;
    uint64_t *end; /* block only */
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf; /* only read, and alive until destroy() */
    return 0;
}

static void drop(void *picker)
{
    struct picker *p = picker;
    free(p->member);
    free(p->end);
    free(p);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Divides by the greatest common divisor, cuts to a total of about `max`. Returns the new total. */
static uint64_t reduce(uint64_t *weight, uint32_t n, uint64_t max)
{
    uint64_t div = 0, total = 0, cut = 0;
    for (uint32_t i = 0; i < n; i++)
        div = gcd(div, weight[i]);
    for (uint32_t i = 0; i < n; i++)
        total += weight[i] /= div ? div : 1;
    if (total <= max)
        return total;
    for (uint32_t i = 0; i < n; i++) {
        if (weight[i]) /* rounded, but nobody loses its only turn */
            weight[i] = weight[i] * max < total ? 1 : (weight[i] * max + total / 2) / total;
        cut += weight[i];
    }
    return cut;
}

/* Smooth weighted round robin as nginx has it: at each turn everyone gains its weight, the first of
 * those with most has the turn and pays the total for it. A weight of 0 never has a turn. */
static void fill(uint32_t *member, uint64_t turns, const uint64_t *weight, int64_t *gain,
                 uint32_t n)
{
    for (uint64_t turn = 0; turn < turns; turn++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < n; i++) {
            gain[i] += (int64_t)weight[i];
            if (gain[i] > gain[best])
                best = i;
        }
        gain[best] -= (int64_t)turns;
        member[turn] = best;
    }
}

static int build_smooth(struct picker *p, const struct dp_view *view)
{
    uint64_t *weight = calloc(view->n + 1u, sizeof *weight);
    int64_t *gain = calloc(view->n + 1u, sizeof *gain);
    int rc = DP_ERR_LOCAL;
    if (!weight || !gain)
        goto out;

    uint64_t max = STEPS_MAX / (view->n + 1u);
    for (uint32_t i = 0; i < view->n; i++)
        weight[i] = view->member[i]->usable ? view->member[i]->weight : 0;
    p->turns = reduce(weight, view->n, max < TURNS_MAX ? max : TURNS_MAX);
    p->n = (uint32_t)p->turns;
    p->member = calloc(p->turns + 1, sizeof *p->member);
    if (!p->member)
        goto out;
    fill(p->member, p->turns, weight, gain, view->n);
    rc = DP_OK;
out:
    free(weight);
    free(gain);
    return rc;
}

static int build_block(struct picker *p, const struct dp_view *view)
{
    p->member = calloc(view->n + 1u, sizeof *p->member);
    p->end = calloc(view->n + 1u, sizeof *p->end);
    if (!p->member || !p->end)
        return DP_ERR_LOCAL;
    for (uint32_t i = 0; i < view->n; i++) {
        if (!view->member[i]->usable)
            continue;
        p->turns += view->member[i]->weight;
        p->member[p->n] = i;
        p->end[p->n++] = p->turns;
    }
    return DP_OK;
}

static int build(const void *self, const struct dp_view *view, void **picker)
{
    const struct conf *conf = self;
    struct picker *p = calloc(1, sizeof *p);
    if (!p)
        return DP_ERR_LOCAL;
    int rc = conf->order == BLOCK ? build_block(p, view) : build_smooth(p, view);
    if (rc == DP_OK)
        *picker = p;
    else
        drop(p);
    return rc;
}

/* The place that has this turn of the round. */
static uint32_t place_of(const struct picker *p, uint64_t turn)
{
    if (!p->end)
        return (uint32_t)turn;
    uint32_t low = 0, high = p->n - 1;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (turn < p->end[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* The turn at which the place i places after that of `turn` begins; `turn` itself for i = 0. */
static uint64_t turn_after(const struct picker *p, uint64_t turn, uint32_t place, uint32_t i)
{
    if (!i || !p->end)
        return turn + i;
    uint64_t round = turn - turn % p->turns + (uint64_t)((place + i) / p->n) * p->turns;
    uint32_t at = (place + i) % p->n;
    return round + (at ? p->end[at - 1] : 0);
}

/* Who has this turn, or the next one that is allowed; *used: the turn it is then. */
static uint32_t member_at(const struct dp_pool *pool, const struct dp_flow *flow, uint64_t turn,
                          uint64_t *used)
{
    const struct picker *p = pool->picker;
    uint32_t place = place_of(p, turn % p->turns);
    *used = turn;
    for (uint32_t i = 0; i < p->n && i < WALK_MAX; i++) {
        uint32_t member = p->member[(place + i) % p->n];
        if (dp_allowed(pool, flow, member)) {
            *used = turn_after(p, turn, place, i);
            return member;
        }
    }
    uint32_t n = pool->view->n, first = (uint32_t)(turn % n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t member = (first + i) % n;
        if (dp_allowed(pool, flow, member))
            return member;
    }
    return DP_NONE;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen; /* the choice rests on nobody's load */
    const struct picker *p = pool->picker;
    struct state *s = pool->state;
    if (!p->turns)
        return DP_NONE;

    /* Turns that are passed over are taken along, so that the others keep their shares. A retry
     * takes over the place that is next without taking the turn: it shifts no rotation. */
    uint64_t used, turn = dp_load(&s->turn);
    uint32_t member;
    do
        member = member_at(pool, flow, turn, &used);
    while (!flow->attempt && member != DP_NONE &&
           !__atomic_compare_exchange_n(&s->turn, &turn, used + 1, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    return member;
}

static const struct dp_balancer_ops ops = {
    .pool_state = sizeof(struct state),
    .create = create,
    .build = build,
    .drop = drop,
    .pick = pick,
};

static const struct dp_opt opts[] = {
    {
        .name = "order",
        .type = DP_ENUM,
        .offset = offsetof(struct conf, order),
        .dflt = "smooth",
        .choices = "smooth|block",
        .help = "for weights 3 and 2: smooth is A B A B A, block is A A A B B",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof ops,
    .name = "rr",
    .version = "1",
    .summary = "weighted round robin",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
