/* SPDX-License-Identifier: MIT
 * test_health.c: when a link is out of use, who tries it again, what picks and dials make of it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "lib/fake_route.h"
#include "lib/plugin_fake.h"
#include "route/health.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define MS NS_PER_MS

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static struct link *link_at(const struct fake_world *w, size_t i)
{
    return w->router->link[i];
}

static struct link_shared *shared(const struct fake_world *w, size_t i)
{
    return link_at(w, i)->shared;
}

static void close_world(struct fake_world *w, const char *what)
{
    const char *wrong = fake_world_close(w);
    cr_expect(wrong == NULL, "%s: %s", what, wrong);
}

/* ---- one link ---- */

/* A link without a world. */
struct alone {
    struct link_shared shared;
    struct link link;
};

static void alone_init(struct alone *a, uint64_t id)
{
    *a = (struct alone){.link = {.name = "x", .id = id}};
    a->link.shared = &a->shared;
    a->link.stat = &a->shared.stat;
}

Test(health, how_long)
{
    static const int64_t most_ms[] = {1000, 2000, 4000, 8000, 10000, 10000, 10000};
    unsigned differ = 0;
    for (uint64_t id = 0; id < 1000; id++) {
        struct alone a, b;
        alone_init(&a, id * UINT64_C(0x123456789abcdef1));
        alone_init(&b, id * UINT64_C(0x123456789abcdef1) + 1);
        for (uint32_t n = 1; n <= LENGTH(most_ms); n++) {
            int64_t ns = link_out_ns(&a.link, n), most = most_ms[n - 1] * MS;
            cr_assert(ns <= most && ns >= most / 5 * 4, "link %ju, %u: %jd", (uintmax_t)id, n,
                      (intmax_t)ns);
            cr_assert(eq(i64, ns, link_out_ns(&a.link, n)), "always the same");
        }
        differ += llabs(link_out_ns(&a.link, 1) - link_out_ns(&b.link, 1)) > MS;
        cr_assert(le(i64, link_out_ns(&a.link, UINT32_MAX), 10000 * MS));
    }
    cr_expect(gt(u32, differ, 900), "two links are not tried at the same time");
}

Test(health, states)
{
    struct alone a;
    alone_init(&a, 7);
    struct link_shared *s = &a.shared;
    const struct link *link = &a.link;
    int64_t now = FAKE_START_NS;
    cr_expect(link_is_in_use(link));
    cr_expect(not(link_try(link, now)), "there is nothing to try");

    link_failed(link, now, now, DP_ERR_LINK);
    int64_t until = now + link_out_ns(link, 1);
    cr_expect(not(link_is_in_use(link)));
    cr_expect(link_is_suspect(link));
    cr_expect(eq(i64, s->retry_at, until));
    for (int i = 1; i < 100; i++) /* of many that fail together only the first counts */
        link_failed(link, now, now + i * MS, DP_ERR_HOST_UNREACH);
    cr_expect(eq(i64, s->retry_at, until));
    cr_expect(eq(u32, s->ejections, 1));
    cr_expect(eq(u32, s->stat.fails, 100));

    for (uint32_t n = 2; n < 9; n++) { /* one trial each time */
        cr_expect(not(link_try(link, until - 1)), "%u", n);
        cr_expect(link_try(link, until), "%u", n);
        cr_expect(not(link_try(link, until)), "%u", n);
        cr_expect(eq(u32, s->ejections, n));
        cr_expect(eq(i64, s->retry_at, until + link_out_ns(link, n)));
        link_failed(link, until, until + 50 * MS, DP_ERR_LINK); /* that has been allowed for */
        cr_expect(eq(i64, s->retry_at, until + link_out_ns(link, n)));
        until = s->retry_at;
    }

    link_worked(link, until, MS); /* by whichever dial */
    cr_expect(link_is_in_use(link));
    cr_expect(not(link_is_suspect(link)));
    cr_expect(eq(u32, s->ejections, 0));
    link_failed(link, until + 1, until + 1, DP_ERR_LINK);
    cr_expect(eq(i64, s->retry_at, until + 1 + link_out_ns(link, 1)), "from the beginning");
}

/* What fails now says nothing of a link by which another dial, begun at the same time, has since
 * got through. */
