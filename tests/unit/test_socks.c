/* SPDX-License-Identifier: MIT
 * test_socks.c: dialer-socks against a scripted server on a socket pair: it dribbles, refuses,
 * hangs, dies, and gives every reply code.
 */
#include "lib/tunnel_rig.h"

struct bytes {
    const char *p;
    size_t len;
};
#define B(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

enum { VERSION_5, VERSION_4A, VERSION_4 };

static void rig_open(struct rig *r, const char *username, const char *password)
{
    rig_open_version(r, "dialer-socks.so", username, password, VERSION_5);
}

/* ---- handshakes ---- */

struct row {
    const char *username, *password;
    struct {
        struct bytes hears, says;
    } turn[3];
    int expect;
    const char *log; /* NULL: none */
};

#define REQUEST B("\5\1\0\1\300\0\2\1\0\120") /* 192.0.2.1:80 */
#define GRANTED B("\5\0\0\1\12\0\0\1\37\220") /* 10.0.0.1:8080 */

static const struct row rows[] = {
    {NULL, NULL, {{B("\5\1\0"), B("\5\0")}, {REQUEST, GRANTED}}, DP_OK, NULL},
    {"me", "pw", {{B("\5\2\0\2"), B("\5\0")}, {REQUEST, GRANTED}}, DP_OK, NULL},
    {"me",
     "pw",
     {{B("\5\2\0\2"), B("\5\2")}, {B("\1\2me\2pw"), B("\1\0")}, {REQUEST, GRANTED}},
     DP_OK,
     NULL},
    {"me",
     NULL,
     {{B("\5\2\0\2"), B("\5\2")}, {B("\1\2me\0"), B("\1\0")}, {REQUEST, GRANTED}},
     DP_OK,
     NULL},
    {"me",
     "pw",
     {{B("\5\2\0\2"), B("\5\2")}, {B("\1\2me\2pw"), B("\5\0")}, {REQUEST, GRANTED}},
     DP_OK,
     NULL},
    /* RSV means nothing */
    {NULL, NULL, {{B("\5\1\0"), B("\5\0")}, {REQUEST, B("\5\0\377\1\0\0\0\0\0\0")}}, DP_OK, NULL},
    /* the server is of no use */
    {NULL, NULL, {{B("\5\1\0"), B("\5\377")}}, DP_ERR_LINK, "wants a login"},
    {NULL, NULL, {{B("\5\1\0"), B("\5\2")}}, DP_ERR_LINK, "wants a login"},
    {NULL, NULL, {{B("\5\1\0"), B("\4\0")}}, DP_ERR_LINK, "does not speak SOCKS5"},
    {NULL, NULL, {{B("\5\1\0"), B("HTTP/1.1 400")}}, DP_ERR_LINK, "does not speak SOCKS5"},
    {"me", "pw", {{B("\5\2\0\2"), B("\5\377")}}, DP_ERR_LINK, "neither"},
    {"me", "pw", {{B("\5\2\0\2"), B("\5\1")}}, DP_ERR_LINK, "neither"},
    {"me",
     "pw",
     {{B("\5\2\0\2"), B("\5\2")}, {B("\1\2me\2pw"), B("\1\1")}},
     DP_ERR_LINK,
     "refused the username or password"},
    {"me",
     "pw",
     {{B("\5\2\0\2"), B("\5\2")}, {B("\1\2me\2pw"), B("\0\0")}},
     DP_ERR_LINK,
     "makes no sense"},
    {NULL, NULL, {{B("\5\1\0"), B("\5\0")}, {REQUEST, B("\4\0\0\1")}}, DP_ERR_LINK, "not SOCKS5"},
    {NULL,
     NULL,
     {{B("\5\1\0"), B("\5\0")}, {REQUEST, B("\5\0\0\2")}},
     DP_ERR_LINK,
     "unknown type of address"},
};

