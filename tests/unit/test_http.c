/* SPDX-License-Identifier: MIT
 * test_http.c: dialer-http against a scripted proxy on a socket pair: it dribbles, refuses, hangs,
 * dies, and gives every answer.
 */
#include "lib/tunnel_rig.h"

#define OK200 "HTTP/1.1 200 OK\r\n\r\n"

static void rig_open(struct rig *r, const char *username, const char *password)
{
    rig_open_version(r, "dialer-http.so", username, password, 0);
}

/* A dial to 192.0.2.1:80 that has sent its request and got `answer`, with a Z glued to it. */
static void answered(struct rig *r, const char *answer, size_t len, size_t chunk)
{
    char request[2048];
    rig_connect(r, ip("192.0.2.1", 80));
    rig_start(r);
    cr_assert(recv(r->peer, request, sizeof request, 0) > 0);
    says(r, answer, len, chunk, "Z");
}

/* ---- the request ---- */

static void asks(struct rig *r, struct dp_addr to, const char *expect)
{
    rig_connect(r, to);
    rig_start(r);
    hears(r, expect, strlen(expect));
    waits_for(r, POLLIN);
}

Test(http, requests)
{
    char longest[256], expect[1024];
    struct rig r;
    memset(longest, 'n', 255);
    longest[255] = '\0';
    snprintf(expect, sizeof expect, "CONNECT %s:65535 HTTP/1.1\r\nHost: %s:65535\r\n\r\n", longest,
             longest);
    rig_open(&r, NULL, NULL);
    asks(&r, ip("192.0.2.1", 80), "CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n");
    asks(&r, ip("2001:db8::1", 443),
         "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n");
    asks(&r, name("a.Test", 6, 1), "CONNECT a.Test:1 HTTP/1.1\r\nHost: a.Test:1\r\n\r\n");
    asks(&r, name("_x-1~", 5, 0), "CONNECT _x-1~:0 HTTP/1.1\r\nHost: _x-1~:0\r\n\r\n");
    asks(&r, name(longest, 255, 65535), expect);
    rig_close(&r);
}

/* RFC 4648 section 10, RFC 7617 section 2. */
Test(http, credentials)
{
    static const struct {
        const char *username, *password, *field;
    } row[] = {
        {"Aladdin", "open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        {"test", "123\302\243", "dGVzdDoxMjPCow=="},
        {"f", NULL, "Zjo="},
        {"me", "a:b", "bWU6YTpi"},
        {"me", "abc", "bWU6YWJj"},
        {"me", "abcd", "bWU6YWJjZA=="},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char expect[512];
        struct rig r;
        snprintf(expect, sizeof expect,
                 "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nProxy-Authorization: Basic %s\r\n\r\n",
                 row[i].field);
        rig_open(&r, row[i].username, row[i].password);
        asks(&r, name("a", 1, 1), expect);
        rig_close(&r);
    }
}

Test(http, longest_request)
{
    static const char head[] = "CONNECT ", field[] = "Proxy-Authorization: Basic eHh4";
    char text[256], got[2048];
    struct rig r;
    memset(text, 'x', 255);
    text[255] = '\0';
    rig_open(&r, text, text);
    rig_connect(&r, name(text, 255, 65535));
    rig_start(&r);
    ssize_t n = recv(r.peer, got, sizeof got - 1, 0);
    cr_assert(n > 0);
    got[n] = '\0';
    cr_expect(eq(i64, n, 8 + 261 + 17 + 261 + 2 + 27 + 684 + 4));
    cr_expect(strncmp(got, head, sizeof head - 1) == 0 && strstr(got, field));
    cr_expect(eq(str, got + n - 8, "eA==\r\n\r\n")); /* of 511 bytes the last stands alone */
    rig_close(&r);
}

/* Nothing is sent that a server could take for another host, port or line. */
Test(http, cannot_be_asked)
{
    static const char bad[] = "\0\t\r\n \"#%/:<>?@[\\]^`{|}\177\200\377";
    char longer[256], text[] = "a?b";
    struct rig r;
    memset(longer, 'n', sizeof longer);
    rig_open(&r, NULL, NULL);
    for (size_t i = 0; i < sizeof bad - 1; i++) {
        text[1] = bad[i];
        rig_connect(&r, name(text, 3, 80));
        rig_start(&r);
        cr_expect(eq(int, r.rc, DP_ERR_FAMILY), "byte %02x", (unsigned char)bad[i]);
        cr_expect(recv(r.peer, longer, 1, 0) < 0);
    }
    rig_connect(&r, name("", 0, 80));
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_FAMILY));
    rig_connect(&r, name(longer, 256, 80));
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_FAMILY));
    rig_connect(&r, ip("192.0.2.1", 80));
    r.req.proto = DP_UDP;
    rig_start(&r);
    cr_expect(eq(int, r.rc, DP_ERR_COMMAND));
    rig_close(&r);
}

