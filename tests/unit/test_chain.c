/* SPDX-License-Identifier: MIT
 * test_chain.c: the way up a chain of links, over real sockets of the loopback: blame below the top,
 * names at each level, what is no destination, and bytes that belong to the next level.
 */
#include "base/clock.h"
#include "lib/fake_route.h"
#include "lib/plugin_fake.h"
#include "proto/proxy.h"
#include "route/socket.h"
#include "traffic/loop.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void close_world(struct fake_world *w, const char *what)
{
    const char *wrong = fake_world_close(w);
    cr_expect(wrong == NULL, "%s: %s", what, wrong);
}

static void run(struct fake_world *w, const char *dest)
{
    fake_dial_start(w, dest);
    fake_dial_wait(w);
}

/* A port where nobody listens. */
static void closed_port(const char *ip, char text[ADDR_TEXT])
{
    struct dp_addr addr;
    close(fake_listen(ip, 1, &addr));
    addr_text(&addr, text);
}

/* ---- this host is no destination ---- */

enum { PLAIN, LOOP, LOOP6, STREAM, TUNNEL, TUNNEL_NAMES, RAW };

static const struct guard_row {
    int link;
    const char *dest; /* without its port */
    bool listener;    /* we listen there ourselves */
    int err;
} guards[] = {
    {PLAIN, "127.0.0.1", false, DP_ERR_DENIED},
    {PLAIN, "127.1.2.3", false, DP_ERR_DENIED},
    {PLAIN, "0.0.0.0", false, DP_ERR_DENIED},
    {PLAIN, "[::1]", false, DP_ERR_DENIED},
    {PLAIN, "[::]", false, DP_ERR_DENIED},
    {PLAIN, "[::ffff:127.0.0.1]", false, DP_ERR_DENIED},
    {PLAIN, "[::ffff:0.0.0.0]", false, DP_ERR_DENIED},
    {PLAIN, "here.example", false, DP_ERR_DENIED},
    {PLAIN, "here6.example", false, DP_ERR_DENIED},
    {PLAIN, "mapped.example", false, DP_ERR_DENIED},
    {LOOP, "127.0.0.1", false, DP_OK},
    {LOOP, "0.0.0.0", false, DP_ERR_REFUSED}, /* the kernel makes it 127.0.0.2 */
    {LOOP, "here.example", false, DP_OK},
    {LOOP, "127.0.0.1", true, DP_ERR_DENIED},
    {LOOP, "here.example", true, DP_ERR_DENIED},
    {LOOP, "[::1]", false, DP_ERR_FAMILY},
    {LOOP6, "[::1]", false, DP_OK},
    {LOOP6, "127.0.0.1", false, DP_ERR_FAMILY},
    {STREAM, "127.0.0.1", false, DP_ERR_DENIED},
    {STREAM, "[::1]", false, DP_ERR_DENIED},
    {STREAM, "192.0.2.1", false, DP_OK},
    {STREAM, "192.0.2.1", true, DP_ERR_DENIED},
    {TUNNEL, "127.0.0.1", false, DP_ERR_DENIED}, /* though its server is there: that is a hop */
    {TUNNEL, "here.example", false, DP_ERR_DENIED},
    {TUNNEL, "192.0.2.1", false, DP_OK},
    {TUNNEL, "192.0.2.1", true, DP_ERR_DENIED},
    {TUNNEL_NAMES, "127.0.0.1", false, DP_ERR_DENIED},
    {TUNNEL_NAMES, "localhost", false, DP_OK}, /* its server's own, not ours */
    {RAW, "127.0.0.1", false, DP_OK},          /* nobody asks for the destination */
};

static const struct fake_name here[] = {
    {"here.example", 0, DP_OK, {"127.0.0.1"}},
    {"here6.example", 0, DP_OK, {"::1", "127.0.0.1"}},
    {"mapped.example", 0, DP_OK, {"::ffff:127.0.0.1"}},
    {NULL, 0, 0, {NULL}},
};