static void run_row(struct rig *r, const struct row *row, size_t chunk)
{
    rig_connect(r, ip("192.0.2.1", 80));
    rig_start(r);
    for (int i = 0; i < 3 && row->turn[i].hears.len; i++) {
        int last = i == 2 || !row->turn[i + 1].hears.len;
        hears(r, row->turn[i].hears.p, row->turn[i].hears.len);
        says(r, row->turn[i].says.p, row->turn[i].says.len, chunk, last ? "Z" : NULL);
    }
}

Test(socks, handshakes)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t chunk = 1; chunk <= 16; chunk += 15) {
            struct rig r;
            rig_open(&r, rows[i].username, rows[i].password);
            run_row(&r, &rows[i], chunk);
            cr_expect(eq(int, r.rc, rows[i].expect), "row %zu", i);
            cr_expect(rows[i].log ? strstr(r.host.log, rows[i].log) != NULL : !r.host.n_logs,
                      "row %zu: logged '%s'", i, r.host.log);
            if (r.rc == DP_OK)
                left(&r, "Z");
            rig_close(&r);
        }
    }
}

Test(socks, every_reply_code)
{
    static const int expect[] = {
        DP_OK,          DP_ERR_LINK, DP_ERR_DENIED,  DP_ERR_NET_UNREACH, DP_ERR_HOST_UNREACH,
        DP_ERR_REFUSED, DP_ERR_TTL,  DP_ERR_COMMAND, DP_ERR_FAMILY};
    struct rig r;
    rig_open(&r, NULL, NULL);
    for (int code = 0; code < 256; code++) {
        const char reply[] = {5, (char)code, 0, 1, 0, 0, 0, 0, 0, 0};
        rig_connect(&r, ip("192.0.2.1", 80));
        rig_start(&r);
        says(&r, "\5\0", 2, 2, NULL);
        says(&r, reply, sizeof reply, sizeof reply, NULL);
        cr_expect(eq(int, r.rc, code < 9 ? expect[code] : DP_ERR_LINK), "code %d", code);
    }
    rig_close(&r);
}

/* The stream ends, or is reset, after each number of bytes the server can have said. */
Test(socks, dies_at_each_byte)
{
    static const char answers[] = "\5\2\1\0\5\0\0\3\4test\37\220";
    enum { BEFORE_REQUEST = 4, ALL = sizeof answers - 1 };
    for (size_t reset = 0; reset < 2; reset++) {
        for (size_t cut = 0; cut < ALL; cut++) {
            struct rig r;
            char drain[64];
            rig_open(&r, "me", "pw");
            rig_connect(&r, ip("192.0.2.1", 80));
            rig_start(&r);
            says(&r, answers, cut, 1, NULL);
            waits_for(&r, POLLIN);
            while (!reset && recv(r.peer, drain, sizeof drain, 0) > 0)
                continue;
            close(r.peer); /* a reset if there is something unread */
            r.peer = -1;
            rig_step(&r);
            cr_expect(eq(int, r.rc, cut < BEFORE_REQUEST ? DP_ERR_LINK : DP_ERR_NO_ANSWER),
                      "after %zu bytes, reset %zu", cut, reset);
            rig_close(&r);
        }
    }
}

Test(socks, dead_before_the_start)
{
    struct rig r;
    rig_open(&r, NULL, NULL);
    rig_connect(&r, ip("192.0.2.1", 80));
    close(r.peer);
    r.peer = -1;
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_LINK)); /* and no SIGPIPE */
    rig_close(&r);
}

Test(socks, hangs)
{
    struct rig r;
    rig_open(&r, NULL, NULL);
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    for (int i = 0; i < 3; i++) { /* woken for nothing */
        rig_step(&r);
        waits_for(&r, POLLIN);
    }
    hears(&r, "\5\1\0", 3);
    rig_close(&r);
}

