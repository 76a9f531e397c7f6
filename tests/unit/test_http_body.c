/* SPDX-License-Identifier: MIT
 * test_http_body.c: bodies of HTTP messages, by tables and by every cut of every body.
 */
#include "proto/http_body.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))
#define BEHIND "GET / HTTP/1.1\r\n"

struct row {
    enum http_body kind;
    uint64_t len;
    const char *in;
    const char *chunks, *data; /* what goes on to who takes chunks, and to who does not */
    enum http_piece end;
};

static const struct row rows[] = {
    {HTTP_NO_BODY, 0, BEHIND, "", "", HTTP_PIECE_END},
    {HTTP_LENGTH, 0, BEHIND, "", "", HTTP_PIECE_END},
    {HTTP_LENGTH, 5, "abcde" BEHIND, "abcde", "abcde", HTTP_PIECE_END},
    {HTTP_LENGTH, 6, "abcde", "abcde", "abcde", HTTP_PIECE_MORE},
    {HTTP_TO_END, 0, "abcde", "abcde", "abcde", HTTP_PIECE_MORE},
    /* chunks */
    {HTTP_CHUNKED, 0, "0\r\n\r\n" BEHIND, "0\r\n\r\n", "", HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "000\r\n\r\n" BEHIND, "0\r\n\r\n", "", HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "1\r\na\r\n0b\r\n0123456789z\r\n0\r\n\r\n" BEHIND,
     "1\r\na\r\nb\r\n0123456789z\r\n0\r\n\r\n", "a0123456789z", HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "00000000000000000001;a\r\nb\r\n0;\r\n\r\n" BEHIND, "1\r\nb\r\n0\r\n\r\n",
     "b", HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "00x1\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "2\r\n\r\n\r\n0\r\n\r\n" BEHIND, "2\r\n\r\n\r\n0\r\n\r\n", "\r\n",
     HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "A\r\n0123456789", "A\r\n0123456789", "0123456789", HTTP_PIECE_MORE},
    {HTTP_CHUNKED, 0, "7fffffffffffffff\r\na", "7fffffffffffffff\r\na", "a", HTTP_PIECE_MORE},
    /* extensions */
    {HTTP_CHUNKED, 0, "1;a\r\nb\r\n0;c=\"d;e\"\r\n\r\n" BEHIND, "1\r\nb\r\n0\r\n\r\n", "b",
     HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "1;\r\nb\r\n0\r\n\r\n" BEHIND, "1\r\nb\r\n0\r\n\r\n", "b", HTTP_PIECE_END},
    /* trailers */
    {HTTP_CHUNKED, 0, "0\r\nX: y\r\nZ:\r\n\r\n" BEHIND, "0\r\nX: y\r\nZ:\r\n\r\n", "",
     HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "0\r\nTE: x\r\nX: y\r\nConnection: z\r\n\r\n" BEHIND, "0\r\nX: y\r\n\r\n", "",
     HTTP_PIECE_END},
    {HTTP_CHUNKED, 0, "0\r\nX: y\r\nContent-Length: 5\r\n\r\n", "0\r\nX: y\r\n", "",
     HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nContent_Length: 5\r\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nHost: a\r\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nno colon\r\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nX : y\r\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nX: y\r\n z\r\n\r\n", "0\r\nX: y\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\nX: y\n\r\n", "0\r\n", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0\r\n\n", "0\r\n", "", HTTP_PIECE_BAD},
    /* sizes that are none */
    {HTTP_CHUNKED, 0, "\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, ";a\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "-1\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "+1\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "0x1\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1 \r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, " 1\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1_0\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "g\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "8000000000000000\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "10000000000000001\r\na\r\n", "", "", HTTP_PIECE_BAD},
    /* lines that do not end as lines do */
    {HTTP_CHUNKED, 0, "1\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1\r\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1;a\rb\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1;a\nb\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1;a\x01\r\na\r\n", "", "", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1\r\nab\r\n", "1\r\na", "a", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1\r\na\n", "1\r\na", "a", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1\r\na\rx", "1\r\na", "a", HTTP_PIECE_BAD},
    {HTTP_CHUNKED, 0, "1\r\na0\r\n\r\n", "1\r\na", "a", HTTP_PIECE_BAD},
};

struct got {
    char chunks[600], data[600];
    size_t n_chunks, n_data, used;
    enum http_piece end;
};

static void note(char *to, size_t *len, const uint8_t *p, size_t n)
{
    cr_assert(n < 600 - *len);
    memcpy(to + *len, p, n);
    *len += n;
    to[*len] = '\0';
}

/* What is there up to `len`, in a block of its own length, so that a read past it is seen. */
static void read_some(struct http_body_reader *body, const char *in, size_t len, struct got *got)
{
    size_t left = len - got->used, n;
    uint8_t *copy = malloc(left ? left : 1), *p = copy;
    cr_assert_not_null(copy);
    memcpy(copy, in + got->used, left);
    while ((n = http_body_next(body, p, left, &got->end)) > 0) {
        if (got->end == HTTP_PIECE_DATA)
            note(got->data, &got->n_data, p, n);
        if (got->end != HTTP_PIECE_DROP)
            note(got->chunks, &got->n_chunks, p, n);
        p += n, left -= n, got->used += n;
    }
    free(copy);
}

static void expect(const struct row *row, const struct got *got, size_t i)
{
    cr_expect(eq(int, (int)got->end, (int)row->end), "row %zu: %s", i, row->in);
    cr_expect(eq(str, (char *)got->chunks, (char *)row->chunks), "row %zu: %s", i, row->in);
    cr_expect(eq(str, (char *)got->data, (char *)row->data), "row %zu: %s", i, row->in);
    if (row->end == HTTP_PIECE_END)
        cr_expect(strcmp(row->in + got->used, BEHIND) == 0, "row %zu: %s", i, row->in);
}

Test(http_body, rows)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        struct http_body_reader body;
        struct got got = {.used = 0};
        http_body_begin(&body, rows[i].kind, rows[i].len, UINT64_MAX);
        read_some(&body, rows[i].in, strlen(rows[i].in), &got);
        expect(&rows[i], &got, i);
    }
}

