/* SPDX-License-Identifier: MIT
 * test_option.c: option tables: each type's values, ranges, defaults, printing and comparing.
 */
#include "config/nearest.h"
#include "config/option.h"
#include "config/units.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>

#define S INT64_C(1000000000)

Test(option, durations)
{
    static const struct {
        const char *text;
        int64_t ns;
        int err;
    } row[] = {
        {"0", 0, 0},
        {"0s", 0, 0},
        {"1ns", 1, 0},
        {"250us", 250000, 0},
        {"3ms", 3000000, 0},
        {"10s", 10 * S, 0},
        {"2m", 120 * S, 0},
        {"1h", 3600 * S, 0},
        {"365d", 365 * S * 86400, 0},
        {"106751d", 106751 * S * 86400, 0},
        {"106752d", 0, -2},
        {"99999999999999999999s", 0, -2},
        {"10", 0, -1},
        {"", 0, -1},
        {"s", 0, -1},
        {"1 s", 0, -1},
        {"1.5s", 0, -1},
        {"-1s", 0, -1},
        {"1S", 0, -1},
        {"1min", 0, -1},
        {"01s", 0, -1},
        {"1h30m", 0, -1},
        {" 1s", 0, -1},
        {"1s ", 0, -1},
        {"00", 0, -1},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int64_t ns = -1;
        cr_expect_eq(units_duration(&ns, row[i].text), row[i].err, "\"%s\"", row[i].text);
        cr_expect_eq(ns, row[i].ns, "\"%s\" is %lld", row[i].text, (long long)ns);
    }
}

Test(option, sizes)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        int err;
    } row[] = {
        {"0", 0, 0},
        {"1B", 1, 0},
        {"1kB", 1000, 0},
        {"1KB", 1000, 0},
        {"1KiB", 1024, 0},
        {"2MB", 2000000, 0},
        {"2MiB", 2097152, 0},
        {"3GB", 3000000000, 0},
        {"3GiB", UINT64_C(3) << 30, 0},
        {"18446744073709551615B", UINT64_MAX, 0},
        {"18446744073709551616B", 0, -2},
        {"17179869184GiB", 0, -2},
        {"1", 0, -1},
        {"1k", 0, -1},
        {"1kib", 0, -1},
        {"B", 0, -1},
        {"1TB", 0, -1},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint64_t bytes = 0;
        cr_expect_eq(units_size(&bytes, row[i].text), row[i].err, "\"%s\"", row[i].text);
        if (row[i].err == 0)
            cr_expect_eq(bytes, row[i].bytes, "\"%s\"", row[i].text);
    }
}

Test(option, units_read_back)
{
    static const int64_t ns[] = {0, 1, 999, 1000, 1500 * S / 1000, 60 * S, 90 * S, 86400 * S};
    static const uint64_t bytes[] = {0, 1, 1000, 1024, 1000000, 1 << 20, 3 << 20, UINT64_MAX};
    char text[UNITS_TEXT];
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
        int64_t n;
        cr_expect_eq(units_duration(&n, units_duration_text(ns[i], text)), 0, "%s", text);
        cr_expect_eq(n, ns[i], "%s", text);
    }
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        uint64_t n;
        cr_expect_eq(units_size(&n, units_size_text(bytes[i], text)), 0, "%s", text);
        cr_expect_eq(n, bytes[i], "%s", text);
    }
    cr_expect_str_eq(units_duration_text(90 * S, text), "90s");
    cr_expect_str_eq(units_size_text(65536, text), "64KiB");
}

Test(option, nearest_known_word)
{
    static const char *const known[] = {"weight", "dialer", "via", "dns", "max-connections"};
    static const struct {
        const char *word, *best;
    } row[] = {
        {"wieght", "weight"},
        {"weigth", "weight"},
        {"diler", "dialer"},
        {"vai", NULL},
        {"va", "via"},
        {"ds", "dns"},
        {"max-conections", "max-connections"},
        {"max_connections", "max-connections"},
        {"height", "weight"},
        {"color", NULL},
        {"", NULL},
        {"xyzzy", NULL},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct nearest nearest = {.word = row[i].word};
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            nearest_try(&nearest, known[k]);
        cr_expect((!nearest.best && !row[i].best) ||
                      (nearest.best && row[i].best && strcmp(nearest.best, row[i].best) == 0),
                  "%s: %s", row[i].word, nearest.best ? nearest.best : "nothing");
    }
}

