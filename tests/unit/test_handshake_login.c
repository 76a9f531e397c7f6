/* SPDX-License-Identifier: MIT
 * test_handshake_login.c: what a listener with users says to its clients, protocol by protocol, by
 * every cut; the test gives the verdicts.
 */
#include "traffic/handshake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

struct bytes {
    const char *p;
    size_t len;
};
#define B(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

/* ---- RFC 1929 ---- */

Test(rfc1929, messages_and_every_cut_of_them)
{
    static char longest[513];
    memset(longest, 'x', sizeof longest);
    longest[0] = 1;
    longest[1] = longest[257] = (char)255;
    const struct {
        struct bytes in;
        int expect;
        size_t user_len, password_len;
    } table[] = {
        {B("\1\1u\1p"), 5, 1, 1},
        {B("\1\0\0"), 3, 0, 0},
        {B("\1\0\1p"), 4, 0, 1},
        {B("\1\3bob\0"), 6, 3, 0},
        {B("\1\3b\0b\4p\0pp"), 10, 3, 4},
        {{longest, sizeof longest}, 513, 255, 255},
        {B("\5\1\0\1"), SOCKS5_MALFORMED, 0, 0}, /* a request instead */
        {B("\0\1u\1p"), SOCKS5_MALFORMED, 0, 0},
        {B("\2\1u\1p"), SOCKS5_MALFORMED, 0, 0},
    };
    for (size_t i = 0; i < LENGTH(table); i++)
        for (size_t cut = 0; cut <= table[i].in.len; cut++) {
            uint8_t *copy = malloc(cut + 1); /* so that a read past it is seen */
            struct dp_str user, password;
            memcpy(copy, table[i].in.p, cut);
            uint8_t *exact = realloc(copy, cut ? cut : 1);
            int n = socks5_login(exact, cut, &user, &password);
            bool whole = cut == table[i].in.len, bad = table[i].expect < 0;
            cr_expect_eq(n, whole || (bad && cut) ? table[i].expect : 0, "%zu, %zu: %d", i, cut, n);
            if (n > 0)
                cr_expect(user.len == table[i].user_len && password.len == table[i].password_len &&
                          user.p == (char *)exact + 2 &&
                          password.p == user.p + table[i].user_len + 1);
            free(exact);
        }
}

/* ---- handshakes ---- */

/* A client of a listener with users, of whom "bob" has the password "pw". */
struct rig {
    struct trash trash;
    struct pool pool;
    struct conf_users users;
    struct conf_listener listener;
    struct handshake *hs;
    char said[4096]; /* to the client */
    size_t said_len;
    const char *why;
};

static void kept(struct ref *r)
{
    (void)r; /* the pool is the rig's */
}

static void rig_open(struct rig *r)
{
    *r = (struct rig){.listener = {.name = "main",
                                   .protocols = PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP,
                                   .users = &r->users}};
    ref_init(&r->pool.ref, &r->trash, kept);
    r->hs = handshake_new(&r->listener, &r->pool, 0);
    cr_assert_not_null(r->hs);
}

static void say(struct rig *r, const void *p, size_t len)
{
    cr_assert(r->said_len + len < sizeof r->said);
    memcpy(r->said + r->said_len, p, len);
    r->said_len += len;
    r->said[r->said_len] = '\0';
}

/* As login.c would, without a thread. */
static void judge(struct login *l)
{
    cr_assert_eq(l->state, LOGIN_GIVEN);
    bool right = l->user_len == 3 && memcmp(l->user, "bob", 3) == 0 && l->password_len == 2 &&
                 memcmp(l->password, "pw", 2) == 0;
    bool held = l->user_len == 4 && memcmp(l->user, "held", 4) == 0;
    l->state = right ? LOGIN_RIGHT : held ? LOGIN_HELD : LOGIN_WRONG;
}

/* As session.c would, without a socket. Returns TURN_CLIENT, TURN_DIAL or TURN_REFUSE. */
static enum turn step(struct rig *r)
{
    struct refusal refusal;
    do {
        enum turn turn = handshake_read(r->hs, &refusal);
        switch (turn) {
        case TURN_PAY:
            say(r, r->hs->answer, r->hs->owed);
            r->hs->owed = 0;
            return TURN_CLIENT;
        case TURN_LOGIN:
            judge(r->hs->login);
            break;
        case TURN_ANSWER:
            say(r, refusal.bytes, refusal.len);
            r->why = refusal.why;
            break;
        case TURN_DIAL:
            say(r, r->hs->answer, r->hs->owed);
            return turn;
        case TURN_REFUSE:
            say(r, refusal.bytes, refusal.len);
            r->why = refusal.why;
            return turn;
        default:
            return turn;
        }
    } while (r->hs->len || r->hs->login->state != LOGIN_WANTED);
    return TURN_CLIENT;
}

