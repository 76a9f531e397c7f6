/* SPDX-License-Identifier: MIT
 * test_addr.c: addresses by tables: parsed, printed, compared, in networks.
 */
#include "base/addr.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* The text is copied to the end of a block of its own length, so that a read past it is seen. */
static char *exact(const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    cr_assert(copy != NULL);
    memcpy(copy, text, len);
    return copy;
}

static int parse_ip(struct dp_addr *a, const char *text, size_t len)
{
    char *copy = exact(text, len);
    int result = addr_parse_ip(a, copy, len);
    free(copy);
    return result;
}

static struct dp_addr ip(const char *text, uint16_t port)
{
    struct dp_addr a;
    cr_assert(eq(int, parse_ip(&a, text, strlen(text)), 0), "%s", text);
    addr_set_port(&a, port);
    return a;
}

Test(addr, literals)
{
    static const struct {
        const char *text, *expect; /* NULL: refused */
    } table[] = {
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"127.0.0.1", "127.0.0.1"},
        {"::", "::"},
        {"::1", "::1"},
        {"[::1]", "::1"},
        {"[fe80::1%1]", "fe80::1%lo"},
        {"fe80::1%lo", "fe80::1%lo"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"::ffff:10.0.0.1", "::ffff:10.0.0.1"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"", NULL},
        {"[]", NULL},
        {"[", NULL},
        {"]", NULL},
        {"[::1", NULL},
        {"::1]", NULL},
        {"[[::1]]", NULL},
        {"[127.0.0.1]", NULL},
        {"127.0.0", NULL},
        {"127.1", NULL},
        {"2130706433", NULL},
        {"0x7f.0.0.1", NULL},
        {"127.0.0.256", NULL},
        {"127.0.0.1.", NULL},
        {" 127.0.0.1", NULL},
        {"127.0.0.1 ", NULL},
        {"127.0.0.1%1", NULL},
        {"1:2:3:4:5:6:7", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {":::", NULL},
        {"fe80::1%", NULL},
        {"fe80::1%0", NULL},
        {"fe80::1%-1", NULL},
        {"fe80::1% 1", NULL},
        {"fe80::1%+1", NULL},
        {"fe80::1%4294967296", NULL},
        {"fe80::1%no-such-device", NULL},
        {"fe80::1%a-name-that-is-longer-than-any-interface-may-have", NULL},
        {"::1/128", NULL},
        {"localhost", NULL},
        {"10.0.0.1,10.0.0.2", NULL},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr a;
        char text[ADDR_TEXT];
        int result = parse_ip(&a, table[i].text, strlen(table[i].text));
        cr_expect(eq(int, result, table[i].expect ? 0 : -1), "\"%s\"", table[i].text);
        if (result == 0 && table[i].expect) {
            cr_expect(eq(str, (char *)addr_ip_text(&a, text), (char *)table[i].expect));
            cr_expect(eq(u16, a.port, 0));
        }
    }
    struct dp_addr a;
    cr_expect(eq(int, parse_ip(&a, "10.0.0.1\0", 9), -1), "a NUL is no part of an address");
    cr_expect(eq(int, parse_ip(&a, "10.0.0.1garbage", 8), 0), "the length counts, not a NUL");
    struct dp_addr scoped = ip("fe80::1%1", 0);
    cr_expect(eq(u32, ((struct sockaddr_in6 *)&scoped.sa)->sin6_scope_id, 1));
}