Test(health, it_has_worked_since)
{
    static const struct {
        int64_t worked_ms, began_ms;
        bool out;
    } table[] = {
        {0, 100, true}, {100, 100, true}, {101, 100, false}, {3000, 100, false}, {3000, 3001, true},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        int64_t began = FAKE_START_NS + table[i].began_ms * MS;
        alone_init(&a, 7);
        link_worked(&a.link, FAKE_START_NS + table[i].worked_ms * MS, MS);
        link_failed(&a.link, began, FAKE_START_NS + 3100 * MS, DP_ERR_HOST_UNREACH);
        cr_expect(eq(int, !link_is_in_use(&a.link), table[i].out), "row %zu", i);
        cr_expect(link_is_suspect(&a.link), "row %zu: all the same", i);
    }
}

/* What the kernel has said is known, and what it has renewed is not judged by what was before. */
Test(health, gone_and_renewed)
{
    static const struct {
        uint32_t no_way;
        int64_t renewed_ms, began_ms;
        bool out;
    } table[] = {
        {0, -1, 100, true},        {WAY_IPV4, -1, 100, true}, {WAY_IPV6, -1, 100, true},
        {WAY_ANY, -1, 100, false}, {0, 99, 100, true},        {0, 100, 100, true},
        {0, 101, 100, false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        int64_t began = FAKE_START_NS + table[i].began_ms * MS;
        alone_init(&a, 7);
        a.shared.no_way = table[i].no_way;
        if (table[i].renewed_ms >= 0)
            link_renew(&a.link, FAKE_START_NS + table[i].renewed_ms * MS);
        link_failed(&a.link, began, FAKE_START_NS + 3100 * MS, DP_ERR_LINK);
        cr_expect(eq(int, !link_is_in_use(&a.link), table[i].out), "row %zu", i);
        link_renew(&a.link, FAKE_START_NS + 3200 * MS);
        cr_expect(link_is_in_use(&a.link), "row %zu: afresh", i);
        cr_expect(eq(int, link_is_suspect(&a.link), table[i].no_way == WAY_ANY), "row %zu", i);
    }
}

/* Silence, where another link got through, may be a lost packet: five in a row are a failure. */
Test(health, silences)
{
    static const struct {
        int worked_after, renewed_after; /* so many silences; -1: it has not */
        uint32_t no_way;
        int out_at; /* by the silence of that number; 0: not by 9 */
    } table[] = {
        {-1, -1, 0, 5}, {1, -1, 0, 6}, {4, -1, 0, 9},        {-1, 2, 0, 7},
        {3, 5, 0, 0},   {3, -1, 0, 8}, {-1, -1, WAY_ANY, 0}, {-1, -1, WAY_IPV6, 5},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a, 7);
        a.shared.no_way = table[i].no_way;
        int out_at = 0;
        for (int n = 1; n <= 9 && !out_at; n++) {
            int64_t began = FAKE_START_NS + n * 1000 * MS, now = began + 250 * MS;
            link_silent(&a.link, began, now, DP_ERR_HOST_UNREACH);
            out_at = link_is_in_use(&a.link) ? 0 : n;
            cr_expect(link_is_suspect(&a.link), "row %zu", i);
            cr_expect(eq(int, a.shared.stat.fails > 0,
                         out_at > 0 || (table[i].no_way == WAY_ANY && n >= 5)),
                      "row %zu, silence %d", i, n);
            if (n == table[i].worked_after)
                link_worked(&a.link, now, MS);
            if (n == table[i].renewed_after)
                link_renew(&a.link, now);
        }
        cr_expect(eq(int, out_at, table[i].out_at), "row %zu", i);
    }
}

/* Of dials that began at one time those that got through since speak for the link. */
Test(health, silences_beside_a_success)
{
    struct alone a;
    alone_init(&a, 7);
    link_worked(&a.link, FAKE_START_NS + 20 * MS, 20 * MS);
    for (int i = 0; i < 9; i++)
        link_silent(&a.link, FAKE_START_NS, FAKE_START_NS + 250 * MS, DP_ERR_HOST_UNREACH);
    cr_expect(link_is_in_use(&a.link));
    cr_expect(eq(u32, a.shared.silences, 0));
    link_silent(&a.link, FAKE_START_NS, FAKE_START_NS + 250 * MS, DP_ERR_HOST_UNREACH);
    cr_expect(not(link_is_in_use(&a.link)), "but ten of twenty are too many");
}

