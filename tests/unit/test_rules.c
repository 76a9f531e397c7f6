/* SPDX-License-Identifier: MIT
 * test_rules.c: sets of names and networks, and which rule holds for a flow, by tables.
 */
#include "lib/source_fake.h"
#include "route/rules.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* ---- names ---- */

Test(rules, names_in_a_set)
{
    static const struct {
        const char *name;
        bool in;
    } table[] = {
        {"one.example", true},
        {"ONE.Example.", true},
        {"a.one.example", false},
        {"below.example", false},
        {"a.below.example", true},
        {"a.b.below.example", true},
        {"xbelow.example", false},
        {"dom.example", true},
        {"a.dom.example", true},
        {"notdom.example", false},
        {"example", false},
        {"", false},
        {".", false},
        {".below.example", false},
        {"both.example", true},
        {"a.both.example", true},
    };
    struct conf_memory *memory = memory_new();
    struct host_set *set = host_set_new(memory, 5);
    cr_assert_not_null(set);
    cr_expect_eq(host_set_add(set, "One.example.", 12, false), HOST_SET_OK);
    cr_expect_eq(host_set_add(set, "*.below.EXAMPLE", 15, false), HOST_SET_OK);
    cr_expect_eq(host_set_add(set, "dom.example", 11, true), HOST_SET_OK);
    cr_expect_eq(host_set_add(set, "both.example", 12, false), HOST_SET_OK);
    cr_expect_eq(host_set_add(set, "*.both.example", 14, false), HOST_SET_OK);
    for (size_t i = 0; i < LENGTH(table); i++)
        cr_expect_eq(host_set_has(set, table[i].name, strlen(table[i].name)), table[i].in, "%s",
                     table[i].name);
    char nul[] = "one.example\0x", lengthy[300];
    memset(lengthy, 'n', sizeof lengthy);
    cr_expect_not(host_set_has(set, nul, sizeof nul - 1));
    cr_expect_not(host_set_has(set, lengthy, sizeof lengthy));
    memory_free(memory);
}

Test(rules, what_is_no_name)
{
    static const struct {
        const char *text;
        int why;
    } table[] = {
        {"", HOST_SET_NO_NAME},
        {"*", HOST_SET_NO_NAME},
        {"*.", HOST_SET_NO_NAME},
        {"a..b", HOST_SET_NO_NAME},
        {".a", HOST_SET_NO_NAME},
        {"a*.b", HOST_SET_NO_NAME},
        {"*.*.b", HOST_SET_NO_NAME},
        {"a b", HOST_SET_NO_NAME},
        {"http://a/", HOST_SET_NO_NAME},
        {"a:80", HOST_SET_NO_NAME},
        {"192.0.2.1", HOST_SET_ADDRESS},
        {"2001:db8::1", HOST_SET_ADDRESS},
        {"b\xc3\xbc.example", HOST_SET_NOT_ASCII},
    };
    struct conf_memory *memory = memory_new();
    struct host_set *set = host_set_new(memory, 1);
    for (size_t i = 0; i < LENGTH(table); i++)
        cr_expect_eq(host_set_add(set, table[i].text, strlen(table[i].text), false), table[i].why,
                     "%s", table[i].text);
    memory_free(memory);
}

Test(rules, a_hundred_thousand_names)
{
    struct conf_memory *memory = memory_new();
    struct host_set *set = host_set_new(memory, 100000);
    char name[64];
    for (int i = 0; i < 100000; i++) {
        int len = snprintf(name, sizeof name, "%sh%d.example", i % 2 ? "*." : "", i);
        cr_assert_eq(host_set_add(set, name, (size_t)len, false), HOST_SET_OK);
    }
    for (int i = 0; i < 200000; i++) {
        int len = snprintf(name, sizeof name, "h%d.example", i);
        cr_assert_eq(host_set_has(set, name, (size_t)len), i < 100000 && i % 2 == 0, "%s", name);
        len = snprintf(name, sizeof name, "a.h%d.example", i);
        cr_assert_eq(host_set_has(set, name, (size_t)len), i < 100000 && i % 2, "%s", name);
    }
    memory_free(memory);
}

