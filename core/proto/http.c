/* SPDX-License-Identifier: MIT
 * http.c: the head of an HTTP/1 request as a proxy gets it.
 */
#include "proto/http.h"
#include "base/addr.h"
#include "proto/host.h"

#include <string.h>
#include <strings.h>

/* ---- characters (RFC 9110, section 5.6.2; 5.5) ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token_char(char c)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (!is_token_char(s.p[i]))
            return false;
    return s.len > 0;
}

/* Printable, blank, tab, or beyond ASCII. */
static bool is_text(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_graphic(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f) /* RFC 3986 has nothing beyond ASCII */
            return false;
    return s.len > 0;
}

static bool same(struct dp_str s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

/* What stands before the first c; the rest behind it, or an empty one with p NULL: there is no c. */
static struct dp_str cut(struct dp_str s, char c, struct dp_str *rest)
{
    const char *at = s.len ? memchr(s.p, c, s.len) : NULL;
    *rest = (struct dp_str){0};
    if (!at)
        return s;
    uint32_t len = (uint32_t)(at - s.p);
    *rest = (struct dp_str){.p = at + 1, .len = s.len - len - 1};
    return (struct dp_str){.p = s.p, .len = len};
}

static struct dp_str trim(struct dp_str s)
{
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.len--;
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Digits alone; more than fit is no number. */
static bool read_number(struct dp_str s, uint64_t most, uint64_t *number)
{
    *number = 0;
    for (uint32_t i = 0; i < s.len; i++) {
        if (!is_digit(s.p[i]))
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (*number > (most - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return s.len > 0;
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
    *host = cut(rest, ':', port);
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
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"#%/<>?@[\\]^`{|}", c))
            return false;
    }
    return true;
}

int http_authority(struct dp_str s, uint16_t default_port, struct dp_addr *to)
{
    struct dp_str host, port;
    uint64_t number = default_port;
    if (!authority_split(s, &host, &port))
        return -HTTP_BAD_REQUEST;
    bool wanted = port.len || !default_port; /* `http://host:/` is legal */
    if ((wanted && !read_number(port, UINT16_MAX, &number)) || number == 0)
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

/* ---- lines ---- */

static int version_read(struct dp_str s, uint8_t *minor)
{
    if (s.len != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.' || !is_digit(s.p[5]) ||
        !is_digit(s.p[7]))
        return -HTTP_BAD_REQUEST;
    *minor = s.p[7] == '0' ? 0 : 1;
    return s.p[5] == '1' ? 0 : -HTTP_BAD_VERSION;
}

static int request_line(struct http_request *r, struct dp_str line)
{
    struct dp_str rest, version;
    r->method = cut(line, ' ', &rest);
    r->target = cut(rest, ' ', &version);
    if (!is_token(r->method) || !is_graphic(r->target))
        return -HTTP_BAD_REQUEST;
    int err = version_read(version, &r->minor);
    return err < 0 ? err : target_read(r);
}

static int field_line(struct http_request *r, struct dp_str line)
{
    struct http_field field;
    if (r->n_fields == HTTP_FIELDS_MAX)
        return -HTTP_FIELDS_TOO_LARGE;
    field.name = cut(line, ':', &field.value);
    if (!field.value.p || !is_token(field.name) || !is_text(field.value))
        return -HTTP_BAD_REQUEST;
    field.value = trim(field.value);
    r->field[r->n_fields++] = field;
    return 0;
}

/* ---- what the fields say of the body (RFC 9112, section 6) ---- */

static size_t fields_named(const struct http_request *r, const char *name,
                           const struct http_field **last)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_fields; i++)
        if (same(r->field[i].name, name)) {
            *last = &r->field[i];
            n++;
        }
    return n;
}

const struct http_field *http_field(const struct http_request *r, const char *name)
{
    const struct http_field *field = NULL;
    return fields_named(r, name, &field) == 1 ? field : NULL;
}

static int body_read(struct http_request *r)
{
    const struct http_field *length, *coding, *host;
    size_t n_length = fields_named(r, "Content-Length", &length);
    size_t n_coding = fields_named(r, "Transfer-Encoding", &coding);
    size_t n_host = fields_named(r, "Host", &host);
    if (n_host > 1 || n_length > 1 || n_coding > 1 || (n_length && n_coding))
        return -HTTP_BAD_REQUEST;
    if (n_coding && (r->minor == 0 || !is_token(coding->value)))
        return -HTTP_BAD_REQUEST;
    if (n_coding && !same(coding->value, "chunked"))
        return -HTTP_NOT_IMPLEMENTED;
    if (n_length && !read_number(length->value, INT64_MAX, &r->body_len))
        return -HTTP_BAD_REQUEST;
    if (n_coding)
        r->body = HTTP_CHUNKED;
    else if (r->body_len)
        r->body = HTTP_LENGTH;
    /* What follows CONNECT is for the other end, whatever it says. */
    return r->form == HTTP_AUTHORITY && r->body != HTTP_NO_BODY ? -HTTP_BAD_REQUEST : 0;
}

/* RFC 9112, section 3.2: HTTP/1.1 has a Host. Dante sends CONNECT as 1.0 without. */
static int host_check(const struct http_request *r)
{
    return r->minor == 1 && !http_field(r, "Host") ? -HTTP_BAD_REQUEST : 0;
}

/* ---- the head ---- */

/* The line at p, whole, without its CRLF. Returns its length with it, or an error. */
static int line_cut(const uint8_t *p, size_t len, struct dp_str *line)
{
    const uint8_t *lf = memchr(p, '\n', len);
    size_t n = (size_t)(lf - p);
    if (n == 0 || p[n - 1] != '\r')
        return -HTTP_BAD_REQUEST;
    *line = (struct dp_str){.p = (const char *)p, .len = (uint32_t)n - 1};
    return memchr(p, '\r', n - 1) ? -HTTP_BAD_REQUEST : (int)n + 1;
}

static int head_read(const uint8_t *p, size_t len, struct http_request *r)
{
    struct dp_str line;
    size_t at = 0;
    int err = 0, n;
    bool begun = false;
    memset(r, 0, offsetof(struct http_request, field));
    for (; at < len && err == 0; at += (size_t)n) {
        if ((n = line_cut(p + at, len - at, &line)) < 0)
            return n;
        if (line.len == 0) /* before the head, or its end */
            continue;
        err = begun ? field_line(r, line) : request_line(r, line);
        begun = true;
    }
    if (err == 0)
        err = host_check(r);
    return err == 0 ? body_read(r) : err;
}

/* A first line that is none is told at once: who sends one may wait for that. */
static int head_begin(const uint8_t *p, size_t len, struct http_scan *scan, struct http_request *r)
{
    struct dp_str line;
    int n = line_cut(p, len, &line);
    if (n < 0 || line.len == 0 || scan->begun)
        return n < 0 ? n : 0;
    scan->begun = true;
    memset(r, 0, offsetof(struct http_request, field));
    return request_line(r, line);
}

/* Has the head come whole? Returns its length, 0, or an error. */
static int head_scan(const uint8_t *p, size_t len, struct http_scan *scan, struct http_request *r)
{
    const uint8_t *lf;
    while ((lf = memchr(p + scan->at, '\n', len - scan->at))) {
        size_t end = (size_t)(lf - p) + 1, line = scan->line;
        bool last = scan->begun && end - line == 2;
        int err = head_begin(p + line, end - line, scan, r);
        if (err < 0)
            return err;
        scan->line = scan->at = end;
        if (last)
            return (int)end;
    }
    scan->at = len;
    return 0;
}

/* A head too long: was it the target alone? */
static int too_long(const struct http_scan *scan)
{
    return scan->begun ? -HTTP_FIELDS_TOO_LARGE : -HTTP_TARGET_TOO_LONG;
}

int http_request(const uint8_t *p, size_t len, struct http_scan *scan, struct http_request *request)
{
    size_t most = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
    int n = head_scan(p, most, scan, request);
    if (n == 0 && len >= HTTP_HEAD_MAX)
        return too_long(scan);
    if (n <= 0)
        return n;
    int err = head_read(p, (size_t)n, request);
    return err < 0 ? err : n;
}