/* The stream takes nothing at first: it waits to write, and nothing is lost or sent twice. */
Test(socks, slow_to_write)
{
    struct rig r;
    char junk[4096] = {0};
    rig_open(&r, NULL, NULL);
    rig_connect(&r, ip("192.0.2.1", 80));
    while (send(r.req.fd, junk, sizeof junk, MSG_NOSIGNAL) > 0)
        continue;
    rig_start(&r);
    waits_for(&r, POLLOUT);
    rig_step(&r);
    waits_for(&r, POLLOUT);
    while (recv(r.peer, junk, sizeof junk, 0) > 0)
        continue;
    rig_step(&r);
    waits_for(&r, POLLIN);
    hears(&r, "\5\1\0", 3);
    rig_close(&r);
}

/* ---- what is asked for ---- */

static void ask(struct rig *r, struct dp_addr to)
{
    rig_connect(r, to);
    rig_start(r);
    hears(r, "\5\1\0", 3);
    says(r, "\5\0", 2, 2, NULL);
}

Test(socks, requests)
{
    static char longest[255];
    char expect[4 + 1 + 255 + 2] = {5, 1, 0, 3, (char)255};
    struct rig r;
    memset(longest, 'n', sizeof longest);
    memcpy(expect + 5, longest, sizeof longest);
    memcpy(expect + 5 + 255, "\377\377", 2);
    rig_open(&r, NULL, NULL);

    ask(&r, ip("2001:db8::1", 443));
    hears(&r, "\5\1\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\1\273", 22);
    ask(&r, name("a", 1, 1));
    hears(&r, "\5\1\0\3\1a\0\1", 8);
    ask(&r, name("a\0b", 3, 0)); /* bytes, not a C string */
    hears(&r, "\5\1\0\3\3a\0b\0\0", 10);
    ask(&r, name(longest, 255, 65535));
    hears(&r, expect, sizeof expect);
    rig_close(&r);
}

Test(socks, cannot_be_asked)
{
    static char longer[256];
    struct rig r;
    memset(longer, 'n', sizeof longer);
    rig_open(&r, NULL, NULL);
    rig_connect(&r, name("", 0, 80));
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_FAMILY));
    rig_connect(&r, name(longer, 256, 80));
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_FAMILY));
    rig_connect(&r, ip("192.0.2.1", 80));
    r.req.proto = 99;
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_COMMAND));
    rig_close(&r);
}

Test(socks, longest_login)
{
    char text[256], expect[513] = {1, (char)255};
    struct rig r;
    memset(text, 'x', 255);
    text[255] = '\0';
    memset(expect + 2, 'x', 255);
    expect[257] = (char)255;
    memset(expect + 258, 'x', 255);
    rig_open(&r, text, text);
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    hears(&r, "\5\2\0\2", 4);
    says(&r, "\5\2", 2, 2, NULL);
    hears(&r, expect, sizeof expect);
    rig_close(&r);
}

/* ---- the bound address ---- */

static void granted(struct rig *r, const char *reply, size_t len, size_t chunk)
{
    ask(r, ip("192.0.2.1", 80));
    says(r, reply, len, chunk, "Z");
    cr_assert(eq(int, r->rc, DP_OK));
}

Test(socks, bound_address)
{
    char reply[4 + 1 + 255 + 2] = {5, 0, 0, 3, (char)255}, longest[255];
    struct rig r;
    memset(longest, 'b', sizeof longest);
    memcpy(reply + 5, longest, sizeof longest);
    memcpy(reply + 5 + 255, "\0\7", 2);
    rig_open(&r, NULL, NULL);
    for (size_t chunk = 1; chunk <= 512; chunk += 511) {
        granted(&r, "\5\0\0\1\12\0\0\1\37\220", 10, chunk);
        cr_expect(same(&r.conn.bound, ip("10.0.0.1", 8080)));
        granted(&r, "\5\0\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1\1\273", 22, chunk);
        cr_expect(same(&r.conn.bound, ip("2001:db8::1", 443)));
        granted(&r, "\5\0\0\3\4test\0\1", 11, chunk);
        cr_expect(same(&r.conn.bound, name("test", 4, 1)));
        granted(&r, "\5\0\0\3\0\0\1", 7, chunk);
        cr_expect(same(&r.conn.bound, name("", 0, 1)));
        granted(&r, reply, sizeof reply, chunk);
        cr_expect(same(&r.conn.bound, name(longest, 255, 7)));
    }
    rig_close(&r);
}

