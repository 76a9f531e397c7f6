/* SPDX-License-Identifier: MIT
 * test_monitor.c: what becomes of links from one picture of the interfaces to the next.
 */
#include "base/clock.h"
#include "base/log.h"
#include "lib/fake_route.h"
#include "route/health.h"
#include "route/monitor.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define MS NS_PER_MS
#define V4 WAY_IPV4
#define V6 WAY_IPV6
#define ALL WAY_ANY

/* ---- a dialer whose options the monitor cannot know by name ---- */

struct conf {
    uint32_t colour;
    struct dp_addr source;
    struct dp_str card;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    *self = (void *)conf;
    return DP_OK;
}

static char asked[20]; /* for sockets of these families: 4, 6 */

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)self, (void)fd, (void)type, (void)local;
    strncat(asked, family == AF_INET ? "4" : "6", sizeof asked - strlen(asked) - 1);
    return DP_OK;
}

static const struct dp_dialer_ops dialer_ops = {.create = create, .prepare = prepare};
static const struct dp_opt dialer_opts[] = {
    {.name = "colour", .type = DP_U32, .offset = offsetof(struct conf, colour), .help = "x"},
    {.name = "source", .type = DP_ADDRESS, .offset = offsetof(struct conf, source), .help = "x"},
    {.name = "card", .type = DP_DEVICE, .offset = offsetof(struct conf, card), .help = "x"},
};
static const struct dp_plugin dialer = {.size = sizeof dialer,
                                        .abi = DP_ABI,
                                        .kind = DP_DIALER,
                                        .ops_size = sizeof dialer_ops,
                                        .name = "card",
                                        .version = "1",
                                        .summary = "by a card",
                                        .ops = &dialer_ops,
                                        .opts = dialer_opts,
                                        .n_opts = LENGTH(dialer_opts),
                                        .opt_size = sizeof *dialer_opts,
                                        .conf_size = sizeof(struct conf)};

static struct dp_addr address(const char *text)
{
    struct dp_addr a = {0};
    cr_assert(text[0] == '\0' || addr_parse_ip(&a, text, strlen(text)) == 0, "%s", text);
    return a;
}

static struct conf by(const char *card, const char *source)
{
    return (struct conf){.card = {.p = card, .len = (uint32_t)strlen(card)},
                         .source = address(source)};
}

/* ---- pictures ---- */

/* `INDEX NAME FLAGS ADDRESS...`, one device after the other, `;` between them. Flags: u up, c
 * carrier, l loopback, d direct, 4 and 6 default routes, - none. */
static void draw(struct devices *d, const char *text)
{
    char copy[400], *lines, *words;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *line = strtok_r(copy, ";", &lines); line; line = strtok_r(NULL, ";", &lines)) {
        struct device x = {.index = (uint32_t)atoi(strtok_r(line, " ", &words))};
        snprintf(x.name, sizeof x.name, "%s", strtok_r(NULL, " ", &words));
        const char *flags = strtok_r(NULL, " ", &words);
        x.up = strchr(flags, 'u');
        x.carrier = strchr(flags, 'c');
        x.loopback = strchr(flags, 'l');
        x.direct = strchr(flags, 'd');
        x.route_ipv4 = strchr(flags, '4');
        x.route_ipv6 = strchr(flags, '6');
        cr_assert(eq(int, devices_add(d, &x), 0));
        for (char *ip = strtok_r(NULL, " ", &words); ip; ip = strtok_r(NULL, " ", &words)) {
            struct dp_addr a = address(ip);
            cr_assert(eq(int, devices_add_address(d, x.index, &a), 0));
        }
    }
}

static char gone[300]; /* what was said to be: `LINK ADDRESS` or `LINK all`, a space behind each */

static void gone_note(void *ctx, struct link *link, const struct dp_addr *from)
{
    char text[ADDR_TEXT];
    (void)ctx;
    size_t len = strlen(gone);
    snprintf(gone + len, sizeof gone - len, "%s %s ", link->name,
             from ? addr_ip_text(from, text) : "all");
}

static char said[1000]; /* by the log, `|` behind each line */

static void said_note(enum log_level level, const char *line, size_t len)
{
    size_t at = strlen(said);
    (void)level;
    snprintf(said + at, sizeof said - at, "%.*s|", (int)len, line);
}

/* A world whose links are looked after. */
struct watched {
    struct fake_world world;
    struct monitor *monitor;
    int64_t now_ns;
};

