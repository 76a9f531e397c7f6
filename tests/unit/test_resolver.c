/* SPDX-License-Identifier: MIT
 * test_resolver.c: names asked of servers that do what a test says, with a clock of its own: who is
 * asked when, who waits how long, and what is known afterwards.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include "route/resolver_cares.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVERS = 3, LOOKUPS = 8, A = 1, AAAA = 28 };
enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 };

/* A name server. Each name has the address 10.0.0.N of server N, and none in IPv6. */
static struct server {
    struct io_fd io;
    struct dp_addr addr;
    uint16_t silent; /* for questions of this type; 1: all */
    int rcode;
    unsigned asked[2]; /* A, AAAA */
} server[SERVERS];

static struct lookup {
    struct resolver_query query;
    bool over;
    int err;
    int after_ms;
    char addr[32];          /* the first */
    struct lookup *cancels; /* when it is over */
    struct lookup *starts;  /* then, too */
} lookup[LOOKUPS];

static struct fake_world world = {.link = {{.name = "a"}, {.name = "b"}}};
static struct resolver *resolver;

static int now_ms(void)
{
    return (int)((io_now(&world.loop.io) - FAKE_START_NS) / NS_PER_MS);
}

/* ---- servers ---- */

static uint8_t *put(uint8_t *p, uint32_t value, int n)
{
    while (n--)
        *p++ = (uint8_t)(value >> 8 * n);
    return p;
}

static void server_ready(struct io_fd *io, short revents)
{
    struct server *s = (struct server *)io;
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    uint8_t msg[512];
    (void)revents;
    ssize_t len = recvfrom(io->fd, msg, sizeof msg, 0, (struct sockaddr *)&from, &from_len);
    cr_assert(len > 16);
    int type = msg[len - 3];
    s->asked[type == AAAA]++;
    if (s->silent == 1 || s->silent == type)
        return;
    bool has = type == A && s->rcode == NOERROR;
    uint8_t *p = msg + len;
    put(msg + 2, 0x8180 | (uint32_t)s->rcode, 2);
    put(msg + 6, has, 2);
    put(msg + 8, !has, 2);
    p = put(p, 0xc00c, 2);
    p = put(p, has ? A : 6, 2);
    p = put(p, 1, 2);
    p = put(p, 60, 4);
    p = put(p, has ? 4 : 22, 2);
    if (has) {
        p = put(p, 0x0a000000 + (uint32_t)(s - server), 4);
    } else { /* a SOA record of the root: "no" holds for a minute */
        p = put(p, 0, 2);
        for (int i = 0; i < 5; i++)
            p = put(p, 60, 4);
    }
    sendto(io->fd, msg, (size_t)(p - msg), 0, (struct sockaddr *)&from, from_len);
}

static void server_open(struct server *s)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    s->io.fd = socket(AF_INET, SOCK_DGRAM, 0);
    s->io.ready = server_ready;
    cr_assert(bind(s->io.fd, (struct sockaddr *)&sin, len) == 0 &&
              getsockname(s->io.fd, (struct sockaddr *)&sin, &len) == 0);
    addr_from_sockaddr(&s->addr, (struct sockaddr *)&sin, len);
    io_watch(&world.loop.io, &s->io, POLLIN);
}

/* ---- look-ups ---- */

static void start(struct lookup *l, int link, const char *name);

static void note(struct lookup *l, int err, const struct dp_addr *addr, size_t n)
{
    char text[ADDR_TEXT];
    l->over = true;
    l->err = err;
    l->after_ms = now_ms() - l->after_ms;
    snprintf(l->addr, sizeof l->addr, "%s", n ? addr_ip_text(addr, text) : "");
}

static void done(struct resolver_query *q, int err, const struct dp_addr *addr, size_t n)
{
    struct lookup *l = (struct lookup *)q;
    cr_expect(not(l->over), "told once");
    note(l, err, addr, n);
    if (l->cancels)
        resolver_cancel(resolver, &l->cancels->query);
    if (l->starts)
        start(l->starts, 0, "again.test.");
}

