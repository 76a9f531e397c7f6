/* SPDX-License-Identifier: MIT
 * http_rewrite.c: heads as a proxy passes them on.
 */
#include "proto/http_rewrite.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct out {
    uint8_t *p;
    size_t len;
};

static void put(struct out *out, struct dp_str s)
{
    if (s.len)
        memcpy(out->p + out->len, s.p, s.len);
    out->len += s.len;
}

static void put_text(struct out *out, const char *text)
{
    put(out, (struct dp_str){.p = text, .len = (uint32_t)strlen(text)});
}

static void put_field(struct out *out, const char *name, struct dp_str value)
{
    put_text(out, name);
    put_text(out, ": ");
    put(out, value);
    put_text(out, "\r\n");
}

/* ---- fields ---- */

/* RFC 9110, section 7.6.1; the old ones of RFC 2616, section 13.5.1. Framing is said anew. */
bool http_is_hop_by_hop(struct dp_str name)
{
    static const char *const names[] = {"Connection",
                                        "Keep-Alive",
                                        "Proxy-Connection",
                                        "Proxy-Authorization",
                                        "Proxy-Authenticate",
                                        "Proxy-Authentication-Info",
                                        "TE",
                                        "Transfer-Encoding",
                                        "Upgrade"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (http_same(name, names[i]))
            return true;
    return false;
}

/* Connection may name any field, but not make a message another one: lengths and hosts stay. */
static bool is_passed_on(const struct http_fields *fields, struct dp_str name)
{
    if (http_is_hop_by_hop(name))
        return false;
    return http_same(name, "Content-Length") || http_same(name, "Host") ||
           !http_list_has(fields, "Connection", name);
}

static void put_number(struct out *out, const char *name, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    put_field(out, name, (struct dp_str){.p = text, .len = (uint32_t)strlen(text)});
}

/* A length in the plainest of its forms: `010` is eight to some. */
static void put_same(struct out *out, const struct http_field *field)
{
    uint64_t len;
    if (http_same(field->name, "Content-Length") && http_number(field->value, INT64_MAX, &len)) {
        put_number(out, "Content-Length", len);
        return;
    }
    put(out, field->name);
    put_text(out, ": ");
    put(out, field->value);
    put_text(out, "\r\n");
}

static void put_upgrade(struct out *out, const struct http_fields *fields)
{
    const struct http_field *upgrade = http_field(fields, "Upgrade");
    if (!upgrade)
        return;
    put_text(out, "Connection: upgrade\r\n");
    put_field(out, "Upgrade", upgrade->value);
}

static void put_via(struct out *out, uint8_t minor)
{
    put_text(out, minor ? "Via: 1.1 dispatch\r\n" : "Via: 1.0 dispatch\r\n");
}

/* ---- requests ---- */

bool http_is_upgrade(const struct http_request *r)
{
    static const struct dp_str upgrade = {.p = "upgrade", .len = 7}, h2c = {.p = "h2c", .len = 3};
    return r->minor == 1 && r->body == HTTP_NO_BODY && http_field(&r->fields, "Upgrade") &&
           http_list_has(&r->fields, "Connection", upgrade) &&
           !http_list_has(&r->fields, "Upgrade", h2c);
}

/* RFC 9112, section 3.2: a path, which is never empty; `*` where OPTIONS asks about the server. */
static void put_request_line(struct out *out, const struct http_request *r)
{
    put(out, r->method);
    put_text(out, " ");
    if (r->path.len == 0 && http_method_is(r, "OPTIONS"))
        put_text(out, "*");
    else if (r->path.len == 0 || r->path.p[0] == '?')
        put_text(out, "/");
    put(out, r->path);
    put_text(out, " HTTP/1.1\r\n");
}

/* RFC 9110, section 7.2: what the target says, whatever the client's own says. */
static void put_host(struct out *out, const struct http_request *r)
{
    struct dp_str host = r->host;
    if (host.p[host.len - 1] == ':')
        host.len--;
    put_field(out, "Host", host);
}

/* RFC 9110, section 10.1.1: one of HTTP/1.0 does not mean it. */
static bool is_void(const struct http_request *r, struct dp_str name)
{
    return http_same(name, "Host") || (r->minor == 0 && http_same(name, "Expect"));
}

/* RFC 9110, section 7.6.2: one less, where it counts. */
static void put_request_field(struct out *out, const struct http_request *r,
                              const struct http_field *field)
{
    uint64_t hops;
    if (http_same(field->name, "Max-Forwards") && http_hops(r, &hops) && hops > 0)
        put_number(out, "Max-Forwards", hops - 1);
    else
        put_same(out, field);
}

size_t http_rewrite_request(const struct http_request *r, uint8_t *bytes)
{
    struct out out = {.p = bytes};
    put_request_line(&out, r);
    put_host(&out, r);
    for (size_t i = 0; i < r->fields.n; i++) {
        const struct http_field *field = &r->fields.field[i];
        if (is_passed_on(&r->fields, field->name) && !is_void(r, field->name))
            put_request_field(&out, r, field);
    }
    if (r->body == HTTP_CHUNKED)
        put_text(&out, "Transfer-Encoding: chunked\r\n");
    if (http_is_upgrade(r))
        put_upgrade(&out, &r->fields);
    put_via(&out, r->minor);
    put_text(&out, "\r\n");
    return out.len;
}

/* ---- responses ---- */

static void put_status_line(struct out *out, const struct http_response *r)
{
    char start[16];
    snprintf(start, sizeof start, "HTTP/1.1 %03u ", r->status);
    put_text(out, start);
    put(out, r->reason);
    put_text(out, "\r\n");
}

/* RFC 9110, section 8.6: no length where there is no content ever. */
static bool has_no_length(const struct http_response *r)
{
    return r->status < HTTP_OK || r->status == HTTP_NO_CONTENT;
}

size_t http_rewrite_response(const struct http_response *r, const struct http_rewriting *rewriting,
                             uint8_t *bytes)
{
    struct out out = {.p = bytes};
    put_status_line(&out, r);
    for (size_t i = 0; i < r->fields.n; i++) {
        const struct http_field *field = &r->fields.field[i];
        bool length = http_same(field->name, "Content-Length");
        if (is_passed_on(&r->fields, field->name) && !(length && has_no_length(r)))
            put_same(&out, field);
    }
    if (r->body == HTTP_CHUNKED && !rewriting->no_chunks)
        put_text(&out, "Transfer-Encoding: chunked\r\n");
    if (r->status == HTTP_SWITCHING)
        put_upgrade(&out, &r->fields);
    else if (rewriting->close && r->status >= HTTP_OK)
        put_text(&out, "Connection: close\r\n");
    put_via(&out, r->minor);
    put_text(&out, "\r\n");
    return out.len;
}
