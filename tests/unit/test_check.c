/* SPDX-License-Identifier: MIT
 * test_check.c: what health checks make of a link, what picks make of that, and when links are
 * checked.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include "route/health.h"
#include "traffic/checks.h"
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

/* ---- rise and fall ---- */

struct alone {
    struct link_shared shared;
    struct link link;
};

static void alone_init(struct alone *a)
{
    *a = (struct alone){.link = {.name = "x", .id = 7}};
    a->link.shared = &a->shared;
    a->link.stat = &a->shared.stat;
}

static void check_ends(const struct link *link, const struct conf_check *conf, char how)
{
    if (how == 'p')
        link_check_passed(link, conf, FAKE_START_NS);
    else
        link_check_failed(link, conf, "why");
}

Test(check, rise_and_fall, .init = capture, .fini = release)
{
    static const struct {
        uint32_t rise, fall;
        const char *ends;   /* passed, failed */
        const char *states; /* up, down after each */
    } table[] = {
        {2, 3, "pppp", "uuuu"},
        {2, 3, "ffpffpffp", "uuuuuuuuu"}, /* in a row only */
        {2, 3, "fffpp", "uuddu"},
        {2, 3, "fffpfpp", "uuddddu"},
        {2, 3, "ffffffpp", "uudddddu"},
        {2, 3, "fffppffpfff", "uudduuuuuud"},
        {1, 1, "fpfpf", "dudud"},
        {1, 2, "ffpffp", "uduudu"},
        {3, 1, "fpppfppfppp",
         "dddudddddd"
         "u"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct alone a;
        alone_init(&a);
        const struct conf_check conf = {.rise = table[i].rise, .fall = table[i].fall};
        unsigned turns = 0, told = 0;
        char before = 'u';
        for (size_t k = 0; table[i].ends[k]; k++) {
            check_ends(&a.link, &conf, table[i].ends[k]);
            char now = link_fails_checks(&a.link) ? 'd' : 'u';
            cr_expect(eq(chr, now, table[i].states[k]), "row %zu, check %zu", i, k);
            cr_expect(eq(int, link_is_in_use(&a.link), now == 'u'));
            turns += now != before;
            before = now;
        }
        for (const char *text = logged(); *text; text = strchr(text, '\n') + 1)
            told++;
        cr_expect(eq(u32, told, turns), "row %zu: each turn is told once", i);
    }
}

Test(check, what_is_told, .init = capture, .fini = release)
{
    struct alone a;
    const struct conf_check conf = {.rise = 2, .fall = 3}, once = {.rise = 1, .fall = 1};
    alone_init(&a);
    link_check_failed(&a.link, &conf, "first");
    link_check_failed(&a.link, &conf, "second");
    cr_expect(same(logged(), ""));
    link_check_failed(&a.link, &conf, "third");
    link_check_failed(&a.link, &conf, "fourth");
    const char *text = logged();
    cr_expect(same(text, "warn link: x: not used: health check failed 3 times: third\n"), "%s",
              text);
    link_check_passed(&a.link, &conf, FAKE_START_NS);
    link_check_passed(&a.link, &conf, FAKE_START_NS);
    text = logged();
    cr_expect(same(text, "info link: x: in use again: health check passed 2 times\n"), "%s", text);
    link_check_failed(&a.link, &once, "so");
    text = logged();
    cr_expect(same(text, "warn link: x: not used: health check failed 1 time: so\n"), "%s", text);
    link_check_none(&a.link, FAKE_START_NS);
    text = logged();
    cr_expect(same(text, "info link: x: in use again: not checked so any more\n"), "%s", text);
    link_check_failed(&a.link, &conf, "once");
    link_check_none(&a.link, FAKE_START_NS);
    cr_expect(eq(i32, a.shared.check, 0));
    cr_expect(same(logged(), ""));
}

/* Its dials' failures go on to count, but nothing of them is told while checks say it is down. */
Test(check, beside_what_dials_say, .init = capture, .fini = release)
{
    struct alone a;
    const struct conf_check conf = {.rise = 1, .fall = 1};
    int64_t now = FAKE_START_NS;
    alone_init(&a);
    link_failed(&a.link, now, now, DP_ERR_LINK);
    cr_expect(strstr(logged(), "not used for") != NULL);
    link_check_failed(&a.link, &conf, "why");
    cr_expect(strstr(logged(), "health check failed") != NULL);
    cr_expect(not(link_try(&a.link, now + 100 * NS_PER_S)), "no trial is given");
    link_worked(&a.link, now + MS, MS);
    cr_expect(eq(i64, a.shared.retry_at, 0));
    cr_expect(not(link_is_in_use(&a.link)), "a dial that works does not bring it back");
    link_failed(&a.link, now + 2 * MS, now + 3 * MS, DP_ERR_LINK);
    cr_expect(same(logged(), ""), "what is known");
    a.shared.retry_at = now + NS_PER_S;
    link_check_passed(&a.link, &conf, now + 4 * MS);
    cr_expect(link_is_in_use(&a.link), "it comes back afresh");
    cr_expect(eq(u32, a.shared.stat.fails, 0));
    link_failed(&a.link, now + 3 * MS, now + 5 * MS, DP_ERR_LINK);
    cr_expect(link_is_in_use(&a.link), "a dial of before says nothing");
}

/* ---- picks ---- */

static struct link *link_at(const struct fake_world *w, size_t i)
{
    return w->router->link[i];
}

static void close_world(struct fake_world *w, const char *what)
{
    const char *wrong = fake_world_close(w);
    cr_expect(wrong == NULL, "%s: %s", what, wrong);
}

static char pick_at(const struct fake_world *w, int64_t now)
{
    struct tried tried = {0};
    struct dp_flow flow = {.size = sizeof flow, .now = now};
    struct claim c;
    if (!pool_claim(w->router->pool[0], &flow, &tried, &c))
        return '-';
    char name = (char)(c.link->name[0] - (c.trial ? 'a' - 'A' : 0));
    claim_end(&c, DP_OK, now, 0, 0);
    return name;
}

Test(check, picks)
{
    static const struct {
        const char *down, *out; /* by checks; by dials, and due */
        char expect;            /* in capitals: as a trial */
    } table[] = {
        {"", "", 'a'},    {"a", "", 'b'},    {"ab", "", 'c'},     {"abc", "", 'a'},
        {"", "a", 'A'},   {"a", "a", 'b'},   {"a", "b", 'B'},     {"ab", "ab", 'c'},
        {"bc", "a", 'A'}, {"abc", "a", 'a'}, {"abc", "abc", 'a'},
    };
    const struct conf_check conf = {.rise = 1, .fall = 1};
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {.link = {{.name = "a"}, {.name = "b"}, {.name = "c"}}};
        fake_world_open(&w);
        for (const char *x = table[i].down; *x; x++)
            link_check_failed(link_at(&w, (size_t)(*x - 'a')), &conf, "why");
        for (const char *x = table[i].out; *x; x++)
            link_at(&w, (size_t)(*x - 'a'))->shared->retry_at = FAKE_START_NS;
        char got = pick_at(&w, FAKE_START_NS);
        cr_expect(eq(chr, got, table[i].expect), "row %zu", i);
        close_world(&w, "picks");
    }
}

