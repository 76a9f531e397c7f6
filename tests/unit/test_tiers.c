/* SPDX-License-Identifier: MIT
 * test_tiers.c: pools with links behind their links, and links that are just back.
 */
#include "base/clock.h"
#include "lib/plugin_fake.h"
#include "route/health.h"
#include "route/quota.h"
#include "route/ramp.h"
#include "route/router.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define REFS 1000000 /* configurations made by hand are never freed */
#define START_NS (1000 * NS_PER_S)
#define LINKS 8
#define POOLS 4 /* and as many behind them */

/* ---- a dialer that does nothing ---- */

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

/* ---- a world: links a to h, and pools as they are written ---- */

struct made {
    struct config config;
    struct conf_link link[LINKS];
    struct conf_pool pool[2 * POOLS]; /* those behind others behind them */
    struct conf_member member[2 * POOLS][LINKS];
    char name[LINKS][2], pool_name[POOLS][2];
};

struct world {
    struct arena *arena;
    struct trash trash;
    struct conf_errors errors;
    struct router *router;
    const struct dp_plugin *balancer;
    int64_t now;
};

static const uint32_t smooth; /* order of rr */

static void members(struct made *m, struct conf_pool *pool, const char *names, size_t n)
{
    struct conf_member *member = m->member[pool - m->pool];
    for (size_t i = 0; i < n; i++)
        if (names[i] >= 'a')
            member[i].link = &m->link[names[i] - 'a'];
        else
            member[i].pool = &m->pool[names[i] - 'A'];
    pool->member = member;
    pool->n_members = n;
}

/* "ab|c": links a and b, behind them c. */
static void pool_make(struct made *m, size_t i, const struct dp_plugin *balancer, const char *text)
{
    struct conf_pool *pool = &m->pool[i];
    size_t first = strcspn(text, "| "), all = strcspn(text, " ");
    m->pool_name[i][0] = (char)('A' + i);
    *pool = (struct conf_pool){
        .name = m->pool_name[i], .weight = 1, .balancer = {.plugin = balancer, .conf = &smooth}};
    members(m, pool, text, first);
    if (first == all)
        return;
    struct conf_pool *backup = &m->pool[m->config.n_pools + m->config.n_backups++];
    *backup = (struct conf_pool){.name = pool->name, .balancer = pool->balancer, .is_backup = true};
    members(m, backup, text + first + 1, all - first - 1);
    pool->backup = backup;
}

/* Pools A, B, ... with a blank between. */
static struct made *make(const struct dp_plugin *balancer, const char *text, int64_t slow_start)
{
    struct made *m = calloc(1, sizeof *m);
    cr_assert(m != NULL);
    m->config = (struct config){
        .refs = REFS, .link = m->link, .n_links = LINKS, .pool = m->pool, .n_pools = 1};
    for (size_t i = 0; i < LINKS; i++) {
        m->name[i][0] = (char)('a' + i);
        m->link[i] = (struct conf_link){.name = m->name[i],
                                        .dialer = {.plugin = &dialer, .conf = &smooth},
                                        .weight = 1,
                                        .slow_start = slow_start};
    }
    for (const char *blank = text; (blank = strchr(blank, ' ')); blank++)
        m->config.n_pools++;
    for (size_t i = 0; i < m->config.n_pools; i++, text += strcspn(text, " ") + 1)
        pool_make(m, i, balancer, text);
    return m;
}

static void world_open(struct world *w)
{
    *w = (struct world){.arena = arena_new((size_t)4 << 20, -1),
                        .balancer = fake_load("balancer-rr.so"),
                        .now = START_NS};
    cr_assert(w->arena != NULL);
}

static void apply(struct world *w, struct made *m)
{
    struct router *new = router_new(&m->config, w->router, w->arena, &w->trash, &w->errors);
    cr_assert(new != NULL, "%s", w->errors.n ? w->errors.line[0] : "");
    router_publish(new);
    router_settle(new);
    router_free(w->router);
    w->router = new;
    trash_empty(&w->trash);
}