static void guard_row(const struct guard_row *row, size_t i)
{
    struct dp_addr server;
    char hop[ADDR_TEXT], dest[64], listener[64];
    int fd = fake_listen(row->link == LOOP6 ? "::1" : "127.0.0.1", 64, &server);
    const struct fake_link links[] = {
        [PLAIN] = {.name = "a", .shape = FAKE_SOCKET},
        [LOOP] = {.name = "a", .shape = FAKE_SOCKET, .local = "127.0.0.2"},
        [LOOP6] = {.name = "a", .shape = FAKE_SOCKET, .local = "::1"},
        [STREAM] = {.name = "a"},
        [TUNNEL] = {.name = "a", .shape = FAKE_TUNNEL, .hop = hop},
        [TUNNEL_NAMES] = {.name = "a", .shape = FAKE_TUNNEL, .hop = hop, .names = true},
        [RAW] = {.name = "a", .shape = FAKE_TUNNEL, .hop = hop},
    };
    struct fake_world w = {.names = here, .raw = row->link == RAW, .link = {links[row->link]}};
    addr_text(&server, hop);
    snprintf(dest, sizeof dest, "%s:%u", row->dest, server.port);
    snprintf(listener, sizeof listener, "%s:%u",
             starts_with(row->dest, "here") ? "127.0.0.1" : row->dest, server.port);
    w.listeners[0] = row->listener ? listener : NULL;
    fake_world_open(&w);
    run(&w, dest);
    cr_expect(eq(int, w.err, row->err), "row %zu: %s", i, row->dest);
    cr_expect(w.err == DP_OK || fake_stat(&w, "a")->fails == 0, "row %zu: not the link's fault", i);
    close_world(&w, row->dest);
    close(fd);
}

/* Some containers have no ::1. */
static bool has_ipv6(void)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&sin6, sizeof sin6) == 0;
    close(fd);
    return has;
}

Test(chain, this_host_is_no_destination)
{
    bool ipv6 = has_ipv6();
    for (size_t i = 0; i < LENGTH(guards); i++)
        if (ipv6 || guards[i].link != LOOP6)
            guard_row(&guards[i], i);
}

/* 02 is final: no other link is asked to do what this one may not. */
Test(chain, a_denied_destination_is_denied_for_all_links)
{
    struct fake_world w = {.retries = 2,
                           .link = {{.name = "a", .shape = FAKE_SOCKET},
                                    {.name = "b", .shape = FAKE_SOCKET, .local = "127.0.0.2"}}};
    fake_world_open(&w);
    run(&w, "127.0.0.1:1");
    cr_expect(eq(int, w.err, DP_ERR_DENIED));
    cr_expect(eq(u32, w.link[1].prepares, 0));
    close_world(&w, "denied");
}

/* A listener on all addresses is also reached by the loopback ones. */
Test(chain, a_listener_on_all_addresses)
{
    static const char *const any[] = {"0.0.0.0", "[::]"};
    for (size_t i = 0; i < LENGTH(any); i++) {
        struct dp_addr server;
        char listener[64], dest[ADDR_TEXT];
        int fd = fake_listen("127.0.0.1", 16, &server);
        struct fake_world w = {.listeners = {listener},
                               .link = {{.name = "a", .shape = FAKE_SOCKET, .local = "127.0.0.2"}}};
        snprintf(listener, sizeof listener, "%s:%u", any[i], server.port);
        fake_world_open(&w);
        run(&w, addr_text(&server, dest));
        cr_expect(eq(int, w.err, DP_ERR_DENIED), "%s", any[i]);
        close_world(&w, any[i]);
        close(fd);
    }
}

/* ---- sockets ---- */