/* One that works now and then: a dial each 10 ms, those marked x are silent. */
Test(health, by_rate)
{
    static const struct {
        const char *dials;
        size_t out_at; /* 0: not */
    } table[] = {
        {"....................", 0},
        {"x.x.x.x.x.x.x.x.x.x.", 19},
        {".x.x.x.x.x.x.x.x.x.x", 20},
        {"xx..xx..xx..xx..xx..", 18},
        {"x..x..x..x..x..x..x..x..x..x..x..x..x..x..x..x..", 0},
        {"x.x.x.x.x.x.x.x.x........x", 0},
        {"x.x.x.x.x.x.x.x.x.x........x", 19},
        {"x..x.x.x.x.x.x.x.x.x", 20},
        {"x...x.x.x.x.x.x.x.x.x.x", 23},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a, 7);
        size_t out_at = 0;
        for (size_t n = 0; table[i].dials[n] && !out_at; n++) {
            int64_t began = FAKE_START_NS + (int64_t)n * 10 * MS;
            if (table[i].dials[n] == 'x')
                link_silent(&a.link, began, began + 2 * MS, DP_ERR_HOST_UNREACH);
            else
                link_worked(&a.link, began + MS, MS);
            out_at = link_is_in_use(&a.link) ? 0 : n + 1;
        }
        cr_expect(eq(sz, out_at, table[i].out_at), "row %zu", i);
    }
}

/* ---- how long silence is borne ---- */

Test(health, patience)
{
    static const struct {
        int rtt_ms, var_ms;
        bool trial;
        uint32_t ejections;
        int patience_ms;
    } table[] = {
        {0, 0, false, 0, 250},     {10, 5, false, 0, 200},     {100, 24, false, 0, 200},
        {100, 26, false, 0, 204},  {700, 100, false, 0, 1100}, {10, 5, false, 3, 200},
        {0, 0, true, 2, 250},      {0, 0, true, 3, 500},       {0, 0, true, 4, 1000},
        {0, 0, true, 5, 1000},     {0, 0, true, 0, 250},       {10, 5, true, 2, 50},
        {10, 5, true, 3, 100},     {10, 5, true, 4, 200},      {10, 5, true, 99, 200},
        {700, 100, true, 2, 1100},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a, 7);
        a.shared.stat.rtt = table[i].rtt_ms * MS;
        a.shared.rtt_var = table[i].var_ms * MS;
        a.shared.ejections = table[i].ejections;
        cr_expect(eq(i64, link_patience_ns(&a.link, table[i].trial), table[i].patience_ms * MS),
                  "row %zu", i);
    }
}

/* It comes near what is measured, quickly if that grows for good, and stays if only one is late. */
Test(health, patience_is_learned)
{
    static const struct {
        int first_ms, n_first, then_ms, n_then;
        int least_ms, most_ms;
    } table[] = {
        {20, 1, 0, 0, 200, 200},     {20, 50, 0, 0, 200, 200},    {300, 1, 0, 0, 900, 900},
        {300, 50, 0, 0, 300, 320},   {20, 50, 2500, 1, 200, 300}, {20, 50, 700, 4, 700, 1500},
        {700, 50, 20, 40, 200, 300}, {20, 50, 0, 50, 200, 200}, /* 0 is not measured */
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a, 7);
        for (int n = 0; n < table[i].n_first; n++)
            link_worked(&a.link, FAKE_START_NS, table[i].first_ms * MS);
        for (int n = 0; n < table[i].n_then; n++)
            link_worked(&a.link, FAKE_START_NS, table[i].then_ms * MS);
        int64_t ms = link_patience_ns(&a.link, false) / MS;
        cr_expect(ms >= table[i].least_ms && ms <= table[i].most_ms, "row %zu: %jd ms", i,
                  (intmax_t)ms);
        cr_expect(gt(i64, a.shared.stat.rtt, 0), "row %zu", i);
    }
}

/* ---- what the log says ---- */

static int captured = -1, real_stderr = -1;

static void capture(void)
{
    int fd[2];
    cr_assert(eq(int, pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0));
    real_stderr = dup(STDERR_FILENO);
    cr_assert(dup2(fd[1], STDERR_FILENO) >= 0);
    close(fd[1]);
    captured = fd[0];
}

