/* SPDX-License-Identifier: MIT
 * race_monitor.c: 4 threads pick and report while interfaces come and go: each flow gets a link, and
 * none that has no way.
 */
#include "base/clock.h"
#include "base/log.h"
#include "lib/fake_route.h"
#include "lib/plugin_fake.h"
#include "route/health.h"
#include "route/monitor.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 4, CLAIMS = 20000 };

static int n_cases, failed;

static void result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    failed |= !ok;
}

/* What dialer-iface has for its options; those behind the first two are not given. */
struct iface_conf {
    struct dp_str interface;
    struct dp_addr address;
    uint64_t more[32];
};

static struct iface_conf by(const char *device)
{
    return (struct iface_conf){.interface = {.p = device, .len = (uint32_t)strlen(device)}};
}

static void add(struct devices *d, uint32_t index, const char *name, bool up)
{
    struct device device = {.index = index, .up = up, .carrier = up, .route_ipv4 = true};
    struct dp_addr addr;
    snprintf(device.name, sizeof device.name, "%s", name);
    addr_parse_ip(&addr, "192.0.2.1", 9);
    if (devices_add(d, &device) < 0 || devices_add_address(d, index, &addr) < 0)
        abort();
}

static void look(struct monitor *m, bool a_up, bool b_up, int64_t now_ns)
{
    struct devices d = {0};
    add(&d, 2, "a0", a_up);
    add(&d, 3, "b0", b_up);
    add(&d, 4, "c0", true);
    monitor_look(m, &d, now_ns);
}

/* Called in the main thread alone. */
static void gone(void *ctx, struct link *link, const struct dp_addr *from)
{
    (void)link;
    *(unsigned *)ctx += !from;
}

struct picker {
    pthread_t id;
    struct fake_world *world;
    bool steady; /* a is down all the time */
    uint32_t claims, wrong, seed;
};

static void *pick(void *arg)
{
    struct picker *p = arg;
    for (int i = 0; i < CLAIMS; i++) {
        struct tried tried = {0};
        struct dp_flow flow = {.size = sizeof flow, .now = FAKE_START_NS + i * NS_PER_MS};
        struct claim c;
        addr_parse_ip(&flow.dest, "198.51.100.1", 12);
        if (!pool_claim(p->world->router->pool[0], &flow, &tried, &c))
            continue;
        p->claims++;
        p->wrong += p->steady && c.link == p->world->router->link[0];
        if (rand_r(&p->seed) % 8)
            link_worked(c.link, flow.now, 1);
        else
            link_failed(c.link, flow.now, flow.now, DP_ERR_LINK);
        claim_end(&c, DP_OK, flow.now, 0, 0);
    }
    return NULL;
}

static void pickers_run(struct fake_world *w, bool steady, struct monitor *m, uint32_t *claims,
                        uint32_t *wrong)
{
    struct picker picker[WORKERS] = {{0}};
    for (int i = 0; i < WORKERS; i++) {
        picker[i] = (struct picker){.world = w, .steady = steady, .seed = (unsigned)i};
        if (pthread_create(&picker[i].id, NULL, pick, &picker[i]) != 0)
            abort();
    }
    for (int i = 0; i < 2000 && !steady; i++) {
        look(m, i & 1, i & 2, FAKE_START_NS + i * NS_PER_MS);
        sched_yield();
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(picker[i].id, NULL);
        *claims += picker[i].claims;
        *wrong += picker[i].wrong;
    }
}

static void case_picks(const char *file, bool steady, const char *what)
{
    const struct dp_plugin *iface = fake_load("dialer-iface.so");
    struct iface_conf a = by("a0"), b = by("b0"), c = by("c0");
    if (iface->conf_size > sizeof a)
        abort();
    struct fake_world w = {.balancer = fake_load(file),
                           .balancer_conf = &(uint32_t){0},
                           .link = {{.name = "a", .weight = 5, .plugin = iface, .conf = &a},
                                    {.name = "b", .plugin = iface, .conf = &b},
                                    {.name = "c", .plugin = iface, .conf = &c}}};
    uint32_t claims = 0, wrong = 0;
    unsigned n_gone = 0;
    fake_world_open(&w);
    struct monitor *m = monitor_new(NULL, gone, &n_gone);
    if (!m || monitor_watch(m, w.router) < 0)
        abort();
    look(m, true, true, FAKE_START_NS);
    look(m, false, true, FAKE_START_NS);
    pickers_run(&w, steady, m, &claims, &wrong);
    result(claims == WORKERS * CLAIMS && wrong == 0 && (steady ? n_gone == 1 : n_gone > 900), what);
    printf("# %u claims, %u wrong, %u times gone\n", claims, wrong, n_gone);
    monitor_free(m);
    const char *left = fake_world_close(&w);
    if (left)
        printf("Bail out! %s\n", left);
    failed |= left != NULL;
}

int main(void)
{
    printf("1..4\n");
    log_set_level(LOG_ERROR);
    case_picks("balancer-rr.so", true, "rr: a link that is down is never picked");
    case_picks("balancer-leastconn.so", true, "leastconn: a link that is down is never picked");
    case_picks("balancer-rr.so", false, "rr: while links come and go each flow gets one");
    case_picks("balancer-leastconn.so", false, "leastconn: while links come and go, too");
    return failed;
}