Test(addr, endpoints)
{
    static const struct {
        const char *text, *expect; /* NULL: refused */
        bool name;
    } table[] = {
        {"1.2.3.4:80", "1.2.3.4:80", false},
        {"1.2.3.4:0", "1.2.3.4:0", false},
        {"1.2.3.4:65535", "1.2.3.4:65535", false},
        {"1.2.3.4:00080", "1.2.3.4:80", false},
        {"[::1]:80", "[::1]:80", false},
        {"[fe80::1%1]:80", "[fe80::1%lo]:80", false},
        {"localhost:80", "localhost:80", true},
        {"a:1", "a:1", true},
        {"xn--bcher-kva.example:443", "xn--bcher-kva.example:443", true},
        {"b\303\274cher.example:443", "b\\xc3\\xbccher.example:443", true},
        {"1.2.3:80", "1.2.3:80", true}, /* no address: for a name server to say */
        {"", NULL, false},
        {":", NULL, false},
        {":80", NULL, false},
        {"80", NULL, false},
        {"1.2.3.4", NULL, false},
        {"1.2.3.4:", NULL, false},
        {"1.2.3.4:65536", NULL, false},
        {"1.2.3.4:99999", NULL, false},
        {"1.2.3.4:000080", NULL, false},
        {"1.2.3.4:-1", NULL, false},
        {"1.2.3.4:+80", NULL, false},
        {"1.2.3.4: 80", NULL, false},
        {"1.2.3.4:8o", NULL, false},
        {"1.2.3.4:http", NULL, false},
        {"::1:80", NULL, false},
        {"[::1]", NULL, false},
        {"[::1]80", NULL, false},
        {"[1.2.3.4]:80", NULL, false},
        {"[localhost]:80", NULL, false},
        {"[]:80", NULL, false},
        {"local host:80", NULL, false},
        {"user@host:80", NULL, false},
        {"socks5://host:80", NULL, false},
        {"host/x:80", NULL, false},
        {"host\n:80", NULL, false},
        {"ho\177st:80", NULL, false},
        {"fe80::1%1:80", NULL, false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr a;
        char text[ADDR_TEXT], *copy = exact(table[i].text, strlen(table[i].text));
        int result = addr_parse_endpoint(&a, copy, strlen(table[i].text));
        cr_expect(eq(int, result, table[i].expect ? 0 : -1), "\"%s\"", table[i].text);
        if (result == 0 && table[i].expect) {
            cr_expect(eq(str, (char *)addr_text(&a, text), (char *)table[i].expect));
            cr_expect(eq(int, a.salen == 0, table[i].name), "%s", table[i].text);
            cr_expect(eq(int, addr_family(&a) == AF_UNSPEC, table[i].name), "%s", table[i].text);
        }
        free(copy);
    }
}

Test(addr, endpoint_name_length)
{
    char text[300];
    struct dp_addr a;
    memset(text, 'n', sizeof text);
    memcpy(text + 255, ":80", 3);
    cr_expect(eq(int, addr_parse_endpoint(&a, text, 258), 0));
    cr_expect(eq(u16, a.name_len, 255));
    memcpy(text + 255, "n:80", 4);
    cr_expect(eq(int, addr_parse_endpoint(&a, text, 259), -1), "256 bytes are no host name");
}

Test(addr, networks)
{
    static const struct {
        const char *net;
        int parses;
        const char *in[4], *out[4];
    } table[] = {
        {"10.0.0.0/8", 0, {"10.0.0.0", "10.255.255.255"}, {"11.0.0.0", "9.255.255.255", "::1"}},
        {"10.1.2.3/8", 0, {"10.9.9.9"}, {"11.1.2.3"}},
        {"192.168.4.0/22", 0, {"192.168.4.0", "192.168.7.255"}, {"192.168.3.255", "192.168.8.0"}},
        {"128.0.0.0/1", 0, {"128.0.0.0", "255.255.255.255"}, {"127.255.255.255"}},
        {"1.2.3.4/31", 0, {"1.2.3.4", "1.2.3.5"}, {"1.2.3.3", "1.2.3.6"}},
        {"1.2.3.4/32", 0, {"1.2.3.4"}, {"1.2.3.5", "1.2.3.3"}},
        {"1.2.3.4", 0, {"1.2.3.4"}, {"1.2.3.5"}},
        {"0.0.0.0/0", 0, {"0.0.0.0", "255.1.2.3"}, {"::"}},
        {"::/0", 0, {"::", "ffff::1"}, {"0.0.0.0", "1.2.3.4"}},
        {"fd00::/8", 0, {"fd00::1", "fdff::"}, {"fc00::", "fe00::"}},
        {"2001:db8::/33", 0, {"2001:db8:7fff::1"}, {"2001:db8:8000::1"}},
        {"2001:db8::8/127", 0, {"2001:db8::8", "2001:db8::9"}, {"2001:db8::a", "2001:db8::7"}},
        {"::1/128", 0, {"::1"}, {"::", "::2"}},
        {"[::1]/128", 0, {"::1"}, {"::2"}},
        {"::ffff:1.2.3.0/120", 0, {"1.2.3.4"}, {"1.2.4.4", "::102:304"}},
        {"::ffff:1.2.3.4", 0, {"1.2.3.4"}, {"1.2.3.5"}},
        {"::ffff:0:0/95", 0, {"::fffe:0:0"}, {"1.2.3.4"}},
        {"1.2.3.4/33", -1, {NULL}, {NULL}},
        {"::1/129", -1, {NULL}, {NULL}},
        {"::1/65665", -1, {NULL}, {NULL}},
        {"1.2.3.4/", -1, {NULL}, {NULL}},
        {"1.2.3.4/-1", -1, {NULL}, {NULL}},
        {"1.2.3.4/8/8", -1, {NULL}, {NULL}},
        {"1.2.3.4/a", -1, {NULL}, {NULL}},
        {"1.2.3/8", -1, {NULL}, {NULL}},
        {"/8", -1, {NULL}, {NULL}},
        {"", -1, {NULL}, {NULL}},
        {"name/8", -1, {NULL}, {NULL}},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct addr_net net;
        char *copy = exact(table[i].net, strlen(table[i].net));
        int result = addr_parse_net(&net, copy, strlen(table[i].net));
        free(copy);
        cr_expect(eq(int, result, table[i].parses), "\"%s\"", table[i].net);
        for (size_t k = 0; result == 0 && k < 4; k++) {
            struct dp_addr a;
            if (table[i].in[k]) {
                a = ip(table[i].in[k], 80);
                cr_expect(addr_in_net(&a, &net), "%s in %s", table[i].in[k], table[i].net);
            }
            if (table[i].out[k]) {
                a = ip(table[i].out[k], 80);
                cr_expect(not(addr_in_net(&a, &net)), "%s not in %s", table[i].out[k],
                          table[i].net);
            }
        }
        struct dp_addr name;
        addr_from_name(&name, "name", 4, 80);
        cr_expect(result < 0 || !addr_in_net(&name, &net), "a name is in no network");
    }
}

Test(addr, kinds)
{
    static const struct {
        const char *text;
        bool loopback, any;
        const char *unmapped;
    } table[] = {
        {"127.0.0.1", true, false, "127.0.0.1:80"},
        {"127.255.255.254", true, false, "127.255.255.254:80"},
        {"128.0.0.1", false, false, "128.0.0.1:80"},
        {"0.0.0.0", false, true, "0.0.0.0:80"},
        {"::1", true, false, "[::1]:80"},
        {"::", false, true, "[::]:80"},
        {"::2", false, false, "[::2]:80"},
        {"::ffff:127.0.0.1", false, false, "127.0.0.1:80"},
        {"::ffff:0.0.0.0", false, false, "0.0.0.0:80"},
        {"::127.0.0.1", true, false, "[::127.0.0.1]:80"}, /* compatible, long out of use */
        {"fe80::1", false, false, "[fe80::1]:80"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr a = ip(table[i].text, 80);
        char text[ADDR_TEXT];
        cr_expect(eq(int, addr_is_loopback(&a), table[i].loopback), "%s", table[i].text);
        cr_expect(eq(int, addr_is_any(&a), table[i].any), "%s", table[i].text);
        addr_unmap(&a);
        cr_expect(eq(str, (char *)addr_text(&a, text), (char *)table[i].unmapped));
    }
    struct dp_addr name;
    addr_from_name(&name, "127.0.0.1", 9, 80);
    cr_expect(not(addr_is_loopback(&name)));
    cr_expect(not(addr_is_any(&name)));
    addr_unmap(&name);
    cr_expect(eq(u16, name.name_len, 9));
}

/* An address from a short name, to keep the table of comparisons short. */
static struct dp_addr any_addr(const char *text)
{
    struct dp_addr a;
    cr_assert(eq(int, addr_parse_endpoint(&a, text, strlen(text)), 0), "%s", text);
    return a;
}

Test(addr, comparison)
{
    static const struct {
        const char *a, *b;
        bool same_ip, equal;
    } table[] = {
        {"1.2.3.4:80", "1.2.3.4:80", true, true},
        {"1.2.3.4:80", "1.2.3.4:81", true, false},
        {"1.2.3.4:80", "1.2.3.5:80", false, false},
        {"[::1]:80", "[::1]:80", true, true},
        {"[::1]:80", "[::2]:80", false, false},
        {"1.2.3.4:80", "[::1]:80", false, false},
        {"1.2.3.4:80", "[::ffff:1.2.3.4]:80", false, false},
        {"name:80", "name:80", false, true},
        {"name:80", "name:81", false, false},
        {"name:80", "nam:80", false, false},
        {"name:80", "Name:80", false, false},
        {"name:80", "1.2.3.4:80", false, false},
        {"1.2.3.4:80", "name:80", false, false},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct dp_addr a = any_addr(table[i].a), b = any_addr(table[i].b);
        cr_expect(eq(int, addr_same_ip(&a, &b), table[i].same_ip), "row %zu", i);
        cr_expect(eq(int, addr_equal(&a, &b), table[i].equal), "row %zu", i);
        cr_expect(eq(int, addr_equal(&b, &a), table[i].equal), "row %zu", i);
    }
}

Test(addr, sockaddr_and_port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(8080)};
    struct dp_addr a;
    addr_from_sockaddr(&a, (struct sockaddr *)&sin, sizeof sin);
    cr_expect(eq(u16, a.port, 8080));
    cr_expect(eq(u32, a.salen, sizeof sin));
    addr_set_port(&a, 443);
    cr_expect(eq(u16, a.port, 443));
    cr_expect(eq(u16, ntohs(((struct sockaddr_in *)&a.sa)->sin_port), 443));

    struct sockaddr_in6 sin6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(53), .sin6_scope_id = 7};
    addr_from_sockaddr(&a, (struct sockaddr *)&sin6, sizeof sin6);
    cr_expect(eq(u16, a.port, 53));
    addr_set_port(&a, 54);
    cr_expect(eq(u16, ntohs(((struct sockaddr_in6 *)&a.sa)->sin6_port), 54));
    cr_expect(eq(u32, ((struct sockaddr_in6 *)&a.sa)->sin6_scope_id, 7), "it keeps its scope");
}