/* In two pieces, or a byte at a time where cut is the length. */
static enum turn feed(struct rig *r, struct bytes in, size_t cut)
{
    enum turn turn = TURN_CLIENT;
    for (size_t at = 0, n; at < in.len && turn == TURN_CLIENT; at += n) {
        n = cut == in.len ? 1 : at == 0 && cut ? cut : in.len - at;
        cr_assert(r->hs->len + n <= r->hs->size);
        memcpy(r->hs->bytes + r->hs->len, in.p + at, n);
        r->hs->len += n;
        turn = step(r);
    }
    return turn;
}

static void rig_close(struct rig *r)
{
    handshake_free(r->hs);
    ref_drop(&r->pool.ref);
    trash_empty(&r->trash);
}

#define REQUEST "\5\1\0\1\12\0\0\1\0\120" /* 10.0.0.1:80 */

Test(handshake, socks5)
{
    static const struct {
        struct bytes in, said;
        enum turn turn;
    } table[] = {
        {B("\5\1\2\1\3bob\2pw" REQUEST), B("\5\2\1\0"), TURN_DIAL},
        {B("\5\2\0\2\1\3bob\2pw" REQUEST), B("\5\2\1\0"), TURN_DIAL},
        {B("\5\1\2\1\3bob\2px" REQUEST), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3bob\1p"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3bob\3pwx"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3bob\4pw\0x"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3Bob\2pw"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3bob\0"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\0\0"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\4held\1x"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2" REQUEST), B("\5\2\1\1"), TURN_REFUSE}, /* the login is skipped */
        {B("\5\1\2\2\3bob\2pw"), B("\5\2\1\1"), TURN_REFUSE},
        {B("\5\1\2\1\3bob\2pw\1\3bob\2pw"), B("\5\2\1\0\5\1\0\1\0\0\0\0\0\0"), TURN_REFUSE},
        {B("\5\1\0" REQUEST), B("\5\377"), TURN_REFUSE},
        {B("\5\0"), B("\5\377"), TURN_REFUSE},
        {B("\5\2\0\1" REQUEST), B("\5\377"), TURN_REFUSE},
    };
    for (size_t i = 0; i < LENGTH(table); i++)
        for (size_t cut = 0; cut <= table[i].in.len; cut++) {
            struct rig r;
            rig_open(&r);
            enum turn turn = feed(&r, table[i].in, cut);
            cr_expect_eq(turn, table[i].turn, "%zu, %zu: %d", i, cut, turn);
            cr_expect(r.said_len == table[i].said.len &&
                          memcmp(r.said, table[i].said.p, r.said_len) == 0,
                      "%zu, %zu: said %zu bytes", i, cut, r.said_len);
            cr_expect_eq(turn == TURN_REFUSE, r.why != NULL);
            rig_close(&r);
        }
}

Test(handshake, socks4_is_no_way_round)
{
    static const struct bytes table[] = {
        B("\4\1\0\120\12\0\0\1bob\0"),
        B("\4\1\0\120\12\0\0\1\0"),
        B("\4\1\0\120\0\0\0\1bob:pw\0a.example\0"),
    };
    for (size_t i = 0; i < LENGTH(table); i++)
        for (size_t cut = 0; cut <= table[i].len; cut++) {
            struct rig r;
            rig_open(&r);
            cr_expect_eq(feed(&r, table[i], cut), TURN_REFUSE);
            cr_expect(r.said_len == 8 && memcmp(r.said, "\0\133", 2) == 0);
            rig_close(&r);
        }
}

#define H "Host: a\r\n"
#define RIGHT "Proxy-Authorization: Basic Ym9iOnB3\r\n" /* bob:pw */
#define WRONG "Proxy-Authorization: Basic Ym9iOnB4\r\n" /* bob:px */
#define CONNECT "CONNECT 10.0.0.1:80 HTTP/1.1\r\n" H

