/* SPDX-License-Identifier: MIT
 * handshake.c: SOCKS5 (RFC 1928), its logins (RFC 1929), SOCKS4 and SOCKS4a, from the client's side.
 */
#include "handshake.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

enum { NO_LOGIN = 0, PASSWORD = 2 };                /* methods, RFC 1928 section 3 */
enum { ATYP_IP4 = 1, ATYP_NAME = 3, ATYP_IP6 = 4 }; /* section 5 */

static void put(struct handshake *h, const void *data, size_t len)
{
    memcpy(h->out + h->out_len, data, len);
    h->out_len = (uint16_t)(h->out_len + len);
}

static void put_u8(struct handshake *h, unsigned v)
{
    h->out[h->out_len++] = (uint8_t)v;
}

static void put_port(struct handshake *h)
{
    put_u8(h, h->to->port >> 8);
    put_u8(h, h->to->port & 255);
}

static const struct in_addr *ip4(const struct dp_addr *to)
{
    return &((const struct sockaddr_in *)&to->sa)->sin_addr;
}

static enum state expect(struct handshake *h, enum state next, size_t need)
{
    h->need = (uint16_t)need;
    return next;
}

/* The server is of no use. */
static int broken(struct handshake *h, const char *why)
{
    h->complaint = why;
    return DP_ERR_LINK;
}

/* ---- SOCKS5 ---- */

static void put_greeting(struct handshake *h)
{
    if (h->conf->username.len)
        put(h, (const uint8_t[]){5, 2, NO_LOGIN, PASSWORD}, 4);
    else
        put(h, (const uint8_t[]){5, 1, NO_LOGIN}, 3);
}

static int put_request(struct handshake *h)
{
    const struct dp_addr *to = h->to;
    put(h, (const uint8_t[]){5, 1, 0}, 3); /* CONNECT */
    if (!to->salen) {
        put_u8(h, ATYP_NAME);
        put_u8(h, to->name_len);
        put(h, to->name, to->name_len);
    } else if (to->sa.ss_family == AF_INET) {
        put_u8(h, ATYP_IP4);
        put(h, ip4(to), 4);
    } else {
        put_u8(h, ATYP_IP6);
        put(h, &((const struct sockaddr_in6 *)&to->sa)->sin6_addr, 16);
    }
    put_port(h);
    return expect(h, REPLY, 4);
}

static int put_login(struct handshake *h)
{
    const struct conf *conf = h->conf;
    put_u8(h, 1);
    put_u8(h, conf->username.len);
    put(h, conf->username.p, conf->username.len);
    put_u8(h, conf->password.len);
    if (conf->password.len)
        put(h, conf->password.p, conf->password.len);
    return expect(h, LOGIN, 2);
}

/* VER METHOD */
static int on_method(struct handshake *h, struct dp_addr *bound)
{
    (void)bound;
    bool login = h->conf->username.len > 0;
    if (h->in[0] != 5)
        return broken(h, "the server does not speak SOCKS5");
    if (h->in[1] == NO_LOGIN)
        return put_request(h);
    if (h->in[1] == PASSWORD && login)
        return put_login(h);
    return broken(h, login ? "the server takes neither a password nor no login"
                           : "the server wants a login, and no username is configured");
}

/* VER STATUS. Some servers answer with the 5 of SOCKS instead of the 1 of RFC 1929. */
static int on_login(struct handshake *h, struct dp_addr *bound)
{
    (void)bound;
    if (h->in[0] != 1 && h->in[0] != 5)
        return broken(h, "the server's answer to the login makes no sense");
    if (h->in[1] != 0)
        return broken(h, "the server refused the username or password");
    return put_request(h);
}

/* VER REP RSV ATYP. RSV is not looked at. */
static int on_reply(struct handshake *h, struct dp_addr *bound)
{
    static const int error[] = {
        /* by REP, RFC 1928 section 6 */
        [1] = DP_ERR_LINK,         [2] = DP_ERR_DENIED,  [3] = DP_ERR_NET_UNREACH,
        [4] = DP_ERR_HOST_UNREACH, [5] = DP_ERR_REFUSED, [6] = DP_ERR_TTL,
        [7] = DP_ERR_COMMAND,      [8] = DP_ERR_FAMILY,
    };
    (void)bound;
    uint8_t rep = h->in[1];
    if (h->in[0] != 5)
        return broken(h, "the server's reply is not SOCKS5");
    if (rep)
        return rep < sizeof error / sizeof *error ? error[rep] : DP_ERR_LINK;

    h->atyp = h->in[3];
    if (h->atyp == ATYP_NAME)
        return expect(h, NAME_LEN, 1);
    if (h->atyp == ATYP_IP4 || h->atyp == ATYP_IP6)
        return expect(h, BOUND, (h->atyp == ATYP_IP4 ? 4 : 16) + 2);
    return broken(h, "the server's reply has an unknown type of address");
}