/* ---- networks ---- */

static struct dp_addr ip(const char *text)
{
    struct dp_addr addr = {0};
    cr_assert_eq(addr_parse_ip(&addr, text, strlen(text)), 0, "%s", text);
    return addr;
}

Test(rules, networks_in_a_set)
{
    static const char *const nets[] = {"10.0.0.0/8",    "10.1.0.0/16",     "192.0.2.7",
                                       "2001:db8::/32", "255.255.255.255", "10.255.255.255/32",
                                       "11.0.0.0/9",    "fe80::1"};
    static const struct {
        const char *ip;
        bool in;
    } table[] = {
        {"9.255.255.255", false}, {"10.0.0.0", true},        {"10.1.2.3", true},
        {"10.255.255.255", true}, {"11.0.0.1", true},        {"11.127.255.255", true},
        {"11.128.0.0", false},    {"192.0.2.7", true},       {"192.0.2.6", false},
        {"192.0.2.8", false},     {"255.255.255.255", true}, {"0.0.0.0", false},
        {"::1", false},           {"2001:db8::", true},      {"2001:db8:ffff::1", true},
        {"2001:db9::", false},    {"fe80::1", true},         {"fe80::2", false},
        {"ffff::", false},
    };
    struct conf_memory *memory = memory_new();
    struct net_set *set = net_set_new(memory, LENGTH(nets));
    for (size_t i = 0; i < LENGTH(nets); i++) {
        struct addr_net net;
        cr_assert_eq(addr_parse_net(&net, nets[i], strlen(nets[i])), 0);
        net_set_add(set, &net);
    }
    net_set_close(set);
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr addr = ip(table[i].ip);
        cr_expect_eq(net_set_has(set, &addr), table[i].in, "%s", table[i].ip);
    }
    struct dp_addr name;
    addr_from_name(&name, "a", 1, 80);
    cr_expect_not(net_set_has(set, &name));
    memory_free(memory);
}

