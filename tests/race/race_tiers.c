/* SPDX-License-Identifier: MIT
 * race_tiers.c: 4 threads claim links through pools in pools and pools behind them, while those change
 * places: nobody is ever refused, each level counts right, and nothing is left in the end.
 */
#include "lib/plugin_fake.h"
#include "route/router.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, HELD = 8, RELOADS = 300, LINKS = 4, POOLS = 6 };

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host, (void)conf;
    *self = NULL;
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

/* The members of pools A, B and C: links in lower case, pools in capitals; behind `|` the backup. */
static const char *const shapes[][3] = {{"BC", "ab", "cd"},
                                        {"ab", "A", "B"},
                                        {"B|c", "C", "ab"},
                                        {"a|B", "b|C", "cd"},
                                        {"C", "A|b", "cd"}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const char *const names[] = {"A", "B", "C"}, *const links[] = {"a", "b", "c", "d"};

struct made {
    struct config config;
    struct conf_link link[LINKS];
    struct conf_pool pool[POOLS];
    struct conf_member member[POOLS][LINKS];
};

struct thread {
    pthread_t id;
    uint32_t turns; /* atomic: those it has made */
    uint32_t claims, refused;
};

static struct made made[SHAPES];
static const uint32_t conf;   /* of the balancers: their defaults */
static struct router *router; /* atomic */
static bool over;             /* atomic */

static void members(struct made *m, struct conf_pool *pool, const char *text, size_t n)
{
    struct conf_member *member = m->member[pool - m->pool];
    for (size_t i = 0; i < n; i++)
        if (text[i] >= 'a')
            member[i].link = &m->link[text[i] - 'a'];
        else
            member[i].pool = &m->pool[text[i] - 'A'];
    pool->member = member;
    pool->n_members = n;
}

static void make(struct made *m, const char *const shape[3], const struct dp_plugin *balancer)
{
    m->config = (struct config){
        .refs = 1000000, .link = m->link, .n_links = LINKS, .pool = m->pool, .n_pools = 3};
    for (int i = 0; i < LINKS; i++)
        m->link[i] =
            (struct conf_link){.name = links[i], .dialer = {.plugin = &dialer}, .weight = 1};
    for (int i = 0; i < 3; i++) {
        struct conf_pool *pool = &m->pool[i];
        size_t first = strcspn(shape[i], "|");
        *pool = (struct conf_pool){
            .name = names[i], .weight = 1, .balancer = {.plugin = balancer, .conf = &conf}};
        members(m, pool, shape[i], first);
        if (!shape[i][first])
            continue;
        struct conf_pool *backup = &m->pool[3 + m->config.n_backups++];
        *backup =
            (struct conf_pool){.name = pool->name, .balancer = pool->balancer, .is_backup = true};
        members(m, backup, shape[i] + first + 1, strlen(shape[i]) - first - 1);
        pool->backup = backup;
    }
}

static void *work(void *arg)
{
    struct thread *t = arg;
    struct claim held[HELD] = {{0}};
    for (unsigned i = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); i++) {
        struct claim *c = &held[i % HELD];
        struct tried tried = {0};
        struct dp_flow flow = {.size = sizeof flow, .now = i + 1};
        if (c->link)
            claim_end(c, DP_OK, i, 1, 1);
        struct pool *pool = __atomic_load_n(&router, __ATOMIC_ACQUIRE)->pool[0];
        if (pool_claim(pool, &flow, &tried, c))
            claim_connected(c, i + 2);
        else
            t->refused++;
        t->claims++;
        __atomic_add_fetch(&t->turns, 1, __ATOMIC_ACQ_REL);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i].link)
            claim_end(&held[i], DP_OK, 0, 1, 1);
    return NULL;
}

/* Each has made a turn since: nobody holds what was there before. */
static void turned(struct thread *thread)
{
    for (int i = 0; i < THREADS; i++) {
        uint32_t turns = __atomic_load_n(&thread[i].turns, __ATOMIC_ACQUIRE);
        while (__atomic_load_n(&thread[i].turns, __ATOMIC_ACQUIRE) - turns < 2)
            sched_yield();
    }
}

static struct router *reload(struct router *old, struct made *m, struct arena *arena,
                             struct trash *trash, struct thread *thread)
{
    struct conf_errors errors = {0};
    struct router *new = router_new(&m->config, old, arena, trash, &errors);
    if (!new) {
        printf("Bail out! %s\n", errors.line[0]);
        exit(1);
    }
    router_publish(new);
    __atomic_store_n(&router, new, __ATOMIC_RELEASE);
    if (old)
        turned(thread);
    router_settle(new);
    router_free(old);
    trash_empty(trash);
    return new;
}

int main(void)
{
    struct thread thread[THREADS] = {0};
    struct trash trash = {0};
    struct arena *arena = arena_new((size_t)4 << 20, -1);
    const struct dp_plugin *balancer = fake_load("balancer-leastconn.so");
    for (int i = 0; i < SHAPES; i++)
        make(&made[i], shapes[i], balancer);
    struct router *r = reload(NULL, &made[0], arena, &trash, thread);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i].id, NULL, work, &thread[i]);
    for (int i = 1; i < RELOADS; i++)
        r = reload(r, &made[i % SHAPES], arena, &trash, thread);
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    uint32_t claims = 0, refused = 0, left = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i].id, NULL);
        claims += thread[i].claims;
        refused += thread[i].refused;
    }
    for (int i = 0; i < LINKS; i++)
        left += r->link[i]->stat->active + r->link[i]->stat->dialing;
    for (size_t i = 0; i < r->n_pools; i++)
        left += r->pool[i]->stat->active + r->pool[i]->stat->dialing;
    bool ok = claims > RELOADS && refused == 0 && left == 0;
    printf("1..1\n%sok 1 - pools change places: nobody is refused, nothing is left\n",
           ok ? "" : "not ");
    printf("# %u claims, %u refused, %u left\n", claims, refused, left);
    router_free(r);
    trash_empty(&trash);
    arena_destroy(arena);
    return !ok;
}
