/* SPDX-License-Identifier: MIT
 * test_tree.c: YAML to a tree: what it holds, where it stood, what bounds it.
 */
#include "config/tree.h"
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fixture {
    struct conf_memory *memory;
    struct conf_errors errors;
    const struct tree_node *root;
};

static struct fixture parse(const char *text, size_t len)
{
    struct fixture f = {.memory = memory_new()};
    f.root = tree_parse(f.memory, &f.errors, "t.yaml", text, len);
    return f;
}

static void drop(struct fixture *f)
{
    memory_free(f->memory);
    conf_errors_free(&f->errors);
}

Test(tree, values_and_their_places)
{
    const char *text = "a: 1\nb:\n  c: \"x\"\n  d: [e, f]\nempty:\n";
    struct fixture f = parse(text, strlen(text));
    cr_assert_not_null(f.root);
    const struct tree_node *b = tree_find(f.root, "b"), *c = tree_find(b, "c"),
                           *d = tree_find(b, "d"), *empty = tree_find(f.root, "empty");
    cr_assert(b && c && d && empty);
    cr_expect(b->kind == TREE_MAP && b->line == 2 && b->column == 1 && b->index == 1);
    cr_expect(c->kind == TREE_VALUE && c->line == 3 && c->column == 3 && !c->plain);
    cr_expect_str_eq(c->text, "x");
    cr_expect(tree_items(d) == 2 && tree_item(d, 1)->column == 10);
    cr_expect_str_eq(tree_item(d, 1)->text, "f");
    cr_expect(tree_items(c) == 1 && tree_item(c, 0) == c);
    cr_expect(empty->plain && empty->len == 0);
    cr_expect_null(tree_find(f.root, "c"));
    cr_expect_null(tree_find(c, "c"));
    cr_expect_eq(f.errors.n, 0);
    drop(&f);
}

Test(tree, aliases_are_copies_where_they_stand)
{
    const char *text = "a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n";
    struct fixture f = parse(text, strlen(text));
    cr_assert_not_null(f.root);
    const struct tree_node *a = tree_find(f.root, "a"), *b = tree_find(f.root, "b");
    cr_expect(a != b && b->line == 2 && tree_find(b, "k")->line == 1);
    cr_expect_str_eq(tree_item(tree_find(b, "k"), 1)->text, "2");
    cr_expect_eq(tree_find(f.root, "c")->n, 2);
    drop(&f);
}

Test(tree, nothing_at_all_is_an_empty_map)
{
    static const char *const text[] = {"", "\n\n", "# comment\n", "---\n...\n", "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof text / sizeof *text - 1; i++) {
        struct fixture f = parse(text[i], strlen(text[i]));
        cr_assert_not_null(f.root, "%zu", i);
        cr_expect(f.root->n == 0 && f.errors.n == 0, "%zu", i);
        drop(&f);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Text of `n` times `piece`. */
static char *repeat(const char *piece, size_t n)
{
    size_t len = strlen(piece);
    char *text = malloc(n * len + 1);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * len, piece, len);
    text[n * len] = '\0';
    return text;
}

/* libyaml alone would take 20 s over the first row; two are enough under valgrind too. */
Test(tree, what_would_take_for_ever_ends_at_once)
{
    static const struct {
        const char *piece;
        size_t n;
    } row[] = {
        {"[", 200000},  {"{", 200000},  {"- ", 200000},     {"? ", 200000},
        {"[[{", 50000}, {"{a: ", 9000}, {"&a [*a, ", 9000}, {"a: &a b\n", 9000},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text = repeat(row[i].piece, row[i].n);
        double start = seconds();
        struct fixture f = parse(text, strlen(text));
        cr_expect_lt(seconds() - start, 2, "%s", row[i].piece);
        cr_expect_gt(f.errors.n, 0, "%s", row[i].piece);
        drop(&f);
        free(text);
    }
}

Test(tree, an_alias_bomb_ends_at_once)
{
    char text[4096] = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    size_t len = strlen(text);
    for (int i = 1; i < 15; i++) {
        int p = i - 1;
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, p, p, p,
                                p, p, p);
    }
    double start = seconds();
    struct fixture f = parse(text, len);
    cr_expect_lt(seconds() - start, 2);
    cr_expect_null(f.root);
    cr_expect_eq(f.errors.n, 1);
    drop(&f);
}

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* Random bytes, and random pieces of YAML, which get further. */
static size_t garbage(uint32_t *state, char *text, size_t size)
{
    static const char *const piece[] = {
        "a",           "b: ", "- ",    "[",      "]",        "{",   "}",       ",",
        ": ",          "\n",  "\n  ",  "\n    ", "&a ",      "*a ", "!!str ",  "\"",
        "'",           "|\n", ">\n",   "? ",     "<<: ",     "# ",  "---\n",   "...\n",
        "%YAML 1.1\n", "\t",  "\\x00", "\xff",   "\xc3\xa4", "@",   "links: ", "~"};
    size_t len = 0;
    bool bytes = next(state) % 4 == 0;
    for (size_t n = next(state) % 60; n > 0; n--) {
        const char *p = piece[next(state) % (sizeof piece / sizeof *piece)];
        if (bytes)
            text[len++] = (char)next(state);
        else
            len += (size_t)snprintf(text + len, size - len, "%s", p);
    }
    return len;
}

