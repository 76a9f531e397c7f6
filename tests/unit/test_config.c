/* SPDX-License-Identifier: MIT
 * test_config.c: whole files that are good: what they mean, what is the default, what is printed.
 */
#include "config/config.h"
#include "lib/config_same.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>
#include <sys/stat.h>
#include <unistd.h>

#define S INT64_C(1000000000)

static const char *const fallback[] = {"/usr/lib/dispatch"};

static struct config *parse(const char *text)
{
    struct conf_errors errors = {0};
    struct config *config =
        config_parse("t.yaml", text, strlen(text), fallback, 1, &fake_source, &errors);
    cr_assert_not_null(config, "%s: %s", text, errors.n ? errors.line[0] : "no mistake");
    cr_assert_eq(errors.n, 0);
    conf_errors_free(&errors);
    return config;
}

static const char full[] =
    "workers: 4\n"
    "plugin-path: [own, /opt/plugins]\n"
    "listeners:\n"
    "  main: {listen: 127.0.0.1:1080, pool: all}\n"
    "  lan: {listen: \"[::]:1080\", pool: cheap, allow: [192.168.0.0/16, fd00::/8, 10.1.2.3],\n"
    "        max-connections-per-client: 40, max-request-body: 10MB}\n"
    "  world: {listen: 0.0.0.0:1081, pool: all, open: yes, protocols: [socks5]}\n"
    "  straight: {listen: 127.0.0.1:0, pool: tunnels, protocols: raw}\n"
    "  straight-too: {listen: 127.0.0.1:0, pool: tunnels, protocols: [raw]}\n"
    "links:\n"
    "  wifi: {dialer: iface, interface: wlan0, weight: 3, dns: [10.64.0.1, \"[::1]:5353\"]}\n"
    "  lte: {interface: wwan0, weight: 65535, max-connections: 200}\n"
    "  tun: {dialer: socks, server: 127.0.0.1:7777, via: vps}\n"
    "  vps: {dialer: socks, server: proxy.example.net:1080, username: \"me: #1\", via: wifi}\n"
    "  odd: {dialer: every, mode: two, text: \"- a\", names: [\"a, b\", '']}\n"
    "pools:\n"
    "  all: {links: [wifi, lte], order: block}\n"
    "  cheap: {balancer: leastconn, links: wifi, retries: 0}\n"
    "  tunnels: {balancer: rr, links: [vps, tun], retries: 15}\n"
    "timeouts: {handshake: 5s, connect: 1m, attempt: 250ms, idle: 0, drain: 0}\n"
    "dante: {anchors: [127.0.0.2, \"fd00:dead::1\"], pool: cheap, state: \"a state\"}\n";

Test(config, smallest_file_has_all_defaults)
{
    struct config *c = parse("links: {wifi: {interface: wlan0}, lte: {interface: wwan0}}");
    const struct fake_iface *wifi = c->link[0].dialer.conf;
    const struct fake_rr *rr = c->pool[0].balancer.conf;
    cr_expect(c->workers == 1 && c->n_links == 2 && c->n_pools == 1 && c->n_listeners == 1);
    cr_expect_str_eq(c->link[0].name, "wifi");
    cr_expect_str_eq(c->link[0].dialer.plugin->name, "iface");
    cr_expect_str_eq(wifi->interface.p, "wlan0");
    cr_expect(c->link[0].weight == 1 && !c->link[0].max_connections && !c->link[0].via);
    cr_expect_str_eq(c->pool[0].name, "all");
    cr_expect_str_eq(c->pool[0].balancer.plugin->name, "rr");
    cr_expect(rr->order == 0 && c->pool[0].retries == 2 && c->pool[0].n_members == 2);
    cr_expect(c->pool[0].member[1].link == &c->link[1]);
    cr_expect_str_eq(c->listener[0].name, "main");
    cr_expect(c->listener[0].pool == &c->pool[0] &&
              c->listener[0].protocols == (PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP));
    char text[ADDR_TEXT];
    cr_expect_str_eq(addr_text(&c->listener[0].listen, text), "127.0.0.1:8080");
    cr_expect(c->timeouts.handshake == 10 * S && c->timeouts.connect == 10 * S &&
              c->timeouts.attempt == 3 * S && c->timeouts.idle == 3600 * S &&
              c->timeouts.drain == 3 * S);
    config_free(c);
}