Test(chain, a_socket_dialers_connection)
{
    struct dp_addr server;
    char dest[ADDR_TEXT], nobody[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct fake_world w = {.retries = 2,
                           .link = {{.name = "a", .shape = FAKE_SOCKET, .prepare = DP_ERR_FAMILY},
                                    {.name = "b", .shape = FAKE_SOCKET, .prepare = DP_ERR_LINK},
                                    {.name = "c", .shape = FAKE_SOCKET, .prepare = 5},
                                    {.name = "d", .shape = FAKE_SOCKET, .local = "127.0.0.3"}}};
    fake_world_open(&w);
    run(&w, addr_text(&server, dest));
    cr_expect(eq(int, w.err, DP_OK), "what prepare() says ends the attempt, not the dial");
    cr_expect(same(w.won, "d"), "%s", w.won);
    cr_expect(starts_with(w.bound, "127.0.0.3:"), "the real source address: %s", w.bound);
    cr_expect(eq(u32, fake_stat(&w, "a")->fails, 0));
    cr_expect(eq(u32, fake_stat(&w, "b")->fails, 1));
    cr_expect(eq(u32, fake_stat(&w, "c")->fails, 1), "no result: the link's fault");

    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    int client = accept(fd, (struct sockaddr *)&peer, &len);
    cr_expect(eq(u32, ntohl(peer.sin_addr.s_addr), 0x7f000003));
    cr_assert(eq(int, (int)write(client, "x", 1), 1));
    close(client);
    fake_dial_end(&w);

    closed_port("127.0.0.1", nobody);
    run(&w, nobody);
    cr_expect(eq(int, w.err, DP_ERR_REFUSED));
    cr_expect(eq(u32, fake_stat(&w, "d")->fails, 0));
    close_world(&w, "sockets");
    close(fd);
}

/* Silence, as a black hole gives it: a server whose queue is full. */
Test(chain, a_silent_address_and_one_that_answers)
{
    struct dp_addr silent, server;
    static struct fake_name names[] = {{"two.example", 0, DP_OK, {"127.0.0.4", "127.0.0.5"}},
                                       {NULL, 0, 0, {NULL}}};
    int full = fake_listen("127.0.0.4", 0, &silent), filler[2];
    for (int i = 0; i < 2; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(filler[i], (struct sockaddr *)&silent.sa, silent.salen);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(eq(int, addr_parse_ip(&server, "127.0.0.5", 9), 0));
    addr_set_port(&server, silent.port);
    cr_assert(eq(int, bind(fd, (struct sockaddr *)&server.sa, server.salen), 0));
    cr_assert(eq(int, listen(fd, 16), 0));

    struct fake_world w = {.names = names,
                           .link = {{.name = "a", .shape = FAKE_SOCKET, .local = "127.0.0.2"}}};
    char dest[64];
    snprintf(dest, sizeof dest, "two.example:%u", silent.port);
    fake_world_open(&w);
    run(&w, dest);
    cr_expect(eq(int, w.err, DP_OK));
    cr_expect(eq(int, w.took_ms, 250));
    fake_dial_end(&w);

    snprintf(dest, sizeof dest, "127.0.0.4:%u", silent.port);
    run(&w, dest);
    cr_expect(eq(int, w.err, DP_ERR_HOST_UNREACH));
    cr_expect(eq(int, w.took_ms, 3000));
    close_world(&w, "silence");
    close(fd);
    close(full);
    close(filler[0]);
    close(filler[1]);
}

/* A connect to a port of one's own may meet itself: nobody listens there. */
Test(chain, a_connection_to_itself)
{
    struct dp_addr local, own;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd = socket_open(NULL, AF_INET, SOCK_STREAM, &local);
    cr_assert(fd >= 0);
    cr_assert(eq(int, addr_parse_ip(&own, "127.0.0.1", 9), 0));
    cr_assert(eq(int, bind(fd, (struct sockaddr *)&own.sa, own.salen), 0));
    cr_assert(eq(int, getsockname(fd, (struct sockaddr *)&sa, &len), 0));
    addr_from_sockaddr(&own, (struct sockaddr *)&sa, len);
    int result = socket_connect(fd, &own);
    cr_assert(result == DP_OK || result == DP_AGAIN);
    cr_expect(eq(int, socket_connected(fd, 0, &own, &local), DP_ERR_REFUSED));
    close(fd);
}

/* ---- tunnels ---- */

#define HANG         \
    {                \
        FAKE_HANG, 0 \
    }

/* `low` leads to the server of `top`; a success of the other link, `z`, is the way out. */
static const struct level_row {
    struct fake_act low, top;
    int err;
    const char *won;
    unsigned low_starts, top_starts;
    uint32_t top_fails; /* or is silent, which may come to be a failure */
} levels[] = {
    {{DP_OK, 0}, {DP_OK, 0}, DP_OK, "top", 1, 1, 0},
    {{DP_OK, 5}, {DP_OK, 5}, DP_OK, "top", 1, 1, 0},
    /* below the top: the next server is out of reach, and the picked link is to blame */
    {{DP_ERR_REFUSED, 0}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_NO_HOST, 5}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_DENIED, 0}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_HOST_UNREACH, 5}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_TTL, 0}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_LINK, 5}, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {HANG, {DP_OK, 0}, DP_OK, "z", 1, 0, 1},
    {{DP_ERR_NO_ANSWER, 0}, {DP_OK, 0}, DP_OK, "z", 1, 0, 0},
    {{DP_ERR_LOCAL, 0}, {DP_OK, 0}, DP_ERR_LOCAL, "", 1, 0, 0},
    /* at the top it is the destination's word */
    {{DP_OK, 0}, {DP_ERR_REFUSED, 0}, DP_ERR_REFUSED, "", 1, 1, 0},
    {{DP_OK, 5}, {DP_ERR_NO_HOST, 5}, DP_ERR_NO_HOST, "", 1, 1, 0},
    {{DP_OK, 0}, {DP_ERR_HOST_UNREACH, 0}, DP_OK, "z", 1, 1, 1},
    {{DP_OK, 0}, {DP_ERR_COMMAND, 0}, DP_OK, "z", 1, 1, 0},
    {{DP_OK, 0}, {DP_ERR_LINK, 0}, DP_OK, "z", 1, 1, 1},
    {{DP_OK, 0}, HANG, DP_OK, "z", 1, 1, 1},
};

