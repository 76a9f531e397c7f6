/* SPDX-License-Identifier: MIT
 * race_health.c: 4 threads, or processes, find a link broken, try it and see it work again, all at
 * the same time: what counts once is counted once.
 */
#include "base/clock.h"
#include "base/log.h"
#include "lib/fake_route.h"
#include "lib/plugin_fake.h"
#include "route/health.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 4, ROUNDS = 2000, TRIALS = 5, CLAIMS = 20000 };

static int n_cases, failed;

static void result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    failed |= !ok;
}

/* ---- one link, in step: each step begins when all have ended the one before ---- */

/* In memory that processes share; atomic. */
struct common {
    struct link_shared shared;
    uint32_t arrived; /* at all meetings together */
    uint32_t trials;
    uint32_t wrong;
} * common;

static void meet(uint32_t *meetings)
{
    __atomic_fetch_add(&common->arrived, 1, __ATOMIC_ACQ_REL);
    uint32_t all = ++*meetings * WORKERS;
    while (__atomic_load_n(&common->arrived, __ATOMIC_ACQUIRE) < all)
        sched_yield();
}

static void expect(bool right)
{
    if (!right)
        dp_add(&common->wrong, 1);
}

static void round_of(const struct link *link, int64_t now, uint32_t *meetings, uint32_t *trials)
{
    const struct link_shared *s = link->shared;
    link_failed(link, now, now, DP_ERR_LINK);
    meet(meetings);
    expect(dp_load(&s->ejections) == 1 && dp_load(&s->retry_at) == now + link_out_ns(link, 1));
    for (uint32_t n = 2; n < 2 + TRIALS; n++) {
        now = dp_load(&s->retry_at);
        expect(!link_try(link, now - 1));
        meet(meetings);
        dp_add(&common->trials, link_try(link, now));
        meet(meetings);
        expect(dp_load(&common->trials) == ++*trials);
        expect(dp_load(&s->ejections) == n);
    }
    meet(meetings);
    link_worked(link, now, 1);
    meet(meetings);
    expect(link_is_in_use(link) && dp_load(&s->ejections) == 0);
    meet(meetings);
    link_silent(link, now, now, DP_ERR_HOST_UNREACH); /* four of them: one more is too many */
    meet(meetings);
    expect(link_is_in_use(link) && dp_load(&s->silences) == WORKERS);
    meet(meetings);
    link_silent(link, now, now, DP_ERR_HOST_UNREACH);
    meet(meetings);
    expect(!link_is_in_use(link) && dp_load(&s->ejections) == 1);
    meet(meetings);
    link_worked(link, now + 2, 1); /* whatever it was put out for, by a dial of after that */
    meet(meetings);
    expect(link_is_in_use(link));
    meet(meetings);
}

static void *work(void *arg)
{
    struct link link = {.name = "x", .id = 7, .shared = &common->shared};
    uint32_t meetings = 0, trials = 0;
    (void)arg;
    link.stat = &common->shared.stat;
    for (int i = 0; i < ROUNDS; i++)
        round_of(&link, FAKE_START_NS + i * 100 * NS_PER_S, &meetings, &trials);
    return NULL;
}

static void in_threads(void)
{
    pthread_t id[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&id[i], NULL, work, NULL) != 0)
            abort();
    for (int i = 0; i < WORKERS; i++)
        pthread_join(id[i], NULL);
}

static void in_processes(void)
{
    pid_t pid[WORKERS];
    fflush(stdout);
    for (int i = 0; i < WORKERS; i++)
        if ((pid[i] = fork()) == 0) {
            work(NULL);
            _exit(0);
        }
    for (int i = 0; i < WORKERS; i++)
        expect(waitpid(pid[i], NULL, 0) == pid[i]);
}

static void case_steps(void (*run)(void), const char *what)
{
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_SHARED, -1, 0);
    if (common == MAP_FAILED)
        abort();
    run();
    result(common->wrong == 0 && common->trials == ROUNDS * TRIALS, what);
    if (common->wrong)
        printf("# %u wrong, %u trials\n", common->wrong, common->trials);
    munmap(common, sizeof *common);
}

/* ---- a pool's picks ---- */

struct picker {
    pthread_t id;
    struct fake_world *world;
    bool flapping;
    uint32_t claims, trials, broken, seed; /* broken: claims of `a` that are no trials */
};

static void outcome(struct picker *p, const struct claim *c)
{
    int64_t now = c->at_ns;
    if (c->link != p->world->router->link[0])
        link_worked(c->link, now, 1);
    else if (!p->flapping || rand_r(&p->seed) % 2)
        link_failed(c->link, now, now, DP_ERR_LINK);
    else
        link_worked(c->link, now - 1, 1);
}

static void *pick(void *arg)
{
    struct picker *p = arg;
    for (int i = 0; i < CLAIMS; i++) {
        struct tried tried = {0};
        struct dp_flow flow = {.size = sizeof flow, .now = FAKE_START_NS + i * 10 * NS_PER_MS};
        struct claim c;
        if (!pool_claim(p->world->router->pool[0], &flow, &tried, &c))
            continue;
        p->claims++;
        p->trials += c.trial;
        p->broken += !c.trial && c.link == p->world->router->link[0];
        outcome(p, &c);
        claim_end(&c, DP_OK, flow.now, 0, 0);
    }
    return NULL;
}

static void case_picks(const char *file, bool flapping)
{
    struct fake_world w = {.balancer = fake_load(file),
                           .balancer_conf = &(uint32_t){0},
                           .link = {{.name = "a", .weight = 5}, {.name = "b"}, {.name = "c"}}};
    struct picker picker[WORKERS] = {{0}};
    uint32_t claims = 0, trials = 0, broken = 0;
    fake_world_open(&w);
    struct link *const *link = w.router->link;
    link_failed(link[0], FAKE_START_NS, FAKE_START_NS, DP_ERR_LINK);
    for (int i = 0; i < WORKERS; i++) {
        picker[i] = (struct picker){.world = &w, .flapping = flapping, .seed = (unsigned)i};
        if (pthread_create(&picker[i].id, NULL, pick, &picker[i]) != 0)
            abort();
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(picker[i].id, NULL);
        claims += picker[i].claims;
        trials += picker[i].trials;
        broken += picker[i].broken;
    }
    bool all = claims == WORKERS * CLAIMS &&
               link[0]->stat->picks + link[1]->stat->picks + link[2]->stat->picks == claims;
    char what[100];
    snprintf(what, sizeof what, "%s: %s", file,
             flapping ? "a link that comes and goes: each flow gets one"
                      : "a link that is out is picked for its trials only");
    if (flapping)
        result(all && trials > 0 && broken > 0, what);
    else
        result(all && broken == 0 && trials > 1 && trials == link[0]->shared->ejections - 1, what);
    printf("# %u claims, %u trials, %u others of the link\n", claims, trials, broken);
    const char *wrong = fake_world_close(&w);
    if (wrong)
        printf("Bail out! %s\n", wrong);
    failed |= wrong != NULL;
}

int main(void)
{
    printf("1..6\n");
    log_set_level(LOG_ERROR);
    case_steps(in_threads, "threads: one ejection, one trial each time");
    case_steps(in_processes, "processes: one ejection, one trial each time");
    case_picks("balancer-rr.so", false);
    case_picks("balancer-leastconn.so", false);
    case_picks("balancer-rr.so", true);
    case_picks("balancer-leastconn.so", true);
    return failed;
}