/* A network is one of its family: `::/0` is no IPv4 address, but for what says that it is one. */
Test(rules, networks_of_one_family)
{
    static const struct {
        const char *net, *ip;
        bool in;
    } table[] = {
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", false},
        {"::/64", "0.0.0.0", false},
        {"0.0.0.0/0", "192.0.2.1", true},
        {"0.0.0.0/0", "::1", false},
        {"::ffff:192.0.2.0/120", "192.0.2.1", true},
        {"::ffff:192.0.2.0/120", "192.0.3.1", false},
        {"::ffff:0.0.0.0/96", "255.0.0.1", true},
        {"::ffff:192.0.2.1", "192.0.2.1", true},
        {"192.0.2.0/24", "::ffff:192.0.2.1", true},
        {"::/0", "::ffff:192.0.2.1", false},
        {"::ffff:0:0/80", "::1", true},
        {"::ffff:0:0/80", "0.0.0.0", false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct conf_memory *memory = memory_new();
        struct net_set *set = net_set_new(memory, 1);
        struct dp_addr addr = ip(table[i].ip);
        struct addr_net net;
        cr_assert_eq(addr_parse_net(&net, table[i].net, strlen(table[i].net)), 0);
        net_set_add(set, &net);
        net_set_close(set);
        cr_expect_eq(net_set_has(set, &addr), table[i].in, "%s %s", table[i].net, table[i].ip);
        addr_unmap(&addr);
        cr_expect_eq(addr_in_net(&addr, &net), table[i].in, "%s %s", table[i].net, table[i].ip);
        memory_free(memory);
    }
}

/* ---- which rule ---- */

static const char file[] =
    "links: {wifi: {interface: wlan0}}\n"
    "pools: {all: {}, cheap: {}}\n"
    "listeners: {main: {pool: all}, lan: {listen: 127.0.0.1:1081, pool: all}}\n"
    "rules:\n"
    "  - {host: [\"*.bank.example\", bank.example], pool: cheap}\n"
    "  - {port: [25, 465, 6000-6010], action: deny}\n"
    "  - {listener: lan, user: [alice, bob], pool: cheap}\n"
    "  - {client: [192.168.7.0/24], protocol: [http, socks4], pool: cheap}\n"
    "  - {network: [10.0.0.0/8, \"fd00::/8\"], action: deny}\n"
    "  - {domain: shop.example, host: plain.example, port: 80, action: direct}\n"
    "  - {listener: lan, action: deny}\n";

Test(rules, the_first_that_holds)
{
    static const struct {
        const char *listener, *client, *user;
        unsigned protocol;
        const char *dest, *dialed;
        size_t rule; /* from 1; 0: none */
    } table[] = {
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "www.bank.example:25", NULL, 1},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "BANK.example:443", NULL, 1},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "bank.example.evil.test:443", NULL, 0},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "a.test:25", NULL, 2},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "a.test:6010", NULL, 2},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "a.test:6011", NULL, 0},
        {"lan", "127.0.0.1", "alice", PROTO_SOCKS5, "a.test:80", NULL, 3},
        {"main", "127.0.0.1", "alice", PROTO_SOCKS5, "a.test:80", NULL, 0},
        {"lan", "127.0.0.1", "alicex", PROTO_SOCKS5, "a.test:80", NULL, 7},
        {"lan", "127.0.0.1", "Alice", PROTO_SOCKS5, "a.test:80", NULL, 7},
        {"main", "192.168.7.9", "", PROTO_HTTP, "a.test:80", NULL, 4},
        {"main", "192.168.7.9", "", PROTO_SOCKS5, "a.test:80", NULL, 0},
        {"main", "192.168.8.9", "", PROTO_HTTP, "a.test:80", NULL, 0},
        {"main", "127.0.0.1", "", PROTO_RAW, "10.1.1.1:80", NULL, 5},
        {"main", "127.0.0.1", "", PROTO_RAW, "[fd00::1]:80", NULL, 5},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "rebind.test:80", NULL, 0},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "rebind.test:80", "10.1.1.1", 5},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "rebind.test:80", "192.0.2.1", 0},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "a.shop.example:80", NULL, 6},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "shop.example:80", NULL, 6},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "plain.example:80", NULL, 6},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "a.plain.example:80", NULL, 0},
        {"main", "127.0.0.1", "", PROTO_SOCKS5, "shop.example:81", NULL, 0},
        {"lan", "::1", "", PROTO_SOCKS5, "shop.example:81", NULL, 7},
    };
    struct conf_errors errors = {0};
    struct config *c =
        config_parse("t.yaml", file, sizeof file - 1, NULL, 0, &fake_source, &errors);
    cr_assert_not_null(c, "%s", errors.n ? errors.line[0] : "no mistake");
    cr_assert_eq(c->n_rules, 7);
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr client = ip(table[i].client), dest, dialed;
        struct rule_flow flow = {.listener = table[i].listener,
                                 .protocol = table[i].protocol,
                                 .client = &client,
                                 .dest = &dest,
                                 .user = {table[i].user, (uint32_t)strlen(table[i].user)}};
        cr_assert_eq(addr_parse_endpoint(&dest, table[i].dest, strlen(table[i].dest)), 0);
        if (table[i].dialed) {
            dialed = ip(table[i].dialed);
            flow.dialed = &dialed;
        }
        const struct conf_rule *rule = rules_find(c, &flow);
        cr_expect_eq(rule ? (size_t)(rule - c->rule) + 1 : 0, table[i].rule, "row %zu", i);
    }
    cr_expect(c->rule[0].pool == &c->pool[1] && c->rule[0].action == RULE_POOL);
    cr_expect(c->rule[1].action == RULE_DENY && c->rule[5].action == RULE_DIRECT);
    config_free(c);
    conf_errors_free(&errors);
}
