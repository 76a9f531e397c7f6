/* SPDX-License-Identifier: MIT
 * http_head.c: the head of an HTTP/1 message, of whichever kind.
 */
#include "proto/http_head.h"

#include <string.h>
#include <strings.h>

/* ---- words (RFC 9110, section 5.5; 5.6.2) ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token_char(char c)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (!is_token_char(s.p[i]))
            return false;
    return s.len > 0;
}

bool http_is_text(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

bool http_same(struct dp_str s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

static char variable_char(char c)
{
    char small = (char)(c | 32);
    if (small >= 'a' && small <= 'z')
        return small;
    return is_digit(c) ? c : '_';
}

bool http_resembles(struct dp_str s, const char *text)
{
    if (s.len != strlen(text))
        return false;
    for (uint32_t i = 0; i < s.len; i++)
        if (variable_char(s.p[i]) != variable_char(text[i]))
            return false;
    return true;
}

struct dp_str http_cut(struct dp_str s, char c, struct dp_str *rest)
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

bool http_number(struct dp_str s, uint64_t most, uint64_t *number)
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

int http_version(struct dp_str s, uint8_t *minor)
{
    if (s.len != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.' || !is_digit(s.p[5]) ||
        !is_digit(s.p[7]))
        return -HTTP_BAD_REQUEST;
    *minor = s.p[7] == '0' ? 0 : 1;
    return s.p[5] == '1' ? 0 : -HTTP_BAD_VERSION;
}

/* ---- fields ---- */

int http_field_line(struct dp_str line, struct http_field *field)
{
    field->name = http_cut(line, ':', &field->value);
    if (!field->value.p || !http_is_token(field->name) || !http_is_text(field->value))
        return -HTTP_BAD_REQUEST;
    field->value = trim(field->value);
    return 0;
}

static int fields_add(struct http_fields *fields, struct dp_str line)
{
    if (fields->n == HTTP_FIELDS_MAX)
        return -HTTP_FIELDS_TOO_LARGE;
    return http_field_line(line, &fields->field[fields->n++]);
}

size_t http_fields_named(const struct http_fields *fields, const char *name,
                         const struct http_field **last)
{
    size_t n = 0;
    for (size_t i = 0; i < fields->n; i++)
        if (http_same(fields->field[i].name, name)) {
            *last = &fields->field[i];
            n++;
        }
    return n;
}

const struct http_field *http_field(const struct http_fields *fields, const char *name)
{
    const struct http_field *field = NULL;
    return http_fields_named(fields, name, &field) == 1 ? field : NULL;
}

static bool value_has(struct dp_str rest, struct dp_str token)
{
    while (rest.p) {
        struct dp_str item = trim(http_cut(rest, ',', &rest));
        if (item.len == token.len && strncasecmp(item.p, token.p, token.len) == 0)
            return true;
    }
    return false;
}

bool http_list_has(const struct http_fields *fields, const char *name, struct dp_str token)
{
    for (size_t i = 0; i < fields->n; i++)
        if (http_same(fields->field[i].name, name) && value_has(fields->field[i].value, token))
            return true;
    return false;
}

bool http_persists(const struct http_fields *fields, uint8_t minor)
{
    static const struct dp_str close = {.p = "close", .len = 5},
                               keep = {.p = "keep-alive", .len = 10};
    if (http_list_has(fields, "Connection", close))
        return false;
    return minor == 1 || http_list_has(fields, "Connection", keep);
}

/* ---- bodies ---- */

int http_framing(const struct http_fields *fields, uint8_t minor, enum http_body *body,
                 uint64_t *len)
{
    const struct http_field *length, *coding;
    size_t n_length = http_fields_named(fields, "Content-Length", &length);
    size_t n_coding = http_fields_named(fields, "Transfer-Encoding", &coding);
    *body = n_coding ? HTTP_CHUNKED : n_length ? HTTP_LENGTH : HTTP_NO_BODY;
    *len = 0;
    if (n_length > 1 || n_coding > 1 || (n_length && n_coding))
        return -HTTP_BAD_REQUEST;
    if (n_coding && (minor == 0 || !http_is_token(coding->value)))
        return -HTTP_BAD_REQUEST;
    if (n_coding && !http_same(coding->value, "chunked"))
        return -HTTP_NOT_IMPLEMENTED;
    return n_length && !http_number(length->value, INT64_MAX, len) ? -HTTP_BAD_REQUEST : 0;
}

/* ---- the head ---- */

int http_line(const uint8_t *p, size_t len, struct dp_str *line)
{
    const uint8_t *lf = memchr(p, '\n', len);
    size_t n = (size_t)(lf - p);
    if (n == 0 || p[n - 1] != '\r')
        return -HTTP_BAD_REQUEST;
    *line = (struct dp_str){.p = (const char *)p, .len = (uint32_t)n - 1};
    return memchr(p, '\r', n - 1) ? -HTTP_BAD_REQUEST : (int)n + 1;
}

static int head_read(const uint8_t *p, size_t len, http_first_line *first, void *ctx,
                     struct http_fields *fields)
{
    struct dp_str line;
    int begun = 0, n;
    fields->n = 0;
    for (size_t at = 0; at < len; at += (size_t)n) {
        if ((n = http_line(p + at, len - at, &line)) < 0)
            return n;
        int err = 0;
        if (!begun)
            begun = err = first(ctx, line);
        else if (line.len) /* the empty one is the last */
            err = fields_add(fields, line);
        if (err < 0)
            return err;
    }
    return 0;
}

static bool has_many_options(const struct http_fields *fields)
{
    size_t len = 0;
    for (size_t i = 0; i < fields->n; i++)
        if (http_same(fields->field[i].name, "Connection"))
            len += fields->field[i].value.len;
    return len > HTTP_OPTIONS_MAX;
}

static int head_begin(const uint8_t *p, size_t len, struct http_scan *scan, http_first_line *first,
                      void *ctx)
{
    struct dp_str line;
    int n = http_line(p, len, &line);
    if (n < 0 || scan->begun)
        return n;
    int err = first(ctx, line);
    scan->begun = err > 0;
    return err;
}

/* Has the head come whole? Returns its length, 0, or an error. */
static int head_scan(const uint8_t *p, size_t len, struct http_scan *scan, http_first_line *first,
                     void *ctx)
{
    const uint8_t *lf;
    while ((lf = memchr(p + scan->at, '\n', len - scan->at))) {
        size_t end = (size_t)(lf - p) + 1, line = scan->line;
        bool last = scan->begun && end - line == 2;
        int err = head_begin(p + line, end - line, scan, first, ctx);
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

int http_head(const uint8_t *p, size_t len, struct http_scan *scan, http_first_line *first,
              void *ctx, struct http_fields *fields)
{
    size_t most = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
    int n = head_scan(p, most, scan, first, ctx);
    if (n == 0 && len >= HTTP_HEAD_MAX)
        return too_long(scan);
    if (n <= 0)
        return n;
    int err = head_read(p, (size_t)n, first, ctx, fields);
    if (err == 0 && has_many_options(fields))
        err = -HTTP_FIELDS_TOO_LARGE;
    return err < 0 ? err : n;
}