static void level_row(const struct level_row *row, size_t i)
{
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct fake_world w = {
        .retries = 1,
        .link = {{.name = "base", .shape = FAKE_SOCKET, .outside = true},
                 {.name = "low", .shape = FAKE_TUNNEL, .via = "base", .hop = hop, .outside = true},
                 {.name = "top", .shape = FAKE_TUNNEL, .via = "low", .hop = "192.0.2.9:1080"},
                 {.name = "z", .n_acts = 1, .act = {{DP_OK, 1}}}}};
    addr_text(&server, hop);
    w.link[1].act[0] = row->low;
    w.link[2].act[0] = row->top;
    w.link[1].n_acts = w.link[2].n_acts = 1;
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, row->err), "row %zu", i);
    cr_expect(same(w.won, row->won), "row %zu: %s, not %s", i, w.won, row->won);
    cr_expect(eq(u32, w.link[1].starts, row->low_starts), "row %zu", i);
    cr_expect(eq(u32, w.link[2].starts, row->top_starts), "row %zu", i);
    const struct link_shared *top = w.router->link[2]->shared;
    cr_expect(eq(u32, top->stat.fails + top->silences, row->top_fails), "row %zu", i);
    cr_expect(eq(u32, fake_stat(&w, "low")->fails, 0), "row %zu: the picked link is", i);
    cr_expect(eq(u32, w.link[0].prepares, 1), "row %zu: one socket, of the bottom link", i);
    cr_expect(same(w.link[1].start[0].to, "192.0.2.9:1080"), "row %zu", i);
    cr_expect(same(w.link[2].start[0].to, row->top_starts ? "192.0.2.1:80" : ""), "row %zu", i);
    close_world(&w, "levels");
    close(fd);
}

Test(chain, blame_by_level)
{
    for (size_t i = 0; i < LENGTH(levels); i++)
        level_row(&levels[i], i);
}

/* The server of the lowest tunnel refuses, or is silent: no word of the destination. */
Test(chain, the_first_server_is_out_of_reach)
{
    char hop[ADDR_TEXT];
    struct fake_world w = {.retries = 1,
                           .link = {{.name = "a", .shape = FAKE_TUNNEL, .hop = hop},
                                    {.name = "b", .shape = FAKE_TUNNEL, .hop = hop}}};
    closed_port("127.0.0.1", hop);
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, dp_blame(w.err), DP_LINK));
    cr_expect(eq(u32, fake_stat(&w, "a")->fails, 1));
    cr_expect(eq(u32, fake_stat(&w, "b")->fails, 1));
    fake_dial_end(&w);
    w.raw = true; /* there the server is all there is, and still it is the link's */
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, dp_blame(w.err), DP_LINK));
    cr_expect(eq(u32, fake_stat(&w, "b")->fails, 2));
    close_world(&w, "refused");
}

