/* SPDX-License-Identifier: MIT
 * test_config_write.c: a configuration handed on as text, secrets included; links and pools as
 * numbers.
 */
#include "lib/config_same.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>
#include <unistd.h>

static const char *const fallback[] = {"/usr/lib/dispatch"};

static struct config *parse(const char *name, const char *text)
{
    struct conf_errors errors = {0};
    struct config *config =
        config_parse(name, text, strlen(text), fallback, 1, &fake_source, &errors);
    cr_assert_not_null(config, "%s: %s", text, errors.n ? errors.line[0] : "no mistake");
    conf_errors_free(&errors);
    return config;
}

/* What a process in another folder makes of the text of a. */
static struct config *handed_on(const struct config *a)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    config_write(a, out);
    fclose(out);
    struct config *b = parse("/elsewhere/t.yaml", text);
    free(text);
    return b;
}

static void expect_handed_on(const struct config *a)
{
    struct config *b = handed_on(a);
    expect_same(a, b);
    for (size_t i = 0; i < a->n_links; i++) {
        cr_expect_str_eq(a->link[i].name, b->link[i].name);
        cr_expect_eq(a->link[i].fast_open, b->link[i].fast_open);
        cr_expect_eq(a->link[i].send_proxy, b->link[i].send_proxy);
        cr_expect_eq(a->link[i].keep, b->link[i].keep);
        cr_expect_eq(conf_link_hash(&a->link[i]), conf_link_hash(&b->link[i]));
    }
    for (size_t i = 0; i < a->n_pools; i++)
        cr_expect_eq(conf_pool_hash(&a->pool[i]), conf_pool_hash(&b->pool[i]));
    config_free(b);
}

Test(config_write, every_section_and_type)
{
    struct config *c =
        parse("t.yaml",
              "workers: 4\n"
              "plugin-path: [own, '/opt/my plugins']\n"
              "listeners:\n"
              "  lan: {listen: \"[::]:1080\", pool: cheap, allow: [192.168.0.0/16, fd00::/8]}\n"
              "  world: {listen: 0.0.0.0:1081, pool: all, open: yes, early-reply: yes,\n"
              "          max-request-body: 1025B}\n"
              "  straight: {listen: 127.0.0.1:0, pool: tunnels, protocols: raw}\n"
              "  near: {listen: 'unix:/run/x y', mode: 0660, pool: all, proxy-protocol: unix}\n"
              "  given: {listen: 'fd:web', pool: all, proxy-protocol: [unix, 10.0.0.0/8]}\n"
              "  behind: {listen: 127.0.0.1:2, pool: all, proxy-protocol: [127.0.0.1, '::1']}\n"
              "links:\n"
              "  wifi: {interface: \"wl#an\", weight: 3, dns: [10.64.0.1, \"[fe80::1%lo]:5353\"]}\n"
              "  lte: {address: \"fe80::2%lo\", max-connections: 200, on-down: keep,\n"
              "        slow-start: 1500ms, max-per-destination: 6,\n"
              "        health-check: {dns: example.com, timeout: 1500ms, rise: 5}}\n"
              "  vps: {dialer: socks, server: prüfung.example:1080, via: wifi, fast-open: yes,\n"
              "        send-proxy: v2,\n"
              "        health-check: no}\n"
              "  tun: {dialer: socks, server: \"[fe80::1%lo]:80\", resolve: local, via: vps,\n"
              "        health-check: {http: \"http://[2001:db8::1]:81/a?b:\", status: 204}}\n"
              "  all: {dialer: every, flag: yes, count: 9, any: 4294967295, mode: three,\n"
              "        wait: 2ms, ever: 1500us, buffer: 4KiB, file: 5MB, text: \"- a: #\",\n"
              "        device: lo, server: a:1, local: \"::1\", secret: \"\",\n"
              "        names: [\"\", \" a, b\", \"{\", \"\\u2028\\x85\\\"\\\\'\", ~], some: x}\n"
              "health-check: {tcp: \"[fe80::1%lo]:443\", interval: 1d, fall: 1}\n"
              "pools:\n"
              "  all: {links: [wifi, lte], order: block}\n"
              "  cheap: {balancer: leastconn, links: wifi, retries: 0, backup: [lte, vps]}\n"
              "  tunnels: {links: [vps, tun], retries: 15, when-all-down: refuse}\n"
              "timeouts: {handshake: 5s, connect: 1m, attempt: 250ms, idle: 0, drain: 0}\n"
              "dante: {anchors: [127.0.0.2, \"fd00:dead::1\"], pool: all, state: run/state}\n");
    expect_handed_on(c);
    config_free(c);
}

