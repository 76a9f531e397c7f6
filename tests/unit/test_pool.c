/* SPDX-License-Identifier: MIT
 * test_pool.c: claims, limits, slots over changes of the view, and links and pools over reloads.
 */
#include "lib/plugin_fake.h"
#include "route/router.h"
#include "route/view.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define REFS 1000000 /* configurations made by hand are never freed */

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- a dialer that does nothing, a balancer that does as it is told ---- */

static unsigned alive; /* instances */

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    alive++;
    return DP_OK;
}

static void destroy(void *self)
{
    (void)self;
    alive--;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self, (void)fd, (void)family, (void)type, (void)local;
    return DP_OK;
}

static const struct dp_dialer_ops dialer_ops = {
    .create = create, .destroy = destroy, .prepare = prepare};
static const struct dp_opt dialer_opts[] = {{.name = "number", .type = DP_U32, .help = "x"}};
static const struct dp_plugin dialer = {.size = sizeof dialer,
                                        .abi = DP_ABI,
                                        .kind = DP_DIALER,
                                        .ops_size = sizeof dialer_ops,
                                        .name = "none",
                                        .version = "1",
                                        .summary = "goes nowhere",
                                        .ops = &dialer_ops,
                                        .opts = dialer_opts,
                                        .n_opts = 1,
                                        .opt_size = sizeof *dialer_opts,
                                        .conf_size = sizeof(uint32_t)};

static struct {
    uint32_t pick; /* what pick() returns; FIRST: the first that is allowed */
    uint32_t seen; /* what it reports */
    unsigned lost; /* so many times it reports a count that is not right */
    unsigned picks, built, dropped;
    int build; /* what build() returns */
} script;
#define FIRST 5000

struct slot_state {
    uint64_t done, last_rx;
    uint32_t last_err;
};

static int build(const void *self, const struct dp_view *view, void **picker)
{
    (void)self, (void)view;
    if (script.build != DP_OK)
        return script.build;
    *picker = malloc(1);
    script.built++;
    return DP_OK;
}

static void drop(void *picker)
{
    free(picker);
    script.dropped++;
}

static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    uint32_t i = script.pick;
    script.picks++;
    for (i = i == FIRST ? 0 : i; script.pick == FIRST; i++)
        if (i == pool->view->n)
            return DP_NONE;
        else if (dp_allowed(pool, flow, i))
            break;
    if (i < pool->view->n && script.seen != DP_NONE)
        *seen = dp_load(&pool->view->member[i]->stat->active) + (script.lost > 0);
    script.lost -= script.lost > 0;
    return i;
}

static void done(const struct dp_pool *pool, uint32_t slot, const struct dp_outcome *outcome)
{
    struct slot_state *s = dp_slot(pool, slot);
    s->done++;
    s->last_rx = outcome->rx;
    s->last_err = (uint32_t)-outcome->err;
}

static const struct dp_balancer_ops balancer_ops = {.pool_state = 8,
                                                    .slot_state = sizeof(struct slot_state),
                                                    .create = create,
                                                    .destroy = destroy,
                                                    .build = build,
                                                    .drop = drop,
                                                    .pick = pick,
                                                    .done = done};
static const struct dp_plugin balancer = {.size = sizeof balancer,
                                          .abi = DP_ABI,
                                          .kind = DP_BALANCER,
                                          .ops_size = sizeof balancer_ops,
                                          .name = "told",
                                          .version = "1",
                                          .summary = "as told",
                                          .ops = &balancer_ops,
                                          .opts = dialer_opts,
                                          .n_opts = 1,
                                          .opt_size = sizeof *dialer_opts,
                                          .conf_size = sizeof(uint32_t)};

/* ---- configurations: the links of one pool, by letters ---- */

#define LINKS 600

struct world {
    struct arena *arena;
    struct trash trash;
    struct conf_errors errors;
    struct router *router; /* in use */
};

struct made {
    struct config config;
    struct conf_link link[LINKS];
    struct conf_member member[LINKS];
    char name[LINKS][8];
    uint32_t number[LINKS], pool_number;
    struct conf_pool pool;
};