/* A connection by it would go round; what a tunnel finds at that address is another host's. */
Test(chain, a_server_that_is_our_own_listener)
{
    struct dp_addr server;
    char own[ADDR_TEXT], hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    for (int raw = 0; raw <= 1; raw++) {
        struct fake_world w = {.raw = raw,
                               .listeners = {own},
                               .link = {{.name = "a", .shape = FAKE_TUNNEL, .hop = own}}};
        closed_port("127.0.0.1", own);
        fake_world_open(&w);
        run(&w, "192.0.2.1:80");
        cr_expect(eq(int, w.err, DP_ERR_LINK), "raw %d", raw);
        cr_expect(eq(u32, fake_stat(&w, "a")->fails, 1));
        close_world(&w, "own");
    }
    struct fake_world w = {
        .listeners = {own},
        .link = {{.name = "low", .shape = FAKE_TUNNEL, .hop = hop, .outside = true},
                 {.name = "a", .shape = FAKE_TUNNEL, .via = "low", .hop = own}}};
    addr_text(&server, hop);
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, DP_OK), "by a tunnel");
    close_world(&w, "via");
    close(fd);
}

static const struct fake_name servers[] = {
    {"low.example", 5, DP_OK, {"127.0.0.6", "127.0.0.1"}}, /* nobody listens on the first */
    {"top.example", 5, DP_OK, {"192.0.2.9", "192.0.2.10"}},
    {"dest.example", 5, DP_OK, {"192.0.2.1"}},
    {"none.example", 5, DP_ERR_NO_HOST, {NULL}},
    {NULL, 0, 0, {NULL}},
};

static const struct level_name_row {
    bool low_names, top_names; /* take names */
    const char *top_hop, *dest;
    int blame;
    unsigned asked;
    const char *low_to, *top_to; /* the first that each was asked for */
} level_names[] = {
    {true, true, "top.example:1080", "dest.example:80", 0, 1, "top.example:1080",
     "dest.example:80"},
    {false, true, "top.example:1080", "dest.example:80", 0, 2, "192.0.2.9:1080", "dest.example:80"},
    {true, false, "top.example:1080", "dest.example:80", 0, 2, "top.example:1080", "192.0.2.1:80"},
    {false, false, "top.example:1080", "dest.example:80", 0, 3, "192.0.2.9:1080", "192.0.2.1:80"},
    {false, false, "none.example:1080", "dest.example:80", DP_LINK, 2, "", ""},
    {false, false, "192.0.2.9:1080", "none.example:80", DP_DEST, 2, "", ""},
};

Test(chain, names_at_each_level)
{
    for (size_t i = 0; i < LENGTH(level_names); i++) {
        const struct level_name_row *row = &level_names[i];
        struct dp_addr server;
        char hop[64];
        int fd = fake_listen("127.0.0.1", 16, &server);
        struct fake_world w = {.names = servers,
                               .link = {{.name = "base", .shape = FAKE_SOCKET, .outside = true},
                                        {.name = "low",
                                         .shape = FAKE_TUNNEL,
                                         .via = "base",
                                         .hop = hop,
                                         .names = row->low_names,
                                         .outside = true},
                                        {.name = "top",
                                         .shape = FAKE_TUNNEL,
                                         .via = "low",
                                         .hop = row->top_hop,
                                         .names = row->top_names}}};
        snprintf(hop, sizeof hop, "low.example:%u", server.port);
        fake_world_open(&w);
        run(&w, row->dest);
        cr_expect(eq(int, dp_blame(w.err), row->blame), "row %zu", i);
        cr_expect(eq(u32, w.asked, row->asked), "row %zu", i);
        cr_expect(same(w.asked_by, "base"), "row %zu: by the bottom link, not %s", i, w.asked_by);
        cr_expect(same(w.link[1].start[0].to, row->low_to), "row %zu: %s", i,
                  w.link[1].start[0].to);
        cr_expect(same(w.link[2].start[0].to, row->top_to), "row %zu: %s", i,
                  w.link[2].start[0].to);
        cr_expect(eq(u32, fake_stat(&w, "top")->fails, row->blame == DP_LINK), "row %zu", i);
        close_world(&w, "names");
        close(fd);
    }
}