/* ---- the answer ---- */

static const char *const good[] = {
    OK200,
    "HTTP/1.0 200 Connection established\r\n\r\n",
    "HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
    "HTTP/1.1 200\r\n\r\n",
    "HTTP/1.1 200 \r\n\r\n",
    "HTTP/1.1 200\n\n",
    "HTTP/1.1 200 OK\nServer: x\r\nA:b\n\r\n",
    "HTTP/1.7 299 \303\244\tb\r\n\r\n",
    "HTTP/1.1 204 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : b\r\nB:\r\nC: d\r\n folded\r\n\tagain\r\n\r\n",
    ("HTTP/1.1 100 Continue\r\n\r\n" OK200),
    "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 x\n\nHTTP/1.0 200 OK\r\nA: b\r\n\r\n",
};

Test(http, good_answers)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (size_t chunk = 1; chunk <= 200; chunk += chunk < 20 ? 1 : 180) {
            struct rig r;
            rig_open(&r, NULL, NULL);
            answered(&r, good[i], strlen(good[i]), chunk);
            cr_expect(eq(int, r.rc, DP_OK), "answer %zu by %zu", i, chunk);
            left(&r, "Z");
            cr_expect(r.conn.bound.salen == 0 && r.conn.bound.name_len == 0);
            cr_expect(eq(u32, r.host.n_logs, 0));
            rig_close(&r);
        }
    }
}

struct bytes {
    const char *p;
    size_t len;
};
#define B(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

static const struct bytes broken[] = {
    B("\0"),
    B("\n"),
    B("\r\nHTTP/1.1 200 OK\r\n\r\n"),
    B("SSH-2.0-OpenSSH_9.2\r\n"),
    B("\5\0"),
    B("http/1.1 200 OK\r\n\r\n"),
    B("HTTP/2 200\r\n\r\n"),
    B("HTTP/2.0 200 OK\r\n\r\n"),
    B("HTTP/1 200 OK\r\n\r\n"),
    B("HTTP/1.x 200 OK\r\n\r\n"),
    B("HTTP/1.10 200 OK\r\n\r\n"),
    B("HTTP/1.1  200 OK\r\n\r\n"),
    B("HTTP/1.1\t200 OK\r\n\r\n"),
    B("HTTP/1.1 20\r\n\r\n"),
    B("HTTP/1.1 2000 OK\r\n\r\n"),
    B("HTTP/1.1 2x0 OK\r\n\r\n"),
    B("HTTP/1.1 020 OK\r\n\r\n"),
    B("HTTP/1.1 200-OK\r\n\r\n"),
    B("HTTP/1.1 +20 OK\r\n\r\n"),
    B("HTTP/1.1 200 O\0K\r\n\r\n"),
    B("HTTP/1.1 200 O\rK\r\n\r\n"),
    B("HTTP/1.1 200 O\033K\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\n: b\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\n\303: d\r\n\r\n"),
    B("HTTP/1.1 200 OK\r\n\rx"),
    B("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    B("HTTP/1.1 100 Continue\r\n\r\n\r\n"),
};

Test(http, broken_answers)
{
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        for (size_t chunk = 1; chunk <= 200; chunk += 199) {
            struct rig r;
            rig_open(&r, NULL, NULL);
            answered(&r, broken[i].p, broken[i].len, chunk);
            cr_expect(eq(int, r.rc, DP_ERR_LINK), "answer %zu by %zu", i, chunk);
            cr_expect(eq(str, r.host.log, "the server's answer is not HTTP/1"));
            rig_close(&r);
        }
    }
}

static const char *say(char *out, size_t size, unsigned status)
{
    snprintf(out, size, "HTTP/1.1 %u Reason\r\nServer: x\r\n\r\n", status);
    return out;
}