/* Link i is called names[i] (or "L<i>" without names), with this limit and option. */
static struct made *make(const char *names, size_t n, uint32_t limit, uint32_t number)
{
    struct made *m = calloc(1, sizeof *m);
    cr_assert(m != NULL);
    for (size_t i = 0; i < n; i++) {
        if (names)
            m->name[i][0] = names[i];
        else
            snprintf(m->name[i], sizeof m->name[i], "L%u", (unsigned)i);
        m->number[i] = number;
        m->link[i] = (struct conf_link){.name = m->name[i],
                                        .dialer = {.plugin = &dialer, .conf = &m->number[i]},
                                        .weight = 1,
                                        .max_connections = limit};
        m->member[i].link = &m->link[i];
    }
    m->pool = (struct conf_pool){.name = "all",
                                 .balancer = {.plugin = &balancer, .conf = &m->pool_number},
                                 .member = m->member,
                                 .n_members = n};
    m->config = (struct config){
        .refs = REFS, .link = m->link, .n_links = n, .pool = &m->pool, .n_pools = 1};
    return m;
}

static struct made *letters(const char *names)
{
    return make(names, strlen(names), 0, 0);
}

static void world_open(struct world *w, size_t arena)
{
    *w = (struct world){.arena = arena_new(arena, -1)};
    memset(&script, 0, sizeof script);
    script.pick = FIRST;
    script.seen = DP_NONE;
}

static void world_open_shared(struct world *w)
{
    world_open(w, 4096);
    arena_destroy(w->arena);
    w->arena = arena_new_shared((size_t)16 << 20);
    cr_assert(w->arena != NULL);
}

/* As server_apply() does it. Returns 0, or -1 and the old goes on. */
static int apply(struct world *w, struct made *m)
{
    struct router *new = router_new(&m->config, w->router, w->arena, &w->trash, &w->errors);
    if (new) {
        router_publish(new);
        router_settle(new);
        router_free(w->router);
        w->router = new;
    }
    trash_empty(&w->trash);
    return new ? 0 : -1;
}

static void world_close(struct world *w)
{
    router_free(w->router);
    trash_empty(&w->trash);
    cr_expect(eq(u32, alive, 0), "instances left");
    cr_expect(eq(u32, script.built, script.dropped), "pickers left");
    arena_destroy(w->arena);
    conf_errors_free(&w->errors);
}

static struct pool *pool_of(const struct world *w)
{
    return w->router->pool[0];
}

static const struct pool_view *view_of(const struct world *w)
{
    return pool_of(w)->view;
}

static uint32_t slot_of(const struct world *w, const char *name)
{
    for (uint32_t i = 0; i < view_of(w)->dp.n; i++)
        if (same(view_of(w)->dp.member[i]->name, name))
            return view_of(w)->dp.member[i]->slot;
    return DP_NONE;
}

static struct slot_state *state_of(const struct world *w, const char *name)
{
    const struct pool_view *v = view_of(w);
    return (struct slot_state *)((char *)v->slots + (size_t)slot_of(w, name) * v->slot_stride);
}

struct flow {
    struct dp_flow flow;
    struct tried tried;
};

static bool claim_by(struct world *w, struct flow *f, struct claim *c)
{
    f->flow.size = sizeof f->flow;
    return pool_claim(pool_of(w), &f->flow, &f->tried, c);
}

static bool claim(struct world *w, struct claim *c)
{
    struct flow f = {0};
    return claim_by(w, &f, c);
}

static void end(struct claim *c)
{
    claim_end(c, DP_OK, 0, 0, 0);
}

/* ---- claims ---- */

