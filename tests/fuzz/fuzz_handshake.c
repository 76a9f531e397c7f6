/* SPDX-License-Identifier: MIT
 * fuzz_handshake.c: all that a client may say before its connection is relayed, in every
 * protocol. The first byte says what the listener speaks, whether it has users, and a bound for
 * bodies, the second how the rest is cut: whole and in pieces it comes to the same.
 */
#include "base/addr.h"
#include "fuzz/cuts.h"
#include "traffic/handshake.h"

#define SAID_MAX (1 << 20)

/* How a client fared. */
struct outcome {
    struct handshake *hs;
    enum turn turn;
    int code; /* of the refusal */
    size_t used, said_len;
    uint8_t said[SAID_MAX];
};

static void kept(struct ref *r)
{
    (void)r;
}

static void say(struct outcome *o, const void *p, size_t len)
{
    require(o->said_len + len <= SAID_MAX);
    memcpy(o->said + o->said_len, p, len);
    o->said_len += len;
}

static void say_owed(struct outcome *o)
{
    require(o->hs->owed <= GRANT_MAX);
    say(o, o->hs->answer, o->hs->owed);
    o->hs->owed = 0;
}

static void judge(struct login *l)
{
    static const enum login_state states[] = {LOGIN_RIGHT, LOGIN_WRONG, LOGIN_HELD, LOGIN_BUSY};
    require(l->state == LOGIN_GIVEN);
    l->state = states[l->password_len % 4];
}

/* As session.c would. Returns whether there is more to do before the client's next word. */
static int step(struct outcome *o)
{
    static struct refusal refusal;
    o->turn = handshake_read(o->hs, &refusal);
    if (o->turn == TURN_PAY)
        say_owed(o);
    if (o->turn == TURN_LOGIN)
        judge(o->hs->login);
    if (o->turn == TURN_ANSWER || o->turn == TURN_REFUSE) {
        require(refusal.len < REFUSAL_MAX && refusal.kind < REFUSAL_KINDS);
        o->code = refusal.code;
        say(o, refusal.bytes, refusal.len);
    }
    return o->turn == TURN_LOGIN || (o->turn == TURN_ANSWER && o->hs->len > 0);
}

static void feed(struct outcome *o, const uint8_t *p, size_t len, uint32_t *seed)
{
    o->said_len = 0;
    o->code = 0;
    struct handshake *hs = o->hs;
    for (size_t at = 0; at < len;) {
        size_t room = hs->size - hs->len, left = len - at < room ? len - at : room;
        size_t n = seed ? cut_next(seed, left) : left;
        require(n > 0);
        memcpy(hs->bytes + hs->len, p + at, n);
        hs->len += n;
        at += n;
        while (step(o))
            ;
        o->used = at - hs->len;
        if (o->turn == TURN_DIAL || o->turn == TURN_REFUSE)
            break;
    }
    if (o->turn != TURN_REFUSE) /* a refusal says it itself */
        say_owed(o);
}

/* ---- what was asked for ---- */

static int same_errand(const struct errand *a, const struct errand *b)
{
    if (!a || !b)
        return a == b;
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0 && a->body == b->body &&
           a->body_len == b->body_len && a->keep == b->keep && a->upgrade == b->upgrade;
}

/* Whatever becomes of the dial, there is room for what the client is told. */
static void check_answers(const struct handshake *hs)
{
    static const int errors[] = {DP_ERR_DENIED, DP_ERR_NO_HOST, DP_ERR_REFUSED, DP_ERR_LOCAL, -1};
    static struct refusal refusal;
    uint8_t out[GRANT_MAX];
    require(hs->errand || hs->protocol->grant(hs, NULL, out) <= GRANT_MAX - hs->owed);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        hs->protocol->fail(hs, errors[i], "link", &refusal);
        require(refusal.len > 0 && refusal.len < REFUSAL_MAX);
    }
}

/* Two things depend on how much has come, on purpose: of a body known to be malformed or too large
 * the server sees nothing at all; and what is behind a CONNECT that lacks a login may be for the tunnel. */
static int may_differ(const struct outcome *whole, const struct outcome *cut)
{
    if (whole->hs->protocol != &client_http || whole->turn != TURN_REFUSE)
        return 0;
    const struct errand *errand = cut->hs->errand;
    bool refused = whole->code == HTTP_BAD_REQUEST || whole->code == HTTP_CONTENT_TOO_LARGE;
    bool unsound = refused && errand && errand->body == HTTP_CHUNKED;
    bool login = whole->code == HTTP_LOGIN_NEEDED || whole->code == HTTP_TOO_MANY ||
                 whole->code == HTTP_UNAVAILABLE;
    return unsound || (whole->hs->login && login);
}

static void require_same(const struct outcome *whole, const struct outcome *cut)
{
    if (may_differ(whole, cut))
        return;
    require(whole->turn == cut->turn && whole->code == cut->code);
    require(whole->said_len == cut->said_len &&
            memcmp(whole->said, cut->said, whole->said_len) == 0);
    if (whole->turn != TURN_DIAL)
        return;
    require(whole->used == cut->used);
    require(addr_equal(&whole->hs->dest, &cut->hs->dest));
    require(!whole->hs->errand || whole->hs->errand->body_len <= whole->hs->body_max);
    require(same_errand(whole->hs->errand, cut->hs->errand));
    check_answers(whole->hs);
}

/* ---- the target ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct outcome whole, cut;
    static const unsigned kinds[] = {PROTO_SOCKS5 | PROTO_SOCKS4 | PROTO_HTTP, PROTO_SOCKS5,
                                     PROTO_SOCKS4, PROTO_HTTP};
    if (len < 3)
        return 0;
    struct trash trash = {0};
    struct pool pool = {0};
    const struct conf_users users = {0};
    const struct conf_listener listener = {.name = "main",
                                           .protocols = kinds[data[0] % 4],
                                           .users = data[0] & 4 ? &users : NULL,
                                           .max_request_body = data[0] & 8 ? 20 : 0};
    uint32_t seeds[] = {data[1], 0};
    ref_init(&pool.ref, &trash, kept);
    whole.hs = handshake_new(&listener, &pool, 0);
    require(whole.hs != NULL);
    feed(&whole, data + 2, len - 2, NULL);
    for (size_t i = 0; i < 2; i++) {
        cut.hs = handshake_new(&listener, &pool, 0);
        require(cut.hs != NULL);
        feed(&cut, data + 2, len - 2, &seeds[i]);
        require_same(&whole, &cut);
        handshake_free(cut.hs);
    }
    handshake_free(whole.hs);
    ref_drop(&pool.ref);
    trash_empty(&trash);
    return 0;
}