/* In the file itself, and in one of its own, which may hold any bytes but NUL. */
Test(config_write, secrets)
{
    static const char *const secret[] = {
        "hunter2",
        "***",
        "\"quoted\"",
        "'single'",
        "a: b",
        "  leading",
        "trailing ",
        "{",
        "[a]",
        "# no",
        "a #b",
        "*a",
        "&a",
        "!t",
        "%d",
        "~",
        "a\\x41\\",
        "pässwörd €😀",
        "two\nrows",
        "\n\n",
        "\ttab\r\x7f\33",
        "lat\xefn-1",
        "\xff\xfe\x80",
        "\xc2\x85 \xe2\x80\xa8",
        "-",
        "\xef\xbb\xbf",
    };
    char folder[] = "/tmp/dispatch-test-XXXXXX", name[64], path[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/d.yaml", folder);
    snprintf(path, sizeof path, "%s/pw", folder);
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) {
        FILE *f = fopen(path, "w");
        fprintf(f, "%s\n", secret[i]);
        fclose(f);
        struct config *a =
            parse(name, "links: {a: {dialer: socks, server: x:1, password-file: pw}}");
        unlink(path);
        expect_handed_on(a);
        struct config *b = handed_on(a);
        const struct fake_socks *conf = b->link[0].dialer.conf;
        cr_expect_str_eq(conf->password.p, secret[i]);
        cr_expect_eq(conf->password.len, strlen(secret[i]));
        config_free(a);
        config_free(b);
    }
    rmdir(folder);
}

Test(config_write, secrets_in_digits)
{
    struct config *c = parse("t.yaml", "links:\n"
                                       "  a: {dialer: socks, server: x:1, password-hex: 0aFf7F}\n"
                                       "  b: {dialer: socks, server: x:1, password-hex: ''}\n"
                                       "  c: {dialer: socks, server: x:1}\n");
    const struct fake_socks *a = c->link[0].dialer.conf, *b = c->link[1].dialer.conf;
    const struct fake_socks *none = c->link[2].dialer.conf;
    cr_expect_str_eq(a->password.p, "\n\xff\x7f");
    cr_expect_eq(a->password.len, 3);
    cr_expect(b->password.p && b->password.len == 0);
    cr_expect_null(none->password.p);
    cr_expect_neq(conf_instance_equal(&c->link[1].dialer, &c->link[2].dialer), true);
    expect_handed_on(c);
    config_free(c);
}

/* ---- numbers ---- */

#define LINKS                                                                          \
    "links:\n"                                                                         \
    "  wifi: {interface: wlan0, weight: 3, dns: [10.64.0.1, 10.64.0.2]}\n"             \
    "  vps: {dialer: socks, server: a.example:1080, username: me, password: secret,\n" \
    "        via: wifi, fast-open: yes}\n"
#define POOLS "pools: {all: {links: [wifi, vps], order: block}}\n"

