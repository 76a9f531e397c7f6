/* SPDX-License-Identifier: MIT
 * handshake_socks5.c: clients that speak SOCKS5 (RFC 1928), with or without a login (RFC 1929).
 *
 * The choice of a method goes out with the reply to the request where the client does not wait for
 * it: it is owed until then.
 */
#include "traffic/handshake.h"

#include <string.h>

static void refusal_set(const struct handshake *hs, int code, const char *why,
                        struct refusal *refusal)
{
    memcpy(refusal->bytes, hs->answer, hs->owed);
    refusal->len = hs->owed + socks5_reply(refusal->bytes + hs->owed, code, NULL);
    refusal->code = code;
    refusal->why = why;
}

static enum turn no_method(const struct handshake *hs, struct refusal *refusal)
{
    refusal->bytes[0] = SOCKS5_VERSION;
    refusal->bytes[1] = SOCKS5_NO_METHOD;
    refusal->len = 2;
    refusal->code = SOCKS5_NO_METHOD;
    refusal->why = hs->login ? "offers no login by name and password"
                             : "offers no way to go on without a login";
    return TURN_REFUSE;
}

static enum turn greeting(struct handshake *hs, struct refusal *refusal)
{
    bool offered = false;
    const uint8_t method = hs->login ? SOCKS5_LOGIN : SOCKS5_NO_AUTH;
    int n = socks5_greeting(hs->bytes, hs->len, method, &offered);
    if (n <= 0) /* its version is 5, so nothing can be wrong */
        return TURN_CLIENT;
    if (!offered)
        return no_method(hs, refusal);
    hs->answer[0] = SOCKS5_VERSION;
    hs->answer[1] = method;
    hs->owed = 2;
    hs->greeted = true;
    handshake_consume(hs, (size_t)n);
    return TURN_CLIENT;
}

static enum turn login_refuse(const struct handshake *hs, const char *why, struct refusal *refusal)
{
    memcpy(refusal->bytes, hs->answer, hs->owed);
    refusal->len = hs->owed + socks5_login_reply(refusal->bytes + hs->owed, false);
    refusal->code = SOCKS5_FAILURE;
    refusal->kind = hs->login->state == LOGIN_HELD ? REFUSAL_HELD : REFUSAL_LOGIN;
    refusal->why = why;
    return TURN_REFUSE;
}

static enum turn login_read(struct handshake *hs, struct refusal *refusal)
{
    struct dp_str user, password;
    int n = socks5_login(hs->bytes, hs->len, &user, &password);
    if (n == 0)
        return TURN_PAY;
    if (n < 0)
        return login_refuse(hs, "goes on without the login it has offered", refusal);
    login_give(hs->login, user, password); /* they are no longer than it takes */
    handshake_consume(hs, (size_t)n);
    return TURN_LOGIN;
}

/* TURN_CLIENT: the client is admitted. */
static enum turn login(struct handshake *hs, struct refusal *refusal)
{
    switch (hs->login->state) {
    case LOGIN_WANTED:
        return login_read(hs, refusal);
    case LOGIN_RIGHT:
        hs->owed += socks5_login_reply(hs->answer + hs->owed, true);
        hs->admitted = true;
        return TURN_CLIENT;
    default:
        return login_refuse(hs, login_why(hs->login->state), refusal);
    }
}

static enum turn request(struct handshake *hs, struct refusal *refusal)
{
    struct dp_addr to;
    int n = socks5_request(hs->bytes, hs->len, &to);
    if (n == 0)
        return TURN_PAY;
    if (n < 0) {
        refusal_set(hs, -n,
                    -n == SOCKS5_BAD_COMMAND ? "asks for a command that is not CONNECT"
                                             : "sent a request that cannot be served",
                    refusal);
        return TURN_REFUSE;
    }
    handshake_dest(hs, &to);
    handshake_consume(hs, (size_t)n);
    return TURN_DIAL;
}

static enum turn socks5_read(struct handshake *hs, struct refusal *refusal)
{
    enum turn turn;
    if (!hs->greeted) {
        turn = greeting(hs, refusal);
        if (!hs->greeted)
            return turn;
    }
    if (hs->login && !hs->admitted) {
        turn = login(hs, refusal);
        if (!hs->admitted)
            return turn;
    }
    return request(hs, refusal);
}

static size_t socks5_grant(const struct handshake *hs, const struct dp_addr *bound, uint8_t *out)
{
    (void)hs;
    return socks5_reply(out, SOCKS5_OK, bound);
}

static void socks5_fail(const struct handshake *hs, int err, const char *link,
                        struct refusal *refusal)
{
    (void)link;
    refusal_set(hs, dp_reply(err) ? dp_reply(err) : SOCKS5_FAILURE, NULL, refusal);
}

const struct client_protocol client_socks5 = {
    .proto = PROTO_SOCKS5, .read = socks5_read, .grant = socks5_grant, .fail = socks5_fail};
