/* SPDX-License-Identifier: MIT
 * test_config_args.c: the command line in the style of go-dispatch-proxy as a configuration.
 */
#include "config/config.h"
#include "lib/messages.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>

static struct config *from(const char *lhost, bool tunnel, const char *const *link, size_t n,
                           struct conf_errors *errors)
{
    const struct conf_command_line args = {
        .lhost = lhost, .lport = 8080, .tunnel = tunnel, .link = link, .n_links = n};
    return config_from_args(&args, NULL, 0, &fake_source, errors);
}

static struct config *good(const char *lhost, bool tunnel, const char *const *link, size_t n)
{
    struct conf_errors errors = {0};
    struct config *c = from(lhost, tunnel, link, n, &errors);
    cr_assert_not_null(c, "%s", errors.n ? errors.line[0] : "no mistake");
    return c;
}

Test(args, addresses_and_interfaces)
{
    static const struct {
        const char *word, *name, *interface, *address;
        uint32_t weight;
    } row[] = {
        {"10.0.0.1", "10.0.0.1", NULL, "10.0.0.1", 1},
        {"10.0.0.2@3", "10.0.0.2", NULL, "10.0.0.2", 3},
        {"eth0", "eth0", "eth0", NULL, 1},
        {"wlan0@65535", "wlan0", "wlan0", NULL, 65535},
        {"2001:db8::1@2", "2001:db8::1", NULL, "2001:db8::1", 2},
        {"[2001:db8::2]", "[2001:db8::2]", NULL, "2001:db8::2", 1},
        {"eth0", "eth0#2", "eth0", NULL, 1},
        {"eth0@7", "eth0#3", "eth0", NULL, 7},
    };
    enum { N = sizeof row / sizeof *row };
    const char *link[N];
    for (size_t i = 0; i < N; i++)
        link[i] = row[i].word;
    struct config *c = good(NULL, false, link, N);
    for (size_t i = 0; i < N; i++) {
        const struct fake_iface *conf = c->link[i].dialer.conf;
        char text[ADDR_TEXT];
        cr_expect_str_eq(c->link[i].name, row[i].name);
        cr_expect_eq(c->link[i].weight, row[i].weight);
        cr_expect_str_eq(c->link[i].dialer.plugin->name, "iface");
        if (row[i].interface)
            cr_expect(!conf->address.salen && strcmp(conf->interface.p, row[i].interface) == 0);
        else
            cr_expect_str_eq(addr_ip_text(&conf->address, text), row[i].address);
    }
    config_free(c);
}

Test(args, upstream_servers)
{
    static const struct {
        const char *word, *name, *server, *user, *password;
        uint32_t weight;
    } row[] = {
        {"socks5://h:1080", "socks5://h:1080", "h:1080", NULL, NULL, 1},
        {"socks5://h:1080@2", "socks5://h:1080#2", "h:1080", NULL, NULL, 2},
        {"socks5h://h:1081/", "socks5h://h:1081", "h:1081", NULL, NULL, 1},
        {"socks5://me@h:1", "socks5://h:1", "h:1", "me", NULL, 1},
        {"socks5://me:pw@h:2@9", "socks5://h:2", "h:2", "me", "pw", 9},
        {"socks5://a%40b:p%3Aq%25@[::1]:3", "socks5://[::1]:3", "[::1]:3", "a@b", "p:q%", 1},
        {"socks5://u:p:q@h:4", "socks5://h:4", "h:4", "u", "p:q", 1},
        {"socks5://u:p@q@h:5@6", "socks5://h:5", "h:5", "u", "p@q", 6},
        {"socks5://:@h:6", "socks5://h:6", "h:6", NULL, NULL, 1},
    };
    enum { N = sizeof row / sizeof *row };
    const char *link[N];
    for (size_t i = 0; i < N; i++)
        link[i] = row[i].word;
    struct config *c = good(NULL, false, link, N);
    for (size_t i = 0; i < N; i++) {
        const struct fake_socks *conf = c->link[i].dialer.conf;
        char text[ADDR_TEXT];
        cr_expect_str_eq(c->link[i].name, row[i].name);
        cr_expect_eq(c->link[i].weight, row[i].weight, "%s", row[i].word);
        cr_expect_str_eq(addr_text(&conf->server, text), row[i].server);
        cr_expect_str_eq(conf->username.p ? conf->username.p : "", row[i].user ? row[i].user : "");
        cr_expect_str_eq(conf->password.p ? conf->password.p : "",
                         row[i].password ? row[i].password : "");
    }
    config_free(c);
}