Test(config, full_file)
{
    struct config *c = parse(full);
    const struct fake_socks *vps = c->link[3].dialer.conf;
    cr_expect(c->workers == 4 && c->n_links == 5 && c->n_pools == 3 && c->n_listeners == 5);
    cr_expect(c->link[0].weight == 3 && c->link[1].weight == 65535);
    cr_expect_eq(c->link[1].max_connections, 200);
    cr_expect(c->listener[0].max_per_client == 0 && c->listener[1].max_per_client == 40);
    cr_expect(c->listener[0].max_request_body == 0 && c->listener[1].max_request_body == 10000000);
    cr_expect(c->link[2].via == &c->link[3] && c->link[3].via == &c->link[0]);
    cr_assert_eq(c->link[0].n_dns, 2);
    cr_expect(c->link[0].dns[0].port == 53 && c->link[0].dns[1].port == 5353);
    cr_expect_str_eq(vps->username.p, "me: #1");
    cr_expect(c->pool[1].n_members == 1 && c->pool[1].member[0].link == &c->link[0]);
    cr_expect(c->pool[2].member[0].link == &c->link[3] && c->pool[2].member[1].link == &c->link[2]);
    cr_expect(c->listener[1].pool == &c->pool[1] && c->listener[1].n_allow == 3);
    cr_expect(c->listener[1].allow[0].bits == 16 && c->listener[1].allow[2].bits == 32);
    cr_expect(c->listener[2].n_allow == 0 && c->listener[3].protocols == PROTO_RAW);
    cr_expect(c->timeouts.idle == 0 && c->timeouts.drain == 0);
    config_free(c);
}

Test(config, pool_of_a_listener_that_names_none)
{
    struct config *c = parse("links: {a: {interface: a}}\npools: {only: {}}\n");
    cr_expect_str_eq(c->listener[0].pool->name, "only");
    config_free(c);
    c = parse("links: {a: {interface: a}}\npools: {one: {}, all: {}}\nlisteners: {}\n");
    cr_expect_str_eq(c->listener[0].pool->name, "all");
    config_free(c);
}

/* What each link's check is to: the nearest counts. */
static const char *checks_of(const struct config *c)
{
    static char text[500];
    text[0] = '\0';
    for (size_t i = 0; i < c->n_links; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s ",
                 c->link[i].check ? c->link[i].check->target : "-");
    return text;
}

Test(config, health_checks)
{
    static const char links[] = "listeners: {main: {pool: p}}\nlinks:\n  a: {interface: a}\n"
                                "  b: {interface: b, health-check: {dns: b}}\n"
                                "  c: {interface: c, health-check: no}\n";
    static const struct {
        const char *more, *checks;
    } table[] = {
        {"pools: {p: {}}\n", "- b - "},
        {"pools: {p: {}}\nhealth-check: {dns: x}\n", "x b - "},
        {"pools: {p: {}}\nhealth-check: no\n", "- b - "},
        {"pools: {p: {health-check: {dns: p}}}\nhealth-check: {dns: x}\n", "p b - "},
        {"pools: {p: {health-check: no}}\nhealth-check: {dns: x}\n", "- b - "},
        {"pools: {p: {}, q: {health-check: {dns: q}}}\nhealth-check: {dns: x}\n", "q b - "},
        {"pools: {p: {links: b, health-check: {dns: p}}, q: {health-check: {dns: q}}}\n", "q b - "},
        {"pools: {p: {health-check: {dns: p}}, q: {health-check: {dns: q}}}\n", "p b - "},
        {"pools: {p: {health-check: no}, q: {health-check: {dns: q}}}\n", "- b - "},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[1000];
        snprintf(text, sizeof text, "%s%s", links, table[i].more);
        struct config *c = parse(text);
        cr_expect_str_eq(checks_of(c), table[i].checks, "row %zu", i);
        config_free(c);
    }
}