Test(pool, a_claim_and_its_end)
{
    struct world w;
    struct claim c;
    world_open(&w, 1 << 20);
    struct made *m = letters("ab");
    cr_assert(eq(int, apply(&w, m), 0));
    const struct dp_stat *stat = w.router->link[0]->stat;

    cr_assert(claim(&w, &c));
    cr_expect(eq(ptr, c.link, w.router->link[0]));
    cr_expect(eq(u32, stat->active, 1));
    cr_expect(eq(u32, stat->dialing, 1));
    claim_connected(&c, 10);
    cr_expect(eq(u32, stat->active, 1));
    cr_expect(eq(u32, stat->dialing, 0));
    claim_end(&c, DP_OK, 30, 7, 9);
    cr_expect(eq(u32, stat->active, 0));
    cr_expect(eq(u64, stat->rx, 7));
    cr_expect(eq(u64, stat->tx, 9));
    cr_expect(eq(u64, state_of(&w, "a")->done, 1));
    cr_expect(eq(u64, state_of(&w, "a")->last_rx, 7));

    cr_assert(claim(&w, &c));
    claim_end(&c, DP_ERR_LINK, 30, 0, 0);
    cr_expect(eq(u32, stat->active, 0));
    cr_expect(eq(u32, stat->dialing, 0));
    cr_expect(eq(u64, stat->picks, 2));
    cr_expect(eq(u32, state_of(&w, "a")->last_err, -DP_ERR_LINK));
    world_close(&w);
    free(m);
}

Test(pool, never_the_same_link_twice)
{
    struct world w;
    struct flow f = {0};
    struct claim c[4];
    world_open(&w, 1 << 20);
    struct made *m = letters("abc");
    cr_assert(eq(int, apply(&w, m), 0));
    for (int i = 0; i < 3; i++) {
        cr_assert(claim_by(&w, &f, &c[i]));
        cr_expect(eq(ptr, c[i].link, w.router->link[i]));
        end(&c[i]);
    }
    cr_expect(not(claim_by(&w, &f, &c[3])), "also when it has been given back");
    world_close(&w);
    free(m);
}

Test(pool, limits_are_exact)
{
    struct world w;
    struct claim c[9];
    world_open(&w, 1 << 20);
    struct made *m = make("ab", 2, 4, 0);
    cr_assert(eq(int, apply(&w, m), 0));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++) {
            cr_assert(claim(&w, &c[i]), "%d", i);
            cr_expect(eq(ptr, c[i].link, w.router->link[i / 4]), "%d", i);
        }
        cr_expect(not(claim(&w, &c[8])));
        end(&c[2]); /* a place on the first */
        cr_assert(claim(&w, &c[2]));
        cr_expect(eq(ptr, c[2].link, w.router->link[0]));
        for (int i = 0; i < 8; i++)
            end(&c[i]);
    }
    cr_expect(eq(u32, w.router->link[0]->stat->active, 0));
    world_close(&w);
    free(m);
}

/* A plugin that picks what it must not: counted, and the first allowed member is used. */
Test(pool, a_pick_that_is_not_allowed)
{
    static const struct {
        uint32_t pick, usable;
        bool claimed;
        uint32_t misled;
    } table[] = {
        {0, 1, true, 0},
        {1, 1, true, 0},
        {2, 1, true, 1},
        {1000, 1, true, 1},
        {UINT32_MAX - 1, 1, true, 1},
        {DP_NONE, 1, false, 0},
        {0, 0, false, 1},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        struct claim c;
        world_open(&w, 1 << 20);
        struct made *m = letters("ab");
        cr_assert(eq(int, apply(&w, m), 0));
        view_of(&w)->member[0].usable = view_of(&w)->member[1].usable = table[i].usable;
        script.pick = table[i].pick;
        bool claimed = claim(&w, &c);
        cr_expect(eq(int, claimed, table[i].claimed), "row %zu", i);
        cr_expect(eq(u32, pool_of(&w)->misled, table[i].misled), "row %zu", i);
        if (claimed) {
            cr_expect(eq(ptr, c.link, w.router->link[table[i].pick == 1]), "row %zu", i);
            end(&c);
        }
        world_close(&w);
        free(m);
    }
}

/* Picks rest on a count; if that has moved the host asks again, but not for ever. */
Test(pool, a_count_that_has_moved)
{
    static const unsigned lost[] = {0, 1, 5, 1000000};
    for (size_t i = 0; i < LENGTH(lost); i++) {
        struct world w;
        struct claim c;
        world_open(&w, 1 << 20);
        struct made *m = letters("ab");
        cr_assert(eq(int, apply(&w, m), 0));
        script.seen = 0;
        script.lost = lost[i];
        cr_assert(claim(&w, &c));
        cr_expect(lost[i] > 5 || script.picks == lost[i] + 1, "%u picks", script.picks);
        cr_expect(script.picks < 20000, "%u picks", script.picks);
        cr_expect(eq(u32, c.link->stat->active, 1));
        end(&c);
        world_close(&w);
        free(m);
    }
}

