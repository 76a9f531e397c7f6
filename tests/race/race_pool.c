/* SPDX-License-Identifier: MIT
 * race_pool.c: 4 threads claim and end on one pool by the built balancers while views are swapped
 * under them: every count is exact at the end, and no limit is passed at any time.
 */
#include "lib/plugin_fake.h"
#include "route/claim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, LINKS = 4, HELD = 1000, CYCLES = 20000, REFS = 1000000 };

/* ---- a pool over links that go nowhere ---- */

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return DP_OK;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self, (void)fd, (void)family, (void)type, (void)local;
    return DP_OK;
}

static const struct dp_dialer_ops dialer_ops = {.create = create, .prepare = prepare};
static const struct dp_plugin dialer = {.size = sizeof dialer,
                                        .abi = DP_ABI,
                                        .kind = DP_DIALER,
                                        .ops_size = sizeof dialer_ops,
                                        .name = "none",
                                        .version = "1",
                                        .summary = "goes nowhere",
                                        .ops = &dialer_ops};

static struct config config = {.refs = REFS};
static struct arena *arena;
static struct trash trash;
static struct link *links[LINKS];
static struct pool *pool;

/* One of these is in use at any time; they differ in the members and in their order. */
#define VIEWS 3
static struct conf_link link_conf[VIEWS][LINKS];
static struct conf_member member[VIEWS][LINKS];
static struct conf_pool pool_conf[VIEWS];
static struct way way[VIEWS][LINKS];