static const char *logged(void)
{
    static char text[8192];
    ssize_t n = read(captured, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void release(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
}

Test(health, told_once, .init = capture, .fini = release)
{
    struct alone a;
    char expect[200];
    int64_t now = FAKE_START_NS;
    alone_init(&a, 7);
    int64_t out_ms = link_out_ns(&a.link, 1) / MS;

    link_worked(&a.link, now, MS);
    cr_expect(same(logged(), ""));
    for (int i = 0; i < 10; i++)
        link_failed(&a.link, now, now, DP_ERR_HOST_UNREACH);
    link_try(&a.link, now + 5000 * MS);
    snprintf(expect, sizeof expect,
             "warn link: x: not used for %jd ms: no answer, where another link got through\n",
             (intmax_t)out_ms);
    const char *text = logged();
    cr_expect(same(text, expect), "%s", text);
    for (int i = 0; i < 10; i++)
        link_worked(&a.link, now + 6000 * MS, MS);
    text = logged();
    cr_expect(same(text, "info link: x: in use again\n"), "%s", text);

    for (int i = 1; i <= 1000; i++) { /* it comes and goes without end, 10 s long */
        now = FAKE_START_NS + 6000 * MS + i * 10 * MS;
        link_failed(&a.link, now, now, DP_ERR_LINK);
        link_worked(&a.link, now + MS, MS);
    }
    unsigned out = 0, in = 0;
    for (text = logged(); *text; text = strchr(text, '\n') + 1) {
        out += strncmp(text, "warn link: x: not used for ", 27) == 0;
        in += strncmp(text, "info link: x: in use again\n", 27) == 0;
    }
    cr_expect(eq(u32, out, 10));
    cr_expect(eq(u32, in, 10), "and each time the end of it");
}

Test(health, reasons, .init = capture, .fini = release)
{
    static const struct {
        int err;
        const char *why;
    } table[] = {
        {DP_ERR_LINK, ": the link or its server failed\n"},
        {DP_ERROR(DP_LINK, 4), ": the link or its server failed\n"},
        {DP_ERR_NET_UNREACH, ": network unreachable, where another link got through\n"},
        {DP_ERR_HOST_UNREACH, ": no answer, where another link got through\n"},
        {DP_ERR_TTL, ": TTL expired, where another link got through\n"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a, i);
        link_failed(&a.link, FAKE_START_NS, FAKE_START_NS, table[i].err);
        const char *text = logged();
        cr_expect(strstr(text, table[i].why) != NULL, "row %zu: %s", i, text);
    }
}

/* That it works now and then was known: only a dial that has begun since brings it back. */
Test(health, back_after_many_failures, .init = capture, .fini = release)
{
    struct alone a;
    int64_t now = FAKE_START_NS;
    alone_init(&a, 7);
    link_worked(&a.link, now, MS);
    for (int i = 0; i < 10; i++) /* begun before it worked */
        link_failed(&a.link, now - MS, now + MS, DP_ERR_LINK);
    cr_expect(not(link_is_in_use(&a.link)));
    const char *text = logged();
    cr_expect(strstr(text, ": half of its last dials failed\n") != NULL, "%s", text);
    link_worked(&a.link, now + 2 * MS, 2 * MS);
    cr_expect(not(link_is_in_use(&a.link)), "it was under way");
    link_worked(&a.link, now + 4 * MS, 2 * MS);
    cr_expect(link_is_in_use(&a.link));
    cr_expect(eq(u32, a.shared.outcomes, 0), "and starts afresh");
}

/* ---- picks ---- */

struct flow {
    struct dp_flow flow;
    struct tried tried;
};

static bool claim_at(struct fake_world *w, struct flow *f, int64_t now, struct claim *c)
{
    f->flow.size = sizeof f->flow;
    f->flow.now = now;
    bool got = pool_claim(w->router->pool[0], &f->flow, &f->tried, c);
    f->flow.attempt += got;
    return got;
}

/* The letters of the links that so many flows get, in capitals if as a trial. */
static const char *picks_at(struct fake_world *w, int64_t now, unsigned n)
{
    static char text[1024];
    for (unsigned i = 0; i < n; i++) {
        struct flow f = {0};
        struct claim c;
        text[i] = '-';
        if (claim_at(w, &f, now, &c)) {
            text[i] = (char)(c.link->name[0] - (c.trial ? 'a' - 'A' : 0));
            claim_end(&c, DP_OK, now, 0, 0);
        }
    }
    text[n] = '\0';
    return text;
}

static void out_at(struct fake_world *w, const char *names, int64_t now)
{
    for (; *names; names++)
        link_failed(link_at(w, (size_t)(*names - 'a')), now, now, DP_ERR_LINK);
}

Test(health, picks)
{
    static const struct {
        const char *out, *expect;
        int64_t after_ms;
    } table[] = {
        {"", "aaaa", 0},
        {"a", "bbbb", 0},
        {"ab", "cccc", 0},
        {"b", "aaaa", 0},
        {"ac", "bbbb", 700},
        /* one flow each tries what is due, and is alone in it */
        {"a", "Abbb", 1001},
        {"ab", "ABcc", 1001},
        /* there is none but those that are out */
        {"abc", "aaaa", 0},
        {"abc", "ABCaaa", 1001},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {.link = {{.name = "a"}, {.name = "b"}, {.name = "c"}}};
        fake_world_open(&w);
        out_at(&w, table[i].out, FAKE_START_NS);
        const char *got =
            picks_at(&w, FAKE_START_NS + table[i].after_ms * MS, (unsigned)strlen(table[i].expect));
        cr_expect(same(got, table[i].expect), "row %zu: %s, not %s", i, got, table[i].expect);
        close_world(&w, "picks");
    }
}

/* A flow goes through those in use, then through those that are out, each once. */
Test(health, every_link_is_left_for_a_retry)
{
    struct fake_world w = {.link = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}}};
    struct flow f = {0};
    struct claim c;
    char got[5] = "";
    fake_world_open(&w);
    out_at(&w, "ac", FAKE_START_NS);
    for (int i = 0; i < 4; i++) {
        cr_assert(claim_at(&w, &f, FAKE_START_NS, &c));
        cr_expect(not(c.trial));
        got[i] = c.link->name[0];
        claim_end(&c, DP_ERR_LINK, FAKE_START_NS, 0, 0);
    }
    cr_expect(same(got, "bdac"), "%s", got);
    cr_expect(not(claim_at(&w, &f, FAKE_START_NS, &c)));
    close_world(&w, "retries");
}

