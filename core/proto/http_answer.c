/* SPDX-License-Identifier: MIT
 * http_answer.c: what an HTTP client is told that gets nothing from elsewhere.
 */
#include "proto/http_answer.h"
#include "proto/http.h"

#include <stdio.h>
#include <string.h>

static const char *reason(int status)
{
    switch (status) {
    case HTTP_OK:
        return "OK";
    case HTTP_BAD_REQUEST:
        return "Bad Request";
    case HTTP_DENIED:
        return "Forbidden";
    case HTTP_NOT_FOUND:
        return "Not Found";
    case HTTP_BAD_METHOD:
        return "Method Not Allowed";
    case HTTP_LOGIN_NEEDED:
        return "Proxy Authentication Required";
    case HTTP_CONTENT_TOO_LARGE:
        return "Content Too Large";
    case HTTP_TARGET_TOO_LONG:
        return "URI Too Long";
    case HTTP_TOO_MANY:
        return "Too Many Requests";
    case HTTP_FIELDS_TOO_LARGE:
        return "Request Header Fields Too Large";
    case HTTP_NOT_IMPLEMENTED:
        return "Not Implemented";
    case HTTP_BAD_GATEWAY:
        return "Bad Gateway";
    case HTTP_UNAVAILABLE:
        return "Service Unavailable";
    case HTTP_GATEWAY_TIMEOUT:
        return "Gateway Timeout";
    case HTTP_BAD_VERSION:
        return "HTTP Version Not Supported";
    default:
        return "";
    }
}

size_t http_answer(const struct http_answer *answer, void *out, size_t size)
{
    int n =
        snprintf(out, size,
                 "HTTP/1.1 %d %s\r\n"
                 "Content-Type: %s; charset=utf-8\r\n"
                 "Content-Length: %zu\r\n"
                 "Cache-Control: no-store\r\n"
                 "%s%s\r\n%s",
                 answer->status, reason(answer->status), answer->type ? answer->type : "text/plain",
                 strlen(answer->body), answer->keep ? "" : "Connection: close\r\n",
                 answer->fields ? answer->fields : "", answer->head ? "" : answer->body);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size;
}
