/* SPDX-License-Identifier: MIT
 * test_users.c: a file of users that is good: who is in it, and who is not. Bad ones are in tests/conf.
 */
#include "config/config.h"
#include "lib/source_fake.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define H256 "$5$rounds=1000$salt$6Ob7MyC4xHc0WdkDfGdm4Hdoq8O7yFnCXoDDCrxHrE5"
#define H512                                                                     \
    "$6$$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaaaaaaaaaa"
#define HYES "$y$j9T$salt$6Ob7MyC4xHc0WdkDfGdm4Hdoq8O7yFnCXoDDCrxHrE5"
#define HBCR "$2b$04$abcdefghijklmnopqrstuuJbFHXmxtTTVLCcMGSUPCDjFTDmyV0eK"
#define HBCY "$2y$04$abcdefghijklmnopqrstuuJbFHXmxtTTVLCcMGSUPCDjFTDmyV0eK"

static const char good[] = "# a comment: with colons:\n"
                           "\n"
                           "bob:" H256 "\n"
                           "ann:" H512 ":cheap\n"
                           " \t\r\n"
                           "bobby:" HYES "\n"
                           "Bob:" HBCR "\n"
                           "\303\251 e@x.example:" HBCY ":all"; /* the last line need not end */

static char folder[] = "/tmp/dispatch-test-XXXXXX";

static void folder_make(const char *users, size_t len, mode_t mode)
{
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(chdir(folder), 0);
    FILE *f = fopen("who", "w");
    cr_assert_not_null(f);
    fwrite(users, 1, len, f);
    fclose(f);
    cr_assert_eq(chmod("who", mode), 0);
}

static struct config *load(struct conf_errors *errors)
{
    static const char text[] =
        "links: {a: {interface: a}}\npools: {all: {}, cheap: {}}\n"
        "listeners: {main: {listen: 0.0.0.0:1080, users-file: who}, open: {listen: 127.0.0.1:1}}\n";
    return config_parse("t.yaml", text, strlen(text), NULL, 0, &fake_source, errors);
}

static void folder_remove(void)
{
    unlink("who");
    cr_assert_eq(chdir("/"), 0);
    rmdir(folder);
}

Test(users, who_is_in_a_file)
{
    static const struct {
        const char *name;
        size_t len;
        const char *hash, *pool;
    } table[] = {
        {"bob", 3, H256, NULL},
        {"Bob", 3, HBCR, NULL},
        {"bobby", 5, HYES, NULL},
        {"ann", 3, H512, "cheap"},
        {"\303\251 e@x.example", 14, HBCY, "all"},
        {"bo", 2, NULL, NULL},
        {"bobb", 4, NULL, NULL},
        {"BOB", 3, NULL, NULL},
        {"bob\0", 4, NULL, NULL},
        {"bob\0y", 5, NULL, NULL},
        {"", 0, NULL, NULL},
        {"# a comment", 11, NULL, NULL},
        {"zzz", 3, NULL, NULL},
    };
    struct conf_errors errors = {0};
    folder_make(good, sizeof good - 1, 0600);
    struct config *config = load(&errors);
    cr_assert_not_null(config, "%s", errors.n ? errors.line[0] : "");
    const struct conf_users *users = config->listener[0].users;
    cr_assert_not_null(users);
    cr_expect_null(config->listener[1].users);
    cr_expect_eq(users->n, 5);
    cr_expect_str_eq(users->file + strlen(users->file) - 4, "/who");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct conf_user *user = conf_user_find(users, table[i].name, table[i].len);
        cr_assert_eq(!user, !table[i].hash, "%s", table[i].name);
        if (!user)
            continue;
        cr_expect_str_eq(user->hash, table[i].hash);
        cr_expect_str_eq(user->pool ? user->pool->name : "", table[i].pool ? table[i].pool : "");
    }
    config_free(config);
    folder_remove();
}

/* As other editors write them. */
Test(users, lines_that_end_in_cr_lf)
{
    static const char text[] = "# a comment\r\n\r\nbob:" H256 "\r\nann:" H512 ":cheap\r\n";
    struct conf_errors errors = {0};
    folder_make(text, sizeof text - 1, 0600);
    struct config *config = load(&errors);
    cr_assert_not_null(config, "%s", errors.n ? errors.line[0] : "");
    const struct conf_users *users = config->listener[0].users;
    cr_expect_str_eq(conf_user_find(users, "bob", 3)->hash, H256);
    cr_expect_str_eq(conf_user_find(users, "ann", 3)->pool->name, "cheap");
    config_free(config);
    folder_remove();
}

Test(users, as_many_as_there_may_be)
{
    static const char format[] = "user-%06d:" H256 "\n";
    const int n = 100000;
    struct conf_errors errors = {0};
    char *text = malloc((size_t)n * (sizeof format + 2));
    size_t len = 0;
    cr_assert_not_null(text);
    for (int i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, format, i);
    folder_make(text, len, 0600);
    free(text);
    struct config *config = load(&errors);
    cr_assert_not_null(config, "%s", errors.n ? errors.line[0] : "");
    const struct conf_users *users = config->listener[0].users;
    cr_expect_eq(users->n, n);
    cr_expect_not_null(conf_user_find(users, "user-099999", 11));
    cr_expect_null(conf_user_find(users, "user-100000", 11));
    config_free(config);
    folder_remove();
}

Test(users, a_file_that_everybody_may_write)
{
    struct conf_errors errors = {0};
    char expected[256];
    folder_make(good, sizeof good - 1, 0666);
    cr_expect_null(load(&errors));
    snprintf(expected, sizeof expected,
             "t.yaml:3:42: listener \"main\": users-file: cannot read %s/who: everybody may write "
             "to it (chmod o-w)",
             folder);
    cr_assert_eq(errors.n, 1);
    cr_expect_str_eq(errors.line[0], expected);
    conf_errors_free(&errors);
    folder_remove();
}

/* A mistake in the format may be a password: nothing of the line is told. */
Test(users, a_password_is_not_repeated)
{
    static const char text[] = "bob:my secret\n";
    struct conf_errors errors = {0};
    folder_make(text, sizeof text - 1, 0600);
    cr_expect_null(load(&errors));
    cr_assert_eq(errors.n, 1);
    cr_expect_null(strstr(errors.line[0], "secret"), "%s", errors.line[0]);
    conf_errors_free(&errors);
    folder_remove();
}

/* What --dump-config prints gives the same again; for a process that cannot read the file there are
 * no users. */
Test(users, printed)
{
    struct conf_errors errors = {0};
    folder_make(good, sizeof good - 1, 0644);
    struct config *config = load(&errors);
    cr_assert_not_null(config);
    char *text = NULL, *inner = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    config_dump(config, out);
    fclose(out);
    out = open_memstream(&inner, &len);
    config_write(config, out);
    fclose(out);
    cr_expect_not_null(strstr(text, "/who\n"), "%s", text);
    cr_expect_null(strstr(text, "open: yes"), "%s", text);
    cr_expect_null(strstr(inner, "who"), "%s", inner);
    struct config *again =
        config_parse("t.yaml", text, strlen(text), NULL, 0, &fake_source, &errors);
    cr_assert_not_null(again, "%s", errors.n ? errors.line[0] : "");
    cr_expect_eq(again->listener[0].users->n, 5);
    config_free(again);
    again = config_parse("t.yaml", inner, strlen(inner), NULL, 0, &fake_source, &errors);
    cr_assert_not_null(again, "%s", errors.n ? errors.line[0] : "");
    config_free(again);
    config_free(config);
    free(text);
    free(inner);
    folder_remove();
}