/* A link that is full is none that is left; its trial waits until it has a place. */
Test(health, limits)
{
    struct fake_world w = {.link = {{.name = "a", .limit = 1}, {.name = "b", .limit = 2}}};
    struct flow f[3] = {0};
    struct claim c[3];
    int64_t due = FAKE_START_NS + 1001 * MS;
    fake_world_open(&w);
    cr_assert(claim_at(&w, &f[0], FAKE_START_NS, &c[0])); /* a is full */
    out_at(&w, "a", FAKE_START_NS);
    cr_expect(same(picks_at(&w, due, 3), "bbb"));
    cr_expect(eq(u32, shared(&w, 0)->ejections, 1), "no trial that nobody makes");
    claim_end(&c[0], DP_OK, due, 0, 0);
    cr_expect(same(picks_at(&w, due, 3), "Abb"));
    cr_assert(claim_at(&w, &f[1], due, &c[1]));
    cr_assert(claim_at(&w, &f[2], due, &c[2])); /* b is full */
    cr_expect(same(picks_at(&w, due, 2), "aa"), "better than none");
    claim_end(&c[1], DP_OK, due, 0, 0);
    claim_end(&c[2], DP_OK, due, 0, 0);
    close_world(&w, "limits");
}

/* The others keep their order and their shares. */
Test(health, rotation)
{
    enum { SMOOTH, BLOCK };
    static const struct {
        uint32_t order, weight[3];
        const char *out, *expect;
    } table[] = {
        {SMOOTH, {1, 1, 1}, "", "abcabcabc"},    {SMOOTH, {1, 1, 1}, "a", "bcbcbcbc"},
        {SMOOTH, {1, 1, 1}, "b", "acacacac"},    {SMOOTH, {3, 2, 1}, "a", "bcbbcbbcb"},
        {SMOOTH, {3, 2, 1}, "b", "aacaaaca"},    {SMOOTH, {5, 1, 1}, "a", "bcbcbcbc"},
        {BLOCK, {3, 2, 1}, "a", "bbcbbcbbc"},    {BLOCK, {3, 2, 1}, "b", "aaacaaac"},
        {BLOCK, {1000, 2, 1}, "a", "bbcbbcbbc"}, {SMOOTH, {3, 2, 1}, "ab", "ccccc"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {.balancer = fake_load("balancer-rr.so"),
                               .balancer_conf = &table[i].order,
                               .link = {{.name = "a", .weight = table[i].weight[0]},
                                        {.name = "b", .weight = table[i].weight[1]},
                                        {.name = "c", .weight = table[i].weight[2]}}};
        fake_world_open(&w);
        out_at(&w, table[i].out, FAKE_START_NS);
        const char *got = picks_at(&w, FAKE_START_NS, (unsigned)strlen(table[i].expect));
        cr_expect(same(got, table[i].expect), "row %zu: %s, not %s", i, got, table[i].expect);
        close_world(&w, "rotation");
    }
}

/* To a balancer that looks at loads a link that is out looks empty all the time. */
Test(health, leastconn)
{
    struct fake_world w = {.balancer = fake_load("balancer-leastconn.so"),
                           .link = {{.name = "a", .weight = 5},
                                    {.name = "b", .weight = 2},
                                    {.name = "c", .weight = 1}}};
    struct claim c[90];
    fake_world_open(&w);
    out_at(&w, "a", FAKE_START_NS);
    for (size_t i = 0; i < LENGTH(c); i++) {
        struct flow f = {0};
        cr_assert(claim_at(&w, &f, FAKE_START_NS, &c[i]));
    }
    cr_expect(eq(u32, fake_stat(&w, "a")->active, 0));
    cr_expect(eq(u32, fake_stat(&w, "b")->active, 60));
    cr_expect(eq(u32, fake_stat(&w, "c")->active, 30));
    for (size_t i = 0; i < LENGTH(c); i++)
        claim_end(&c[i], DP_OK, FAKE_START_NS, 0, 0);
    close_world(&w, "leastconn");
}

/* ---- dials ---- */

#define HANG         \
    {                \
        FAKE_HANG, 0 \
    }

static void run(struct fake_world *w)
{
    fake_dial_start(w, "192.0.2.1:80");
    fake_dial_wait(w);
}

/* Which outcomes put a link out of use: a's, and then b's. */
Test(health, blame)
{
    static const struct {
        int result[2];
        bool out[2];
    } table[] = {
        {{DP_OK, DP_OK}, {false, false}},
        {{DP_ERR_LINK, DP_OK}, {true, false}},
        {{DP_ERR_LINK, DP_ERR_LINK}, {true, true}},
        {{DP_ERR_REFUSED, DP_OK}, {false, false}},
        {{DP_ERR_NO_HOST, DP_OK}, {false, false}},
        {{DP_ERR_DENIED, DP_OK}, {false, false}},
        {{DP_ERR_LOCAL, DP_OK}, {false, false}},
        {{DP_ERR_COMMAND, DP_OK}, {false, false}},
        {{DP_ERR_FAMILY, DP_OK}, {false, false}},
        {{DP_ERR_NO_ANSWER, DP_OK}, {false, false}},
        {{DP_ERR_NO_ANSWER, DP_ERR_NO_ANSWER}, {false, false}},
        {{DP_ERR_NET_UNREACH, DP_OK}, {true, false}},
        {{DP_ERR_HOST_UNREACH, DP_OK}, {true, false}},
        {{DP_ERR_TTL, DP_OK}, {true, false}},
        {{DP_ERR_HOST_UNREACH, DP_ERR_HOST_UNREACH}, {false, false}},
        {{DP_ERR_HOST_UNREACH, DP_ERR_REFUSED}, {false, false}},
        {{DP_ERR_HOST_UNREACH, DP_ERR_LINK}, {false, true}},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {
            .retries = 2,
            .link = {{.name = "a", .n_acts = 1, .act = {{table[i].result[0], 0}}},
                     {.name = "b", .n_acts = 1, .act = {{table[i].result[1], 0}}}}};
        fake_world_open(&w);
        run(&w);
        for (size_t l = 0; l < 2; l++)
            cr_expect(eq(int, !link_is_in_use(link_at(&w, l)), table[i].out[l]), "row %zu: %zu", i,
                      l);
        close_world(&w, "blame");
    }
}

/* A link on trial is not waited for alone for long. */
struct race_row {
    const char *out;
    int after_ms, rtt_ms; /* since then; a's usual time */
    uint32_t retries;
    struct fake_act act[2];
    int err;
    const char *won;
    int took_ms, b_at_ms; /* when b's dial started; -1: never */
    bool out_after;       /* is a? */
};

static const struct race_row races[] = {
    {"a", 1001, 20, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 55, 50, true},
    {"a", 1001, 60, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 65, 60, true},
    {"a", 1001, 400, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 405, 400, true},
    {"a", 1001, 0, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 255, 250, true}, /* not known */
    {"a", 1001, 20, 2, {{DP_OK, 40}, {DP_OK, 0}}, DP_OK, "a", 40, -1, false},
    {"a", 1001, 20, 2, {{DP_OK, 60}, {DP_OK, 20}}, DP_OK, "a", 60, 50, false},
    {"a", 1001, 20, 2, {{DP_ERR_LINK, 30}, {DP_OK, 5}}, DP_OK, "b", 35, 30, true},
    /* it costs none of the retries */
    {"a", 1001, 20, 0, {{DP_ERR_LINK, 0}, {DP_OK, 5}}, DP_OK, "b", 5, 0, true},
    {"a", 1001, 20, 0, {HANG, {DP_OK, 5}}, DP_OK, "b", 55, 50, true},
    {"a", 1001, 20, 0, {HANG, {DP_ERR_LINK, 5}}, DP_ERR_HOST_UNREACH, "", 3000, 50, true},
    /* too early: only b is asked */
    {"a", 500, 20, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 5, 0, true},
    /* both are out: no trial, as a link that is in use */
    {"ab", 0, 20, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 205, 200, true},
    {"ab", 0, 300, 2, {HANG, {DP_OK, 5}}, DP_OK, "b", 305, 300, true},
    {"ab", 0, 20, 2, {{DP_OK, 190}, {DP_OK, 5}}, DP_OK, "a", 190, -1, false},
};

Test(health, races)
{
    for (size_t i = 0; i < LENGTH(races); i++) {
        const struct race_row *row = &races[i];
        struct fake_world w = {.retries = row->retries,
                               .link = {{.name = "a", .n_acts = 1, .act = {row->act[0]}},
                                        {.name = "b", .n_acts = 1, .act = {row->act[1]}}}};
        fake_world_open(&w);
        int64_t began = io_now(&w.loop.io);
        shared(&w, 0)->stat.rtt = row->rtt_ms * MS;
        out_at(&w, row->out, began - row->after_ms * MS);
        run(&w);
        cr_expect(eq(int, w.err, row->err), "row %zu", i);
        cr_expect(same(w.won, row->won), "row %zu: %s", i, w.won);
        cr_expect(eq(int, w.took_ms, row->took_ms), "row %zu", i);
        int b_at_ms = w.link[1].starts ? w.link[1].start[0].at_ms : -1;
        cr_expect(eq(int, b_at_ms, row->b_at_ms), "row %zu", i);
        cr_expect(eq(int, !link_is_in_use(link_at(&w, 0)), row->out_after), "row %zu", i);
        close_world(&w, "race");
    }
}

/* However many links are out and due, and silent again, one flow waits for one of them. */
Test(health, many_are_due)
{
    static const char *const names[FAKE_LINKS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                                  "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"};
    struct fake_world w = {.retries = 0};
    for (int i = 0; i < FAKE_LINKS; i++)
        w.link[i] = (struct fake_link){.name = names[i], .n_acts = 1, .act = {HANG}};
    w.link[FAKE_LINKS - 1].act[0] = (struct fake_act){DP_OK, 5};
    fake_world_open(&w);
    out_at(&w, "abcdefghijklmnopqrs", io_now(&w.loop.io) - 1001 * MS);
    shared(&w, 0)->stat.rtt = 20 * MS;
    run(&w);
    cr_expect(eq(int, w.err, DP_OK));
    cr_expect(same(w.won, "t"), "%s", w.won);
    cr_expect(eq(int, w.took_ms, 55));
    close_world(&w, "many are due");
}

/* A trial beside as many retries as there can be is one more. */
Test(health, a_trial_and_all_retries)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                        "j", "k", "l", "m", "n", "o", "p", "q"};
    struct fake_world w = {.retries = 15};
    for (size_t i = 0; i < LENGTH(names); i++)
        w.link[i] = (struct fake_link){.name = names[i], .n_acts = 1, .act = {{DP_ERR_LINK, 5}}};
    w.link[LENGTH(names) - 1].act[0] = (struct fake_act){DP_OK, 5};
    fake_world_open(&w);
    out_at(&w, "a", io_now(&w.loop.io) - 1001 * MS);
    run(&w);
    cr_expect(eq(int, w.err, DP_OK));
    cr_expect(same(w.won, "q"), "%s", w.won);
    close_world(&w, "a trial and all retries");
}

