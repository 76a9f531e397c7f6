/* SPDX-License-Identifier: MIT
 * race_check.c: one thread writes what health checks say of a link, while 4 others pick, dial and
 * fail: a link that is down the whole time is picked by nobody, and one that comes and goes is left
 * in use.
 */
#include "base/log.h"
#include "lib/fake_route.h"
#include "lib/plugin_fake.h"
#include "route/health.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { WORKERS = 4, CLAIMS = 20000 };

static int n_cases, failed;
static uint32_t picking; /* threads; atomic */

static void result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    failed |= !ok;
}

struct picker {
    pthread_t id;
    struct fake_world *world;
    uint32_t claims, of_a, seed;
};

static void outcome(struct picker *p, const struct claim *c)
{
    if (rand_r(&p->seed) % 2)
        link_failed(c->link, c->at_ns, c->at_ns, DP_ERR_LINK);
    else
        link_worked(c->link, c->at_ns, 1);
}

static void *pick(void *arg)
{
    struct picker *p = arg;
    for (int i = 0; i < CLAIMS; i++) {
        struct tried tried = {0};
        struct dp_flow flow = {.size = sizeof flow, .now = FAKE_START_NS + i * INT64_C(10000000)};
        struct claim c;
        if (!pool_claim(p->world->router->pool[0], &flow, &tried, &c))
            continue;
        p->claims++;
        p->of_a += c.link == p->world->router->link[0];
        if (c.link == p->world->router->link[0])
            outcome(p, &c);
        claim_end(&c, DP_OK, flow.now, 0, 0);
    }
    dp_add(&picking, UINT32_MAX); /* one less */
    return NULL;
}

static const struct conf_check conf = {.rise = 2, .fall = 3};

/* As the thread that checks would: down and up again while anybody picks, and up at the end. */
static void check(const struct link *link)
{
    do {
        for (uint32_t i = 0; i < conf.fall; i++)
            link_check_failed(link, &conf, "why");
        sched_yield();
        for (uint32_t i = 0; i < conf.rise; i++)
            link_check_passed(link, &conf, FAKE_START_NS);
        sched_yield();
    } while (dp_load(&picking) > 0);
}

static void run(bool flapping, const char *what)
{
    struct fake_world w = {.balancer = fake_load("balancer-rr.so"),
                           .balancer_conf = &(uint32_t){0},
                           .link = {{.name = "a", .weight = 5}, {.name = "b"}, {.name = "c"}}};
    struct picker picker[WORKERS] = {{0}};
    uint32_t claims = 0, of_a = 0;
    fake_world_open(&w);
    const struct link *a = w.router->link[0];
    for (int i = 0; i < 3; i++)
        link_check_failed(a, &conf, "why");
    dp_store(&picking, WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        picker[i] = (struct picker){.world = &w, .seed = (unsigned)i};
        if (pthread_create(&picker[i].id, NULL, pick, &picker[i]) != 0)
            abort();
    }
    if (flapping)
        check(a);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(picker[i].id, NULL);
        claims += picker[i].claims;
        of_a += picker[i].of_a;
    }
    result(claims == WORKERS * CLAIMS && link_fails_checks(a) == !flapping &&
               (flapping || of_a == 0),
           what);
    printf("# %u claims, %u of the link\n", claims, of_a);
    const char *wrong = fake_world_close(&w);
    if (wrong)
        printf("Bail out! %s\n", wrong);
    failed |= wrong != NULL;
}

int main(void)
{
    printf("1..2\n");
    log_set_level(LOG_ERROR);
    run(false, "a link that is down is picked by nobody");
    run(true, "a link that comes and goes is up at the end, and every flow gets a link");
    return failed;
}