Test(config, health_check_values)
{
    static const struct {
        const char *check, *to, *host, *path, *name;
        enum conf_check_kind kind;
        uint32_t least, most;
    } table[] = {
        {"tcp: 192.0.2.1:443", "192.0.2.1:443", .kind = CHECK_TCP},
        {"tcp: \"[2001:db8::1]:443\"", "[2001:db8::1]:443", .kind = CHECK_TCP},
        {"tcp: name.example:22", "name.example:22", .kind = CHECK_TCP},
        {"http: \"http://a.example\"", "a.example:80", "a.example", "/", NULL, CHECK_HTTP, 200,
         299},
        {"http: \"HTTP://a.example:8080/x/y?z\", status: 204", "a.example:8080", "a.example:8080",
         "/x/y?z", NULL, CHECK_HTTP, 204, 204},
        {"http: \"http://[2001:db8::1]?q\", status: 100-599", "[2001:db8::1]:80", "[2001:db8::1]",
         "/?q", NULL, CHECK_HTTP, 100, 599},
        {"http: \"http://[2001:db8::1]:81/\"", "[2001:db8::1]:81", "[2001:db8::1]:81", "/", NULL,
         CHECK_HTTP, 200, 299},
        {"dns: a.example", .name = "a.example.", .kind = CHECK_DNS},
        {"dns: a.example.", .name = "a.example.", .kind = CHECK_DNS},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[1000], addr[ADDR_TEXT];
        snprintf(text, sizeof text, "links: {a: {interface: a}}\nhealth-check: {%s}\n",
                 table[i].check);
        struct config *c = parse(text);
        const struct conf_check *check = c->link[0].check;
        cr_assert_not_null(check);
        cr_expect_eq(check->kind, table[i].kind, "row %zu", i);
        if (table[i].to)
            cr_expect_str_eq(addr_text(&check->to, addr), table[i].to);
        if (table[i].host)
            cr_expect_str_eq(check->host, table[i].host);
        if (table[i].path)
            cr_expect_str_eq(check->path, table[i].path);
        if (table[i].name)
            cr_expect_str_eq(check->name, table[i].name);
        if (table[i].most)
            cr_expect(check->status_min == table[i].least && check->status_max == table[i].most);
        cr_expect(check->interval == 10 * S && check->timeout == 3 * S && check->rise == 2 &&
                  check->fall == 3);
        config_free(c);
    }
}

Test(config, dante)
{
    struct config *c = parse("links: {a: {interface: a}}\n");
    cr_expect_null(c->dante);
    config_free(c);

    c = parse("links: {a: {interface: a}}\npools: {only: {}}\ndante: {anchors: 127.0.0.2}\n");
    cr_assert(c->dante && c->dante->n_anchors == 1);
    cr_expect(c->dante->pool == &c->pool[0] && !c->dante->state);
    config_free(c);

    c = parse(
        "links: {a: {interface: a}}\npools: {one: {}, all: {}}\n"
        "dante: {anchors: [127.0.0.2, \"fdff::2\", \"fdff::1\", fc00::1], state: run/state}\n");
    char text[ADDR_TEXT], *here = realpath(".", NULL), state[4200];
    snprintf(state, sizeof state, "%s/run/state", here);
    cr_assert_eq(c->dante->n_anchors, 4);
    cr_expect_str_eq(addr_ip_text(&c->dante->anchor[0], text), "127.0.0.2");
    cr_expect_str_eq(addr_ip_text(&c->dante->anchor[3], text), "fc00::1");
    cr_expect(c->dante->anchor[0].port == 0 && c->dante->pool == &c->pool[1]);
    cr_expect_str_eq(c->dante->state, state);
    config_free(c);
    free(here);
}

Test(config, workers_auto)
{
    struct config *c = parse("workers: auto\nlinks: {a: {interface: a}}\n");
    cr_expect(c->workers >= 1 && c->workers <= 64);
    config_free(c);
}

Test(config, chain_of_four_links)
{
    struct config *c = parse("links:\n  a: {interface: a}\n"
                             "  b: {dialer: socks, server: x:1, via: a}\n"
                             "  c: {dialer: socks, server: x:1, via: b}\n"
                             "  d: {dialer: socks, server: x:1, via: c}\n");
    cr_expect(c->link[3].via->via->via == &c->link[0]);
    config_free(c);
}