struct setting {
    const char *file;
    uint32_t conf; /* rr: order */
    uint32_t weight[LINKS], limit[LINKS];
    uint32_t n[VIEWS]; /* members */
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

static void view_conf(const struct setting *s, int v)
{
    static const char *const names[LINKS] = {"a", "b", "c", "d"};
    for (uint32_t i = 0; i < s->n[v]; i++) {
        uint32_t l = v == 1 ? s->n[v] - 1 - i : i;
        link_conf[v][i] = (struct conf_link){.name = names[l],
                                             .dialer = {.plugin = &dialer},
                                             .weight = s->weight[l],
                                             .max_connections = s->limit[l]};
        member[v][i].link = &link_conf[v][i];
        way[v][i].link = links[l];
    }
    pool_conf[v].member = member[v];
    pool_conf[v].n_members = s->n[v];
}

static void publish(int v)
{
    struct conf_errors errors = {0};
    struct pool_view *view = pool_view_new(pool, &pool_conf[v], way[v], &errors);
    check(view != NULL, "pool_view_new");
    pool_view_free(pool_swap(pool, view));
}

static void pool_open(const struct setting *s)
{
    struct conf_errors errors = {0};
    arena = arena_new(1 << 20, -1);
    for (int v = 0; v < VIEWS; v++)
        pool_conf[v] = (struct conf_pool){
            .name = "all", .balancer = {.plugin = fake_load(s->file), .conf = &s->conf}};
    view_conf(s, 0);
    for (uint32_t i = 0; i < LINKS; i++) {
        struct conf_link conf = {.name = "x", .dialer = {.plugin = &dialer}};
        links[i] = link_new(&config, &conf, NULL, arena, &trash, &errors);
        check(links[i] != NULL, "link_new");
    }
    for (int v = 0; v < VIEWS; v++)
        view_conf(s, v);
    pool = pool_new(&config, &pool_conf[0], arena, &trash, &errors);
    check(pool != NULL, "pool_new");
    publish(0);
}

static void pool_close(void)
{
    ref_drop(&pool->ref);
    for (int i = 0; i < LINKS; i++)
        ref_drop(&links[i]->ref);
    trash_empty(&trash);
    arena_destroy(arena);
    check(config.refs == REFS, "instances hold the configuration");
}

/* ---- threads that claim, as workers do: a view is held no longer than one turn ---- */

struct thread {
    pthread_t id;
    uint64_t turns; /* atomic; UINT64_MAX: over */
    uint64_t claims, refused, above;
    uint64_t by_link[LINKS];
    struct claim held[HELD / THREADS];
} threads[THREADS];

static const struct setting *setting;
static unsigned n_swaps;

static uint32_t number_of(const struct link *link)
{
    uint32_t i = 0;
    while (links[i] != link)
        i++;
    return i;
}

static bool claim(struct thread *t, struct claim *c)
{
    struct tried tried = {0};
    struct dp_flow flow = {.size = sizeof flow, .proto = DP_TCP};
    if (!pool_claim(pool, &flow, &tried, c)) {
        t->refused++;
        return false;
    }
    uint32_t l = number_of(c->link), limit = setting->limit[l];
    t->above += limit && dp_load(&c->link->stat->active) > limit;
    t->claims++;
    t->by_link[l]++;
    return true;
}

static void turn(struct thread *t)
{
    __atomic_fetch_add(&t->turns, 1, __ATOMIC_RELEASE);
}

static void *hold(void *arg)
{
    struct thread *t = arg;
    for (int i = 0; i < HELD / THREADS; i++) {
        if (claim(t, &t->held[i]))
            claim_connected(&t->held[i], 1);
        turn(t);
    }
    __atomic_store_n(&t->turns, UINT64_MAX, __ATOMIC_RELEASE);
    return NULL;
}

static void *come_and_go(void *arg)
{
    struct thread *t = arg;
    struct claim open[8] = {{0}};
    for (int i = 0; i < CYCLES; i++) {
        struct claim *c = &open[i % 8];
        if (c->link)
            claim_end(c, i % 3 ? DP_OK : DP_ERR_LINK, i, 2, 1);
        if (claim(t, c) && i % 2)
            claim_connected(c, i);
        turn(t);
    }
    for (int i = 0; i < 8; i++)
        if (open[i].link)
            claim_end(&open[i], DP_OK, CYCLES, 2, 1);
    __atomic_store_n(&t->turns, UINT64_MAX, __ATOMIC_RELEASE);
    return NULL;
}

/* Until each thread has made a turn since, and so can hold no view of before. Returns false when all
 * are over. */
static bool threads_turned(void)
{
    uint64_t before[THREADS];
    bool running = false;
    for (int i = 0; i < THREADS; i++)
        before[i] = __atomic_load_n(&threads[i].turns, __ATOMIC_ACQUIRE);
    for (int i = 0; i < THREADS; i++) {
        uint64_t now;
        while ((now = __atomic_load_n(&threads[i].turns, __ATOMIC_ACQUIRE)) == before[i] &&
               now != UINT64_MAX)
            sched_yield();
        running |= now != UINT64_MAX;
    }
    return running;
}

static void swap(int v)
{
    struct conf_errors errors = {0};
    struct pool_view *view = pool_view_new(pool, &pool_conf[v], way[v], &errors);
    check(view != NULL, "pool_view_new");
    struct pool_view *old = pool_swap(pool, view);
    threads_turned();
    pool_view_free(old);
    trash_empty(&trash);
    n_swaps++;
}

/* Runs `work` in all threads, and changes the view all the time if `swapping`. */
static void run(const struct setting *s, void *(*work)(void *), bool swapping)
{
    setting = s;
    memset(threads, 0, sizeof threads);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i].id, NULL, work, &threads[i]) == 0, "pthread_create");
    for (int v = 1; swapping && threads_turned(); v = (v + 1) % VIEWS)
        swap(v);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i].id, NULL);
}

static uint64_t sum(uint64_t of[LINKS], uint64_t *refused, uint64_t *above)
{
    uint64_t claims = 0;
    *refused = *above = 0;
    memset(of, 0, LINKS * sizeof *of);
    for (int t = 0; t < THREADS; t++) {
        claims += threads[t].claims;
        *refused += threads[t].refused;
        *above += threads[t].above;
        for (int l = 0; l < LINKS; l++)
            of[l] += threads[t].by_link[l];
    }
    return claims;
}