static int expected(unsigned status)
{
    if (status < 300)
        return DP_OK;
    if (status < 400 || status == 401 || status == 407)
        return DP_ERR_LINK;
    if (status == 403)
        return DP_ERROR(DP_UNABLE, 2);
    if (status == 405 || status == 501)
        return DP_ERR_COMMAND;
    return status >= 500 || status == 404 ? DP_ERR_HOST_UNREACH : DP_ERROR(DP_UNABLE, 1);
}

Test(http, every_status)
{
    char text[64];
    struct rig r;
    rig_open(&r, NULL, NULL);
    for (unsigned status = 200; status < 1000; status++) {
        say(text, sizeof text, status);
        answered(&r, text, strlen(text), sizeof text);
        cr_expect(eq(int, r.rc, expected(status)), "status %u", status);
    }
    rig_close(&r);
}

Test(http, what_is_logged)
{
    static const struct {
        const char *username;
        unsigned status;
        const char *log; /* empty: nothing */
    } row[] = {
        {NULL, 407, "the server wants a login, and no username is configured"},
        {"me", 407, "the server refused the username or password"},
        {"me", 401, "the server refused the username or password"},
        {NULL, 302, "the server redirects instead of connecting"},
        {NULL, 405, "the server does not do CONNECT"},
        {NULL, 403, ""},
        {NULL, 503, ""},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char text[64];
        struct rig r;
        rig_open(&r, row[i].username, row[i].username ? "secret" : NULL);
        say(text, sizeof text, row[i].status);
        answered(&r, text, strlen(text), sizeof text);
        cr_expect(eq(str, r.host.log, (char *)row[i].log));
        rig_close(&r);
    }
}

Test(http, refusals_are_logged_now_and_then)
{
    char text[64];
    struct rig r;
    say(text, sizeof text, 407);
    rig_open(&r, "me", "secret");
    for (int i = 0; i < 25; i++) { /* one a second */
        r.want.now = (100 + i) * SECOND;
        answered(&r, text, strlen(text), sizeof text);
        cr_expect(eq(int, r.rc, DP_ERR_LINK));
    }
    cr_expect(eq(u32, r.host.n_logs, 3));
    cr_expect(eq(int, r.host.level, DP_LOG_WARN));
    rig_close(&r);
}

/* ---- bounds ---- */

/* A head of so many bytes and fields. Returns its length. */
static size_t head(char *out, size_t size, unsigned fields)
{
    static const char line[] = "HTTP/1.1 200 OK\r\n";
    size_t len = sizeof line - 1;
    memcpy(out, line, len);
    for (unsigned i = 0; i + 1 < fields; i++, len += 5)
        memcpy(out + len, "A:b\r\n", 5);
    memcpy(out + len, "A:", 2);
    memset(out + len + 2, 'x', size - len - 6);
    memcpy(out + size - 4, "\r\n\r\n", 4);
    return size;
}

Test(http, bounds)
{
    static const struct {
        size_t size;
        unsigned fields;
        int expect;
    } row[] = {
        {16384, 1, DP_OK}, {16384, 100, DP_OK},     {16385, 1, DP_ERR_LINK},
        {600, 100, DP_OK}, {600, 101, DP_ERR_LINK},
    };
    static char text[16385];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        for (size_t chunk = 1000; chunk <= 17000; chunk += 16000) {
            struct rig r;
            rig_open(&r, NULL, NULL);
            answered(&r, text, head(text, row[i].size, row[i].fields), chunk);
            cr_expect(eq(int, r.rc, row[i].expect), "row %zu by %zu", i, chunk);
            if (r.rc == DP_OK)
                left(&r, "Z");
            else
                cr_expect(eq(str, r.host.log, "the server's answer is too long"));
            rig_close(&r);
        }
    }
}

/* Interim answers without an end are no way round the bound. */
Test(http, interim_answers_are_bounded)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct rig r;
    rig_open(&r, NULL, NULL);
    answered(&r, interim, sizeof interim - 1, sizeof interim);
    cr_expect(eq(int, r.rc, DP_ERR_LINK)); /* the Z behind it */
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    for (int i = 0; i < 16384 / 25; i++) {
        says(&r, interim, sizeof interim - 1, sizeof interim, NULL);
        waits_for(&r, POLLIN);
    }
    says(&r, interim, sizeof interim - 1, sizeof interim, NULL);
    cr_expect(eq(int, r.rc, DP_ERR_LINK));
    cr_expect(eq(str, r.host.log, "the server's answer is not HTTP/1")); /* of the first */
    rig_close(&r);
}