/* ---- views ---- */

Test(pool, slots_are_kept_while_a_link_is_a_member)
{
    struct world w;
    struct claim gone, stays, old;
    struct flow f = {0};
    world_open(&w, 1 << 20);
    struct made *m[5] = {letters("abc"), letters("cad"), letters("cabd"), letters("e"),
                         letters("ae")};
    cr_assert(eq(int, apply(&w, m[0]), 0));
    uint32_t a = slot_of(&w, "a"), b = slot_of(&w, "b"), c = slot_of(&w, "c");
    struct link *link_a = w.router->link[0];
    for (int i = 0; i < 3; i++) { /* one each */
        struct claim x;
        cr_assert(claim_by(&w, &f, &x));
        end(&x);
    }
    script.pick = 0;
    cr_assert(claim(&w, &stays));
    script.pick = 1;
    cr_assert(claim(&w, &gone));

    cr_assert(eq(int, apply(&w, m[1]), 0)); /* b leaves, d comes, the order changes */
    cr_expect(eq(u32, slot_of(&w, "a"), a));
    cr_expect(eq(u32, slot_of(&w, "c"), c));
    cr_expect(slot_of(&w, "d") != b, "workers may still write to b's");
    cr_expect(eq(u64, state_of(&w, "a")->done, 1));
    cr_expect(eq(u64, state_of(&w, "d")->done, 0));
    cr_expect(eq(ptr, w.router->link[1], link_a), "the link is the same");
    cr_expect(eq(u32, link_a->stat->active, 1));
    end(&gone); /* of a link that is no member: nobody is told, nothing is left */
    end(&stays);
    cr_expect(eq(u64, state_of(&w, "a")->done, 2));
    cr_expect(eq(u64, state_of(&w, "d")->done, 0));
    script.pick = 0;
    cr_assert(claim(&w, &old));

    cr_assert(eq(int, apply(&w, m[2]), 0)); /* another link of the name b */
    cr_expect(eq(u64, state_of(&w, "b")->done, 0), "it begins anew");
    cr_assert(eq(int, apply(&w, m[3]), 0)); /* all leave */
    end(&old);
    cr_assert(eq(int, apply(&w, m[4]), 0));
    cr_expect(eq(u64, state_of(&w, "a")->done, 0));
    world_close(&w);
    for (int i = 0; i < 5; i++)
        free(m[i]);
}

/* No two members share a slot, whatever comes and goes, and what a slot holds stays its link's. */
Test(pool, many_changes)
{
    struct world w;
    unsigned seed = 3;
    uint64_t marks[26] = {0}, mark = 0;
    world_open(&w, 1 << 22);
    struct made *used[200] = {0};
    bool was[26] = {false};
    for (int round = 0; round < 200; round++) {
        char names[27] = "";
        bool is[26] = {false};
        size_t n = 0;
        for (int i = 0; i < 26; i++)
            if ((is[i] = rand_r(&seed) % 3 > 0) || (i == 25 && n == 0))
                names[n++] = (char)('a' + i);
        is[25] |= n == 1 && names[0] == 'z';
        used[round] = make(names, n, 0, 0);
        cr_assert(eq(int, apply(&w, used[round]), 0), "round %d", round);
        uint64_t slots[POOL_TRIED_WORDS] = {0};
        for (size_t i = 0; i < n; i++) {
            char name[2] = {names[i], '\0'};
            uint32_t s = slot_of(&w, name);
            cr_assert(s < view_of(&w)->n_slots);
            cr_assert(not(slots[s / 64] >> (s % 64) & 1), "round %d: slot %u twice", round, s);
            slots[s / 64] |= UINT64_C(1) << (s % 64);
            int k = names[i] - 'a';
            cr_assert(eq(u64, state_of(&w, name)->done, was[k] ? marks[k] : 0), "round %d", round);
            state_of(&w, name)->done = marks[k] = ++mark;
        }
        memcpy(was, is, sizeof was);
    }
    world_close(&w);
    for (int i = 0; i < 200; i++)
        free(used[i]);
}