/* Every address of a server is tried for every address above it. */
Test(chain, addresses_of_servers)
{
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct fake_world w = {
        .names = servers,
        .link = {{.name = "low",
                  .shape = FAKE_TUNNEL,
                  .hop = hop,
                  .outside = true,
                  .n_acts = 1,
                  .act = {{DP_ERR_REFUSED, 0}}},
                 {.name = "top", .shape = FAKE_TUNNEL, .via = "low", .hop = "top.example:1080"}}};
    addr_text(&server, hop);
    fake_world_open(&w);
    run(&w, "192.0.2.1:80");
    cr_expect(eq(int, w.err, DP_OK), "the second address of its server has let it through");
    cr_expect(eq(u32, w.link[0].starts, 2));
    cr_expect(same(w.link[0].start[1].to, "192.0.2.10:1080"), "%s", w.link[0].start[1].to);
    close_world(&w, "addresses");
    close(fd);
}

/* ---- not one byte too many ---- */

struct socks_conf {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve, version;
};

static const char payload[] = "and the first bytes of the destination";

/* What three servers, one behind the other, and the destination say: each its choice of method and
 * its reply, with an IPv4 address, a name and an IPv6 address. */
static const char answers[] = "\5\0"
                              "\5\0\0\1\12\0\0\1\37\220"
                              "\5\0"
                              "\5\0\0\3\7a.b.c.d\0\1"
                              "\5\0"
                              "\5\0\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\1\273";

static void socks_over_socks(size_t piece)
{
    struct dp_addr server;
    char all[sizeof answers + sizeof payload], got[100] = "";
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct socks_conf conf[3] = {{.server = server}, {.server = server}, {.server = server}};
    const struct dp_plugin *socks = fake_load("dialer-socks.so");
    struct fake_world w = {
        .real_clock = true,
        .link = {{.name = "a", .outside = true, .plugin = socks, .conf = &conf[0]},
                 {.name = "b", .outside = true, .via = "a", .plugin = socks, .conf = &conf[1]},
                 {.name = "c", .via = "b", .plugin = socks, .conf = &conf[2]}}};
    size_t len = sizeof answers - 1 + sizeof payload;
    memcpy(all, answers, sizeof answers - 1);
    memcpy(all + sizeof answers - 1, payload, sizeof payload);

    fake_world_open(&w);
    fake_dial_start(&w, "dest.example:80");
    int peer = accept(fd, NULL, NULL);
    cr_assert(peer >= 0);
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        cr_assert(eq(i64, send(peer, all + at, n, MSG_NOSIGNAL), (ssize_t)n));
        int64_t until = clock_now_ns() + NS_PER_MS;
        while (!w.over && n < len && poll_turn(&w.loop, until) == 0)
            ;
    }
    fake_dial_wait(&w);
    cr_expect(eq(int, w.err, DP_OK), "in pieces of %zu", piece);
    cr_expect(same(w.bound, "[2001:db8::1]:443"), "in pieces of %zu: %s", piece, w.bound);
    size_t have = 0;
    for (ssize_t n = 1; w.err == DP_OK && n > 0 && have < sizeof payload; have += (size_t)n) {
        struct pollfd wait = {.fd = w.stream.fd, .events = POLLIN};
        cr_assert(eq(int, poll(&wait, 1, 2000), 1), "in pieces of %zu: %zu bytes", piece, have);
        n = recv(w.stream.fd, got + have, sizeof got - 1 - have, 0);
        cr_assert(n > 0);
    }
    cr_expect(eq(sz, have, sizeof payload), "in pieces of %zu", piece);
    cr_expect(same(got, payload), "in pieces of %zu: %s", piece, got);
    close_world(&w, "socks over socks");
    close(peer);
    close(fd);
}

Test(chain, nothing_is_read_that_belongs_to_the_next_level)
{
    static const size_t pieces[] = {1, 2, 3, 7, 12, 1000};
    for (size_t i = 0; i < LENGTH(pieces); i++)
        socks_over_socks(pieces[i]);
}

/* ---- on epoll: a registration is kept, and an edge is told once ---- */

struct chain_run {
    struct loop *loop;
    struct io_timer limit;
    struct arrival arrival;
    int result;
};

static void limit_fire(struct io_timer *t)
{
    loop_stop(((struct chain_run *)((char *)t - offsetof(struct chain_run, limit)))->loop);
}

static void chain_arrived(struct chain *chain, void *ctx, int result)
{
    struct chain_run *run = ctx;
    run->result = result;
    if (result == DP_OK)
        cr_expect(eq(ptr, chain_take(chain, &run->arrival), NULL));
    loop_stop(run->loop);
}