/* ---- a bad stream ---- */

/* It ends, or is reset, after each number of bytes the server can have said. */
Test(http, dies_at_each_byte)
{
    static const char answer[] = "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n";
    for (size_t reset = 0; reset < 2; reset++) {
        for (size_t cut = 0; cut < sizeof answer - 1; cut++) {
            struct rig r;
            char drain[512];
            rig_open(&r, NULL, NULL);
            rig_connect(&r, ip("192.0.2.1", 80));
            rig_start(&r);
            says(&r, answer, cut, cut ? cut : 1, NULL);
            waits_for(&r, POLLIN);
            while (!reset && recv(r.peer, drain, sizeof drain, 0) > 0)
                continue;
            close(r.peer); /* a reset if there is something unread */
            r.peer = -1;
            rig_step(&r);
            cr_expect(eq(int, r.rc, cut ? DP_ERR_LINK : DP_ERR_NO_ANSWER),
                      "after %zu bytes, reset %zu", cut, reset);
            rig_close(&r);
        }
    }
}

/* All that it will say is there, and then the end: what the destination said is not lost. */
Test(http, answers_and_ends)
{
    struct rig r;
    char rest[8];
    rig_open(&r, NULL, NULL);
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    cr_assert(send(r.peer, OK200 "bye", sizeof OK200 + 2, MSG_NOSIGNAL) > 0);
    shutdown(r.peer, SHUT_WR);
    rig_step(&r);
    cr_expect(eq(int, r.rc, DP_OK));
    left(&r, "bye");
    cr_expect(eq(i64, recv(r.req.fd, rest, sizeof rest, 0), 0));
    rig_close(&r);
}

Test(http, dead_before_the_start)
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

Test(http, hangs)
{
    struct rig r;
    rig_open(&r, NULL, NULL);
    rig_connect(&r, ip("192.0.2.1", 80));
    rig_start(&r);
    for (int i = 0; i < 3; i++) { /* woken for nothing */
        rig_step(&r);
        waits_for(&r, POLLIN);
    }
    says(&r, "HTTP/1.1 2", 10, 10, NULL);
    for (int i = 0; i < 3; i++) {
        rig_step(&r);
        waits_for(&r, POLLIN);
    }
    rig_close(&r);
}

/* The stream takes nothing at first: it waits to write, and nothing is lost or sent twice. */
Test(http, slow_to_write)
{
    static const char expect[] = "CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n";
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
    hears(&r, expect, sizeof expect - 1);
    rig_close(&r);
}

/* ---- the instance ---- */

Test(http, mistakes)
{
    static const struct {
        struct dp_str username, password;
        uint16_t port;
        const char *option, *message;
    } row[] = {
        {{NULL, 0}, {"pw", 2}, 1, "password", "a password needs a username"},
        {{"a:b", 3}, {"pw", 2}, 1, "username", "a username for HTTP has no colon"},
        {{"a\nb", 3}, {"pw", 2}, 1, "username", "a username for HTTP has no control characters"},
        {{"a", 1}, {"p\0w", 3}, 1, "password", "a password for HTTP has no control characters"},
        {{NULL, 0}, {NULL, 0}, 0, "server", "a server has a port from 1 to 65535"},
    };
    const struct dp_dialer_ops *ops = fake_load("dialer-http.so")->ops;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct fake_host host;
        struct conf conf = {.username = row[i].username, .password = row[i].password};
        void *self = NULL;
        conf.server.port = row[i].port;
        fake_host_init(&host);
        cr_assert(eq(int, ops->create(&host.host, &conf, &self), FAKE_FAIL));
        cr_expect(eq(str, host.option, (char *)row[i].option));
        cr_expect(eq(str, host.message, (char *)row[i].message));
    }
}

Test(http, names_and_hop)
{
    struct rig r;
    struct dp_addr hop = {0};
    rig_open(&r, NULL, NULL);
    cr_expect(eq(u32, r.ops->caps(r.self), DP_NAMES));
    r.conf.resolve = LOCAL;
    cr_expect(eq(u32, r.ops->caps(r.self), 0));
    cr_assert(eq(int, r.ops->hop(r.self, &hop), DP_OK));
    cr_expect(same(&hop, r.conf.server));
    rig_close(&r);
}
