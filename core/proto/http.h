/* SPDX-License-Identifier: MIT
 * http.h: the head of an HTTP/1 request as a proxy gets it (RFC 9110, 9112): bytes in, event out, no
 * I/O.
 *
 * Strict on purpose: what another server could read differently is refused, for that is how requests
 * are smuggled. So lines end in CRLF and nothing else, a field has no blank before its colon and does
 * not go on in the next line, and a body has one length or is chunked, never both.
 */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include <dispatch-plugin.h>
#include <stdbool.h>

#define HTTP_HEAD_MAX 16384
#define HTTP_FIELDS_MAX 100

/* RFC 9110, section 15; RFC 6585 for 429 and 431. */
enum {
    HTTP_OK = 200,
    HTTP_BAD_REQUEST = 400,
    HTTP_DENIED = 403,
    HTTP_NOT_FOUND = 404,
    HTTP_BAD_METHOD = 405,
    HTTP_LOGIN_NEEDED = 407,
    HTTP_TARGET_TOO_LONG = 414,
    HTTP_TOO_MANY = 429,
    HTTP_FIELDS_TOO_LARGE = 431,
    HTTP_NOT_IMPLEMENTED = 501,
    HTTP_BAD_GATEWAY = 502,
    HTTP_UNAVAILABLE = 503,
    HTTP_GATEWAY_TIMEOUT = 504,
    HTTP_BAD_VERSION = 505
};

/* Where the target leads (RFC 9112, section 3.2). */
enum http_form {
    HTTP_AUTHORITY, /* CONNECT host:port */
    HTTP_ABSOLUTE,  /* GET http://host/path: to a proxy */
    HTTP_ORIGIN,    /* GET /path: to a server, so to us */
    HTTP_ASTERISK   /* OPTIONS * */
};

enum http_body { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED };

struct http_field {
    struct dp_str name, value; /* without blanks around it */
};

/* Everything points into what was read. */
struct http_request {
    struct dp_str method, target;
    uint8_t minor; /* of HTTP/1.x: 0 or 1 */
    enum http_form form;
    struct dp_addr to;  /* of AUTHORITY and ABSOLUTE */
    struct dp_str path; /* of ABSOLUTE, with the query: may be empty, or begin with '?' */
    enum http_body body;
    uint64_t body_len; /* of LENGTH */
    size_t n_fields;
    struct http_field field[HTTP_FIELDS_MAX];
};

/* How far a head has been looked through: zeroed at first. */
struct http_scan {
    size_t at, line; /* and where the line begins that is not whole yet */
    bool begun;      /* the first line has come */
};

/* Returns the length of the head, its last empty line included, 0 if more must come, or -(status) of
 * the refusal. Empty lines before it are skipped and counted. Called again with more bytes it does not begin
 * anew, so that a head in many pieces costs no more than one in few. */
int http_request(const uint8_t *p, size_t len, struct http_scan *scan,
                 struct http_request *request);

/* `host:port`, `host` or `[v6]:port`; default_port 0: the port must be there. The name in `to` points
 * into text. Returns 0 or -(status). */
int http_authority(struct dp_str text, uint16_t default_port, struct dp_addr *to);

bool http_method_is(const struct http_request *request, const char *method);

/* The only field of that name (any case), or NULL: there is none, or there are several. */
const struct http_field *http_field(const struct http_request *request, const char *name);

#endif