static void world_close(struct world *w)
{
    for (size_t i = 0; i < LINKS; i++)
        cr_expect(eq(u32, w->router->link[i]->stat->active, 0), "link %zu", i);
    for (size_t i = 0; i < w->router->n_pools; i++)
        cr_expect(w->router->pool[i]->stat->active == 0 && w->router->pool[i]->stat->dialing == 0,
                  "pool %zu", i);
    router_free(w->router);
    trash_empty(&w->trash);
    arena_destroy(w->arena);
    conf_errors_free(&w->errors);
}

static struct link *link_of(const struct world *w, char name)
{
    return w->router->link[name - 'a'];
}

static void no_way(const struct world *w, char name, uint32_t ways)
{
    dp_store(&link_of(w, name)->shared->no_way, ways);
    dp_store(&link_of(w, name)->shared->no_route, ways);
}

static char lower(char c)
{
    return (char)(c | 0x20);
}

/* Links that have just failed, in lower case; that have no way, in capitals. */
static void fault(const struct world *w, const char *names)
{
    for (; *names; names++)
        if (*names >= 'a')
            link_failed(link_of(w, *names), w->now, w->now, DP_ERR_LINK);
        else
            no_way(w, lower(*names), WAY_ANY);
}

/* And back. */
static void mend(const struct world *w, const char *names)
{
    for (; *names; names++) {
        if (*names >= 'a') {
            link_worked(link_of(w, *names), w->now, 1);
            continue;
        }
        no_way(w, lower(*names), 0);
        ramp_begin(link_of(w, lower(*names)), w->now);
    }
}

/* The link that one more flow gets, or `-` and why not. */
static char pick(const struct world *w, struct dp_flow *flow, struct tried *tried, bool *trial)
{
    struct claim c;
    flow->size = sizeof *flow;
    flow->now = w->now;
    if (!pool_claim(w->router->pool[0], flow, tried, &c))
        return '-';
    flow->attempt++;
    *trial = c.trial;
    char name = c.link->name[0];
    claim_end(&c, DP_OK, w->now, 0, 0);
    return name;
}

/* What so many flows get; in capitals if as a trial. */
static const char *picks(const struct world *w, size_t n)
{
    static char text[1025];
    cr_assert(lt(sz, n, sizeof text));
    for (size_t i = 0; i < n; i++) {
        struct dp_flow flow = {0};
        struct tried tried = {0};
        bool trial = false;
        text[i] = pick(w, &flow, &tried, &trial);
        text[i] = (char)(text[i] - (trial ? 'a' - 'A' : 0));
    }
    text[n] = '\0';
    return text;
}

/* What one flow gets that fails everywhere. */
static const char *retries(const struct world *w)
{
    static char text[LINKS + 2];
    struct dp_flow flow = {0};
    struct tried tried = {0};
    bool trial;
    size_t n = 0;
    do
        text[n] = pick(w, &flow, &tried, &trial);
    while (text[n++] != '-' && n <= LINKS);
    text[n] = '\0';
    return text;
}

static void expect(const char *got, const char *wanted, size_t row)
{
    cr_expect(strcmp(got, wanted) == 0, "row %zu: %s, not %s", row, got, wanted);
}

/* ---- backup, and when all are down ---- */