/* What shows nothing of the link is no trial of it: the next flow makes it. */
Test(health, trials_that_show_nothing)
{
    static const struct {
        struct fake_act act;
        bool due_after;
    } table[] = {
        {{DP_ERR_LINK, 0}, false},         {{DP_ERR_LINK, 5}, false},
        {{DP_ERR_HOST_UNREACH, 5}, false}, {HANG, false},
        {{DP_ERR_FAMILY, 0}, true},        {{DP_ERR_COMMAND, 5}, true},
        {{DP_ERR_NO_ANSWER, 5}, true},     {{DP_ERR_REFUSED, 5}, true},
        {{DP_ERR_LOCAL, 0}, true},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {.retries = 2,
                               .link = {{.name = "a", .n_acts = 1, .act = {table[i].act}},
                                        {.name = "b", .n_acts = 1, .act = {{DP_OK, 5}}}}};
        fake_world_open(&w);
        int64_t now = io_now(&w.loop.io);
        out_at(&w, "a", now - 1001 * MS);
        run(&w);
        const char *got = picks_at(&w, io_now(&w.loop.io), 2);
        cr_expect(same(got, table[i].due_after ? "Ab" : "bb"), "row %zu: %s", i, got);
        close_world(&w, "nothing shown");
    }
    struct fake_world w = {.link = {{.name = "a", .n_acts = 1, .act = {HANG}}, {.name = "b"}}};
    fake_world_open(&w); /* and then the client goes */
    out_at(&w, "a", FAKE_START_NS - 1001 * MS);
    fake_dial_start(&w, "192.0.2.1:80");
    cr_expect(same(picks_at(&w, FAKE_START_NS, 2), "bb"));
    fake_dial_end(&w);
    cr_expect(same(picks_at(&w, FAKE_START_NS, 2), "Ab"));
    close_world(&w, "cancelled");
}