/* One link of dialer `every` with these keys. */
static struct config *every(const char *keys, struct conf_errors *errors)
{
    char text[1024];
    int len = snprintf(text, sizeof text, "links: {x: {dialer: every, %s}}\n", keys);
    return config_parse("t.yaml", text, (size_t)len, NULL, 0, &fake_source, errors);
}

static const struct fake_every *every_conf(const struct config *config)
{
    cr_assert_not_null(config);
    return config->link[0].dialer.conf;
}

Test(option, each_type_fills_conf)
{
    struct conf_errors errors = {0};
    struct config *config =
        every("flag: on, count: 9, any: 4294967295, mode: three, wait: 1m, ever: 2d, buffer: 1MiB,"
              "file: 5B, text: \"ab \", secret: \"\", device: eth0.7, server: \"[::1]:0\","
              "local: 10.0.0.1, names: one, some: [x, y]",
              &errors);
    const struct fake_every *c = every_conf(config);
    cr_expect(c->flag == 1 && c->count == 9 && c->any == UINT32_MAX && c->mode == 2);
    cr_expect(c->wait == 60 * S && c->ever == 2 * 86400 * S);
    cr_expect(c->buffer == 1 << 20 && c->file == 5);
    cr_expect(c->text.len == 3 && strcmp(c->text.p, "ab ") == 0);
    cr_expect(c->secret.len == 0 && c->secret.p);
    cr_expect_str_eq(c->device.p, "eth0.7");
    cr_expect(addr_family(&c->server) == AF_INET6 && c->server.port == 0);
    cr_expect(addr_family(&c->local) == AF_INET);
    cr_assert(c->names.n == 1 && c->some.n == 2);
    cr_expect_str_eq(c->names.item[0].p, "one");
    cr_expect_str_eq(c->some.item[1].p, "y");
    config_free(config);
}

Test(option, defaults_go_the_same_way)
{
    struct conf_errors errors = {0};
    struct config *config = every("any: 0", &errors);
    const struct fake_every *c = every_conf(config), zero = {0};
    cr_expect(c->flag == 0 && c->count == 5 && c->wait == 1500 * S / 1000 && c->buffer == 65536);
    cr_expect(c->names.n == 2 && c->names.item[1].len == 1 && c->names.item[1].p[0] == 'b');
    cr_expect(!c->text.p && !c->secret.p && !c->device.p && c->some.n == 0 && c->mode == 0);
    cr_expect_eq(memcmp(&c->server, &zero.server, sizeof zero.server), 0);
    config_free(config);
}