static void open_watched(struct watched *x)
{
    fake_world_open(&x->world);
    for (size_t i = 0; i < x->world.config.n_links; i++)
        x->world.router->link[i]->stat->rtt = 10 * MS;
    x->monitor = monitor_new(NULL, gone_note, NULL);
    cr_assert(x->monitor != NULL);
    cr_assert(eq(int, monitor_watch(x->monitor, x->world.router), 0));
    x->now_ns = FAKE_START_NS;
    gone[0] = said[0] = '\0';
    log_to(said_note);
}

static void close_watched(struct watched *x)
{
    log_to(NULL);
    monitor_free(x->monitor);
    const char *wrong = fake_world_close(&x->world);
    cr_expect(wrong == NULL, "%s", wrong);
}

static void look(struct watched *x, const char *text)
{
    struct devices d = {0};
    draw(&d, text);
    gone[0] = said[0] = '\0';
    monitor_look(x->monitor, &d, x->now_ns);
}

static struct link *link_at(const struct watched *x, size_t i)
{
    return x->world.router->link[i];
}

static const struct link_shared *shared(const struct watched *x, size_t i)
{
    return link_at(x, i)->shared;
}

/* ---- one link ---- */

#define LO "1 lo ucl 127.0.0.1 ::1;"
#define ETH "2 eth0 uc46 192.0.2.1 192.0.2.2 2001:db8::1"

