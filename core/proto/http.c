/* SPDX-License-Identifier: MIT
 * http.c: the head of an HTTP/1 request as a proxy gets it.
 */
#include "proto/http.h"
#include "base/addr.h"
#include "proto/host.h"

#include <string.h>
#include <strings.h>

/* Is there nothing but visible signs (RFC 3986 has none beyond ASCII), and none of these? */
static bool is_visible(struct dp_str s, const char *but)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f)
            return false;
    for (; s.len && *but; but++)
        if (memchr(s.p, *but, s.len))
            return false;
    return true;
}

/* ---- the target ---- */

/* Methods are told apart by case (RFC 9110, section 9.1). */
bool http_method_is(const struct http_request *r, const char *method)
{
    return r->method.len == strlen(method) && memcmp(r->method.p, method, r->method.len) == 0;
}

/* Into `host` or `[v6]`, and what stands behind the colon; port->p NULL: there is none. */
static bool authority_split(struct dp_str s, struct dp_str *host, struct dp_str *port)
{
    const char *close = s.len && s.p[0] == '[' ? memchr(s.p, ']', s.len) : NULL;
    uint32_t skip = close ? (uint32_t)(close - s.p) + 1 : 0;
    const struct dp_str rest = {.p = s.p + skip, .len = s.len - skip};
    *host = http_cut(rest, ':', port);
    if (!close)
        return true;
    bool clean = host->len == 0; /* nothing between bracket and colon */
    *host = (struct dp_str){.p = s.p, .len = skip};
    return clean;
}

/* What a name may be written with (RFC 3986, section 3.2.2), without percent signs: they are not
 * used. */
static bool is_reg_name(struct dp_str s)
{
    return is_visible(s, "\"#%/<>?@[\\]^`{|}");
}

int http_authority(struct dp_str s, uint16_t default_port, struct dp_addr *to)
{
    struct dp_str host, port;
    uint64_t number = default_port;
    if (!authority_split(s, &host, &port))
        return -HTTP_BAD_REQUEST;
    bool wanted = port.len || !default_port; /* `http://host:/` is legal */
    bool octal = port.len && port.p[0] == '0';
    if (wanted && (octal || !http_number(port, UINT16_MAX, &number)))
        return -HTTP_BAD_REQUEST;
    if (host.len == 0 || (host.p[0] != '[' && !is_reg_name(host)))
        return -HTTP_BAD_REQUEST;
    if (host_read(to, host.p, host.len, (uint16_t)number) < 0)
        return -HTTP_BAD_REQUEST;
    return host.p[0] == '[' && !to->salen ? -HTTP_BAD_REQUEST : 0;
}

static uint32_t authority_len(struct dp_str s)
{
    uint32_t n = 0;
    while (n < s.len && !strchr("/?#", s.p[n]))
        n++;
    return n;
}

/* Other schemes than http are for servers that speak them: https goes by CONNECT. */
static int absolute_read(struct http_request *r)
{
    static const char scheme[] = "http://";
    uint32_t skip = sizeof scheme - 1;
    struct dp_str rest = r->target;
    if (rest.len < skip || strncasecmp(rest.p, scheme, skip) != 0)
        return -HTTP_BAD_REQUEST;
    rest.p += skip;
    rest.len -= skip;
    struct dp_str authority = {.p = rest.p, .len = authority_len(rest)};
    r->form = HTTP_ABSOLUTE;
    r->host = authority;
    r->path = (struct dp_str){.p = rest.p + authority.len, .len = rest.len - authority.len};
    if (r->path.len && memchr(r->path.p, '#', r->path.len)) /* fragments are not sent */
        return -HTTP_BAD_REQUEST;
    return http_authority(authority, 80, &r->to);
}

static int target_read(struct http_request *r)
{
    if (http_method_is(r, "CONNECT")) {
        r->form = HTTP_AUTHORITY;
        return http_authority(r->target, 0, &r->to);
    }
    if (r->target.p[0] == '/') {
        r->form = HTTP_ORIGIN;
        return 0;
    }
    if (r->target.len == 1 && r->target.p[0] == '*') {
        r->form = HTTP_ASTERISK;
        return 0;
    }
    return absolute_read(r);
}

static int request_line(void *ctx, struct dp_str line)
{
    struct http_request *r = ctx;
    struct dp_str rest, version;
    if (line.len == 0)
        return 0;
    memset(r, 0, offsetof(struct http_request, fields));
    r->method = http_cut(line, ' ', &rest);
    r->target = http_cut(rest, ' ', &version);
    if (!http_is_token(r->method) || r->target.len == 0 || !is_visible(r->target, ""))
        return -HTTP_BAD_REQUEST;
    int err = http_version(version, &r->minor);
    if (err == 0)
        err = target_read(r);
    return err < 0 ? err : 1;
}

/* ---- the whole ---- */

bool http_hops(const struct http_request *r, uint64_t *hops)
{
    const struct http_field *most = http_field(&r->fields, "Max-Forwards");
    return most && (http_method_is(r, "TRACE") || http_method_is(r, "OPTIONS")) &&
           http_number(most->value, UINT32_MAX, hops);
}

/* What may say to another server how long the body is, and does not here. */
static bool has_nearly(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->fields.n; i++)
        if (http_resembles(r->fields.field[i].name, name) &&
            !http_same(r->fields.field[i].name, name))
            return true;
    return false;
}

static int body_read(struct http_request *r)
{
    if (has_nearly(r, "Content-Length") || has_nearly(r, "Transfer-Encoding"))
        return -HTTP_BAD_REQUEST;
    int err = http_framing(&r->fields, r->minor, &r->body, &r->body_len);
    if (err < 0)
        return err;
    if (r->body == HTTP_LENGTH && r->body_len == 0)
        r->body = HTTP_NO_BODY;
    /* What follows CONNECT is for the other end, whatever it says. */
    return r->form == HTTP_AUTHORITY && r->body != HTTP_NO_BODY ? -HTTP_BAD_REQUEST : 0;
}

/* RFC 9112, section 3.2: HTTP/1.1 has a Host, and it is one, though the target counts. Dante sends
 * CONNECT as 1.0 without. */
static int host_check(const struct http_request *r)
{
    const struct http_field *host;
    size_t n = http_fields_named(&r->fields, "Host", &host);
    if (n == 0)
        return r->minor == 1 ? -HTTP_BAD_REQUEST : 0;
    return n > 1 || !is_visible(host->value, "\"#/<>?@\\^`{|}") ? -HTTP_BAD_REQUEST : 0;
}

int http_request(const uint8_t *p, size_t len, struct http_scan *scan, struct http_request *r)
{
    int n = http_head(p, len, scan, request_line, r, &r->fields);
    if (n <= 0)
        return n;
    int err = host_check(r);
    if (err == 0)
        err = body_read(r);
    return err < 0 ? err : n;
}