static int on_name_len(struct handshake *h, struct dp_addr *bound)
{
    (void)bound;
    return expect(h, BOUND, h->in[0] + 2u);
}

/* BND.ADDR BND.PORT; a name stays where it is. */
static int on_bound(struct handshake *h, struct dp_addr *bound)
{
    uint16_t len = (uint16_t)(h->need - 2), port;
    memset(bound, 0, sizeof *bound);
    memcpy(&port, h->in + len, 2);
    bound->port = ntohs(port);
    if (h->atyp == ATYP_NAME) {
        bound->name = (const char *)h->in;
        bound->name_len = len;
    } else if (h->atyp == ATYP_IP4) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = port};
        memcpy(&sin.sin_addr, h->in, 4);
        memcpy(&bound->sa, &sin, sizeof sin);
        bound->salen = sizeof sin;
    } else {
        struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = port};
        memcpy(&sin6.sin6_addr, h->in, 16);
        memcpy(&bound->sa, &sin6, sizeof sin6);
        bound->salen = sizeof sin6;
    }
    return DONE;
}

/* ---- SOCKS4 ---- */

/* 0.0.0.x means that a name follows, so no such address can be asked for; and a name ends at its
 * first NUL. */
static bool version_4_takes(const struct conf *conf, const struct dp_addr *to)
{
    if (to->salen)
        return to->sa.ss_family == AF_INET && ntohl(ip4(to)->s_addr) > 255;
    return conf->version == VERSION_4A && !memchr(to->name, '\0', to->name_len);
}

/* VN CD DSTPORT DSTIP USERID NUL, and in SOCKS4a the name and another NUL. */
static int put_request_4(struct handshake *h)
{
    const struct dp_addr *to = h->to;
    const struct dp_str *user = &h->conf->username;
    put(h, (const uint8_t[]){4, 1}, 2); /* CONNECT */
    put_port(h);
    put(h, to->salen ? (const void *)ip4(to) : (const uint8_t[]){0, 0, 0, 1}, 4);
    if (user->len)
        put(h, user->p, user->len);
    put_u8(h, 0);
    if (!to->salen) {
        put(h, to->name, to->name_len);
        put_u8(h, 0);
    }
    return expect(h, REPLY_4, 8);
}

/* VN CD DSTPORT DSTIP; the last two mean nothing after a CONNECT. Servers say 91 whatever has failed,
 * so whose fault it was is known only when another link gets through. */
static int on_reply_4(struct handshake *h, struct dp_addr *bound)
{
    (void)bound;
    if (h->in[0] != 0)
        return broken(h, "the server does not speak SOCKS4");
    switch (h->in[1]) {
    case 90:
        return DONE;
    case 91:
        return DP_ERROR(DP_PATH, 1);
    case 92:
    case 93:
        return broken(h, "the server asks identd for the user, and did not like the answer");
    default:
        return broken(h, "the server's reply is not SOCKS4");
    }
}

/* ---- both ---- */

int handshake_begin(struct handshake *h, const struct conf *conf, const struct dp_addr *to)
{
    h->conf = conf;
    h->to = to;
    if (!to->salen && (to->name_len < 1 || to->name_len > 255))
        return DP_ERR_FAMILY;
    if (conf->version == VERSION_5) {
        put_greeting(h);
        h->state = expect(h, METHOD, 2);
        return 0;
    }
    if (!version_4_takes(conf, to))
        return DP_ERR_FAMILY;
    h->state = (enum state)put_request_4(h);
    return 0;
}

int handshake_next(struct handshake *h, struct dp_addr *bound)
{
    static int (*const on[])(struct handshake *, struct dp_addr *) = {
        [METHOD] = on_method,     [LOGIN] = on_login, [REPLY] = on_reply,
        [NAME_LEN] = on_name_len, [BOUND] = on_bound, [REPLY_4] = on_reply_4,
    };
    h->out_len = 0;
    int next = on[h->state](h, bound);
    if (next < 0)
        return next;
    h->state = (enum state)next;
    return h->state == DONE ? DP_OK : DP_AGAIN;
}