/* What one dial finds out is of use to those that are under way: here by a tunnel, whose server has
 * accepted and would be waited for otherwise. */
Test(health, a_dial_under_way)
{
    static const struct {
        int fails_ms, took_ms;
    } table[] = {{0, 255}, {249, 255}, {251, 1505}, {1499, 1505}};
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    addr_text(&server, hop);
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {
            .retries = 1,
            .link = {{.name = "a", .shape = FAKE_TUNNEL, .hop = hop, .n_acts = 1, .act = {HANG}},
                     {.name = "b", .n_acts = 1, .act = {{DP_OK, 5}}}}};
        fake_world_open(&w);
        fake_dial_start(&w, "192.0.2.1:80");
        int64_t began = io_now(&w.loop.io), fails = began + table[i].fails_ms * MS;
        while (poll_turn(&w.loop, fails) == 0)
            ;
        cr_assert(not(w.over), "row %zu", i);
        link_failed(link_at(&w, 0), began, fails, DP_ERR_LINK);
        fake_dial_wait(&w);
        cr_expect(same(w.won, "b"), "row %zu: %s", i, w.won);
        cr_expect(eq(int, w.took_ms, table[i].took_ms), "row %zu", i);
        close_world(&w, "under way");
    }
    close(fd);
}

/* A dial that was started late beside another had no time to show anything. */
Test(health, silence_needs_time)
{
    struct fake_world w = {.retries = 2,
                           .link = {{.name = "a", .n_acts = 1, .act = {{DP_ERR_LINK, 255}}},
                                    {.name = "b", .n_acts = 1, .act = {{DP_OK, 30}}},
                                    {.name = "c", .n_acts = 1, .act = {{DP_OK, 10}}}}};
    fake_world_open(&w);
    shared(&w, 0)->stat.fails = 1;
    run(&w); /* b at 250, c at 255 */
    cr_expect(same(w.won, "c"));
    cr_expect(eq(int, w.took_ms, 265));
    cr_expect(link_is_in_use(link_at(&w, 1)));
    cr_expect(not(link_is_in_use(link_at(&w, 0))));
    close_world(&w, "silence");
}