/* Waits until the other end has all that was sent. */
static void delivered(int fd)
{
    int waiting = 1;
    for (int i = 0; i < 1000 && waiting; i++) {
        cr_assert(eq(int, ioctl(fd, SIOCOUTQ, &waiting), 0));
        usleep(waiting ? 1000 : 0);
    }
}

/* What the server said before the loop looked: the relay will not be told of it again. */
Test(chain, what_came_with_the_connection)
{
    static const struct {
        const char *said;
        bool ended;
    } rows[] = {{"", false}, {"hello", false}, {"", true}, {"hello", true}};
    struct dp_addr server;
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct fake_world w = {.link = {{.name = "a", .shape = FAKE_SOCKET, .local = "127.0.0.2"}}};
    struct chain_run run = {.loop = loop_new(), .limit = {.fire = limit_fire}};
    fake_world_open(&w);
    w.env.io = loop_io(run.loop);
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct chain_plan plan;
        struct chain *chain;
        chain_plan_init(&plan, w.router->link[0], false);
        int err = chain_start(&w.env, &plan, &server, chain_arrived, &run, &chain);
        cr_assert(eq(int, err, DP_AGAIN));
        int peer = accept(fd, NULL, NULL);
        send(peer, rows[i].said, strlen(rows[i].said), MSG_NOSIGNAL);
        if (rows[i].ended)
            shutdown(peer, SHUT_WR);
        delivered(peer);
        run.result = DP_AGAIN;
        io_timer(w.env.io, &run.limit, io_now(w.env.io) + NS_PER_S);
        loop_run(run.loop);
        cr_assert(eq(int, run.result, DP_OK));
        short told = run.arrival.told;
        cr_expect(eq(int, (told & POLLIN) != 0, *rows[i].said || rows[i].ended), "row %zu", i);
        cr_expect(eq(int, (told & POLLRDHUP) != 0, rows[i].ended), "row %zu", i);
        struct io_fd taken = {.fd = run.arrival.fd};
        io_watch(w.env.io, &taken, POLLIN | POLLOUT | IO_EDGE);
        io_forget(w.env.io, &taken);
        close(run.arrival.fd);
        close(peer);
    }
    loop_free(run.loop);
    close_world(&w, "arrivals");
    close(fd);
}

/* The next link's connection has the number of the one before, and is watched all the same. */
Test(chain, a_tunnel_that_fails_as_soon_as_it_is_connected)
{
    struct dp_addr server;
    char hop[ADDR_TEXT];
    int fd = fake_listen("127.0.0.1", 16, &server);
    struct fake_world w = {.real_clock = true,
                           .retries = 1,
                           .link = {{.name = "a",
                                     .shape = FAKE_TUNNEL,
                                     .hop = addr_text(&server, hop),
                                     .n_acts = 1,
                                     .act = {{DP_ERR_LINK, 0}}},
                                    {.name = "b", .shape = FAKE_TUNNEL, .hop = hop}}};
    struct chain_run run = {.loop = loop_new(), .limit = {.fire = limit_fire}};
    fake_world_open(&w);
    w.env.io = loop_io(run.loop);
    fake_dial_start(&w, "192.0.2.1:80");
    int64_t until = clock_now_ns() + NS_PER_S;
    while (!w.over && clock_now_ns() < until) {
        io_timer(w.env.io, &run.limit, 1);
        loop_run(run.loop);
    }
    cr_expect(same(w.won, "b"), "'%s'", w.won);
    close_world(&w, "a number again");
    loop_free(run.loop);
    close(fd);
}

/* ---- whose connection it is, told to servers ---- */

enum { SAYS_V1, SAYS_V2, SAYS_NOTHING, SAYS_BELOW, SERVER_V1, SERVER_V2, UPPER, BOTH, RAW_V2 };
#define SERVER "" /* where the stream arrives, in what is expected */
#define FAR "192.0.2.9:1080"