/* ---- the instance ---- */

Test(socks, password_without_username)
{
    const struct dp_dialer_ops *ops = fake_load("dialer-socks.so")->ops;
    struct fake_host host;
    struct conf conf = {.password = {"pw", 2}};
    void *self = NULL;
    fake_host_init(&host);
    cr_assert(eq(int, ops->create(&host.host, &conf, &self), FAKE_FAIL));
    cr_expect(eq(str, host.option, "password"));
    cr_expect(eq(str, host.message, "a password needs a username"));
}

Test(socks, names_and_hop)
{
    struct rig r;
    struct dp_addr hop = {0};
    rig_open(&r, NULL, NULL);
    r.conf.server = name("proxy.example", 13, 1080);
    cr_expect(eq(u32, r.ops->caps(r.self), DP_NAMES));
    r.conf.resolve = LOCAL;
    cr_expect(eq(u32, r.ops->caps(r.self), 0));
    cr_assert(eq(int, r.ops->hop(r.self, &hop), DP_OK));
    cr_expect(same(&hop, r.conf.server));
    rig_close(&r);
}

Test(socks, refusals_are_logged_now_and_then)
{
    struct rig r;
    rig_open(&r, "me", "secret");
    for (int i = 0; i < 25; i++) { /* one a second */
        r.want.now = (100 + i) * SECOND;
        rig_connect(&r, ip("192.0.2.1", 80));
        rig_start(&r);
        says(&r, "\5\2", 2, 2, NULL);
        says(&r, "\1\1", 2, 2, NULL);
        cr_expect(eq(int, r.rc, DP_ERR_LINK));
        cr_expect(strstr(r.host.log, "secret") == NULL);
    }
    cr_expect(eq(u32, r.host.n_logs, 3));
    cr_expect(eq(int, r.host.level, DP_LOG_WARN));
    rig_close(&r);
}

/* ---- versions 4 and 4a ---- */

static void asks_4(struct rig *r, struct dp_addr to, const char *expect, size_t len)
{
    rig_connect(r, to);
    rig_start(r);
    hears(r, expect, len);
    waits_for(r, POLLIN);
}

Test(socks, requests_of_version_4)
{
    char longest[256], expect[9 + 255 + 255 + 1] = {4, 1, (char)255, (char)255, 0, 0, 0, 1};
    struct rig r;
    memset(longest, 'n', 255);
    longest[255] = '\0';
    memset(expect + 8, 'n', 255);
    memset(expect + 8 + 256, 'n', 255);
    rig_open_version(&r, "dialer-socks.so", NULL, NULL, VERSION_4);
    asks_4(&r, ip("192.0.2.1", 80), "\4\1\0\120\300\0\2\1\0", 9);
    rig_close(&r);
    rig_open_version(&r, "dialer-socks.so", "me", NULL, VERSION_4A);
    asks_4(&r, ip("192.0.2.1", 258), "\4\1\1\2\300\0\2\1me\0", 11);
    asks_4(&r, name("a.test", 6, 80), "\4\1\0\120\0\0\0\1me\0a.test\0", 18);
    rig_close(&r);
    rig_open_version(&r, "dialer-socks.so", longest, NULL, VERSION_4A);
    asks_4(&r, name(longest, 255, 65535), expect, sizeof expect);
    rig_close(&r);
}