/* The whole of it: a is silent, and later well again. The first five wait for it a moment, then nobody
 * does but for its trials, and it comes back. */
Test(health, a_silent_link_over_time)
{
    struct fake_world w = {.retries = 2, .link = {{.name = "a"}, {.name = "b"}}};
    static const int takes_ms[] = {200, 200, 200, 200, 200, 50, 100, 200, 200, 200, 0};
    fake_world_open(&w);
    shared(&w, 0)->stat.rtt = 10 * MS;
    w.link[0].n_acts = 10;
    for (int i = 0; i < 10; i++)
        w.link[0].act[i] = (struct fake_act)HANG;
    while (w.link[0].starts < 11) {
        unsigned before = w.link[0].starts;
        cr_assert(eq(int, link_is_in_use(link_at(&w, 0)), before < 5));
        run(&w);
        cr_assert(eq(int, w.err, DP_OK));
        bool by_a = w.link[0].starts > before;
        cr_assert(eq(int, w.took_ms, by_a ? takes_ms[before] : 0), "dial %u by a", before);
        w.loop.fake_now_ns += 100 * MS;
        fake_dial_end(&w);
    }
    cr_expect(link_is_in_use(link_at(&w, 0)));
    int64_t took_ms = (w.loop.fake_now_ns - FAKE_START_NS) / MS;
    cr_expect(took_ms > 20000 && took_ms < 37000, "%jd", (intmax_t)took_ms);
    run(&w);
    cr_expect(same(w.won, "a"), "and has its turns again");
    close_world(&w, "over time");
}