Test(args, schemes)
{
    static const struct {
        const char *word, *dialer, *user, *password;
        uint32_t version; /* the index in 5, 4a, 4 */
    } row[] = {
        {"socks5://h:1", "socks", "", "", 0},       {"socks5h://h:2", "socks", "", "", 0},
        {"Socks4A://me@h:3", "socks", "me", "", 1}, /* RFC 3986, section 3.1 */
        {"socks4://h:4@2", "socks", "", "", 2},     {"http://me:p%20w@h:5", "http", "me", "p w", 0},
        {"http://[::1]:6/", "http", "", "", 0},
    };
    enum { N = sizeof row / sizeof *row };
    const char *link[N];
    for (size_t i = 0; i < N; i++)
        link[i] = row[i].word;
    struct config *c = good(NULL, false, link, N);
    for (size_t i = 0; i < N; i++) {
        const struct fake_socks *conf = c->link[i].dialer.conf;
        cr_expect_str_eq(c->link[i].dialer.plugin->name, row[i].dialer);
        cr_expect_eq(conf->version, row[i].version, "%s", row[i].word);
        cr_expect_eq(conf->server.port, i + 1);
        cr_expect_str_eq(conf->username.p ? conf->username.p : "", row[i].user);
        cr_expect_str_eq(conf->password.p ? conf->password.p : "", row[i].password);
    }
    cr_expect_str_eq(c->link[5].name, "http://[::1]:6");
    config_free(c);
}

Test(args, tunnel)
{
    static const char *const link[] = {"127.0.0.1:7777@3", "[::1]:7778", "proxy.example:7779@1"};
    struct config *c = good(NULL, true, link, 3);
    char text[ADDR_TEXT];
    cr_expect_eq(c->listener[0].protocols, PROTO_RAW);
    const struct fake_socks *conf = c->link[0].dialer.conf;
    cr_expect_str_eq(addr_text(&conf->server, text), "127.0.0.1:7777");
    cr_expect_str_eq(c->link[0].name, "127.0.0.1:7777");
    cr_expect_eq(c->link[0].weight, 3);
    conf = c->link[1].dialer.conf;
    cr_expect_str_eq(addr_text(&conf->server, text), "[::1]:7778");
    cr_expect_str_eq(c->link[2].name, "proxy.example:7779");
    config_free(c);
}

Test(args, everything_else_is_as_the_go_tool_has_it)
{
    static const char *const link[] = {"10.0.0.1@3", "10.0.0.2@2"};
    struct config *c = good(NULL, false, link, 2);
    const struct fake_rr *rr = c->pool[0].balancer.conf;
    char text[ADDR_TEXT];
    cr_expect(c->n_pools == 1 && c->pool[0].n_members == 2 && c->n_listeners == 1);
    cr_expect_eq(rr->order, 1, "block");
    cr_expect_str_eq(addr_text(&c->listener[0].listen, text), "127.0.0.1:8080");
    cr_expect(c->listener[0].n_allow == 0 &&
              c->listener[0].protocols == (PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP));
    cr_expect(c->n_own_path == 0 && c->workers == 1);
    config_free(c);
}

static bool allows(const struct conf_listener *listener, const char *client)
{
    struct dp_addr addr;
    cr_assert_eq(addr_parse_ip(&addr, client, strlen(client)), 0);
    for (size_t i = 0; i < listener->n_allow; i++)
        if (addr_in_net(&addr, &listener->allow[i]))
            return true;
    return false;
}

/* Never everybody: n_allow 0 would mean that. */
Test(args, beyond_loopback_only_neighbours_are_served)
{
    static const char *const link[] = {"10.0.0.1"};
    struct config *c = good("0.0.0.0", false, link, 1);
    cr_assert_gt(c->listener[0].n_allow, 0);
    cr_expect(allows(&c->listener[0], "127.0.0.1"));
    cr_expect(!allows(&c->listener[0], "198.51.100.7"));
    config_free(c);

    c = good("192.0.2.77", false, link, 1); /* no interface has it */
    cr_assert_eq(c->listener[0].n_allow, 1);
    cr_expect(allows(&c->listener[0], "192.0.2.77"));
    cr_expect(!allows(&c->listener[0], "192.0.2.78"));
    config_free(c);

    c = good("::", false, link, 1);
    cr_assert_gt(c->listener[0].n_allow, 0);
    cr_expect(!allows(&c->listener[0], "2001:db8::1"));
    config_free(c);

    c = good("::1", false, link, 1);
    cr_expect_eq(c->listener[0].n_allow, 0);
    config_free(c);
}