Test(handshake, http)
{
    static const struct {
        const char *in;
        enum turn turn;
        int answers[4]; /* statuses, in order */
        bool logged;
    } table[] = {
        {CONNECT RIGHT "\r\n", TURN_DIAL, {0}, false},
        {"CONNECT 10.0.0.1:80 HTTP/1.0\r\n" RIGHT "\r\n", TURN_DIAL, {0}, false},
        /* a browser asks, is told, and asks again by the same connection */
        {CONNECT "\r\n" CONNECT RIGHT "\r\n", TURN_DIAL, {407}, false},
        {CONNECT WRONG "\r\n", TURN_CLIENT, {407}, true},
        {CONNECT "Proxy-Connection: keep-alive\r\nConnection: Keep-Alive\r\n\r\n",
         TURN_CLIENT,
         {407},
         false},
        {CONNECT "Connection: close\r\n\r\n", TURN_REFUSE, {407}, false},
        {"CONNECT 10.0.0.1:80 HTTP/1.0\r\n\r\n", TURN_REFUSE, {407}, false},
        {CONNECT RIGHT RIGHT "\r\n", TURN_CLIENT, {407}, false},
        {CONNECT RIGHT WRONG "\r\n", TURN_CLIENT, {407}, false},
        {CONNECT "Proxy-Authorization: Bearer Ym9iOnB3\r\n\r\n", TURN_CLIENT, {407}, false},
        {CONNECT "Authorization: Basic Ym9iOnB3\r\n\r\n", TURN_CLIENT, {407}, false},
        {CONNECT "Proxy-Authorization: Basic Ym9iOnB3AHg=\r\n\r\n", TURN_CLIENT, {407}, true},
        {CONNECT "Proxy-Authorization: Basic aGVsZDp4\r\n\r\n", TURN_CLIENT, {429}, true},
        {"GET http://a/ HTTP/1.1\r\n" H "\r\n", TURN_CLIENT, {407}, false},
        {"GET http://a/ HTTP/1.1\r\n" H "\r\nGET http://a/ HTTP/1.1\r\n" H WRONG "\r\n",
         TURN_CLIENT,
         {407, 407},
         true},
        {"POST http://a/ HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", TURN_REFUSE, {407}, false},
        {"POST http://a/ HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         TURN_REFUSE,
         {407},
         false},
        {"OPTIONS * HTTP/1.1\r\n" H "\r\n", TURN_CLIENT, {407}, false},
        /* what is no way out needs no login */
        {"GET / HTTP/1.1\r\n" H "\r\n", TURN_REFUSE, {200}, false},
        {"GET /proxy.pac HTTP/1.1\r\n" H "\r\n", TURN_REFUSE, {200}, false},
        {"GET /x HTTP/1.1\r\n" H "\r\n", TURN_REFUSE, {404}, false},
        {CONNECT "a b: c\r\n\r\n", TURN_REFUSE, {400}, true},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        const struct bytes in = {table[i].in, strlen(table[i].in)};
        struct rig r;
        rig_open(&r);
        enum turn turn =
            feed(&r, in, in.len); /* as clients do: what follows waits for the answer */
        cr_expect_eq(turn, table[i].turn, "%zu: %d\n%s", i, turn, r.said);
        const char *at = r.said;
        for (const int *status = table[i].answers; *status; status++) {
            char line[20];
            snprintf(line, sizeof line, "HTTP/1.1 %d ", *status);
            cr_assert(at && strncmp(at, line, strlen(line)) == 0, "%zu: %s", i, r.said);
            bool last = turn == TURN_REFUSE && !status[1];
            cr_expect_eq(strstr(at, "Connection: close\r\n") != NULL, last, "%zu: %s", i, at);
            cr_expect_eq(strstr(at, "\r\nProxy-Authenticate: Basic realm=\"dispatch\"") != NULL,
                         *status == 407, "%zu: %s", i, at);
            at = strstr(at + 1, "HTTP/1.1");
        }
        cr_expect(at == NULL || *at == 0, "%zu: %s", i, r.said);
        cr_expect_eq(r.why != NULL, table[i].logged, "%zu: %s", i, r.why);
        rig_close(&r);
    }
}

/* What is behind a CONNECT may be the tunnel's: it is never taken for a request. */
Test(handshake, http_connect_with_early_data)
{
    static const struct bytes in = B(CONNECT "\r\nGET http://a/ HTTP/1.1\r\n" H RIGHT "\r\n");
    struct rig r;
    rig_open(&r);
    cr_expect_eq(feed(&r, in, 0), TURN_REFUSE);
    cr_expect_not_null(strstr(r.said, "407"));
    rig_close(&r);
}

/* As soon as it has been looked at nothing of it is left in the buffer. */
Test(handshake, passwords_are_wiped)
{
    static const struct {
        struct bytes in;
        const char *secret;
    } table[] = {{B("\5\1\2\1\3bob\2pw"), "pw"}, {B(CONNECT WRONG "\r\n"), "Ym9iOnB4"}};
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct rig r;
        rig_open(&r);
        feed(&r, table[i].in, 0);
        cr_expect_null(
            memmem(r.hs->first, sizeof r.hs->first, table[i].secret, strlen(table[i].secret)));
        rig_close(&r);
    }
}
