/* SPDX-License-Identifier: MIT
 * handshake_http.c: clients that speak HTTP/1 (RFC 9110, 9112): CONNECT, plain requests, and what a
 * browser sees that opens the port itself.
 */
#include "base/addr.h"
#include "config/units.h"
#include "proto/http_answer.h"
#include "proto/http_body.h"
#include "traffic/handshake.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BODY_MAX 700 /* of a page; with its head it must fit a refusal */
#define OWN_MAX 128  /* of the address by which clients reach this port, in pages */

static void answer(struct refusal *refusal, const struct http_answer *a)
{
    refusal->len = http_answer(a, refusal->bytes, sizeof refusal->bytes);
    refusal->code = a->status;
}

/* ---- requests that cannot be served ---- */

static const char *what_is_wrong(int status)
{
    switch (status) {
    case HTTP_TARGET_TOO_LONG:
        return "The target of the request is too long.\n";
    case HTTP_FIELDS_TOO_LARGE:
        return "The head of the request is too large: 16 KiB and 100 fields are the most.\n";
    case HTTP_NOT_IMPLEMENTED:
        return "The transfer coding of the request is not known here.\n";
    case HTTP_BAD_VERSION:
        return "This port speaks HTTP/1.1 and HTTP/1.0.\n";
    default:
        return "This port is a proxy, and the request is malformed, "
               "or for neither an http:// URL nor CONNECT.\n";
    }
}

static const char unservable[] = "sent a request that cannot be served";

static enum turn refuse(int status, const char *body, const char *why, struct refusal *refusal)
{
    answer(refusal, &(struct http_answer){.status = status, .body = body});
    refusal->why = why;
    return TURN_REFUSE;
}

void handshake_http_too_large(const struct handshake *hs, struct refusal *refusal)
{
    char most[UNITS_TEXT], body[BODY_MAX];
    snprintf(body, sizeof body, "The body of the request is too large: %s is the most here.\n",
             units_size_text(hs->body_max, most));
    refusal->keep = false;
    refuse(HTTP_CONTENT_TOO_LARGE, body, unservable, refusal);
}

/* ---- pages of our own ---- */

/* The address at which the client has reached this port, if it is one that can be repeated. */
static bool own_address(const struct http_request *r, char own[ADDR_TEXT])
{
    const struct http_field *host = http_field(&r->fields, "Host");
    struct dp_addr addr;
    return host && http_authority(host->value, 80, &addr) == 0 &&
           strlen(addr_text(&addr, own)) <= OWN_MAX;
}

static void page(struct refusal *refusal, bool head, const char *type, const char *format, ...)
{
    char body[BODY_MAX];
    va_list ap;
    va_start(ap, format);
    vsnprintf(body, sizeof body, format, ap);
    va_end(ap);
    answer(refusal,
           &(struct http_answer){.status = HTTP_OK, .type = type, .body = body, .head = head});
}

/* Browsers try the ways in this order; none of them goes round the proxy. They cannot log in by
 * SOCKS5. */
static void pac(const struct handshake *hs, const char *own, bool head, struct refusal *refusal)
{
    char socks[OWN_MAX + 10] = "";
    if (hs->speaks & PROTO_SOCKS5 && !hs->login)
        snprintf(socks, sizeof socks, "SOCKS5 %.*s; ", OWN_MAX, own);
    page(refusal, head, "application/x-ns-proxy-autoconfig",
         "function FindProxyForURL(url, host) {\n    return \"%sPROXY %s\";\n}\n", socks, own);
}

static bool path_is(const struct http_request *r, const char *path)
{
    struct dp_str query, own = http_cut(r->target, '?', &query);
    return own.len == strlen(path) && memcmp(own.p, path, own.len) == 0;
}

/* RFC 9110, section 15.5.6: what would be allowed is told. */
static enum turn refuse_method(const char *body, const char *why, struct refusal *refusal)
{
    answer(refusal, &(struct http_answer){
                        .status = HTTP_BAD_METHOD, .body = body, .fields = "Allow: GET, HEAD\r\n"});
    refusal->why = why;
    return TURN_REFUSE;
}