/* ---- when ---- */

static const struct conf_check every_second = {.kind = CHECK_TCP,
                                               .target = "192.0.2.1:443",
                                               .interval = NS_PER_S,
                                               .timeout = 300 * MS,
                                               .rise = 2,
                                               .fall = 3};

static struct conf_check check_to(const char *target)
{
    struct conf_check conf = every_second;
    cr_assert(eq(int, addr_parse_endpoint(&conf.to, target, strlen(target)), 0));
    conf.target = target;
    return conf;
}

static void run_until(struct fake_world *w, int ms)
{
    while (poll_turn(&w->loop, FAKE_START_NS + ms * MS) == 0)
        ;
}

static void watch(struct fake_world *w, struct checks *c)
{
    cr_assert(eq(int, checks_watch(c, w->router), 0));
}

static void end(struct fake_world *w, struct checks *c, const char *what)
{
    checks_free(c);
    close_world(w, what);
}

/* Each second, from a moment on that depends on its name; and silence is a failure after 300 ms. */
Test(check, in_time)
{
    struct fake_world w = {
        .link = {{.name = "a",
                  .act = {{DP_OK, 0}, {FAKE_HANG, 0}, {DP_ERR_REFUSED, 10}, {FAKE_HANG, 0}},
                  .n_acts = 4},
                 {.name = "b"}}};
    struct conf_check conf = check_to("192.0.2.1:443");
    fake_world_open(&w);
    w.link_conf[0].check = w.link_conf[1].check = &conf;
    struct checks *c = checks_new(&w.loop.io);
    watch(&w, c);
    run_until(&w, 1000);
    cr_assert(eq(u32, w.link[0].starts, 1));
    int first = w.link[0].start[0].at_ms;
    cr_expect(same(w.link[0].start[0].to, "192.0.2.1:443"));
    cr_expect(first != w.link[1].start[0].at_ms, "spread");
    run_until(&w, first + 3000 + 299);
    cr_expect(eq(i32, link_at(&w, 0)->shared->check, 2), "silent, refused, and silent so far");
    run_until(&w, first + 3000 + 302);
    cr_expect(link_fails_checks(link_at(&w, 0)));
    cr_expect(not(link_fails_checks(link_at(&w, 1))));
    run_until(&w, first + 4999);
    cr_expect(link_fails_checks(link_at(&w, 0)), "one pass is not two");
    run_until(&w, first + 5002);
    cr_expect(not(link_fails_checks(link_at(&w, 0))));
    for (unsigned i = 0; i < w.link[0].starts; i++) {
        int late = w.link[0].start[i].at_ms - first - (int)i * 1000;
        cr_expect(late >= 0 && late <= 1, "check %u is %d ms late", i, late);
    }
    cr_expect(eq(u64, link_at(&w, 0)->stat->picks, 0), "nobody's claim");
    cr_expect(eq(i64, link_at(&w, 0)->stat->rtt, 0), "and it teaches nothing");
    end(&w, c, "in time");
}