Test(config, plugin_folders)
{
    struct config *c = parse(full);
    char *here = realpath(".", NULL), own[4200];
    snprintf(own, sizeof own, "%s/own", here);
    cr_assert(c->n_plugin_path == 3 && c->n_own_path == 2);
    cr_expect_str_eq(c->plugin_path[0], own);
    cr_expect_str_eq(c->plugin_path[1], "/opt/plugins");
    cr_expect_str_eq(c->plugin_path[2], fallback[0]);
    config_free(c);

    c = parse("links: {a: {interface: a}}");
    snprintf(own, sizeof own, "%s/plugins", here);
    cr_assert(c->n_plugin_path == 2 && c->n_own_path == 1);
    cr_expect_str_eq(c->plugin_path[0], own);
    config_free(c);
    free(here);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

Test(config, secret_from_a_file_beside_it)
{
    char folder[] = "/tmp/dispatch-test-XXXXXX", file[64], secret[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/d.yaml", folder);
    snprintf(secret, sizeof secret, "%s/pw", folder);
    write_file(secret, "se cret\n");
    write_file(file, "links: {a: {dialer: socks, server: x:1, password-file: pw}}\n");
    struct conf_errors errors = {0};
    struct config *c = config_load(file, NULL, 0, &fake_source, &errors);
    cr_assert_not_null(c);
    const struct fake_socks *conf = c->link[0].dialer.conf;
    cr_expect_str_eq(conf->password.p, "se cret");
    cr_expect_eq(conf->password.len, 7);
    config_free(c);
    unlink(file);
    unlink(secret);
    rmdir(folder);
}

static char *dump(const struct config *config)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    config_dump(config, out);
    fclose(out);
    return text;
}

/* What is dumped loads to the same, and is dumped the same again. */
static void expect_round_trip(const struct config *a)
{
    char *text = dump(a);
    struct config *b = parse(text);
    expect_same(a, b);
    config_free(b);
    free(text);
}

Test(config, dump_loads_to_the_same)
{
    struct config *c = parse(full);
    expect_round_trip(c);
    config_free(c);
    c = parse("links: {a: {interface: a}}");
    expect_round_trip(c);
    config_free(c);
}

Test(config, dump_of_a_command_line_loads_to_the_same)
{
    static const char *const link[] = {
        "10.0.0.1@3",  "eth0",    "socks5://me@h.example:1080@2", "socks5://h.example:1080",
        "2001:db8::1", "10.0.0.1"};
    const struct conf_command_line args = {
        .lhost = "0.0.0.0", .lport = 8080, .link = link, .n_links = 6};
    struct conf_errors errors = {0};
    struct config *c = config_from_args(&args, fallback, 1, &fake_source, &errors);
    cr_assert_not_null(c, "%s", errors.n ? errors.line[0] : "");
    expect_round_trip(c);
    char *text = dump(c);
    cr_expect_not_null(strstr(text, "  link-3: # socks5://h.example:1080\n"), "%s", text);
    free(text);
    config_free(c);
}

Test(config, dump_shows_no_secret)
{
    struct config *c =
        parse("links: {a: {dialer: socks, server: x:1, username: me, password: hunter2}}");
    char *text = dump(c);
    cr_expect_null(strstr(text, "hunter2"));
    cr_expect_not_null(strstr(text, "password: \"***\"\n"));
    free(text);
    config_free(c);
}

/* A mistake found by create() has the place of its key. */
Test(config, instance_error_says_where)
{
    struct config *c = parse("links:\n  vps:\n    dialer: socks\n    server: x:1\n"
                             "    password: x\n");
    struct conf_errors errors = {0};
    const struct conf_instance *dialer = &c->link[0].dialer;
    conf_instance_error(&errors, dialer, "link \"vps\"", "password", "needs a username");
    conf_instance_error(&errors, dialer, "link \"vps\"", "username", "is missing");
    conf_instance_error(&errors, dialer, "link \"vps\"", NULL, "is no good");
    cr_assert_eq(errors.n, 3);
    cr_expect_str_eq(errors.line[0], "t.yaml:2:3: link \"vps\": username: is missing");
    cr_expect_str_eq(errors.line[1], "t.yaml:2:3: link \"vps\": dialer socks: is no good");
    cr_expect_str_eq(errors.line[2], "t.yaml:5:5: link \"vps\": password: needs a username");
    conf_errors_free(&errors);
    config_free(c);
}

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* A good file with some bytes changed, cut out or doubled: it is taken, or there is a mistake. */
Test(config, a_damaged_file_is_refused_or_understood)
{
    uint32_t state = 1;
    for (int i = 0; i < 3000; i++) {
        char text[sizeof full];
        memcpy(text, full, sizeof full);
        size_t len = sizeof full - 1;
        for (uint32_t n = 1 + next(&state) % 4; n > 0; n--) {
            size_t at = next(&state) % len, part = next(&state) % 20;
            if (next(&state) % 2 && at + part < len) {
                memmove(text + at, text + at + part, len - at - part);
                len -= part;
            } else {
                text[at] = full[next(&state) % (sizeof full - 1)];
            }
        }
        struct conf_errors errors = {0};
        struct config *c = config_parse("t", text, len, NULL, 0, &fake_source, &errors);
        cr_assert_eq(c == NULL, errors.n > 0);
        config_free(c);
        conf_errors_free(&errors);
    }
}
