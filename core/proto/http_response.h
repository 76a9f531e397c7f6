/* SPDX-License-Identifier: MIT
 * http_response.h: the head of an HTTP/1 response, and where its body ends (RFC 9112, section 6.3).
 * It is as strict as http_head.h says: a server must not be able to have two answers read where one
 * was asked for.
 */
#ifndef PROTO_HTTP_RESPONSE_H
#define PROTO_HTTP_RESPONSE_H

#include "proto/http_head.h"

/* Everything points into what was read. */
struct http_response {
    uint8_t minor;
    uint16_t status;
    struct dp_str reason;
    enum http_body body; /* NO_BODY, whatever the fields say, where there cannot be one */
    uint64_t body_len;   /* of LENGTH */
    bool persists;       /* the connection can serve another request */
    struct http_fields fields;
};

/* As http_head(); of a refusal only that it is negative matters. `head`: the request was HEAD. */
int http_response(const uint8_t *p, size_t len, struct http_scan *scan, bool head,
                  struct http_response *response);

#endif