/* More members than there are slots: all move to larger ones, with what they hold. */
Test(pool, growth)
{
    static const size_t sizes[] = {3, 10, 40, 41, 300, 512, 512, 2, 512};
    struct world w;
    struct made *m[LENGTH(sizes)];
    world_open(&w, 1 << 22);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        m[i] = make(NULL, sizes[i], 0, 0);
        cr_assert(eq(int, apply(&w, m[i]), 0), "%zu members", sizes[i]);
        cr_expect(eq(u64, state_of(&w, "L0")->done, i));
        cr_expect(eq(u64, state_of(&w, "L1")->done, 10 * i));
        state_of(&w, "L0")->done++;
        state_of(&w, "L1")->done += 10;
    }
    struct flow f = {0};
    for (size_t i = 0; i < 512; i++) { /* each of them once: all slots fit in `tried` */
        struct claim c;
        cr_assert(claim_by(&w, &f, &c), "%zu", i);
        end(&c);
    }
    struct claim c;
    cr_expect(not(claim_by(&w, &f, &c)));
    world_close(&w);
    for (size_t i = 0; i < LENGTH(sizes); i++)
        free(m[i]);
}

/* ---- reloads ---- */

Test(pool, what_is_the_same_is_kept)
{
    struct world w;
    world_open(&w, 1 << 20);
    struct made *m[4] = {make("ab", 2, 0, 1), make("ab", 2, 9, 1), make("ab", 2, 9, 2),
                         make("ab", 2, 9, 2)};
    m[3]->pool_number = 1;
    m[1]->pool.retries = 5;
    cr_assert(eq(int, apply(&w, m[0]), 0));
    struct link *a = w.router->link[0];
    struct pool *pool = pool_of(&w);
    a->stat->picks = 77;
    *(uint64_t *)pool->state = 88;

    cr_assert(eq(int, apply(&w, m[1]), 0)); /* another limit, other retries: the same link */
    cr_expect(eq(ptr, w.router->link[0], a));
    cr_expect(eq(ptr, pool_of(&w), pool));
    cr_expect(eq(u32, view_of(&w)->dp.member[0]->limit, 9));
    cr_expect(eq(u32, pool->retries, 5));
    cr_expect(eq(u64, a->stat->picks, 77));
    cr_expect(eq(u64, *(uint64_t *)pool->state, 88));

    struct claim held;
    cr_assert(claim(&w, &held));
    cr_assert(eq(int, apply(&w, m[2]), 0)); /* another option: another link, the same pool */
    cr_expect(w.router->link[0] != a);
    cr_expect(eq(u64, w.router->link[0]->stat->picks, 0));
    cr_expect(eq(ptr, pool_of(&w), pool));
    cr_expect(eq(u32, alive, 4), "the old one lives while it carries a connection");
    end(&held);
    trash_empty(&w.trash);
    cr_expect(eq(u32, alive, 3));

    cr_assert(eq(int, apply(&w, m[3]), 0)); /* another option of the balancer */
    cr_expect(eq(u64, *(uint64_t *)pool_of(&w)->state, 0));
    cr_expect(eq(u32, alive, 3));
    world_close(&w);
    for (int i = 0; i < 4; i++) {
        cr_expect(eq(u32, m[i]->config.refs, REFS - 1), "configuration %d", i);
        free(m[i]);
    }
}