/* One word of the file put in the place of another. */
static struct config *changed(const char *from, const char *to)
{
    static const char text[] = LINKS POOLS;
    char buf[1000];
    const char *at = strstr(text, from);
    cr_assert(at, "%s", from);
    snprintf(buf, sizeof buf, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return parse("t.yaml", buf);
}

Test(config_hash, what_makes_another_link_or_pool)
{
    static const struct {
        const char *from, *to;
        bool wifi, vps, all; /* another one? */
    } row[] = {
        {"wlan0", "wlan0", false, false, false},
        {"weight: 3", "weight: 4, max-connections: 9", false, false, false},
        {"weight: 3", "on-down: keep", false, false, false},
        {"weight: 3", "slow-start: 0, max-per-destination: 1", false, false, false},
        {"links: [wifi, vps]", "links: [vps], retries: 9", false, false, false},
        {"links: [wifi, vps]", "links: [vps], backup: [wifi]", false, false, false},
        {"order: block", "order: block, when-all-down: refuse", false, false, false},
        {"password: secret", "password-hex: 736563726574", false, false, false},
        {"links:\n", "links:\n  lte: {interface: wwan0}\n", false, false, false},
        {"wlan0", "wlan1", true, true, false},
        {"dialer: socks", "dialer: socks, resolve: local", false, true, false},
        {"10.64.0.2", "10.64.0.3", true, true, false},
        {"10.64.0.2", "10.64.0.2:54", true, true, false},
        {"10.64.0.1, 10.64.0.2", "10.64.0.2, 10.64.0.1", true, true, false},
        {", 10.64.0.2", "", true, true, false},
        {"a.example", "b.example", false, true, false},
        {"1080", "1081", false, true, false},
        {"me, password: secret", "mes, password: ecret", false, true, false},
        {"password: secret", "password: Secret", false, true, false},
        {", password: secret", "", false, true, false},
        {"password: secret", "password: ''", false, true, false},
        {"fast-open: yes", "fast-open: no", false, true, false},
        {"fast-open: yes", "fast-open: yes, send-proxy: v1", false, true, false},
        {"via: wifi, fast-open", "fast-open", false, true, false},
        {"order: block", "order: smooth", false, false, true},
        {", order: block", ", balancer: leastconn", false, false, true},
        {"{all: ", "{most: ", false, false, true},
    };
    struct config *base = changed("", "");
    uint64_t wifi = conf_link_hash(&base->link[0]), vps = conf_link_hash(&base->link[1]);
    uint64_t all = conf_pool_hash(&base->pool[0]);
    cr_expect(wifi != vps && wifi != all);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct config *c = changed(row[i].from, row[i].to);
        const struct conf_link *link = &c->link[c->n_links - 2];
        cr_expect_eq(conf_link_hash(link) != wifi, row[i].wifi, "%s: wifi", row[i].to);
        cr_expect_eq(conf_link_hash(link + 1) != vps, row[i].vps, "%s: vps", row[i].to);
        cr_expect_eq(conf_pool_hash(c->pool) != all, row[i].all, "%s: all", row[i].to);
        config_free(c);
    }
    config_free(base);
}

Test(config_hash, what_stands_behind)
{
    struct config *c = parse("t.yaml", LINKS "pools: {all: {links: [vps], backup: [wifi]}}\n");
    cr_expect_eq(c->n_pools, 1);
    cr_expect_eq(c->pool[0].backup, &c->pool[1]);
    cr_expect_str_eq(c->pool[1].name, "all");
    cr_expect_neq(conf_pool_hash(&c->pool[0]), conf_pool_hash(&c->pool[1]));
    config_free(c);
}

Test(config_hash, the_name_and_the_link_below)
{
    struct config *c = parse("t.yaml", "links:\n"
                                       "  a: {interface: wlan0}\n"
                                       "  b: {interface: wlan0}\n"
                                       "  c: {dialer: socks, server: x:1, via: a}\n"
                                       "pools: {one: {}, two: {}}\n"
                                       "listeners: {main: {pool: one}}\n");
    struct config *d = parse("t.yaml", "links:\n"
                                       "  a: {interface: wlan0}\n"
                                       "  b: {interface: wlan0}\n"
                                       "  c: {dialer: socks, server: x:1, via: b}\n");
    cr_expect_neq(conf_link_hash(&c->link[0]), conf_link_hash(&c->link[1]));
    cr_expect_neq(conf_pool_hash(&c->pool[0]), conf_pool_hash(&c->pool[1]));
    cr_expect_neq(conf_link_hash(&c->link[2]), conf_link_hash(&d->link[2]));
    cr_expect_eq(conf_link_hash(&c->link[1]), conf_link_hash(&d->link[1]));
    config_free(c);
    config_free(d);
}

static uint64_t every_hash(const char *options)
{
    char text[300];
    snprintf(text, sizeof text, "links: {a: {dialer: every, %s}}", options);
    struct config *c = parse("t.yaml", text);
    uint64_t hash = conf_link_hash(&c->link[0]);
    config_free(c);
    return hash;
}

Test(config_hash, each_type_counts)
{
    static const char *const option[] = {
        "flag: yes",      "count: 6",       "mode: two",     "wait: 2ms",         "ever: 2s",
        "buffer: 2KiB",   "file: 1B",       "text: abc",     "secret: abc",       "device: abc",
        "server: abc:1",  "local: \"::1\"", "local: '::2'",  "names: [a, c]",     "names: [ab, c]",
        "names: [a, bc]", "some: abc",      "some: [ab, c]", "server: 1.2.3.4:1", "text: abd",
        "any: 1",         "server: abc:2",
    };
    enum { N = sizeof option / sizeof *option };
    uint64_t hash[N];
    for (int i = 0; i < N; i++) {
        hash[i] = every_hash(option[i]);
        cr_expect_eq(hash[i], every_hash(option[i]));
        for (int k = 0; k < i; k++)
            cr_expect_neq(hash[i], hash[k], "%s, %s", option[i], option[k]);
    }
}
