/* SPDX-License-Identifier: MIT
 * errand.c: a plain request of HTTP on its way.
 */
#include "traffic/errand.h"
#include "proto/http_rewrite.h"

#include <stdlib.h>

/* RFC 9110, section 9.2.2. */
static bool is_idempotent(const struct http_request *r)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (http_method_is(r, methods[i]))
            return true;
    return false;
}

/* With an old client it ends: what it says of keeping may be meant for another proxy (RFC 9112,
 * appendix C.2.2). */
struct errand *errand_new(const struct http_request *r, size_t head_len, uint64_t body_max)
{
    static const struct dp_str go_on = {.p = "100-continue", .len = 12};
    struct errand *errand = malloc(sizeof *errand + head_len + HTTP_REWRITE_GROWTH);
    if (!errand)
        return NULL;
    *errand = (struct errand){
        .head = http_method_is(r, "HEAD"),
        .old = r->minor == 0,
        .keep = r->minor == 1 && http_persists(&r->fields, r->minor),
        .upgrade = http_is_upgrade(r),
        .expects = r->minor == 1 && http_list_has(&r->fields, "Expect", go_on),
        .idempotent = is_idempotent(r),
        .whole = r->body == HTTP_NO_BODY,
        .body = r->body,
        .body_len = r->body_len,
        .body_max = body_max,
    };
    errand->len = http_rewrite_request(r, errand->bytes);
    return errand;
}
