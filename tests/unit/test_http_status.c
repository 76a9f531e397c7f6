/* SPDX-License-Identifier: MIT
 * test_http_status.c: the status of an HTTP answer, however it is cut.
 */
#include "proto/http_status.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

static const struct {
    const char *answer;
    int status; /* 0: more is needed; -1: it is none */
} table[] = {
    {"HTTP/1.1 204 No Content\r\n\r\n", 204},
    {"HTTP/1.0 200 OK\r\n", 200},
    {"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", 302},
    {"HTTP/1.1 599 \r\n", 599},
    {"HTTP/1.1 200\r\n", 200}, /* without a reason, and without the blank before it */
    {"HTTP/1.1 200\n", 200},
    {"HTTP/1.9 200 OK", 200},
    {"HTTP/1.1 101 Switching Protocols\r\n", 101},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n", 204},
    {"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nX:\r\n\r\nHTTP/1.1 404 Not Found\r\n", 404},
    {"HTTP/1.1 100\n\nHTTP/1.1 102 x\n\nHTTP/1.1 200 OK\n", 200},
    {"HTTP/1.1 100 Continue\r\n\r\nSSH-2.0-x\r\n", -1},
    {"HTTP/1.1 100 Continue\r\n\r\n", 0},
    {"HTTP/1.1 100 Continue\r\nHTTP/1.1 200 OK\r\n", 0}, /* a line of its head */
    {"", 0},
    {"HTTP/1.1 20", 0},
    {"HTTP/1.1 200", 0}, /* 2000? */
    {"HTTP/1.1 2000 OK\r\n", -1},
    {"HTTP/1.1 099 x\r\n", -1},
    {"HTTP/1.1 20x OK\r\n", -1},
    {"HTTP/1.1 -20 OK\r\n", -1},
    {"HTTP/1.1  200 OK\r\n", -1},
    {"HTTP/1.1\t200 OK\r\n", -1},
    {"HTTP/1. 200 OK\r\n", -1},
    {"HTTP/1.10 200 OK\r\n", -1},
    {"HTTP/2.0 200 OK\r\n", -1},
    {"http/1.1 200 OK\r\n", -1},
    {"\r\nHTTP/1.1 200 OK\r\n", -1},
    {"ICY 200 OK\r\n", -1},
    {"SSH-2.0-OpenSSH\r\n", -1},
    {"\x05", -1},
};

/* Nothing that comes after the status is needed: every cut but the last ones is too early. */
static int read_in_pieces(const char *answer, size_t len, size_t first, size_t rest)
{
    struct http_status h = {0};
    int status = http_status_read(&h, answer, first);
    for (size_t at = first; status == 0 && at < len; at += rest)
        status = http_status_read(&h, answer + at, at + rest < len ? rest : len - at);
    return status;
}

Test(http_status, every_cut)
{
    for (size_t i = 0; i < LENGTH(table); i++) {
        size_t len = strlen(table[i].answer);
        for (size_t first = 0; first <= len; first++) {
            cr_expect(eq(int, read_in_pieces(table[i].answer, len, first, len), table[i].status),
                      "row %zu, cut at %zu", i, first);
            cr_expect(eq(int, read_in_pieces(table[i].answer, len, first, 1), table[i].status),
                      "row %zu, cut at %zu and then everywhere", i, first);
        }
    }
}

Test(http_status, a_zero_byte_is_none)
{
    struct http_status h = {0};
    cr_expect(eq(int, http_status_read(&h, "HTTP/1.1\0 200 ", 14), -1));
}

/* Of a head without end, and of interim answers without end, so much is read. */
Test(http_status, what_never_ends_is_given_up)
{
    static const char *const endless[][2] = {{"HTTP/1.1 100 Continue\r\n", "X: y\r\n"},
                                             {"HTTP/1.1 100 Continue\r\n", "xxxxxxxx"},
                                             {"", "HTTP/1.1 100 Continue\r\n\r\n"}};
    for (size_t i = 0; i < LENGTH(endless); i++) {
        struct http_status h = {0};
        const char *more = endless[i][1];
        size_t total = 0;
        int status = http_status_read(&h, endless[i][0], strlen(endless[i][0]));
        for (; status == 0 && total < 100000; total += strlen(more))
            status = http_status_read(&h, more, strlen(more));
        cr_expect(eq(int, status, -1), "row %zu", i);
        cr_expect(total > 10000 && total < 20000, "row %zu: %zu", i, total);
    }
}
