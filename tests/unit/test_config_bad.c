/* SPDX-License-Identifier: MIT
 * test_config_bad.c: each file of tests/conf gives exactly the mistakes its head announces, and
 * each message of core/config is given by one of them.
 */
#include "lib/messages.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPECT "# expect: "

struct lines {
    char *line[1000];
    size_t n;
};

static void lines_add(struct lines *l, const char *text)
{
    cr_assert_lt(l->n, sizeof l->line / sizeof *l->line);
    l->line[l->n++] = strdup(text);
}

static void lines_free(struct lines *l)
{
    while (l->n)
        free(l->line[--l->n]);
}

static char *path_of(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", fake_srcdir(), name);
    return path;
}

static size_t slurp(const char *path, char *buf, size_t size)
{
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "%s", path);
    size_t len = fread(buf, 1, size - 1, f);
    fclose(f);
    buf[len] = '\0';
    return len;
}

/* What the head of a file announces. */
static void expected_read(struct lines *expected, const char *text)
{
    while (strncmp(text, EXPECT, strlen(EXPECT)) == 0) {
        char line[1200];
        size_t len = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)(len - strlen(EXPECT)), text + strlen(EXPECT));
        lines_add(expected, line);
        text += len + (text[len] == '\n');
    }
}

/* A mistake without the file's name, and with DIR for the folder, which is another on each
 * machine. */
static const char *line_strip(const char *line, const char *name, const char *folder)
{
    static char text[4096];
    size_t len = strlen(name);
    if (strncmp(line, name, len) == 0)
        line += len + 1;
    const char *at = strstr(line, folder);
    if (at)
        snprintf(text, sizeof text, "%.*sDIR%s", (int)(at - line), line, at + strlen(folder));
    else
        snprintf(text, sizeof text, "%s", line);
    return text;
}

/* Compares one file's mistakes with its head; adds them to `all`. Returns how many differ. */
static size_t file_check(const char *name, const char *folder, struct lines *all)
{
    static char text[1 << 18];
    struct conf_errors errors = {0};
    struct lines expected = {.n = 0};
    size_t len = slurp(name, text, sizeof text), differ = 0;
    expected_read(&expected, text);
    struct config *config = config_parse(name, text, len, NULL, 0, &fake_source, &errors);
    cr_expect_null(config, "%s is accepted", name);
    config_free(config);
    for (size_t i = 0; i < expected.n || i < errors.n; i++) {
        const char *want = i < expected.n ? expected.line[i] : "nothing";
        const char *got = i < errors.n ? line_strip(errors.line[i], name, folder) : "nothing";
        if (strcmp(want, got) != 0) {
            fprintf(stderr, "%s: want: %s\n%s:  got: %s\n", name, want, name, got);
            differ++;
        }
        lines_add(all, got);
    }
    cr_expect_gt(expected.n, 0, "%s announces nothing", name);
    lines_free(&expected);
    conf_errors_free(&errors);
    return differ;
}

static size_t folder_check(struct lines *all)
{
    cr_assert_eq(chdir(path_of("tests/conf")), 0);
    char *folder = realpath(".", NULL);
    DIR *dir = opendir(".");
    cr_assert(folder && dir);
    size_t files = 0, differ = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        if (!strstr(d->d_name, ".yaml"))
            continue;
        differ += file_check(d->d_name, folder, all);
        files++;
    }
    closedir(dir);
    free(folder);
    cr_expect_gt(files, 50);
    return differ;
}

Test(config_bad, each_file_gives_what_it_announces)
{
    struct lines all = {.n = 0};
    cr_expect_eq(folder_check(&all), 0);
    lines_free(&all);
}

/* What no text can be the cause of, but a file can. */
static void load_bad(struct lines *all, const char *path, const char *expected)
{
    struct conf_errors errors = {0};
    struct config *config = config_load(path, NULL, 0, &fake_source, &errors);
    cr_expect_null(config);
    cr_assert_eq(errors.n, 1, "%s: %zu mistakes", path, errors.n);
    cr_expect_str_eq(errors.line[0], expected);
    lines_add(all, errors.line[0]);
    conf_errors_free(&errors);
}

