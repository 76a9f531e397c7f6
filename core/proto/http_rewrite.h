/* SPDX-License-Identifier: MIT
 * http_rewrite.h: heads as a proxy passes them on (RFC 9110, section 7.6): what concerns one
 * connection is taken out, and what this proxy has to say is put in.
 */
#ifndef PROTO_HTTP_REWRITE_H
#define PROTO_HTTP_REWRITE_H

#include "proto/http.h"
#include "proto/http_response.h"

/* A head becomes longer by less than this. */
#define HTTP_REWRITE_GROWTH 512
#define HTTP_REWRITE_MAX (HTTP_HEAD_MAX + HTTP_REWRITE_GROWTH)

/* Fields that are for the next one on the way alone, whether Connection names them or not. */
bool http_is_hop_by_hop(struct dp_str name);

/* Does the client ask for another protocol that can be passed on? HTTP/2 cannot: it would have to be
 * this proxy that speaks it. */
bool http_is_upgrade(const struct http_request *request);

/* Both write to `out`, which has room for the growth of the head, and return its length. */

/* A request in absolute form, as the server gets it. */
size_t http_rewrite_request(const struct http_request *request, uint8_t *out);

struct http_rewriting {
    bool close;     /* the client's connection ends with this */
    bool no_chunks; /* the client would not understand them */
};
size_t http_rewrite_response(const struct http_response *response,
                             const struct http_rewriting *rewriting, uint8_t *out);

#endif
