/* SPDX-License-Identifier: MIT
 * http_answer.h: what an HTTP client is told that gets nothing from elsewhere.
 */
#ifndef PROTO_HTTP_ANSWER_H
#define PROTO_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

struct http_answer {
    int status;
    const char *type;   /* NULL: plain text */
    const char *fields; /* more of them, each with its CRLF; NULL: none */
    const char *body;
    bool keep; /* the connection does not end with it */
    bool head; /* the body is not sent (HEAD), only its length told */
};

/* Writes it, and whether the connection ends with it. Returns its length; size if it would not fit. */
size_t http_answer(const struct http_answer *answer, void *out, size_t size);

#endif