static void files_bad(struct lines *all)
{
    char folder[] = "/tmp/dispatch-test-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    cr_assert(mkfifo("fifo.yaml", 0600) == 0 && mkdir("folder.yaml", 0700) == 0);
    FILE *f = fopen("large.yaml", "w");
    for (int i = 0; i < 1024 * 1024 + 1; i++)
        fputc('\n', f);
    fclose(f);
    load_bad(all, "missing.yaml", "missing.yaml: cannot read it: No such file or directory");
    load_bad(all, "fifo.yaml", "fifo.yaml: cannot read it: not a regular file");
    load_bad(all, "folder.yaml", "folder.yaml: cannot read it: not a regular file");
    load_bad(all, "/dev/null", "/dev/null: cannot read it: not a regular file");
    load_bad(all, "large.yaml", "large.yaml: cannot read it: larger than 1024 KiB");
    unlink("fifo.yaml");
    unlink("large.yaml");
    rmdir("folder.yaml");
    cr_assert_eq(chdir("/"), 0);
    rmdir(folder);
}

/* One user too many: the others fit. */
static void users_too_many(struct lines *all)
{
    static const char hash[] = "$5$s$6Ob7MyC4xHc0WdkDfGdm4Hdoq8O7yFnCXoDDCrxHrE5";
    char folder[] = "/tmp/dispatch-test-XXXXXX", expected[200];
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    FILE *users = fopen("many.users", "w"), *yaml = fopen("many.yaml", "w");
    for (int i = 0; i < 100001; i++)
        fprintf(users, "user-%d:%s\n", i, hash);
    fputs("links: {a: {interface: a}}\nlisteners: {main: {users-file: many.users}}\n", yaml);
    fclose(users);
    fclose(yaml);
    snprintf(expected, sizeof expected, "%s/many.users:100001: more than 100000 users", folder);
    load_bad(all, "many.yaml", expected);
    unlink("many.users");
    unlink("many.yaml");
    cr_assert_eq(chdir("/"), 0);
    rmdir(folder);
}

static void text_too_large(struct lines *all)
{
    struct conf_errors errors = {0};
    size_t len = 1024 * 1024 + 1;
    char *text = calloc(1, len);
    memset(text, '\n', len);
    cr_expect_null(config_parse("x.yaml", text, len, NULL, 0, &fake_source, &errors));
    cr_assert_eq(errors.n, 1);
    cr_expect_str_eq(errors.line[0], "x.yaml: larger than 1024 KiB");
    lines_add(all, errors.line[0]);
    free(text);
    conf_errors_free(&errors);
}

Test(config_bad, files_that_cannot_be_read)
{
    struct lines all = {.n = 0};
    files_bad(&all);
    users_too_many(&all);
    text_too_large(&all);
    lines_free(&all);
}

static void sources_read(struct messages *m)
{
    char name[512];
    DIR *dir = opendir("core/config");
    cr_assert_not_null(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        size_t len = strlen(d->d_name);
        if (len < 3 || strcmp(d->d_name + len - 2, ".c") != 0 || strcmp(d->d_name, "args.c") == 0)
            continue; /* args.c: test_config_args.c */
        snprintf(name, sizeof name, "core/config/%s", d->d_name);
        cr_assert(messages_read(m, name));
    }
    closedir(dir);
}

Test(config_bad, each_message_is_provoked)
{
    struct lines all = {.n = 0};
    struct messages m = {.n = 0};
    cr_assert_eq(chdir(fake_srcdir()), 0);
    sources_read(&m);
    cr_expect_gt(m.n, 50, "the messages are not found any more");
    setenv("TESTS_SRCDIR", ".", 1);
    folder_check(&all);
    files_bad(&all);
    users_too_many(&all);
    text_too_large(&all);
    lines_add(&all, "out of memory"); /* not provoked: the only one */
    cr_expect_eq(messages_missing(&m, all.line, all.n), 0);
    messages_free(&m);
    lines_free(&all);
}