static void end_held(void)
{
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < HELD / THREADS; i++)
            if (threads[t].held[i].link)
                claim_end(&threads[t].held[i], DP_OK, 2, 0, 0);
}

/* ---- the cases ---- */

static int n_cases, failed;

static void result(bool ok, const char *what, const char *plugin)
{
    printf("%sok %d - %.*s: %s\n", ok ? "" : "not ", ++n_cases, (int)strcspn(plugin, "."), plugin,
           what);
    failed |= !ok;
    if (ok)
        return;
    for (int l = 0; l < LINKS; l++)
        printf("# link %d: active %u, dialing %u, picks %ju\n", l, links[l]->stat->active,
               links[l]->stat->dialing, (uintmax_t)links[l]->stat->picks);
}

static bool all_given_back(void)
{
    for (int l = 0; l < LINKS; l++)
        if (links[l]->stat->active || links[l]->stat->dialing)
            return false;
    return true;
}

/* 1,000 held open by weights 3:2, in one view or in views that come and go. */
static void case_held(const char *file, bool swapping)
{
    struct setting s = {
        .file = file, .weight = {3, 2, 1, 1}, .n = {2, swapping ? 2 : 0, swapping ? 2 : 0}};
    uint64_t of[LINKS], refused, above;
    pool_open(&s);
    run(&s, hold, swapping);
    uint64_t claims = sum(of, &refused, &above);
    result(claims == HELD && refused == 0 && of[0] == 600 && of[1] == 400 &&
               links[0]->stat->active == 600 && links[1]->stat->active == 400 &&
               links[0]->stat->dialing == 0,
           swapping ? "1,000 held open over changing views are 600 and 400"
                    : "1,000 held open are 600 and 400",
           file);
    end_held();
    result(all_given_back(), "and all are given back", file);
    pool_close();
}

/* Limits so low that threads meet them all the time; members come and go. */
static void case_limits(const char *file, uint32_t conf)
{
    struct setting s = {
        .file = file, .conf = conf, .weight = {3, 2, 1, 4}, .limit = {3, 7, 2, 5}, .n = {4, 3, 2}};
    uint64_t of[LINKS], refused, above, picks = 0, rx = 0;
    bool exact = true;
    pool_open(&s);
    run(&s, come_and_go, true);
    uint64_t claims = sum(of, &refused, &above);
    for (int l = 0; l < LINKS; l++) {
        exact &= links[l]->stat->picks == of[l];
        picks += links[l]->stat->picks;
        rx += links[l]->stat->rx;
    }
    result(exact && claims == picks && claims + refused == (uint64_t)THREADS * CYCLES &&
               rx == 2 * claims,
           "each claim is counted once", file);
    result(above == 0, "no link is ever above its limit", file);
    result(all_given_back(), "nothing is left over", file);
    result(pool->misled == 0, "no pick was out of place", file);
    pool_close();
}

/* Exactly as many as there are places, when many more ask at once. */
static void case_full(const char *file)
{
    struct setting s = {
        .file = file, .weight = {1, 1, 1, 1}, .limit = {100, 50, 25, 5}, .n = {4, 4, 4}};
    uint64_t of[LINKS], refused, above;
    pool_open(&s);
    run(&s, hold, true);
    uint64_t claims = sum(of, &refused, &above);
    result(claims == 180 && refused == HELD - 180 && above == 0 && of[0] == 100 && of[3] == 5,
           "180 places take 180 of 1,000", file);
    end_held();
    result(all_given_back(), "and all are given back", file);
    pool_close();
}

int main(void)
{
    printf("1..20\n");
    case_held("balancer-rr.so", false);
    case_held("balancer-leastconn.so", false);
    case_held("balancer-leastconn.so", true);
    case_limits("balancer-rr.so", 0);
    case_limits("balancer-rr.so", 1);
    case_limits("balancer-leastconn.so", 0);
    case_full("balancer-leastconn.so");
    printf("# %u changes of the view\n", n_swaps);
    return failed;
}