Test(tiers, picks)
{
    static const struct {
        const char *pool, *fault, *picks, *retries;
        int64_t after_ms;
        bool refuse;
    } table[] = {
        {"ab|c", "", "abab", "abc-", 0, false},
        {"ab|c", "a", "bbbb", "bca-", 0, false},
        {"ab|c", "ab", "cccc", "cab-", 0, false},
        {"ab|cd", "ab", "cdcd", "cdab-", 0, false},
        {"ab|cd", "abc", "dddd", "dabc-", 0, false},
        /* all of them are out: the first are better than those behind */
        {"ab|cd", "abcd", "abab", "abcd-", 0, false},
        {"ab|cd", "abcd", "----", "-", 0, true},
        {"ab|cd", "abc", "dddd", "d-", 0, true},
        {"ab", "ab", "abab", "ab-", 0, false},
        {"ab", "ab", "----", "-", 0, true},
        /* what has no way is never used */
        {"ab|c", "AB", "cccc", "c-", 0, false},
        {"ab|c", "ABc", "cccc", "c-", 0, false},
        {"ab|c", "ABC", "----", "-", 0, false},
        {"ab|c", "aBC", "aaaa", "a-", 0, false},
        /* a flow each tries what is due, before one behind is used, and also if that is refused */
        {"ab|c", "ab", "ABcc", "cab-", 1001, false},
        {"ab|c", "abc", "ABC-", "-", 1001, true},
        /* of what is due a flow tries one, then others, then the next if nobody else is left */
        {"abc|d", "ab", "", "acdb-", 1001, false},
        {"abc|d", "abcd", "", "abcd-", 1001, true},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        world_open(&w);
        struct made *m = make(w.balancer, table[i].pool, 0);
        for (size_t k = 0; k < LENGTH(m->pool); k++)
            m->pool[k].refuse = table[i].refuse;
        apply(&w, m);
        fault(&w, table[i].fault);
        w.now += table[i].after_ms * NS_PER_MS;
        expect(picks(&w, strlen(table[i].picks)), table[i].picks, i);
        expect(retries(&w), table[i].retries, i);
        world_close(&w);
        free(m);
    }
}

/* Those behind share what comes to them, and their turns are their own. */
Test(tiers, shares)
{
    struct world w;
    world_open(&w);
    struct made *m = make(w.balancer, "ab|cd", 0);
    m->link[2].weight = 3;
    apply(&w, m);
    expect(picks(&w, 3), "aba", 0);
    fault(&w, "ab");
    expect(picks(&w, 8), "ccdcccdc", 1);
    mend(&w, "a");
    expect(picks(&w, 3), "aaa", 2);
    mend(&w, "b");
    expect(picks(&w, 4), "baba", 3);
    expect(picks(&w, 4), "baba", 4);
    world_close(&w);
    free(m);
}

/* At its limit is not to be had either. */
Test(tiers, limits)
{
    struct world w;
    struct claim c[3];
    world_open(&w);
    struct made *m = make(w.balancer, "a|b", 0);
    m->link[0].max_connections = m->link[1].max_connections = 1;
    apply(&w, m);
    for (size_t i = 0; i < LENGTH(c); i++) {
        struct dp_flow flow = {.size = sizeof flow, .now = w.now};
        struct tried tried = {0};
        cr_expect(eq(int, pool_claim(w.router->pool[0], &flow, &tried, &c[i]), i < 2), "%zu", i);
        cr_expect(eq(int, pool_refusal(w.router->pool[0], &flow), DP_ERR_LINK));
    }
    cr_expect(eq(ptr, c[0].link, link_of(&w, 'a')));
    cr_expect(eq(ptr, c[1].link, link_of(&w, 'b')));
    claim_end(&c[0], DP_OK, w.now, 0, 0);
    claim_end(&c[1], DP_OK, w.now, 0, 0);
    world_close(&w);
    free(m);
}

Test(tiers, refusals)
{
    static const struct {
        const char *fault;
        uint32_t no_ipv4; /* of links, as bits */
        int err;
    } table[] = {
        {"AB", 0, DP_ERR_NET_UNREACH}, {"aB", 0, DP_ERR_LINK},  {"Ab", 0, DP_ERR_LINK},
        {"A", 2, DP_ERR_FAMILY},       {"B", 1, DP_ERR_FAMILY}, {"", 3, DP_ERR_FAMILY},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        struct dp_flow flow = {0};
        world_open(&w);
        struct made *m = make(w.balancer, "a|b", 0);
        apply(&w, m);
        fault(&w, table[i].fault);
        for (uint32_t k = 0; k < 2; k++)
            if (table[i].no_ipv4 >> k & 1)
                no_way(&w, "ab"[k], WAY_IPV4);
        addr_parse_endpoint(&flow.dest, "192.0.2.1:80", 12);
        cr_expect(eq(int, pool_refusal(w.router->pool[0], &flow), table[i].err), "row %zu", i);
        world_close(&w);
        free(m);
    }
}