Test(http_body, every_cut_of_every_body)
{
    for (size_t i = 0; i < LENGTH(rows); i++) {
        size_t len = strlen(rows[i].in);
        for (size_t step = 1; step <= 3; step++) {
            struct http_body_reader body;
            struct got got = {.used = 0};
            http_body_begin(&body, rows[i].kind, rows[i].len, UINT64_MAX);
            for (size_t cut = 0; cut < len + step; cut += step)
                read_some(&body, rows[i].in, cut < len ? cut : len, &got);
            expect(&rows[i], &got, i);
        }
    }
}

Test(http_body, lines_are_bounded)
{
    static uint8_t in[HTTP_HEAD_MAX + 10];
    struct http_body_reader body;
    enum http_piece piece;
    memset(in, 'a', sizeof in);
    memcpy(in, "1;", 2);
    http_body_begin(&body, HTTP_CHUNKED, 0, UINT64_MAX);
    cr_expect(eq(sz, http_body_next(&body, in, HTTP_CHUNK_LINE_MAX - 1, &piece), 0));
    cr_expect(eq(int, piece, HTTP_PIECE_MORE));
    http_body_next(&body, in, HTTP_CHUNK_LINE_MAX, &piece);
    cr_expect(eq(int, piece, HTTP_PIECE_BAD));

    memcpy(in, "0\r\n", 3);
    http_body_begin(&body, HTTP_CHUNKED, 0, UINT64_MAX);
    cr_expect(eq(sz, http_body_next(&body, in, 3, &piece), 1));
    cr_expect(eq(sz, http_body_next(&body, in + 1, 2, &piece), 2));
    http_body_next(&body, in + 3, HTTP_HEAD_MAX - 1, &piece);
    cr_expect(eq(int, piece, HTTP_PIECE_MORE));
    http_body_next(&body, in + 3, HTTP_HEAD_MAX, &piece);
    cr_expect(eq(int, piece, HTTP_PIECE_BAD));
}