static const struct {
    const char *lhost;
    bool tunnel;
    const char *word;
    const char *message;
} bad[] = {
    {NULL, false, "10.0.0.1@0", "10.0.0.1@0: link \"10.0.0.1\": weight: must be 1 to 65535"},
    {NULL, false, "10.0.0.1@65536",
     "10.0.0.1@65536: link \"10.0.0.1\": weight: must be 1 to 65535"},
    {NULL, false, "eth0@", "eth0@: link \"eth0\": weight: a whole number is expected"},
    {NULL, false, "eth0@x", "eth0@x: link \"eth0\": weight: a whole number is expected"},
    {NULL, false, "eth0@-1", "eth0@-1: link \"eth0\": weight: a whole number is expected"},
    {NULL, false, "", "a link needs an address, an interface or a server"},
    {NULL, false, "@3", "@3: a link needs an address, an interface or a server"},
    {NULL, false, "10.0.0.300", "10.0.0.300: \"10.0.0.300\" is not an IP address"},
    {NULL, false, "10.0.0", "10.0.0: \"10.0.0\" is not an IP address"},
    {NULL, false, "fe80:::1@2", "fe80:::1@2: \"fe80:::1\" is not an IP address"},
    {NULL, false, "127.0.0.1:7777", "127.0.0.1:7777: \"127.0.0.1:7777\" is not an IP address"},
    {NULL, false, "a/b",
     "a/b: link \"a/b\": interface: \"a/b\" cannot be the name of a network interface"},
    {NULL, false, "https://u:secret@h:1",
     "https://***@h:1: a URL is socks5://, socks5h://, socks4://, socks4a:// or http:// in this "
     "version"},
    {NULL, false, "socks://h:1",
     "socks://h:1: a URL is socks5://, socks5h://, socks4://, socks4a:// or http:// in this "
     "version"},
    {NULL, false, "socks5://", "socks5://: a link needs an address, an interface or a server"},
    {NULL, false, "socks5://u:secret@",
     "socks5://***@: a link needs an address, an interface or a server"},
    {NULL, false, "socks5://u:secret@1080",
     "socks5://***@1080: link \"socks5://1080\": server: an address belongs before the port, as "
     "127.0.0.1:1080"},
    {NULL, false, "socks5://u:secret@h",
     "socks5://***@h: link \"socks5://h\": server: host:port is expected, as 192.0.2.1:1080, "
     "[2001:db8::1]:1080 or proxy.example:1080"},
    {NULL, false, "socks5://u:secret@h:1@0",
     "socks5://***@h:1@0: link \"socks5://h:1\": weight: must be 1 to 65535"},
    {NULL, false, "socks5://u:%zz@h:1",
     "socks5://***@h:1: password: a % stands before two hexadecimal digits, and control characters "
     "are not allowed"},
    {NULL, false, "socks5://u%00:p@h:1",
     "socks5://***@h:1: username: a % stands before two hexadecimal digits, and control characters "
     "are not allowed"},
    {NULL, true, "h",
     "h: link \"h\": server: host:port is expected, as 192.0.2.1:1080, [2001:db8::1]:1080 or "
     "proxy.example:1080"},
    {NULL, true, "7777@2",
     "7777@2: link \"7777\": server: an address belongs before the port, as 127.0.0.1:7777"},
    {NULL, true, "socks5://h:1", "socks5://h:1: with -tunnel a link is HOST:PORT"},
    {"localhost", false, "10.0.0.1", "-lhost localhost: an IP address is expected"},
    {"", false, "10.0.0.1", "-lhost : an IP address is expected"},
};
enum { N_BAD = sizeof bad / sizeof *bad };

Test(args, mistakes_name_the_argument)
{
    char *line[N_BAD + 1];
    for (size_t i = 0; i < N_BAD; i++) {
        struct conf_errors errors = {0};
        struct config *c = from(bad[i].lhost, bad[i].tunnel, &bad[i].word, 1, &errors);
        cr_assert(!c && errors.n == 1, "%s: %zu mistakes: %s", bad[i].word, errors.n,
                  errors.n > 1 ? errors.line[1] : "");
        cr_expect_str_eq(errors.line[0], bad[i].message);
        cr_expect_null(strstr(errors.line[0], "secret"));
        line[i] = strdup(errors.line[0]);
        conf_errors_free(&errors);
    }
    struct conf_errors none = {0};
    cr_expect_null(from(NULL, false, NULL, 0, &none));
    cr_assert_eq(none.n, 1);
    line[N_BAD] = none.line[0];

    struct messages m = {.n = 0};
    char source[4096];
    snprintf(source, sizeof source, "%s/core/config/args.c", fake_srcdir());
    cr_assert(messages_read(&m, source) && m.n > 5);
    cr_expect_eq(messages_missing(&m, line, N_BAD + 1), 0);
    messages_free(&m);
    for (size_t i = 0; i < N_BAD; i++)
        free(line[i]);
    conf_errors_free(&none);
}

Test(args, all_mistakes_at_once)
{
    static const char *const link[] = {"10.0.0.1@0", "https://h:1", "eth0"};
    struct conf_errors errors = {0};
    cr_expect_null(from("nowhere", false, link, 3, &errors));
    cr_expect_eq(errors.n, 3);
    conf_errors_free(&errors);
}
