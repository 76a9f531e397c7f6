/* SPDX-License-Identifier: MIT
 * http_head.h: the head of an HTTP/1 message, of whichever kind: a first line, fields, an empty line
 * (RFC 9112, section 2). Bytes in, lines and fields out, no I/O.
 *
 * Strict on purpose: what another server could read differently is refused, for that is how requests
 * are smuggled. So lines end in CRLF and nothing else, and a field has no blank before its colon and
 * does not go on in the next line.
 */
#ifndef PROTO_HTTP_HEAD_H
#define PROTO_HTTP_HEAD_H

#include <dispatch-plugin.h>
#include <stdbool.h>

#define HTTP_HEAD_MAX 16384
#define HTTP_FIELDS_MAX 100

/* Of all Connection fields together: they are looked through once for each field. */
#define HTTP_OPTIONS_MAX 1024

/* RFC 9110, section 15; RFC 6585 for 429 and 431. */
enum {
    HTTP_CONTINUE = 100,
    HTTP_SWITCHING = 101,
    HTTP_OK = 200,
    HTTP_NO_CONTENT = 204,
    HTTP_NOT_MODIFIED = 304,
    HTTP_BAD_REQUEST = 400,
    HTTP_DENIED = 403,
    HTTP_NOT_FOUND = 404,
    HTTP_BAD_METHOD = 405,
    HTTP_LOGIN_NEEDED = 407,
    HTTP_CONTENT_TOO_LARGE = 413,
    HTTP_TARGET_TOO_LONG = 414,
    HTTP_TOO_MANY = 429,
    HTTP_FIELDS_TOO_LARGE = 431,
    HTTP_NOT_IMPLEMENTED = 501,
    HTTP_BAD_GATEWAY = 502,
    HTTP_UNAVAILABLE = 503,
    HTTP_GATEWAY_TIMEOUT = 504,
    HTTP_BAD_VERSION = 505
};

struct http_field {
    struct dp_str name, value; /* without blanks around it */
};

/* Everything points into what was read. */
struct http_fields {
    size_t n;
    struct http_field field[HTTP_FIELDS_MAX];
};

/* How far a head has been looked through: zeroed at first. */
struct http_scan {
    size_t at, line; /* and where the line begins that is not whole yet */
    bool begun;      /* the first line has come */
};

/* What is made of the first line, without its CRLF. Returns 1, 0 to pass over an empty one, or
 * -(status). */
typedef int http_first_line(void *ctx, struct dp_str line);

/* Returns the length of the head, its last empty line included, 0 if more must come, or -(status) of
 * the refusal. A first line that is none is told at once: who sends one may wait for that. Called
 * again with more bytes it does not begin anew, so that a head in many pieces costs no more than one
 * in few. `first` may be called twice. */
int http_head(const uint8_t *p, size_t len, struct http_scan *scan, http_first_line *first,
              void *ctx, struct http_fields *fields);

/* One field without its CRLF. Returns 0 or -(status). */
int http_field_line(struct dp_str line, struct http_field *field);

/* The line at p, which ends with the `\n` that is among these bytes, without its CRLF. Returns its
 * length with it, or -(status). */
int http_line(const uint8_t *p, size_t len, struct dp_str *line);

/* How many fields have this name, in any case, and the last of them. */
size_t http_fields_named(const struct http_fields *fields, const char *name,
                         const struct http_field **last);

/* The only field of that name, or NULL: there is none, or there are several. */
const struct http_field *http_field(const struct http_fields *fields, const char *name);

/* Is `token` in one of the lists that these fields are (`a, b`), in any case? */
bool http_list_has(const struct http_fields *fields, const char *name, struct dp_str token);

/* Is the connection of such a message to be kept (RFC 9112, section 9.3)? */
bool http_persists(const struct http_fields *fields, uint8_t minor);

/* ---- bodies ---- */

enum http_body { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED, HTTP_TO_END };

/* What Content-Length and Transfer-Encoding say (RFC 9112, section 6): NO_BODY if neither is there,
 * LENGTH (of 0, too) or CHUNKED, never both. Returns 0 or -(status). */
int http_framing(const struct http_fields *fields, uint8_t minor, enum http_body *body,
                 uint64_t *len);

/* ---- words ---- */

bool http_is_token(struct dp_str s);
bool http_is_text(struct dp_str s);                /* printable, blank, tab, or beyond ASCII */
bool http_same(struct dp_str s, const char *text); /* in any case */

/* The same, or so to gateways that make variables of names: `Content_Length` (RFC 3875, section
 * 4.1.18). */
bool http_resembles(struct dp_str s, const char *text);

/* What stands before the first c; the rest behind it, or an empty one with p NULL: there is no c. */
struct dp_str http_cut(struct dp_str s, char c, struct dp_str *rest);

/* Digits alone; more than fit is no number. */
bool http_number(struct dp_str s, uint64_t most, uint64_t *number);

/* `HTTP/1.1`. Returns 0 or -(status). */
int http_version(struct dp_str s, uint8_t *minor);

#endif