Test(http_body, trailers_are_bounded)
{
    struct http_body_reader body;
    enum http_piece piece;
    const uint8_t *trailer = (const uint8_t *)"X: y\r\n";
    http_body_begin(&body, HTTP_CHUNKED, 0, UINT64_MAX);
    http_body_next(&body, (const uint8_t *)"0\r\n", 3, &piece);
    http_body_next(&body, (const uint8_t *)"\r\n", 2, &piece);
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        cr_assert(eq(sz, http_body_next(&body, trailer, 6, &piece), 6));
    for (int i = 0; i < 2; i++) { /* what is bad stays so */
        cr_expect(eq(sz, http_body_next(&body, trailer, 6, &piece), 0));
        cr_expect(eq(int, piece, HTTP_PIECE_BAD));
    }
}

/* As much as there may be is taken, one byte more is not; of chunks as soon as one is announced. */
Test(http_body, data_is_bounded)
{
    static const struct row row[] = {
        {HTTP_LENGTH, 5, "abcde" BEHIND, "abcde", "abcde", HTTP_PIECE_END},
        {HTTP_LENGTH, 6, "abcdef", "", "", HTTP_PIECE_TOO_LARGE},
        {HTTP_LENGTH, INT64_MAX, "", "", "", HTTP_PIECE_TOO_LARGE},
        {HTTP_CHUNKED, 0, "3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n" BEHIND,
         "3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n", "abcde", HTTP_PIECE_END},
        {HTTP_CHUNKED, 0, "3\r\nabc\r\n3\r\n", "3\r\nabc\r\n", "abc", HTTP_PIECE_TOO_LARGE},
        {HTTP_CHUNKED, 0, "5\r\nabcde\r\n1\r\n", "5\r\nabcde\r\n", "abcde", HTTP_PIECE_TOO_LARGE},
        {HTTP_CHUNKED, 0, "7fffffffffffffff\r\n", "", "", HTTP_PIECE_TOO_LARGE},
        {HTTP_CHUNKED, 0, "6 \r\n", "", "", HTTP_PIECE_BAD},
    };
    for (size_t i = 0; i < LENGTH(row); i++) {
        struct http_body_reader body;
        struct got got = {.used = 0};
        http_body_begin(&body, row[i].kind, row[i].len, 5);
        for (size_t cut = 0; cut <= strlen(row[i].in); cut++)
            read_some(&body, row[i].in, cut, &got);
        expect(&row[i], &got, i);
    }
}

/* No bytes whatever take it past the end, and cuts never change what comes of them. */
Test(http_body, garbage)
{
    static const char *const bits[] = {"0\r\n", "\r\n", "1\r\n", "a",  "2",   ";x", "\r",
                                       "\n",    "X: y", "TE: z", "ab", "f\r", "-",  " "};
    unsigned seed = 1;
    for (int i = 0; i < 50000; i++) {
        char in[200] = "";
        for (int k = rand_r(&seed) % 16; k > 0; k--)
            strcat(in, bits[(size_t)rand_r(&seed) % LENGTH(bits)]);
        size_t len = strlen(in), cut = len ? (size_t)rand_r(&seed) % len : 0;
        struct http_body_reader body, cut_body;
        struct got whole = {.used = 0}, cut_got = {.used = 0};
        http_body_begin(&body, HTTP_CHUNKED, 0, UINT64_MAX);
        cut_body = body;
        read_some(&body, in, len, &whole);
        read_some(&cut_body, in, cut, &cut_got);
        read_some(&cut_body, in, len, &cut_got);
        cr_assert(eq(int, whole.end, cut_got.end), "%s cut at %zu", in, cut);
        cr_assert(eq(str, whole.chunks, cut_got.chunks), "%s cut at %zu", in, cut);
        cr_assert(eq(str, whole.data, cut_got.data), "%s cut at %zu", in, cut);
    }
}