Test(monitor, what_a_picture_says)
{
    static const struct {
        const char *card, *source, *picture;
        uint32_t no_way, no_route;
        const char *said;
    } table[] = {
        {"eth0", "", LO ETH, 0, 0, ""},
        {"eth0", "192.0.2.2", LO ETH, V6, V6, ""},
        {"eth0", "2001:db8::1", LO ETH, V4, V4, ""},
        {"", "192.0.2.1", LO ETH, V6, V6, ""},
        {"", "2001:db8::1", LO ETH, V4, V4, ""},
        {"eth0", "", LO, ALL, ALL, "warn link: x: down: no interface eth0|"},
        {"", "192.0.2.3", LO ETH, ALL, ALL, "warn link: x: down: no interface has 192.0.2.3|"},
        {"eth0", "192.0.2.3", LO ETH, ALL, ALL, "warn link: x: down: eth0 has no address|"},
        {"eth0", "", "2 eth0 c46 192.0.2.1", ALL, ALL, "warn link: x: down: eth0 is down|"},
        {"eth0", "", "2 eth0 u46 192.0.2.1", ALL, ALL, "warn link: x: down: eth0 has no carrier|"},
        {"eth0", "", "2 eth0 uc46", ALL, ALL, "warn link: x: down: eth0 has no address|"},
        {"eth0", "", "2 eth0 uc46;3 eth1 uc46 192.0.2.1", ALL, ALL,
         "warn link: x: down: eth0 has no address|"},
        {"", "192.0.2.1", "2 eth0 uc46;3 eth1 uc46 192.0.2.1", V6, V6, ""}, /* it has moved */
        {"eth0", "", "2 eth0 uc46 192.0.2.1", V6, V6, ""},
        {"eth0", "", "2 eth0 uc46 2001:db8::1", V4, V4, ""},
        {"eth0", "", "2 eth0 uc4 192.0.2.1 2001:db8::1", 0, V6, ""},
        {"eth0", "", "2 eth0 uc6 192.0.2.1 2001:db8::1", 0, V4, ""},
        {"eth0", "", "2 eth0 uc6 192.0.2.1", V6, ALL, ""}, /* told when it stays so */
        {"ppp0", "", "2 ppp0 ucd 192.0.2.1", V6, V6, ""},
        {"ppp0", "", "2 ppp0 ucd 192.0.2.1 2001:db8::1", 0, V6, ""},
        {"lo", "", LO ETH, 0, 0, ""},
        {"lo", "", "1 lo ucl", 0, 0, ""},
        {"", "127.0.0.9", LO ETH, V6, V6, ""},
        {"lo", "::1", LO ETH, V4, V4, ""},
        {"eth0", "127.0.0.1", LO ETH, ALL, ALL, "warn link: x: down: eth0 has no address|"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf conf = by(table[i].card, table[i].source);
        struct watched x = {.world = {.link = {{.name = "x", .plugin = &dialer, .conf = &conf}}}};
        open_watched(&x);
        look(&x, table[i].picture);
        cr_expect(eq(u32, shared(&x, 0)->no_way, table[i].no_way), "row %zu", i);
        cr_expect(eq(u32, shared(&x, 0)->no_route, table[i].no_route), "row %zu", i);
        cr_expect(eq(str, said, (char *)table[i].said), "row %zu", i);
        cr_expect(eq(str, gone, (char *)""), "row %zu", i);
        close_watched(&x);
    }
}

/* A dialer may make a route, if it is asked; a tunnel above it is not. */
Test(monitor, where_there_is_no_route_the_dialer_is_asked)
{
    static const struct {
        const char *card, *source, *picture, *asked;
    } table[] = {
        {"eth0", "", ETH, ""},
        {"eth0", "", "2 eth0 uc 192.0.2.1 2001:db8::1", "46"},
        {"eth0", "", "2 eth0 uc6 192.0.2.1 2001:db8::1", "4"},
        {"eth0", "", "2 eth0 uc4 192.0.2.1 2001:db8::1", "6"},
        {"eth0", "", "2 eth0 uc 192.0.2.1", "4"},
        {"", "192.0.2.1", "2 eth0 uc 192.0.2.1 2001:db8::1", "4"},
        {"ppp0", "", "2 ppp0 ucd 192.0.2.1", ""},
        {"lo", "", LO, ""},
        {"eth0", "", "2 eth0 uc", ""},
        {"eth0", "", "2 eth0 u 192.0.2.1", ""},
        {"eth0", "", LO, ""},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf conf = by(table[i].card, table[i].source);
        struct watched x = {
            .world = {
                .link = {
                    {.name = "x", .plugin = &dialer, .conf = &conf},
                    {.name = "t", .shape = FAKE_TUNNEL, .hop = "192.0.2.9:1080", .via = "x"}}}};
        open_watched(&x);
        asked[0] = '\0';
        look(&x, table[i].picture);
        cr_expect(eq(str, asked, (char *)table[i].asked), "row %zu", i);
        close_watched(&x);
    }
}

/* A link that is not bound to anything of this machine is not looked after. */
Test(monitor, others)
{
    struct conf none = by("", "");
    struct watched x = {
        .world = {.link = {{.name = "any", .plugin = &dialer, .conf = &none},
                           {.name = "socket", .shape = FAKE_SOCKET},
                           {.name = "stream"},
                           {.name = "tunnel", .shape = FAKE_TUNNEL, .hop = "192.0.2.1:1080"}}}};
    open_watched(&x);
    look(&x, LO);
    for (size_t i = 0; i < 4; i++)
        cr_expect(eq(u32, shared(&x, i)->no_way, 0), "link %zu", i);
    cr_expect(eq(str, said, (char *)""));
    close_watched(&x);
}

/* Whatever goes by a tunnel needs the way to its server, and nothing else. */
Test(monitor, tunnels)
{
    static const struct {
        const char *hop, *picture;
        uint32_t no_way, no_route;
    } table[] = {
        {"198.51.100.1:1080", "2 eth0 uc4 192.0.2.1", 0, 0},
        {"[2001:db8::9]:1080", "2 eth0 uc4 192.0.2.1", ALL, ALL},
        {"proxy.test:1080", "2 eth0 uc4 192.0.2.1", 0, 0},
        {"proxy.test:1080", "2 eth0 uc6 2001:db8::1", 0, 0},
        {"198.51.100.1:1080", "2 eth0 uc6 192.0.2.1 2001:db8::1", 0, ALL},
        {"proxy.test:1080", "2 eth0 uc6 192.0.2.1 2001:db8::1", 0, 0},
        {"198.51.100.1:1080", "2 eth0 u4 192.0.2.1", ALL, ALL},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf conf = by("eth0", "");
        struct watched x = {
            .world = {.link = {{.name = "x", .plugin = &dialer, .conf = &conf},
                               {.name = "t", .shape = FAKE_TUNNEL, .hop = table[i].hop, .via = "x"},
                               {.name = "u",
                                .shape = FAKE_TUNNEL,
                                .hop = "[2001:db8::1]:1", /* reached from t's server */
                                .via = "t"}}}};
        open_watched(&x);
        look(&x, table[i].picture);
        for (size_t l = 1; l < 3; l++) {
            cr_expect(eq(u32, shared(&x, l)->no_way, table[i].no_way), "row %zu", i);
            cr_expect(eq(u32, shared(&x, l)->no_route, table[i].no_route), "row %zu", i);
        }
        close_watched(&x);
    }
}

/* ---- from one picture to the next ---- */

/* Which connections are dead, and does the link start afresh? */
Test(monitor, changes)
{
    static const struct {
        const char *before, *after, *gone;
        bool renewed;
    } table[] = {
        {ETH, ETH, "", false},
        {ETH, LO ETH, "", false},
        {ETH, LO, "x all ", false},
        {LO, LO, "", false},
        {LO, ETH, "", true},
        {ETH, "2 eth0 u46 192.0.2.1", "x all ", false},
        {ETH, "2 eth0 c46 192.0.2.1", "x all ", false},
        {"2 eth0 u46 192.0.2.1", ETH, "", true},
        {ETH, "5 eth0 uc46 192.0.2.1 192.0.2.2 2001:db8::1", "x all ", true}, /* another one */
        {ETH, "2 eth1 uc46 192.0.2.1 192.0.2.2 2001:db8::1", "x all ", false},
        {ETH, "2 eth0 uc46 192.0.2.1 2001:db8::1", "x 192.0.2.2 ", false},
        {ETH, "2 eth0 uc46", "x 192.0.2.1 x 192.0.2.2 x 2001:db8::1 ", false},
        {ETH, "2 eth0 uc46 192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2", "", true},
        {"2 eth0 uc46 192.0.2.1", "2 eth0 uc46 192.0.2.7", "x 192.0.2.1 ", true},
        {"2 eth0 uc46", ETH, "", true},
        {ETH, "2 eth0 uc6 192.0.2.1 192.0.2.2 2001:db8::1", "", false}, /* no route any more */
        {"2 eth0 uc6 192.0.2.1 192.0.2.2 2001:db8::1", ETH, "", true},
    };
    for (int keep = 0; keep < 2; keep++)
        for (size_t i = 0; i < LENGTH(table); i++) {
            struct conf conf = by("eth0", "");
            struct watched x = {
                .world = {.link = {{.name = "x", .plugin = &dialer, .conf = &conf}}}};
            open_watched(&x);
            x.world.link_conf[0].keep = keep;
            cr_assert(eq(int, monitor_watch(x.monitor, x.world.router), 0));
            look(&x, table[i].before);
            int64_t retry_at = x.now_ns + 500 * MS;
            link_at(&x, 0)->shared->retry_at = retry_at;
            x.now_ns += 1 * MS;
            look(&x, table[i].after);
            cr_expect(eq(str, gone, keep ? (char *)"" : (char *)table[i].gone), "row %zu", i);
            cr_expect(eq(i64, shared(&x, 0)->retry_at, table[i].renewed ? 0 : retry_at), "row %zu",
                      i);
            cr_expect(eq(i64, shared(&x, 0)->renewed_at, table[i].renewed ? x.now_ns : 0),
                      "row %zu", i);
            close_watched(&x);
        }
}

/* A link named by its address stays with the interface when that changes; named by both it does
 * not. */
Test(monitor, a_changed_address)
{
    static const struct {
        const char *card, *after;
        uint32_t no_way;
        const char *gone;
    } table[] = {
        {"", "2 eth0 uc46 192.0.2.7", V6, "x 192.0.2.1 "},
        {"", "5 eth0 uc46 192.0.2.7", V6, "x all "},
        {"", "2 eth0 uc46 192.0.2.7 2001:db8::1;3 eth1 uc46 192.0.2.1", V6, "x all "}, /* moved */
        {"", "2 eth0 uc46 2001:db8::1", ALL, "x all "},
        {"", "2 eth0 u46 192.0.2.7", ALL, "x all "},
        {"", "2 eth1 uc46 192.0.2.7", ALL, "x all "},
        {"eth0", "2 eth0 uc46 192.0.2.7", ALL, "x 192.0.2.1 "},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf conf = by(table[i].card, "192.0.2.1");
        struct watched x = {.world = {.link = {{.name = "x", .plugin = &dialer, .conf = &conf}}}};
        open_watched(&x);
        look(&x, "2 eth0 uc46 192.0.2.1");
        look(&x, table[i].after);
        cr_expect(eq(u32, shared(&x, 0)->no_way, table[i].no_way), "row %zu", i);
        cr_expect(eq(str, gone, (char *)table[i].gone), "row %zu", i);
        close_watched(&x);
    }
}

/* A link that comes and goes all the time is told of once a second, and how it stands in the end. */
Test(monitor, what_is_told)
{
    static const char up[] = ETH, down[] = "2 eth0 c", route[] = "2 eth0 uc 192.0.2.1";
    static const struct {
        int after_ms;
        const char *picture, *said;
    } table[] = {
        {0, up, ""},
        {100, down, "warn link: x: down: eth0 is down|"},
        {150, up, "info link: x: up|"},
        {200, down, ""},
        {250, up, ""},
        {300, down, ""},
        {1099, down, ""},
        {1100, down, "warn link: x: down: eth0 is down|"},
        {5000, LO, ""}, /* the reason alone is no news */
        {6000, route, ""},
        {6500, up, "info link: x: up|"},
        {7000, route, ""},
        {7999, route, ""},
        {8000, route, "warn link: x: no route: used only where there is no other|"},
        {8500, down, ""},
        {9000, down, "warn link: x: down: eth0 is down|"},
        {9500, route, ""},
        {9600, up, "info link: x: up|"},
    };
    struct conf conf = by("eth0", "");
    struct watched x = {.world = {.link = {{.name = "x", .plugin = &dialer, .conf = &conf}}}};
    open_watched(&x);
    for (size_t i = 0; i < LENGTH(table); i++) {
        x.now_ns = FAKE_START_NS + table[i].after_ms * MS;
        look(&x, table[i].picture);
        cr_expect(eq(str, said, (char *)table[i].said), "row %zu", i);
    }
    close_watched(&x);
}

/* ---- what dials make of it ---- */

/* Two links by eth0 and eth1: which of them serves, or what the client is told. */
Test(monitor, dials)
{
    static const struct {
        const char *picture, *to, *won;
        int err;
    } table[] = {
        {"2 eth0 uc46 192.0.2.1 2001:db8::1;3 eth1 uc46 192.0.2.2 2001:db8::2", "198.51.100.1:80",
         "a", DP_OK},
        {"2 eth0 u46 192.0.2.1 2001:db8::1;3 eth1 uc46 192.0.2.2 2001:db8::2", "198.51.100.1:80",
         "b", DP_OK},
        {"2 eth0 uc46 2001:db8::1;3 eth1 uc46 192.0.2.2", "198.51.100.1:80", "b", DP_OK},
        {"2 eth0 uc46 2001:db8::1;3 eth1 uc46 192.0.2.2", "[2001:db8::9]:80", "a", DP_OK},
        {"2 eth0 uc46 2001:db8::1;3 eth1 uc46 192.0.2.2", "name.test:80", "a", DP_OK},
        {"2 eth0 uc6 192.0.2.1;3 eth1 uc4 192.0.2.2", "198.51.100.1:80", "b", DP_OK},
        {"2 eth0 uc6 192.0.2.1;3 eth1 u4 192.0.2.2", "198.51.100.1:80", "a", DP_OK},
        {"2 eth0 u46 192.0.2.1;3 eth1 u46 192.0.2.2", "198.51.100.1:80", "", DP_ERR_NET_UNREACH},
        {"2 eth0 u46 192.0.2.1", "name.test:80", "", DP_ERR_NET_UNREACH},
        {"2 eth0 uc46 192.0.2.1;3 eth1 uc46 192.0.2.2", "[2001:db8::9]:80", "", DP_ERR_FAMILY},
        {"2 eth0 uc46 192.0.2.1", "[2001:db8::9]:80", "", DP_ERR_FAMILY},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf a = by("eth0", ""), b = by("eth1", "");
        struct watched x = {.world = {.link = {{.name = "a", .plugin = &dialer, .conf = &a},
                                               {.name = "b", .plugin = &dialer, .conf = &b}}}};
        struct claim c = {0};
        struct tried tried = {0};
        struct dp_flow flow = {.size = sizeof flow, .now = FAKE_START_NS};
        open_watched(&x);
        look(&x, table[i].picture);
        addr_parse_endpoint(&flow.dest, table[i].to, strlen(table[i].to));
        bool has = pool_claim(x.world.router->pool[0], &flow, &tried, &c);
        cr_expect(eq(str, (char *)(has ? c.link->name : ""), (char *)table[i].won), "row %zu", i);
        cr_expect(not(c.trial), "row %zu", i);
        if (has)
            claim_end(&c, DP_OK, FAKE_START_NS, 0, 0);
        else
            cr_expect(eq(int, pool_refusal(x.world.router->pool[0], &flow), table[i].err));
        close_watched(&x);
    }
}