Test(socks, version_4_cannot_be_asked)
{
    static const struct {
        uint32_t version;
        const char *name;
        size_t len;
    } row[] = {{VERSION_4, "a.test", 6}, {VERSION_4A, "a\0b", 3}, {VERSION_4A, "", 0}};
    static const char *const address[] = {"2001:db8::1", "0.0.0.1", "0.0.0.255", "0.0.0.0"};
    struct rig r;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        rig_open_version(&r, "dialer-socks.so", NULL, NULL, row[i].version);
        rig_connect(&r, name(row[i].name, row[i].len, 80));
        rig_start(&r);
        cr_expect(eq(int, r.rc, DP_ERR_FAMILY), "row %zu", i);
        rig_close(&r);
    }
    rig_open_version(&r, "dialer-socks.so", NULL, NULL, VERSION_4A);
    for (size_t i = 0; i < sizeof address / sizeof *address; i++) {
        rig_connect(&r, ip(address[i], 80));
        rig_start(&r);
        cr_expect(eq(int, r.rc, DP_ERR_FAMILY), "%s", address[i]);
    }
    rig_close(&r);
}

Test(socks, every_reply_code_of_version_4)
{
    struct rig r;
    rig_open_version(&r, "dialer-socks.so", "me", NULL, VERSION_4);
    for (int code = 0; code < 256; code++) {
        const char reply[] = {0, (char)code, 1, 2, 3, 4, 5, 6};
        for (size_t chunk = 1; chunk <= 8; chunk += 7) {
            rig_connect(&r, ip("192.0.2.1", 80));
            rig_start(&r);
            says(&r, reply, sizeof reply, chunk, "Z");
            cr_expect(eq(int, r.rc,
                         code == 90   ? DP_OK
                         : code == 91 ? DP_ERROR(DP_PATH, 1)
                                      : DP_ERR_LINK),
                      "code %d", code);
            left(&r, "Z");
            cr_expect(r.conn.bound.salen == 0 && r.conn.bound.port == 0);
        }
    }
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    says(&r, "\4\132\0\0\0\0\0\0", 8, 8, NULL);
    cr_expect(eq(int, r.rc, DP_ERR_LINK), "VN 4");
    rig_close(&r);
}

Test(socks, version_4_dies_at_each_byte)
{
    for (size_t cut = 0; cut < 8; cut++) {
        struct rig r;
        rig_open_version(&r, "dialer-socks.so", NULL, NULL, VERSION_4A);
        rig_connect(&r, ip("192.0.2.1", 80));
        rig_start(&r);
        says(&r, "\0\132\0\0\0\0\0\0", cut, 1, NULL);
        waits_for(&r, POLLIN);
        close(r.peer);
        r.peer = -1;
        rig_step(&r);
        cr_expect(eq(int, r.rc, DP_ERR_NO_ANSWER), "after %zu bytes", cut);
        rig_close(&r);
    }
}

Test(socks, names_by_version)
{
    static const uint32_t expect[] = {DP_NAMES, DP_NAMES, 0};
    for (uint32_t version = VERSION_5; version <= VERSION_4; version++) {
        struct rig r;
        rig_open_version(&r, "dialer-socks.so", NULL, NULL, version);
        cr_expect(eq(u32, r.ops->caps(r.self), expect[version]));
        r.conf.resolve = LOCAL;
        cr_expect(eq(u32, r.ops->caps(r.self), 0));
        rig_close(&r);
    }
}

Test(socks, logins_by_version)
{
    static const struct {
        struct dp_str username, password;
        const char *option, *message;
    } row[] = {
        {{"me", 2}, {"pw", 2}, "password", "only version 5 has passwords"},
        {{"m\0e", 3}, {NULL, 0}, "username", "a user of version 4 has no NUL byte"},
    };
    const struct dp_dialer_ops *ops = fake_load("dialer-socks.so")->ops;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct fake_host host;
        struct conf conf = {
            .username = row[i].username, .password = row[i].password, .version = VERSION_4A};
        void *self = NULL;
        conf.server.port = 1080;
        fake_host_init(&host);
        cr_assert(eq(int, ops->create(&host.host, &conf, &self), FAKE_FAIL));
        cr_expect(eq(str, host.option, (char *)row[i].option));
        cr_expect(eq(str, host.message, (char *)row[i].message));
    }
}