/* Whatever fails, the old goes on, nothing is lost, and the reason is told. */
Test(pool, a_failed_reload)
{
    struct world w;
    world_open(&w, 1 << 16); /* too small for hundreds of links */
    struct made *good = letters("abc"), *large = make(NULL, 400, 0, 0), *bad = letters("xyz"),
                *again = letters("abcd");
    struct claim held;
    cr_assert(eq(int, apply(&w, good), 0));
    state_of(&w, "a")->done = 5;
    cr_assert(claim(&w, &held));
    for (int i = 0; i < 5; i++) {
        script.build = DP_ERR_LOCAL;
        cr_expect(eq(int, apply(&w, bad), -1));
        cr_expect(eq(int, apply(&w, again), -1));
        script.build = DP_OK;
        cr_expect(eq(int, apply(&w, large), -1));
        cr_expect(eq(u64, state_of(&w, "a")->done, 5));
    }
    bool told = false, full = false;
    for (size_t i = 0; i < w.errors.n; i++) {
        told |= strstr(w.errors.line[i], "pool \"all\": its balancer cannot work") != NULL;
        full |= strstr(w.errors.line[i], "out of memory") != NULL;
    }
    cr_expect(full);
    cr_expect(told);
    cr_expect(eq(u32, alive, 4), "three links and a balancer");
    cr_assert(eq(int, apply(&w, again), 0), "and then a good one");
    cr_expect(eq(u64, state_of(&w, "a")->done, 5));
    end(&held);
    cr_expect(eq(u64, state_of(&w, "a")->done, 6));
    world_close(&w);
    cr_expect(eq(u32, bad->config.refs, REFS - 5));
    free(good);
    free(large);
    free(bad);
    free(again);
}

/* Round after round: the arena does not fill up. */
Test(pool, reloads_without_end)
{
    struct world w;
    world_open(&w, 1 << 16);
    struct made *m[2] = {make("abcdef", 6, 0, 1), make("ghijklmnop", 10, 0, 2)};
    m[1]->pool_number = 1;
    for (int i = 0; i < 500; i++)
        cr_assert(eq(int, apply(&w, m[i % 2]), 0), "round %d: %s", i, w.errors.line[0]);
    world_close(&w);
    free(m[0]);
    free(m[1]);
}

/* Where processes share the arena, slots of links that have gone are taken when there are no others;
 * the link that stays has its own all the time. */
Test(pool, shared_slots_without_end)
{
    struct world w;
    struct made *m[12];
    world_open_shared(&w);
    for (uint32_t i = 0; i < LENGTH(m); i++) {
        m[i] = make(NULL, 400, 0, i + 1);
        m[i]->number[0] = 0;
        cr_assert(eq(int, apply(&w, m[i]), 0), "round %u: %s", i, w.errors.line[0]);
        cr_expect(eq(u64, state_of(&w, "L0")->done, i));
        state_of(&w, "L0")->done++;
        uint64_t slots[POOL_TRIED_WORDS] = {0};
        for (size_t k = 0; k < 400; k++) {
            uint32_t s = slot_of(&w, m[i]->name[k]);
            cr_assert(not(slots[s / 64] >> (s % 64) & 1), "round %u: slot %u twice", i, s);
            slots[s / 64] |= UINT64_C(1) << (s % 64);
            cr_expect(k == 0 || state_of(&w, m[i]->name[k])->done == 0);
            state_of(&w, m[i]->name[k])->done += k != 0;
        }
    }
    world_close(&w);
    for (size_t i = 0; i < LENGTH(m); i++)
        free(m[i]);
}

/* ---- processes that are killed ---- */

static volatile sig_atomic_t told_to_end;

static void tell_to_end(int sig)
{
    (void)sig;
    told_to_end = 1;
}

/* A process that claims and ends until it is told to end itself; its pid. */
static pid_t busy_process(struct world *w)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid > 0)
        return pid;
    signal(SIGTERM, tell_to_end);
    alarm(60);
    struct ledger *ledger = ledger_of(w->arena);
    for (uint64_t i = 0; !told_to_end; i++) {
        struct claim c;
        if (!claim(w, &c))
            abort();
        uint32_t ticket = 0;
        if (i % 2)
            claim_end(&c, DP_ERR_LINK, 0, 0, 0);
        else
            ticket = claim_park(&c, (uint64_t)getpid() << 32 | i, 0);
        if (ticket)
            router_claim_end(w->router, ledger, ticket, 0, 0, 0);
    }
    _exit(0);
}

static void kill_and_reap(struct world *w, pid_t pid)
{
    struct ledger *ledger = ledger_of(w->arena);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (uint32_t ticket = 0; ledger_inherit(ledger, (uint32_t)pid, 0, &ticket);)
        router_claim_end(w->router, ledger, ticket, 0, 0, 0);
    ledger_forget(ledger, (uint32_t)pid);
    ledger_settle(ledger, w->arena);
}