/* The request is for this port, not for a server behind it. */
static enum turn serve(const struct handshake *hs, const struct http_request *r,
                       struct refusal *refusal)
{
    char own[ADDR_TEXT];
    bool head = http_method_is(r, "HEAD");
    if (!head && !http_method_is(r, "GET"))
        return refuse_method("This is a proxy, not a server.\n", "takes this port for a server",
                             refusal);
    bool known = own_address(r, own);
    if (path_is(r, "/"))
        page(refusal, head, NULL,
             "This is dispatch, a proxy: set %s as the proxy of your program.\n"
             "curl: --proxy http://%s\n"
             "Browsers, automatic configuration: http://%s/proxy.pac\n",
             known ? own : "ADDRESS:PORT", known ? own : "ADDRESS:PORT",
             known ? own : "ADDRESS:PORT");
    else if (known && path_is(r, "/proxy.pac"))
        pac(hs, own, head, refusal);
    else
        answer(refusal, &(struct http_answer){.status = HTTP_NOT_FOUND,
                                              .body = "This is a proxy, and has no such page.\n",
                                              .head = head});
    return TURN_REFUSE;
}

/* ---- logins ---- */

static int login_page(enum login_state state, const char **body)
{
    switch (state) {
    case LOGIN_HELD:
        *body = "Wrong passwords have been given too often from your address: wait a while.\n";
        return HTTP_TOO_MANY;
    case LOGIN_BUSY:
        *body = "Your password could not be looked at just now: try again.\n";
        return HTTP_UNAVAILABLE;
    case LOGIN_WRONG:
        *body = "The user name or the password is wrong.\n";
        return HTTP_LOGIN_NEEDED;
    default:
        *body = "This proxy asks for a user name and a password.\n";
        return HTTP_LOGIN_NEEDED;
    }
}

/* TURN_DIAL: its login is right. TURN_LOGIN: to be looked at, and asked again. Else the refusal says
 * what is wrong, and the login is WANTED again; of a request without one, which is no more than a
 * question for it, the log has nothing. */
static enum turn verdict(struct login *login, const struct http_request *request, bool keep,
                         struct refusal *refusal)
{
    const enum login_state state = login->state;
    if (state == LOGIN_RIGHT)
        return TURN_DIAL;
    if (state == LOGIN_WANTED && login_give_http(login, request))
        return TURN_LOGIN;
    login->state = LOGIN_WANTED;
    struct http_answer a = {.keep = keep, .head = http_method_is(request, "HEAD")};
    a.status = login_page(state, &a.body);
    if (a.status == HTTP_LOGIN_NEEDED)
        a.fields = "Proxy-Authenticate: Basic realm=\"dispatch\", charset=\"UTF-8\"\r\n";
    answer(refusal, &a);
    refusal->why = state == LOGIN_WANTED ? NULL : login_why(state);
    refusal->kind = state == LOGIN_HELD ? REFUSAL_HELD : REFUSAL_LOGIN;
    return keep ? TURN_ANSWER : TURN_REFUSE;
}

/* Where it is plain where the next request begins. What is behind a CONNECT may be meant for the
 * tunnel already. */
static bool may_go_on(const struct handshake *hs, const struct http_request *r, size_t head_len)
{
    bool alone = r->form != HTTP_AUTHORITY || hs->len == head_len;
    return r->body == HTTP_NO_BODY && http_persists(&r->fields, r->minor) && alone;
}

static enum turn login(struct handshake *hs, const struct http_request *request, size_t head_len,
                       struct refusal *refusal)
{
    enum turn turn = verdict(hs->login, request, may_go_on(hs, request, head_len), refusal);
    if (turn == TURN_ANSWER)
        handshake_consume(hs, head_len);
    if (turn != TURN_DIAL)
        hs->scan = (struct http_scan){0}; /* the same head once more, or the next */
    return turn;
}

/* ---- plain requests ---- */

static enum http_piece body_last(const struct http_request *r, uint64_t most, const uint8_t *p,
                                 size_t len)
{
    struct http_body_reader body;
    enum http_piece piece;
    size_t n;
    http_body_begin(&body, r->body, r->body_len, most);
    while ((n = http_body_next(&body, p, len, &piece)) > 0)
        p += n, len -= n;
    return piece;
}