Test(option, words_for_yes_and_no)
{
    static const struct {
        const char *word;
        int value;
    } row[] = {{"yes", 1}, {"true", 1}, {"on", 1}, {"Yes", 1}, {"no", 0},   {"false", 0},
               {"off", 0}, {"OFF", 0},  {"1", -1}, {"y", -1},  {"\"\"", -1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct conf_errors errors = {0};
        char keys[64];
        snprintf(keys, sizeof keys, "flag: %s", row[i].word);
        struct config *config = every(keys, &errors);
        cr_expect_eq(config != NULL, row[i].value >= 0, "%s", row[i].word);
        if (config)
            cr_expect_eq(every_conf(config)->flag, row[i].value, "%s", row[i].word);
        config_free(config);
        conf_errors_free(&errors);
    }
}

/* Equal with itself, and not with a change in any one option. */
Test(option, instances_compare_by_value)
{
    static const char *const row[] = {
        "any: 1",         "flag: yes",   "count: 6",      "mode: two",
        "wait: 2s",       "ever: 1s",    "buffer: 2KiB",  "file: 1B",
        "text: abc",      "secret: abc", "secret: abd",   "secret: \"\"",
        "device: eth0",   "server: a:1", "server: a:2",   "server: 10.0.0.1:2",
        "local: \"::1\"", "names: a",    "names: [a, c]", "some: a",
    };
    enum { N = sizeof row / sizeof *row };
    struct config *config[N], *again[N];
    for (size_t i = 0; i < N; i++) {
        struct conf_errors errors = {0};
        config[i] = every(row[i], &errors);
        again[i] = every(row[i], &errors);
        cr_assert(config[i] && again[i], "%s: %s", row[i], errors.n ? errors.line[0] : "");
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++)
            cr_expect_eq(conf_instance_equal(&config[i]->link[0].dialer, &again[k]->link[0].dialer),
                         i == k, "%s and %s", row[i], row[k]);
    for (size_t i = 0; i < N; i++) {
        config_free(config[i]);
        config_free(again[i]);
    }
}

static char *print_plugin(const struct dp_plugin *plugin, char *buf, size_t size)
{
    FILE *out = fmemopen(buf, size, "w");
    config_dump_plugin(plugin, out);
    fclose(out);
    return buf;
}

Test(option, dump_plugin)
{
    char buf[4096];
    cr_expect_str_eq(
        print_plugin(fake_find(NULL, DP_DIALER, "socks", NULL, 0, NULL, 0), buf, sizeof buf),
        "name: socks\nkind: dialer\nversion: 1.0\nsummary: a fake\noptions: 5\n"
        "  server    endpoint             required        the server\n"
        "  username  string 0..255 bytes  optional        log in with this name\n"
        "  password  secret 0..255 bytes  optional        and this password "
        "(password-file: from a file)\n"
        "  resolve   enum remote|local    default remote  who looks up names\n"
        "  version   enum 5|4a|4          default 5       of SOCKS\n");
    cr_expect_str_eq(
        print_plugin(fake_find(NULL, DP_BALANCER, "leastconn", NULL, 0, NULL, 0), buf, sizeof buf),
        "name: leastconn\nkind: balancer\nversion: 1.0\nsummary: a fake\n"
        "options: 0\n");
    cr_expect_not_null(
        strstr(print_plugin(fake_find(NULL, DP_DIALER, "every", NULL, 0, NULL, 0), buf, sizeof buf),
               "  wait    duration 1ms..1m    default 1500ms  help\n"),
        "%s", buf);
}

/* A plugin built against a header with a longer, or a shorter, struct dp_opt. */
Test(option, tables_are_walked_by_their_stride)
{
    struct longer {
        struct dp_opt opt;
        const char *unknown[3];
    };
    static const struct longer longer[] = {
        {.opt = {.name = "a", .type = DP_U32, .offset = 0, .dflt = "1"}},
        {.opt = {.name = "b", .type = DP_U32, .offset = 4, .dflt = "2"}},
    };
    char shorter[2 * offsetof(struct dp_opt, help)];
    for (size_t i = 0; i < 2; i++)
        memcpy(shorter + i * sizeof shorter / 2, &longer[i].opt, sizeof shorter / 2);
    const struct option_table table[] = {
        {&longer->opt, 2, sizeof(struct longer)},
        {(const struct dp_opt *)(const void *)shorter, 2, sizeof shorter / 2},
    };
    for (size_t i = 0; i < 2; i++) {
        struct conf_errors errors = {0};
        struct conf_memory *memory = memory_new();
        const struct option_scope scope = {memory, &errors, tree_new(memory, NULL, TREE_MAP), "",
                                           "."};
        const uint32_t *conf = option_bind(&scope, &table[i], 8);
        cr_assert_not_null(conf);
        cr_expect(conf[0] == 1 && conf[1] == 2);
        cr_expect_null(option_at(&table[1], 1).help);
        memory_free(memory);
    }
}