Test(tree, garbage_is_refused_or_understood)
{
    uint32_t state = 1;
    for (int i = 0; i < 20000; i++) {
        char text[2048];
        size_t len = garbage(&state, text, sizeof text);
        char *exact = malloc(len ? len : 1); /* so that reading past the end is seen */
        memcpy(exact, text, len);
        struct fixture f = parse(exact, len);
        cr_assert(f.root || f.errors.n, "neither a tree nor a mistake: %.*s", (int)len, text);
        drop(&f);
        free(exact);
    }
}

Test(tree, what_is_printed_reads_back)
{
    static const char *const text[] = {"",    "a",        "-a",    "a:",    "a: b",
                                       "::1", "[::1]:80", "a # b", "\"q\\", "127.0.0.1:80",
                                       "*x",  "ä",        " a ",   "~",     "a\tb"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        char buf[256] = "";
        FILE *out = fmemopen(buf, sizeof buf, "w");
        fputs("k: [", out);
        tree_print(out, text[i], strlen(text[i]));
        fputs("]\n", out);
        fclose(out);
        struct fixture f = parse(buf, strlen(buf));
        cr_assert_not_null(f.root, "%s", buf);
        cr_expect_str_eq(tree_item(tree_find(f.root, "k"), 0)->text, text[i]);
        drop(&f);
    }
}

static size_t utf8(char *s, uint32_t c)
{
    if (c < 0x80) {
        s[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)((0xf00 >> n) | c);
    return n;
}

/* Every character there is, but for the controls below space, which are refused. */
Test(tree, all_characters_read_back)
{
    for (uint32_t c = ' '; c <= 0x10ffff;) {
        char text[4100], *buf;
        size_t len = 0, size;
        for (; len < 4096 && c <= 0x10ffff; c++)
            if (c != 0x7f && (c < 0xd800 || c > 0xdfff))
                len += utf8(text + len, c);
        FILE *out = open_memstream(&buf, &size);
        fputs("k: [", out);
        tree_print(out, text, len);
        fputs("]\n", out);
        fclose(out);
        struct fixture f = parse(buf, size);
        cr_assert(f.root && f.errors.n == 0, "up to U+%04X: %s", c,
                  f.errors.n ? f.errors.line[0] : "");
        const struct tree_node *node = tree_item(tree_find(f.root, "k"), 0);
        cr_assert(node->len == len && memcmp(node->text, text, len) == 0, "up to U+%04X", c);
        drop(&f);
        free(buf);
    }
}

Test(tree, mistakes_come_in_the_order_of_the_file)
{
    struct conf_errors errors = {0};
    static const unsigned place[][2] = {{3, 1}, {1, 9}, {2, 2}, {1, 2}, {3, 1}, {0, 0}};
    static const char *const expected[] = {"t: 5",     "t:1:2: 3", "t:1:9: 1",
                                           "t:2:2: 2", "t:3:1: 0", "t:3:1: 4"};
    for (int i = 0; i < 6; i++) {
        struct tree_node at = {.file = "t", .line = place[i][0], .column = place[i][1]};
        conf_error(&errors, &at, "%d", i);
    }
    cr_assert_eq(errors.n, 6);
    for (int i = 0; i < 6; i++)
        cr_expect_str_eq(errors.line[i], expected[i]);
    for (int i = 0; i < 100; i++)
        conf_error(&errors, NULL, "more");
    cr_assert_eq(errors.n, 51);
    cr_expect_str_eq(errors.line[50], "and 56 more");
    conf_errors_free(&errors);
}
