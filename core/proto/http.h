/* SPDX-License-Identifier: MIT
 * http.h: the head of an HTTP/1 request as a proxy gets it (RFC 9110, 9112): bytes in, event out, no
 * I/O. It is as strict as http_head.h says.
 */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include "proto/http_head.h"

/* Where the target leads (RFC 9112, section 3.2). */
enum http_form {
    HTTP_AUTHORITY, /* CONNECT host:port */
    HTTP_ABSOLUTE,  /* GET http://host/path: to a proxy */
    HTTP_ORIGIN,    /* GET /path: to a server, so to us */
    HTTP_ASTERISK   /* OPTIONS * */
};

/* Everything points into what was read. */
struct http_request {
    struct dp_str method, target;
    uint8_t minor; /* of HTTP/1.x: 0 or 1 */
    enum http_form form;
    struct dp_addr to;  /* of AUTHORITY and ABSOLUTE */
    struct dp_str host; /* of ABSOLUTE: it and the port as they are written */
    struct dp_str path; /* of ABSOLUTE, with the query: may be empty, or begin with '?' */
    enum http_body body;
    uint64_t body_len; /* of LENGTH */
    struct http_fields fields;
};

/* As http_head(). Empty lines before it are skipped and counted. */
int http_request(const uint8_t *p, size_t len, struct http_scan *scan,
                 struct http_request *request);

/* `host:port`, `host` or `[v6]:port`; default_port 0: the port must be there. The name in `to` points
 * into text. Returns 0 or -(status). */
int http_authority(struct dp_str text, uint16_t default_port, struct dp_addr *to);

bool http_method_is(const struct http_request *request, const char *method);

/* How often a request that asks about the way may be passed on still (Max-Forwards of TRACE and
 * OPTIONS; RFC 9110, section 7.6.2). Returns false: it does not say. */
bool http_hops(const struct http_request *request, uint64_t *hops);

#endif