/* One that takes longer than the interval delays the next. */
Test(check, never_two_at_once)
{
    struct fake_world w = {
        .link = {{.name = "a", .act = {{FAKE_HANG, 0}, {FAKE_HANG, 0}}, .n_acts = 2}}};
    struct conf_check conf = check_to("192.0.2.1:443");
    conf.timeout = 2500 * MS;
    fake_world_open(&w);
    w.link_conf[0].check = &conf;
    struct checks *c = checks_new(&w.loop.io);
    watch(&w, c);
    run_until(&w, 6500);
    cr_assert(ge(u32, w.link[0].starts, 3));
    for (unsigned i = 1; i < 3; i++) {
        int apart = w.link[0].start[i].at_ms - w.link[0].start[i - 1].at_ms;
        cr_expect(apart >= 2500 && apart <= 2502, "%u: %d ms", i, apart);
    }
    cr_expect(eq(u32, w.link[0].ends, w.link[0].starts));
    end(&w, c, "never two");
}

/* What this machine lacks is no fault of the link's, nor is what is known of its interface. */
Test(check, nobodys_fault)
{
    struct fake_world w = {
        .link = {
            {.name = "a",
             .act = {{DP_ERR_LOCAL, 0}, {DP_ERR_LOCAL, 0}, {DP_ERR_LOCAL, 0}, {DP_ERR_LOCAL, 0}},
             .n_acts = 4}}};
    struct conf_check conf = check_to("192.0.2.1:443");
    fake_world_open(&w);
    w.link_conf[0].check = &conf;
    struct checks *c = checks_new(&w.loop.io);
    watch(&w, c);
    run_until(&w, 4000);
    cr_assert(eq(u32, w.link[0].starts, 4));
    cr_expect(eq(i32, link_at(&w, 0)->shared->check, 0));
    link_at(&w, 0)->shared->no_way = WAY_ANY;
    run_until(&w, 8000);
    cr_expect(eq(u32, w.link[0].starts, 4), "without a way it is not checked");
    link_at(&w, 0)->shared->no_way = 0;
    run_until(&w, 9000);
    cr_expect(eq(u32, w.link[0].starts, 5));
    end(&w, c, "nobody's fault");
}

/* A loop that was busy elsewhere has not been there to see an answer. */
Test(check, a_late_loop)
{
    struct fake_world w = {.link = {{.name = "a", .act = {{FAKE_HANG, 0}}, .n_acts = 1}}};
    struct conf_check conf = check_to("192.0.2.1:443");
    fake_world_open(&w);
    w.link_conf[0].check = &conf;
    struct checks *c = checks_new(&w.loop.io);
    watch(&w, c);
    while (w.link[0].starts == 0)
        poll_turn(&w.loop, 0);
    w.loop.fake_now_ns += 5 * NS_PER_S;
    run_until(&w, 7000);
    cr_expect(gt(u32, w.link[0].starts, 1), "it is checked again");
    cr_expect(eq(i32, link_at(&w, 0)->shared->check, 0));
    end(&w, c, "a late loop");
}

/* ---- another configuration ---- */

Test(check, what_stays)
{
    static const struct {
        bool again, same, has; /* another conf_check; one that says the same; is there one? */
        int32_t state;         /* afterwards */
    } table[] = {
        {.again = false, .same = true, .has = true, .state = -2},
        {.again = true, .same = true, .has = true, .state = -2},
        {.again = true, .same = false, .has = true, .state = 0},
        {.again = true, .same = false, .has = false, .state = 0},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct fake_world w = {
            .link = {{.name = "a",
                      .act = {{DP_ERR_LINK, 0}, {DP_ERR_LINK, 0}, {DP_ERR_LINK, 0}, {FAKE_HANG, 0}},
                      .n_acts = 4}}};
        struct conf_check conf = check_to("192.0.2.1:443"), other = conf;
        other.fall += !table[i].same;
        fake_world_open(&w);
        w.link_conf[0].check = &conf;
        struct checks *c = checks_new(&w.loop.io);
        watch(&w, c);
        while (w.link[0].starts < 4) /* the last is under way */
            poll_turn(&w.loop, 0);
        cr_expect(link_fails_checks(link_at(&w, 0)));
        w.link_conf[0].check = !table[i].has ? NULL : table[i].again ? &other : &conf;
        watch(&w, c);
        cr_expect(eq(i32, link_at(&w, 0)->shared->check, table[i].state), "row %zu", i);
        cr_expect(eq(u32, w.link[0].ends, !table[i].same), "row %zu: what was under way", i);
        int now = (int)((w.loop.fake_now_ns - FAKE_START_NS) / MS);
        run_until(&w, now + 1500);
        cr_expect(eq(int, w.link[0].starts > 4, table[i].has), "row %zu: goes on", i);
        end(&w, c, "what stays");
    }
}