/* What has come of the body is looked at first: of a malformed request the server shall see nothing. */
static enum turn forward(struct handshake *hs, const struct http_request *r, size_t n,
                         struct refusal *refusal)
{
    uint64_t hops;
    enum http_piece piece = body_last(r, hs->body_max, hs->bytes + n, hs->len - n);
    if (piece == HTTP_PIECE_BAD)
        return refuse(HTTP_BAD_REQUEST, what_is_wrong(HTTP_BAD_REQUEST), unservable, refusal);
    if (piece == HTTP_PIECE_TOO_LARGE) {
        handshake_http_too_large(hs, refusal);
        return TURN_REFUSE;
    }
    if (http_hops(r, &hops) && hops == 0)
        return refuse_method("Max-Forwards: the request has come to its end here.\n", NULL,
                             refusal);
    hs->errand = errand_new(r, n, hs->body_max);
    handshake_consume(hs, n);
    return hs->errand ? TURN_DIAL : TURN_REFUSE;
}

/* ---- the protocol ---- */

static enum turn http_read(struct handshake *hs, struct refusal *refusal)
{
    struct http_request request;
    int n = http_request(hs->bytes, hs->len, &hs->scan, &request);
    if (n == 0)
        return TURN_CLIENT;
    if (n < 0)
        return refuse(-n, what_is_wrong(-n), unservable, refusal);
    if (request.form == HTTP_ORIGIN)
        return serve(hs, &request, refusal);
    enum turn turn = hs->login ? login(hs, &request, (size_t)n, refusal) : TURN_DIAL;
    if (turn != TURN_DIAL)
        return turn;
    if (request.form == HTTP_ASTERISK)
        return refuse(HTTP_BAD_REQUEST, "This is a proxy, not a server.\n",
                      "takes this port for a server", refusal);
    handshake_dest(hs, &request.to);
    if (request.form == HTTP_ABSOLUTE)
        return forward(hs, &request, (size_t)n, refusal);
    handshake_consume(hs, (size_t)n);
    return TURN_DIAL;
}

/* RFC 9110, section 9.3.6: neither length nor coding, for what follows is the tunnel. */
static size_t http_grant(const struct handshake *hs, const struct dp_addr *bound, uint8_t *out)
{
    static const char grant[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    (void)hs;
    (void)bound;
    memcpy(out, grant, sizeof grant - 1);
    return sizeof grant - 1;
}

struct reason {
    int status;
    const char *text;
};

static struct reason reason_of(const struct handshake *hs, int err)
{
    switch (err) {
    case DP_ERR_DENIED:
        return (struct reason){
            HTTP_DENIED, hs->ruled_out ? "is denied by a rule of this proxy"
                                       : "is not served: it is an address of this machine, or "
                                         "the proxy behind this one denies it"};
    case DP_ERR_NO_HOST:
        return (struct reason){HTTP_BAD_GATEWAY, "has a name that does not exist"};
    case DP_ERR_REFUSED:
        return (struct reason){HTTP_BAD_GATEWAY, "has refused the connection"};
    case DP_ERR_NET_UNREACH:
        return (struct reason){HTTP_BAD_GATEWAY,
                               "cannot be reached: there is no way to its network"};
    case DP_ERR_HOST_UNREACH:
    case DP_ERR_TTL:
        return (struct reason){HTTP_GATEWAY_TIMEOUT, "has not answered"};
    case DP_ERR_NO_ANSWER:
        return (struct reason){HTTP_BAD_GATEWAY, "has closed the connection without an answer"};
    case DP_ERR_FAMILY:
        return (struct reason){HTTP_BAD_GATEWAY,
                               "has an address of a family that no link can reach"};
    case DP_ERR_LOCAL:
        return (struct reason){HTTP_UNAVAILABLE,
                               "was not tried: this proxy is out of descriptors or memory"};
    default:
        return (struct reason){HTTP_BAD_GATEWAY, "was not reached: the link has failed"};
    }
}

void handshake_http_page(const struct handshake *hs, int status, const char *text, const char *link,
                         struct refusal *refusal)
{
    char dest[ADDR_TEXT], body[BODY_MAX];
    const struct errand *errand = hs->errand;
    snprintf(body, sizeof body, "%.400s %s.\nLink: %s\n", addr_text(&hs->dest, dest), text, link);
    refusal->why = NULL;
    refusal->keep = errand && errand->keep && errand->whole;
    answer(refusal, &(struct http_answer){.status = status,
                                          .body = body,
                                          .keep = refusal->keep,
                                          .head = errand && errand->head});
}

static void http_fail(const struct handshake *hs, int err, const char *link,
                      struct refusal *refusal)
{
    const struct reason reason = reason_of(hs, err);
    handshake_http_page(hs, reason.status, reason.text, link, refusal);
}

const struct client_protocol client_http = {
    .proto = PROTO_HTTP, .read = http_read, .grant = http_grant, .fail = http_fail};