static void nothing_is_claimed(struct world *w, unsigned round)
{
    const struct dp_stat *stat = w->router->link[0]->stat;
    cr_assert(eq(u32, stat->active, 0), "round %u", round);
    cr_assert(eq(u32, stat->dialing, 0), "round %u", round);
    cr_assert(eq(u32, ledger_used(ledger_of(w->arena)), 0), "round %u", round);
}

Test(pool, what_a_killed_process_has_claimed)
{
    struct world w;
    struct made *m = letters("ab");
    unsigned seed = 1;
    world_open_shared(&w);
    cr_assert(eq(int, apply(&w, m), 0));
    for (unsigned i = 0; i < 500; i++) {
        pid_t pid = busy_process(&w);
        usleep((useconds_t)rand_r(&seed) % 400 + 200);
        kill_and_reap(&w, pid);
        nothing_is_claimed(&w, i);
    }
    world_close(&w);
    free(m);
}

/* Counting again takes nothing from those that live. */
Test(pool, what_others_claim_meanwhile)
{
    struct world w;
    struct made *m = letters("a");
    unsigned seed = 1;
    world_open_shared(&w);
    cr_assert(eq(int, apply(&w, m), 0));
    for (unsigned i = 0; i < 20; i++) {
        struct claim held;
        cr_assert(claim(&w, &held));
        pid_t other = busy_process(&w);
        for (unsigned k = 0; k < 20; k++) {
            pid_t pid = busy_process(&w);
            usleep((useconds_t)rand_r(&seed) % 400 + 200);
            kill_and_reap(&w, pid);
        }
        int status;
        kill(other, SIGTERM);
        waitpid(other, &status, 0);
        cr_assert(eq(i32, status, 0));
        ledger_settle(ledger_of(w.arena), w.arena);
        cr_assert(eq(u32, held.link->stat->active, 1), "round %u", i);
        end(&held);
        nothing_is_claimed(&w, i);
    }
    world_close(&w);
    free(m);
}

/* A link by way of another: that one changes, so both are made anew. */
Test(pool, via)
{
    struct world w;
    world_open(&w, 1 << 20);
    struct made *m[3] = {make("ab", 2, 0, 1), make("ab", 2, 0, 1), make("ab", 2, 0, 1)};
    for (int i = 0; i < 3; i++)
        m[i]->link[0].via = &m[i]->link[1]; /* it stands behind */
    m[2]->number[1] = 2;
    cr_assert(eq(int, apply(&w, m[0]), 0));
    struct link *a = w.router->link[0], *b = w.router->link[1];
    cr_expect(eq(ptr, a->via, b));
    cr_expect(eq(u32, a->depth, 2));
    cr_expect(eq(ptr, (void *)a->chain[0], b));
    cr_expect(eq(ptr, (void *)a->chain[1], a));
    cr_assert(eq(int, apply(&w, m[1]), 0));
    cr_expect(eq(ptr, w.router->link[0], a));
    cr_assert(eq(int, apply(&w, m[2]), 0));
    cr_expect(w.router->link[0] != a);
    cr_expect(w.router->link[1] != b);
    cr_expect(eq(ptr, w.router->link[0]->via, w.router->link[1]));
    world_close(&w);
    for (int i = 0; i < 3; i++)
        free(m[i]);
}

/* A new instance of the same name may get the slot's block; the old one's ends are not its own. */
Test(pool, ends_of_a_link_that_was_replaced)
{
    struct world w;
    struct claim old;
    world_open(&w, 1 << 20);
    struct made *m[3] = {make("a", 1, 0, 1), make("a", 1, 0, 2), make("a", 1, 0, 3)};
    cr_assert(eq(int, apply(&w, m[0]), 0));
    cr_assert(claim(&w, &old));
    cr_assert(eq(int, apply(&w, m[1]), 0));
    cr_assert(eq(int, apply(&w, m[2]), 0)); /* now the first slot is free to be given again */
    end(&old);
    cr_expect(eq(u64, state_of(&w, "a")->done, 0));
    cr_expect(eq(u32, w.router->link[0]->stat->active, 0));
    world_close(&w);
    for (int i = 0; i < 3; i++)
        free(m[i]);
}