static const struct said_row {
    int links;
    const char *client; /* NULL: nobody's */
    const char *dest;   /* without its port */
    const char *to[2];  /* the destination in each header; NULL: no more of them */
    bool local;         /* they say that nothing is known */
} said_rows[] = {
    {SAYS_V1, "192.0.2.7:4000", "127.0.0.1", {SERVER}, false},
    {SAYS_V2, "192.0.2.7:4000", "127.0.0.1", {SERVER}, false},
    {SAYS_V1, "192.0.2.7:4000", "here.example", {SERVER}, false},
    {SAYS_V1, "[2001:db8::7]:4000", "127.0.0.1", {SERVER}, true},
    {SAYS_V2, "[2001:db8::7]:4000", "127.0.0.1", {SERVER}, true},
    {SAYS_V1, NULL, "127.0.0.1", {SERVER}, true},
    {SAYS_V2, NULL, "127.0.0.1", {SERVER}, true},
    {SAYS_NOTHING, "192.0.2.7:4000", "127.0.0.1", {NULL}, false},
    {SAYS_BELOW, "192.0.2.7:4000", "192.0.2.1", {NULL}, false},
    {SERVER_V1, "192.0.2.7:4000", "192.0.2.1", {SERVER}, false},
    {SERVER_V2, "192.0.2.7:4000", "name.example", {SERVER}, false},
    {UPPER, "192.0.2.7:4000", "192.0.2.1", {FAR}, false},
    {BOTH, "192.0.2.7:4000", "192.0.2.1", {SERVER, FAR}, false},
    {RAW_V2, "192.0.2.7:4000", "192.0.2.1", {SERVER}, false},
};

static void expect_header(const struct said_row *row, const char *to, const struct dp_addr *server,
                          const uint8_t **at, size_t *left)
{
    struct proxy_header header;
    char client[ADDR_TEXT], dest[ADDR_TEXT], arrives[ADDR_TEXT];
    int n = proxy_read(*at, *left, &header);
    cr_assert(gt(int, n, 0));
    *at += n;
    *left -= (size_t)n;
    cr_expect(header.local == row->local);
    if (row->local)
        return;
    addr_text(server, arrives);
    cr_expect_str_eq(addr_text(&header.client, client), row->client);
    cr_expect_str_eq(addr_text(&header.dest, dest), *to ? to : arrives);
}

static void said_row(const struct said_row *row, size_t i)
{
    struct dp_addr server;
    char hop[ADDR_TEXT], dest[64];
    int listener = fake_listen("127.0.0.1", 16, &server);
    const struct fake_link plain = {.name = "a", .shape = FAKE_SOCKET, .local = "127.0.0.2"};
    const struct fake_link tunnel = {
        .name = "b", .shape = FAKE_TUNNEL, .hop = hop, .names = true, .via = "a"};
    const struct fake_link far = {.name = "c", .shape = FAKE_TUNNEL, .hop = FAR, .via = "b"};
    struct fake_world w = {.names = here, .client = row->client, .raw = row->links == RAW_V2};
    static const uint32_t version[][3] = {
        [SAYS_V1] = {1},     [SAYS_V2] = {2},      [SAYS_NOTHING] = {0},
        [SAYS_BELOW] = {1},  [SERVER_V1] = {1, 1}, [SERVER_V2] = {0, 2},
        [UPPER] = {1, 0, 2}, [BOTH] = {0, 1, 2},   [RAW_V2] = {0, 2},
    };
    unsigned top = row->links == UPPER || row->links == BOTH ? 2 : row->links >= SAYS_BELOW;
    const struct fake_link all[] = {plain, tunnel, far};
    for (unsigned k = 0; k <= top; k++) {
        w.link[k] = all[k];
        w.link[k].outside = k < top;
        w.link[k].send_proxy = version[row->links][k];
    }
    addr_text(&server, hop);
    snprintf(dest, sizeof dest, "%s:%u", row->dest, server.port);
    fake_world_open(&w);
    run(&w, dest);
    cr_assert(eq(int, w.err, DP_OK), "row %zu", i);
    close_world(&w, "said");

    uint8_t bytes[512];
    int peer = accept(listener, NULL, NULL);
    ssize_t n = recv(peer, bytes, sizeof bytes, MSG_WAITALL);
    cr_assert(n >= 0, "row %zu", i);
    const uint8_t *at = bytes;
    size_t left = (size_t)n;
    for (unsigned k = 0; k < 2 && row->to[k]; k++)
        expect_header(row, row->to[k], &server, &at, &left);
    cr_expect(eq(sz, left, 0), "row %zu: nothing else is said", i);
    close(peer);
    close(listener);
}

Test(chain, whose_connection_it_is)
{
    for (size_t i = 0; i < LENGTH(said_rows); i++)
        said_row(&said_rows[i], i);
}