Test(addr, unix_sockets)
{
    static const struct {
        const char *path; /* as the kernel has it, */
        size_t len;       /* without a NUL at its end */
        const char *text;
    } rows[] = {
        {"", 0, "unix:"}, /* a peer without a name, as of accept(2) */
        {"/run/x.sock", 11, "unix:/run/x.sock"},
        {"\0x.sock", 7, "unix:@x.sock"},
        {"/run/\n", 6, "unix:/run/\\x0a"},
    };
    char text[ADDR_TEXT], path[ADDR_PATH_MAX + 2];
    struct dp_addr a, b, ip4 = ip("127.0.0.1", 0);
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        memcpy(sa.sun_path, rows[i].path, rows[i].len);
        addr_from_sockaddr(&a, (struct sockaddr *)&sa,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + rows[i].len));
        cr_expect(eq(u16, a.port, 0));
        cr_expect_str_eq(addr_text(&a, text), rows[i].text);
        cr_expect_not(addr_is_any(&a) || addr_is_loopback(&a) || addr_same_ip(&a, &a));
        cr_expect(addr_equal(&a, &a) && !addr_equal(&a, &ip4) && !addr_equal(&ip4, &a));
        addr_set_port(&a, 80);
        addr_unmap(&a);
        cr_expect_str_eq(addr_text(&a, text), rows[i].text, "it has no port");
    }
    cr_assert_eq(addr_from_path(&a, "/run/a"), 0);
    cr_assert_eq(addr_from_path(&b, "/run/b"), 0);
    cr_expect_not(addr_equal(&a, &b));
    memset(path, 'x', sizeof path);
    path[ADDR_PATH_MAX + 1] = '\0';
    cr_expect_eq(addr_from_path(&a, path), -1);
    path[ADDR_PATH_MAX] = '\0';
    cr_expect_eq(addr_from_path(&a, path), 0);
}

Test(addr, a_peers_name_in_print)
{
    char bytes[65535], text[ADDR_TEXT];
    struct dp_addr a;
    memset(bytes, '\377', sizeof bytes);
    addr_from_name(&a, bytes, 255, 65535);
    addr_text(&a, text);
    cr_expect(eq(sz, strlen(text), 255 * 4 + 6));
    cr_expect(eq(str, text + 255 * 4, ":65535"));
    addr_from_name(&a, bytes, sizeof bytes, 65535); /* cut, but never past the buffer */
    cr_expect(strlen(addr_text(&a, text)) < ADDR_TEXT);
    addr_from_name(&a, "a\0b\r\nc \"", 8, 1);
    cr_expect(eq(str, (char *)addr_text(&a, text), "a\\x00b\\x0d\\x0ac\\x20\\x22:1"));
}