/* Tiers come and go with reloads; the rest goes on as it was. */
Test(tiers, reloads)
{
    static const char *const pool[] = {"ab|c", "ab", "ab|cd", "a|b", "abc|d", "ab|c"};
    static const char *const behind[] = {"cccc", "abab", "cdcd", "cccc"};
    struct world w;
    struct made *m[LENGTH(pool)];
    world_open(&w);
    for (size_t i = 0; i < LENGTH(pool); i++) {
        m[i] = make(w.balancer, pool[i], 0);
        apply(&w, m[i]);
        if (i >= 3)
            continue;
        fault(&w, "ab");
        expect(picks(&w, 4), behind[i], i);
    }
    cr_expect(eq(u64, link_of(&w, 'a')->stat->picks, 2));
    mend(&w, "ab");
    expect(picks(&w, 4), "abab", LENGTH(pool));
    world_close(&w);
    for (size_t i = 0; i < LENGTH(pool); i++)
        free(m[i]);
}

/* ---- pools in pools ---- */

Test(nested, picks)
{
    static const struct {
        const char *pools, *fault, *picks, *retries;
        int64_t after_ms;
        bool refuse;
    } table[] = {
        {"BC ab cd", "", "acbdacbd", "acdb-", 0, false},
        {"BC abc d", "", "adbdcdad", "bdca-", 0, false},
        {"BC ab cd", "a", "bcbdbcbd", "bcda-", 0, false},
        {"BC ab cd", "ab", "cdcdcdcd", "cdab-", 0, false},
        {"BC ab cd", "AB", "cdcdcdcd", "cd-", 0, false},
        {"BC ab cd", "abcd", "acbdacbd", "acdb-", 0, false},
        {"BC ab cd", "abcd", "--------", "-", 0, true},
        {"BC ab cd", "ab", "AcBdcdcd", "cdab-", 1001, false},
        {"Bc ab", "", "acbcacbc", "acb-", 0, false},
        {"aB a", "", "aaaaaaaa", "a-", 0, false},
        {"aB ab", "a", "bbbbbbbb", "ba-", 0, false},
        /* pools behind links, links behind pools, and within */
        {"a|B bc", "", "aaaaaaaa", "abc-", 0, false},
        {"a|B bc", "a", "bcbcbcbc", "bca-", 0, false},
        {"B|C ab cd", "ab", "cdcdcdcd", "cdab-", 0, false},
        {"BC a|b c|d", "", "acacacac", "acdb-", 0, false},
        {"BC a|b c|d", "a", "bcbcbcbc", "bcda-", 0, false},
        {"BC a|b c|d", "ac", "bdbdbdbd", "bdca-", 0, false},
        {"BC|e a|b c|d", "abcd", "eeeeeeee", "eabcd-", 0, false},
        {"BC|e a|b c|d", "abcd", "eeeeeeee", "e-", 0, true},
        /* as deep as may be */
        {"B C D ab", "", "abababab", "ab-", 0, false},
        {"B C D ab|c", "ab", "cccccccc", "cab-", 0, false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        world_open(&w);
        struct made *m = make(w.balancer, table[i].pools, 0);
        for (size_t k = 0; k < LENGTH(m->pool); k++)
            m->pool[k].refuse = table[i].refuse;
        apply(&w, m);
        fault(&w, table[i].fault);
        w.now += table[i].after_ms * NS_PER_MS;
        expect(picks(&w, 8), table[i].picks, i);
        expect(retries(&w), table[i].retries, i);
        world_close(&w);
        free(m);
    }
}

/* Held connections by pool and link: 3:1 between the pools by weight, 2:1 and 1:2 within. */
Test(nested, leastconn)
{
    struct world w;
    struct claim c[144];
    world_open(&w);
    w.balancer = fake_load("balancer-leastconn.so");
    struct made *m = make(w.balancer, "BC ab cd", 0);
    m->pool[1].weight = 3;
    m->link[0].weight = m->link[3].weight = 2;
    apply(&w, m);
    for (size_t i = 0; i < LENGTH(c); i++) {
        struct dp_flow flow = {.size = sizeof flow, .now = w.now};
        struct tried tried = {0};
        cr_assert(pool_claim(w.router->pool[0], &flow, &tried, &c[i]));
        claim_connected(&c[i], w.now + 7);
    }
    static const uint32_t of_links[] = {72, 36, 12, 24}, of_pools[] = {0, 108, 36};
    for (size_t i = 0; i < LENGTH(of_links); i++)
        cr_expect(eq(u32, w.router->link[i]->stat->active, of_links[i]), "link %zu", i);
    for (size_t i = 0; i < LENGTH(of_pools); i++) {
        const struct dp_stat *stat = w.router->pool[i]->stat;
        cr_expect(eq(u32, stat->active, of_pools[i]), "pool %zu", i);
        cr_expect(eq(u64, stat->picks, of_pools[i]), "pool %zu", i);
        cr_expect(eq(i64, stat->rtt, of_pools[i] ? 7 : 0), "pool %zu", i);
    }
    for (size_t i = 0; i < LENGTH(c); i++)
        claim_end(&c[i], DP_OK, w.now, 2, 1);
    cr_expect(eq(u64, w.router->pool[1]->stat->rx, 216));
    world_close(&w);
    free(m);
}

/* The link's limit is one for all pools; what a dial comes to is known of the pools it went through. */
Test(nested, limits_and_failures)
{
    struct world w;
    struct claim c[4];
    world_open(&w);
    struct made *m = make(w.balancer, "BC ab ac", 0);
    m->link[0].max_connections = m->link[1].max_connections = m->link[2].max_connections = 1;
    apply(&w, m);
    char got[5] = "";
    for (size_t i = 0; i < LENGTH(c); i++) {
        struct dp_flow flow = {.size = sizeof flow, .now = w.now};
        struct tried tried = {0};
        bool has = pool_claim(w.router->pool[0], &flow, &tried, &c[i]);
        got[i] = (char)(has ? c[i].link->name[0] : '-');
    }
    expect(got, "acb-", 0);
    claim_end(&c[0], DP_ERR_LINK, w.now, 0, 0);
    cr_expect(eq(u32, w.router->pool[1]->stat->fails, 1));
    cr_expect(eq(u32, w.router->pool[2]->stat->fails, 0));
    claim_end(&c[1], DP_ERR_CANCELLED, w.now, 0, 0);
    claim_end(&c[2], DP_OK, w.now, 0, 0);
    world_close(&w);
    free(m);
}

/* A client keeps to its link through all pools, be the outer one sticky, or one within. */
Test(nested, sticky)
{
    static const struct {
        size_t sticky; /* pool */
        const char *first, *then, *after;
    } table[] = {
        {0, "acbd", "acbd", "ccdd"},
        {1, "acbd", "acbd", "cdcd"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        char got[3][5] = {""};
        world_open(&w);
        struct made *m = make(w.balancer, "BC ab cd", 0);
        m->pool[table[i].sticky].sticky = (struct conf_sticky){STICKY_CLIENT, 60 * NS_PER_S};
        apply(&w, m);
        for (size_t k = 0; k < 12; k++) {
            struct dp_flow flow = {.size = sizeof flow, .now = w.now};
            struct tried tried = {0};
            struct claim c;
            char client[] = "10.0.0.1";
            client[7] = (char)('1' + k % 4);
            if (k == 8)
                fault(&w, "ab");
            addr_parse_ip(&flow.client, client, 8);
            cr_assert(pool_claim(w.router->pool[0], &flow, &tried, &c));
            got[k / 4][k % 4] = c.link->name[0];
            claim_connected(&c, w.now);
            claim_end(&c, DP_OK, w.now, 0, 0);
        }
        expect(got[0], table[i].first, i);
        expect(got[1], table[i].then, i);
        expect(got[2], table[i].after, i);
        world_close(&w);
        free(m);
    }
}

static volatile sig_atomic_t told_to_end;

static void tell_to_end(int number)
{
    (void)number;
    told_to_end = 1;
}

/* A process that claims and ends until it is told to end itself; its pid. */
static pid_t busy_process(const struct world *w)
{
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid > 0)
        return pid;
    signal(SIGTERM, tell_to_end);
    alarm(60);
    struct ledger *ledger = ledger_of(w->arena);
    for (uint64_t i = 1; !told_to_end; i++) {
        struct dp_flow flow = {.size = sizeof flow, .now = w->now};
        struct tried tried = {0};
        struct claim c;
        if (!pool_claim(w->router->pool[0], &flow, &tried, &c))
            abort();
        uint32_t ticket = 0;
        if (i % 2)
            claim_end(&c, DP_ERR_LINK, w->now, 0, 0);
        else
            ticket = claim_park(&c, (uint64_t)getpid() << 32 | i, w->now);
        if (ticket)
            router_claim_end(w->router, ledger, ticket, w->now, 0, 0);
    }
    _exit(0);
}

/* Processes that share the counters die at any moment: nothing stays counted on any level. */
Test(nested, what_a_killed_process_has_claimed)
{
    struct world w;
    unsigned seed = 1, slower = getenv("DISPATCH_VALGRIND") ? 50 : 1;
    world_open(&w);
    arena_destroy(w.arena);
    w.arena = arena_new_shared((size_t)20 << 20);
    struct made *m = make(w.balancer, "B|C D|c ef ab", 0);
    apply(&w, m);
    struct ledger *ledger = ledger_of(w.arena);
    for (unsigned i = 0; i < 200; i++) {
        pid_t pid = busy_process(&w);
        usleep(((useconds_t)rand_r(&seed) % 400 + 200) * slower);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        for (uint32_t ticket = 0; ledger_inherit(ledger, (uint32_t)pid, 0, &ticket);)
            router_claim_end(w.router, ledger, ticket, w.now, 0, 0);
        ledger_forget(ledger, (uint32_t)pid);
        ledger_settle(ledger, w.arena);
        cr_assert(eq(u32, ledger_used(ledger), 0));
        for (size_t k = 0; k < w.router->n_pools; k++)
            cr_assert(eq(u32, w.router->pool[k]->stat->active, 0), "round %u, pool %zu", i, k);
    }
    cr_expect(gt(u64, w.router->pool[3]->stat->picks, 200));
    world_close(&w);
    free(m);
}

/* Two pools that change places. */
Test(nested, turned_round)
{
    struct world w;
    world_open(&w);
    struct made *m[] = {make(w.balancer, "B ab", 0), make(w.balancer, "ab A", 0)};
    for (size_t i = 0; i < 6; i++) {
        apply(&w, m[i % 2]);
        expect(picks(&w, 4), "abab", i);
    }
    world_close(&w);
    free(m[0]);
    free(m[1]);
}

/* ---- limits by destination ---- */

/* Held connections to three destinations: what is over a link's limit goes to the next, and behind. */
Test(destinations, overflow)
{
    static const struct {
        const char *pool, *got;
    } table[] = {
        {"ab", "abab-abab-abab-"},
        {"a|b", "aabb-aabb-aabb-"},
        {"B|b a", "aabb-aabb-aabb-"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        struct claim c[15];
        char got[16] = "";
        world_open(&w);
        struct made *m = make(w.balancer, table[i].pool, 0);
        m->link[0].max_per_dest = m->link[1].max_per_dest = 2;
        apply(&w, m);
        for (size_t k = 0; k < LENGTH(c); k++) {
            struct dp_flow flow = {.size = sizeof flow, .now = w.now};
            struct tried tried = {0};
            char dest[] = "0.example:80";
            dest[0] = (char)('0' + k / 5);
            cr_assert(eq(int, addr_parse_endpoint(&flow.dest, dest, strlen(dest)), 0));
            bool has = pool_claim(w.router->pool[0], &flow, &tried, &c[k]);
            got[k] = (char)(has ? c[k].link->name[0] : '-');
            if (!has)
                cr_expect(eq(int, pool_refusal(w.router->pool[0], &flow), DP_ERR_LINK));
        }
        expect(got, table[i].got, i);
        for (size_t k = 0; k < LENGTH(c); k++)
            if (c[k].link)
                claim_end(&c[k], DP_OK, w.now, 0, 0);
        struct dp_flow flow = {.size = sizeof flow, .now = w.now};
        addr_parse_endpoint(&flow.dest, "0.example:80", 12);
        cr_expect(not(quota_met(w.router->quota, quota_key(link_of(&w, 'a'), &flow.dest), 1)));
        world_close(&w);
        free(m);
    }
}

/* ---- slow start ---- */

#define SLOW_NS (5 * NS_PER_S)

static unsigned count(const char *text, char c)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

/* Of the flows that are offered to it a link takes these, per mille. */
Test(ramp, grants)
{
    static const struct {
        int64_t slow_ms, after_ms;
        unsigned mille;
    } table[] = {
        {5000, 0, 200},           {5000, -1, 200},   {5000, 500, 200},       {5000, 1000, 200},
        {5000, 1500, 300},        {5000, 2500, 500}, {5000, 4000, 800},      {5000, 4999, 1000},
        {5000, 5000, 1000},       {0, 0, 1000},      {3600000, 900000, 250}, {1, 0, 200},
        {3600000, 3599999, 1000},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct link_shared shared = {0};
        struct link link = {.name = "x", .shared = &shared};
        unsigned granted = 0;
        ramp_begin(&link, START_NS);
        for (unsigned k = 0; k < 1000; k++)
            granted += ramp_allows(&link, table[i].slow_ms * NS_PER_MS,
                                   START_NS + table[i].after_ms * NS_PER_MS);
        cr_expect(granted + 2 >= table[i].mille && granted <= table[i].mille + 2, "row %zu: %u", i,
                  granted);
    }
}

/* The share of a link that is back, of 1000 flows in each second; the others have the rest. */
Test(ramp, shares)
{
    static const unsigned least[] = {150, 190, 290, 370, 430, 500};
    struct world w;
    world_open(&w);
    struct made *m = make(w.balancer, "ab", SLOW_NS);
    apply(&w, m);
    cr_expect(eq(u32, count(picks(&w, 1000), 'a'), 500), "at the start nothing is slow");
    fault(&w, "a");
    cr_expect(eq(u32, count(picks(&w, 1000), 'a'), 0));
    w.now += 700 * NS_PER_MS;
    mend(&w, "a");
    for (size_t i = 0; i < LENGTH(least); i++) {
        unsigned n = 0;
        for (unsigned k = 0; k < 1000; k++, w.now += NS_PER_MS)
            n += *picks(&w, 1) == 'a';
        cr_expect(n >= least[i] && n <= least[i] + 80 && n <= 500, "second %zu: %u", i, n);
    }
    world_close(&w);
    free(m);
}

/* Is there nobody else, it has it all; before those behind are asked. */
Test(ramp, alone)
{
    static const struct {
        const char *pool, *fault, *back, *picks;
    } table[] = {
        {"ab|c", "ab", "a", "aaaaaaaa"},    {"ab|c", "Ab", "A", "aaaaaaaa"},
        {"a", "a", "a", "aaaaaaaa"},        {"ab|c", "ab", "ab", "abababab"},
        {"ab|cd", "abcd", "c", "cccccccc"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct world w;
        world_open(&w);
        struct made *m = make(w.balancer, table[i].pool, SLOW_NS);
        apply(&w, m);
        fault(&w, table[i].fault);
        mend(&w, table[i].back);
        expect(picks(&w, 8), table[i].picks, i);
        world_close(&w);
        free(m);
    }
}

/* A client that had the link keeps it. */
Test(ramp, sticky)
{
    struct world w;
    world_open(&w);
    struct made *m = make(w.balancer, "ab", SLOW_NS);
    m->pool[0].sticky = (struct conf_sticky){.by = STICKY_CLIENT, .ttl = 60 * NS_PER_S};
    apply(&w, m);
    for (unsigned i = 0; i < 100; i++) {
        struct dp_flow flow = {.size = sizeof flow, .now = w.now};
        struct tried tried = {0};
        struct claim c;
        addr_parse_ip(&flow.client, "10.0.0.1", 8);
        cr_assert(pool_claim(w.router->pool[0], &flow, &tried, &c));
        cr_expect(eq(ptr, c.link, link_of(&w, 'a')));
        claim_connected(&c, w.now);
        claim_end(&c, DP_OK, w.now, 0, 0);
        if (i == 0) {
            fault(&w, "a");
            link_worked(link_of(&w, 'a'), w.now + 1, 1);
        }
    }
    world_close(&w);
    free(m);
}