static void start(struct lookup *l, int link, const char *name)
{
    struct dp_addr addr[RESOLVER_ADDRESSES_MAX];
    size_t n = 0;
    l->query.done = done;
    l->over = false;
    l->after_ms = now_ms();
    int err =
        resolver_start(resolver, world.router->link[link], name, strlen(name), &l->query, addr, &n);
    if (err != DP_AGAIN)
        note(l, err, addr, n);
}

static void turn_until(int ms)
{
    while (now_ms() < ms && poll_turn(&world.loop, FAKE_START_NS + ms * NS_PER_MS) == 0)
        ;
}

static void wait_for(const struct lookup *l)
{
    while (!l->over && poll_turn(&world.loop, 0) == 0)
        ;
    cr_assert(l->over);
}

/* Looked up, and waited for: the milliseconds it took. */
static int look_up(const char *name, int err, const char *addr)
{
    struct lookup *l = &lookup[LOOKUPS - 1];
    start(l, 0, name);
    wait_for(l);
    cr_expect(eq(int, l->err, err), "%s", name);
    cr_expect(eq(str, l->addr, (char *)addr), "%s", name);
    return l->after_ms;
}

static unsigned asked(int i)
{
    return server[i].asked[0] + server[i].asked[1];
}

/* ---- the world ---- */

static void open_world(void)
{
    static struct dp_addr dns[SERVERS];
    fake_world_open(&world);
    for (int i = 0; i < SERVERS; i++) {
        server_open(&server[i]);
        dns[i] = server[i].addr;
    }
    for (int i = 0; i < 2; i++) {
        world.router->link[i]->dns = dns;
        world.router->link[i]->n_dns = SERVERS;
    }
    resolver = resolver_cares_new(&world.loop.io);
}

static void close_world(void)
{
    resolver_cares_free(resolver);
    for (int i = 0; i < SERVERS; i++) {
        io_watch(&world.loop.io, &server[i].io, 0);
        close(server[i].io.fd);
    }
    const char *wrong = fake_world_close(&world);
    cr_expect(wrong == NULL, "%s", wrong);
}

TestSuite(resolver, .init = open_world, .fini = close_world);

static void only_server(int n)
{
    for (int i = 0; i < 2; i++)
        world.router->link[i]->n_dns = (size_t)n;
}

/* ---- one question ---- */

Test(resolver, many_who_want_the_same_ask_once)
{
    for (int i = 0; i < LOOKUPS; i++)
        start(&lookup[i], 0, i % 2 ? "X.test." : "x.TEST.");
    for (int i = 0; i < LOOKUPS; i++) {
        wait_for(&lookup[i]);
        cr_expect(eq(str, lookup[i].addr, "10.0.0.0"));
    }
    cr_expect(eq(uint, server[0].asked[0], 1));
    cr_expect(eq(uint, server[0].asked[1], 1));
    start(&lookup[0], 0, "x.test.");
    cr_expect(lookup[0].over && asked(0) == 2, "known at once");
}

Test(resolver, an_answer_is_for_one_link)
{
    look_up("x.test.", DP_OK, "10.0.0.0");
    start(&lookup[0], 1, "x.test.");
    cr_expect(not(lookup[0].over));
    wait_for(&lookup[0]);
    cr_expect(eq(uint, asked(0), 4));
}

Test(resolver, an_answer_holds_for_its_time)
{
    look_up("x.test.", DP_OK, "10.0.0.0");
    turn_until(59000);
    look_up("x.test.", DP_OK, "10.0.0.0");
    cr_expect(eq(uint, asked(0), 2));
    turn_until(61000);
    look_up("x.test.", DP_OK, "10.0.0.0");
    cr_expect(eq(uint, server[0].asked[0], 2));
}

Test(resolver, no_holds_for_its_time)
{
    server[0].rcode = NXDOMAIN;
    look_up("x.test.", DP_ERR_NO_HOST, "");
    look_up("x.test.", DP_ERR_NO_HOST, "");
    cr_expect(eq(uint, asked(0), 2));
    cr_expect(eq(uint, asked(1), 0), "no is an answer");
    server[0].rcode = NOERROR;
    turn_until(61000);
    look_up("x.test.", DP_OK, "10.0.0.0");
}

