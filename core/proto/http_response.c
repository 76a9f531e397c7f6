/* SPDX-License-Identifier: MIT
 * http_response.c: the head of an HTTP/1 response.
 */
#include "proto/http_response.h"

#include <string.h>

/* The blank behind the status may be missing with the reason; many servers leave it out. */
static int status_line(void *ctx, struct dp_str line)
{
    struct http_response *r = ctx;
    struct dp_str rest;
    uint64_t status;
    memset(r, 0, offsetof(struct http_response, fields));
    int err = http_version(http_cut(line, ' ', &rest), &r->minor);
    if (err < 0)
        return err;
    struct dp_str digits = http_cut(rest, ' ', &r->reason);
    if (digits.len != 3 || !http_number(digits, 999, &status) || status < HTTP_CONTINUE ||
        !http_is_text(r->reason))
        return -HTTP_BAD_GATEWAY;
    r->status = (uint16_t)status;
    return 1;
}

static bool is_interim(const struct http_response *r)
{
    return r->status < HTTP_OK;
}

/* A body where there must not be one is not looked for, but may have been sent: then nothing that
 * follows on this connection can be trusted. Before the answer proper that is at once. */
static int without_body(struct http_response *r, bool head)
{
    bool told = r->body == HTTP_CHUNKED || r->body_len > 0;
    bool may_be_told = head || r->status == HTTP_NOT_MODIFIED;
    if (told && is_interim(r))
        return -HTTP_BAD_GATEWAY;
    r->persists &= !told || may_be_told;
    r->body = HTTP_NO_BODY;
    r->body_len = 0;
    return 0;
}

static int body_read(struct http_response *r, bool head)
{
    int err = http_framing(&r->fields, r->minor, &r->body, &r->body_len);
    if (err < 0)
        return err;
    if (head || is_interim(r) || r->status == HTTP_NO_CONTENT || r->status == HTTP_NOT_MODIFIED)
        return without_body(r, head);
    if (r->body == HTTP_NO_BODY)
        r->body = HTTP_TO_END;
    r->persists &= r->body != HTTP_TO_END;
    return 0;
}

int http_response(const uint8_t *p, size_t len, struct http_scan *scan, bool head,
                  struct http_response *r)
{
    int n = http_head(p, len, scan, status_line, r, &r->fields);
    if (n <= 0)
        return n;
    r->persists = http_persists(&r->fields, r->minor);
    int err = body_read(r, head);
    return err < 0 ? err : n;
}