Test(resolver, what_needs_no_question)
{
    static const struct {
        const char *name;
        int err;
        const char *addr;
    } table[] = {
        {"localhost", DP_OK, "::1"},
        {"a.LOCALHOST.", DP_OK, "::1"},
        {"192.0.2.1", DP_OK, "192.0.2.1"},
        {"", DP_ERR_NO_HOST, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        start(&lookup[0], 0, table[i].name);
        cr_assert(lookup[0].over, "%s", table[i].name);
        cr_expect(eq(int, lookup[0].err, table[i].err));
        cr_expect(eq(str, lookup[0].addr, (char *)table[i].addr));
    }
    char name[300];
    memset(name, 'x', sizeof name);
    struct dp_addr addr[RESOLVER_ADDRESSES_MAX];
    size_t n;
    for (size_t len = 255; len < 300; len++)
        if (len > 255)
            cr_expect(eq(int,
                         resolver_start(resolver, world.router->link[0], name, len,
                                        &lookup[0].query, addr, &n),
                         DP_ERR_NO_HOST));
    cr_expect(eq(
        int, resolver_start(resolver, world.router->link[0], "a\0b", 3, &lookup[0].query, addr, &n),
        DP_ERR_NO_HOST));
    cr_expect(eq(uint, asked(0), 0));
    /* A label is too long: c-ares says so, and nobody is asked. */
    start(&lookup[0], 0,
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.test");
    cr_expect(lookup[0].over && lookup[0].err == DP_ERR_NO_HOST);
    cr_expect(eq(uint, asked(0), 0));
}

/* ---- families ---- */

Test(resolver, the_other_family_is_waited_for_a_moment)
{
    server[0].silent = AAAA;
    only_server(1);
    cr_expect(eq(int, look_up("x.test.", DP_OK, "10.0.0.0"), 50));
    turn_until(100);
    cr_expect(le(int, look_up("x.test.", DP_OK, "10.0.0.0"), 1), "and by the first alone");
    cr_expect(eq(uint, server[0].asked[1], 1), "who has asked");
}

/* ---- servers ---- */

Test(resolver, a_silent_server_costs_a_moment_once)
{
    server[0].silent = 1;
    cr_expect(eq(int, look_up("a.test.", DP_OK, "10.0.0.1"), 300));
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%d.test.", i);
        cr_expect(le(int, look_up(name, DP_OK, "10.0.0.1"), 5), "%s", name);
    }
    cr_expect(eq(uint, asked(0), 2));
    turn_until(2000); /* its time has come, and it is still silent */
    cr_expect(eq(int, look_up("c.test.", DP_OK, "10.0.0.1"), 50));
    turn_until(3500); /* and now away for twice as long */
    cr_expect(le(int, look_up("d.test.", DP_OK, "10.0.0.1"), 5));
    turn_until(5000);
    server[0].silent = 0;
    look_up("e.test.", DP_OK, "10.0.0.0");
    cr_expect(le(int, look_up("f.test.", DP_OK, "10.0.0.0"), 5));
}

Test(resolver, two_silent_servers)
{
    server[0].silent = server[1].silent = 1;
    cr_expect(eq(int, look_up("a.test.", DP_OK, "10.0.0.2"), 600));
    cr_expect(le(int, look_up("b.test.", DP_OK, "10.0.0.2"), 5));
}

Test(resolver, a_server_that_fails_is_followed_at_once)
{
    server[0].rcode = SERVFAIL;
    server[1].rcode = REFUSED;
    cr_expect(le(int, look_up("a.test.", DP_OK, "10.0.0.2"), 5));
    cr_expect(le(int, look_up("b.test.", DP_OK, "10.0.0.2"), 5));
    cr_expect(eq(uint, asked(0), 4), "SERVFAIL may be the name's fault");
    cr_expect(eq(uint, asked(1), 2), "a refusal is not");
}

Test(resolver, all_fail)
{
    for (int i = 0; i < SERVERS; i++)
        server[i].rcode = SERVFAIL;
    cr_expect(le(int, look_up("x.test.", DP_ERR_HOST_UNREACH, ""), 5));
    for (int i = 0; i < SERVERS; i++)
        cr_expect(eq(uint, asked(i), 2), "%d", i);
    look_up("x.test.", DP_ERR_HOST_UNREACH, "");
    cr_expect(eq(uint, asked(0), 4), "that is not kept");
}

Test(resolver, silence_is_asked_again_and_ends)
{
    only_server(1);
    server[0].silent = 1;
    start(&lookup[0], 0, "x.test.");
    turn_until(3500);
    cr_expect(eq(uint, server[0].asked[0], 4), "each second");
    start(&lookup[1], 0, "x.test.");
    wait_for(&lookup[0]);
    wait_for(&lookup[1]);
    cr_expect(eq(int, lookup[0].after_ms, 5000));
    cr_expect(eq(int, lookup[1].err, DP_ERR_HOST_UNREACH));
    server[0].silent = 0;
    cr_expect(le(int, look_up("x.test.", DP_OK, "10.0.0.0"), 5), "nobody is blamed");
}

Test(resolver, a_lost_question)
{
    only_server(1);
    server[0].silent = 1;
    start(&lookup[0], 0, "x.test.");
    turn_until(500);
    server[0].silent = 0;
    wait_for(&lookup[0]);
    cr_expect(eq(int, lookup[0].err, DP_OK));
    cr_expect(eq(int, lookup[0].after_ms, 1000));
}

/* ---- who leaves ---- */

Test(resolver, nobody_waits_any_more)
{
    only_server(1);
    server[0].silent = 1;
    start(&lookup[0], 0, "x.test.");
    turn_until(100);
    resolver_cancel(resolver, &lookup[0].query);
    turn_until(4000);
    cr_expect(eq(uint, asked(0), 2), "it is not asked again");
    cr_expect(not(lookup[0].over));
    start(&lookup[1], 0, "y.test.");
    turn_until(4010);
    resolver_cancel(resolver, &lookup[1].query); /* and the world ends */
}

Test(resolver, an_answer_that_nobody_waits_for_is_kept)
{
    start(&lookup[0], 0, "x.test.");
    resolver_cancel(resolver, &lookup[0].query);
    turn_until(50);
    start(&lookup[1], 0, "x.test.");
    cr_expect(lookup[1].over && lookup[1].err == DP_OK);
    cr_expect(eq(uint, asked(0), 2));
}

Test(resolver, who_is_told_may_cancel_and_start_others)
{
    for (int i = 0; i < 4; i++)
        start(&lookup[i], 0, "x.test.");
    lookup[0].cancels = &lookup[1];
    lookup[2].starts = &lookup[4];
    lookup[3].starts = &lookup[5];
    wait_for(&lookup[0]);
    wait_for(&lookup[2]);
    wait_for(&lookup[3]);
    wait_for(&lookup[4]);
    wait_for(&lookup[5]);
    cr_expect(not(lookup[1].over));
    cr_expect(eq(uint, server[0].asked[0], 2));
}

Test(resolver, a_reload_lets_go_of_links)
{
    const uint32_t *refs = &world.router->link[0]->ref.count;
    uint32_t before = *refs;
    look_up("x.test.", DP_OK, "10.0.0.0");
    cr_expect(eq(u32, *refs, before + 1));
    resolver_cares_trim(resolver);
    cr_expect(eq(u32, *refs, before));
    server[0].silent = 1;
    only_server(1);
    start(&lookup[0], 0, "y.test.");
    resolver_cares_trim(resolver); /* this one is in use */
    cr_expect(eq(u32, *refs, before + 1));
    server[0].silent = 0;
    wait_for(&lookup[0]);
    cr_expect(eq(int, lookup[0].err, DP_OK), "and goes on");
    look_up("x.test.", DP_OK, "10.0.0.0");
    cr_expect(eq(uint, server[0].asked[0], 2), "what was known is known");
}
