/* SPDX-License-Identifier: MIT
 * test_log.c: log lines as they reach standard error.
 */
#include "base/clock.h"
#include "base/log.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

static int captured = -1, real_stderr = -1;

static void capture(void)
{
    int fd[2];
    cr_assert(eq(int, pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0));
    real_stderr = dup(STDERR_FILENO);
    cr_assert(dup2(fd[1], STDERR_FILENO) >= 0);
    close(fd[1]);
    captured = fd[0];
}

/* What has been logged since the last call. */
static const char *logged(void)
{
    static char text[8192];
    ssize_t n = read(captured, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void release(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
}

TestSuite(log, .init = capture, .fini = release);

Test(log, levels)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        log_set_level((enum log_level)level);
        for (int line = LOG_ERROR; line <= LOG_DEBUG; line++) {
            char expect[64] = "";
            if (line <= level)
                snprintf(expect, sizeof expect, "%s area: number=%d\n", names[line], line);
            cr_expect(eq(int, log_enabled((enum log_level)line), line <= level));
            log_line((enum log_level)line, "area", "number=%d", line);
            cr_expect(eq(str, (char *)logged(), expect));
        }
    }
}

Test(log, info_is_the_default)
{
    cr_expect(log_enabled(LOG_INFO));
    cr_expect(not(log_enabled(LOG_DEBUG)));
}

/* Whatever slips through: one call, one line, of at most 2 KiB. */
Test(log, a_line_stays_a_line)
{
    char text[6000];
    for (size_t len = 2000; len < 2060; len++) {
        memset(text, 'x', len);
        text[len] = '\0';
        log_line(LOG_INFO, "area", "%s", text);
        const char *line = logged();
        size_t n = strlen(line);
        cr_assert(n <= 2048, "%zu", n);
        cr_assert(eq(chr, line[n - 1], '\n'));
        cr_assert(eq(ptr, (void *)strchr(line, '\n'), (void *)(line + n - 1)));
    }
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_line(LOG_INFO, text, "%s", text);
    cr_expect(eq(sz, strlen(logged()), 2048));

    log_line(LOG_INFO, "area", "one\ntwo\r\033[2J\177 \303\274");
    const char *line = logged();
    size_t controls = 0;
    for (const char *c = line; *c; c++)
        controls += iscntrl((unsigned char)*c) != 0;
    cr_expect(eq(sz, controls, 1), "but for the end of the line: %s", line);
    cr_expect(strstr(line, "\303\274\n") != NULL, "text of ours may be UTF-8");
}

Test(log, escape)
{
    static const struct {
        const char *text;
        size_t len, size;
        const char *expect;
    } table[] = {
        {"plain-1.example", 15, 100, "plain-1.example"},
        {"", 0, 100, ""},
        {"", 0, 1, ""},
        {"a b", 3, 100, "a\\x20b"},
        {"a\0b", 3, 100, "a\\x00b"},
        {"\r\n", 2, 100, "\\x0d\\x0a"},
        {"\"\\", 2, 100, "\\x22\\x5c"},
        {"\177\200\377", 3, 100, "\\x7f\\x80\\xff"},
        /* cut: never in the middle of an escape, always with a NUL */
        {"\1\1", 2, 9, "\\x01\\x01"},
        {"\1\1", 2, 8, "\\x01"},
        {"\1", 1, 4, ""},
        {"abcdefgh", 8, 8, "abcd"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        char *buf = malloc(table[i].size);
        cr_assert(buf != NULL);
        cr_expect(eq(str, (char *)log_escape(buf, table[i].size, table[i].text, table[i].len),
                     (char *)table[i].expect));
        free(buf);
    }
}

Test(log, repeats_are_counted)
{
    struct log_rate often = {0}, once = {0}, other = {0};
    for (int i = 0; i < 5; i++)
        log_rated(&once, INT64_MAX / 2, LOG_WARN, "area", "again %d", i);
    cr_expect(eq(str, (char *)logged(), "warn area: again 0\n"));
    log_rated(&other, INT64_MAX / 2, LOG_WARN, "area", "from elsewhere");
    cr_expect(eq(str, (char *)logged(), "warn area: from elsewhere\n"));

    once.next_ns = clock_now_ns(); /* the time has come */
    log_rated(&once, INT64_MAX / 2, LOG_WARN, "area", "at last");
    cr_expect(eq(str, (char *)logged(), "warn area: at last (4 similar lines left out)\n"));
    for (int i = 0; i < 3; i++)
        log_rated(&often, 0, LOG_INFO, "area", "each");
    cr_expect(eq(str, (char *)logged(), "info area: each\ninfo area: each\ninfo area: each\n"));

    log_set_level(LOG_ERROR);
    log_rated(&other, 0, LOG_WARN, "area", "not wanted");
    cr_expect(eq(str, (char *)logged(), ""));
    cr_expect(eq(u64, other.dropped, 0), "what is not wanted is not counted");
}

static char sunk[8][2048];
static enum log_level sunk_level[8];
static size_t n_sunk;

static void sink(enum log_level level, const char *line, size_t len)
{
    cr_assert(n_sunk < LENGTH(sunk) && len < sizeof *sunk);
    sunk_level[n_sunk] = level;
    memcpy(sunk[n_sunk++], line, len);
}

Test(log, another_place)
{
    struct log_rate rate = {0};
    log_to(sink);
    log_line(LOG_WARN, "area", "one\ntwo");
    log_rated(&rate, 0, LOG_ERROR, "area", "number=%d", 3);
    log_line(LOG_DEBUG, "area", "not wanted");
    cr_expect(eq(str, (char *)logged(), ""));
    cr_assert(eq(sz, n_sunk, 2));
    cr_expect(eq(str, sunk[0], "warn area: one?two"));
    cr_expect(eq(str, sunk[1], "error area: number=3"));
    cr_expect(sunk_level[0] == LOG_WARN && sunk_level[1] == LOG_ERROR);
    log_to(NULL);
    log_line(LOG_INFO, "area", "back");
    cr_expect(eq(str, (char *)logged(), "info area: back\n"));
    cr_expect(eq(sz, n_sunk, 2));
}

/* Nobody reads it, the disk is full: the program goes on. */
Test(log, nowhere_to_write)
{
    close(STDERR_FILENO);
    log_line(LOG_ERROR, "area", "lost");
    dup2(real_stderr, STDERR_FILENO);
}

/* Counts the lines that wait there, and those they say are lost. */
static unsigned lines_read(int reader)
{
    static char text[1 << 20];
    unsigned counted = 0, lost;
    size_t len = 0;
    for (ssize_t n; (n = read(reader, text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        if (sscanf(line, "warn log: %u lines lost, as nobody took them", &lost) == 1)
            counted += lost;
        else if (strlen(line) == strlen("info area: ") + 1000)
            counted++;
        else
            cr_fail("not a whole line: %s", line);
    }
    return counted;
}

/* From log_start() on what is not taken at once is lost whole, and counted. */
static void lines_until_full(int reader)
{
    unsigned n = 20000;
    for (unsigned i = 0; i < n; i++)
        log_line(LOG_INFO, "area", "%1000u", i);
    unsigned counted = lines_read(reader);
    cr_expect(counted > 0 && counted < n, "%u", counted);
    log_line(LOG_INFO, "area", "%1000u", n);
    cr_expect(eq(uint, counted + lines_read(reader), n + 1));
}

Test(log, a_pipe_that_is_full)
{
    log_start();
    lines_until_full(captured);
}

Test(log, a_socket_that_is_full)
{
    int fd[2];
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0));
    dup2(fd[1], STDERR_FILENO);
    log_start();
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    lines_until_full(fd[0]);
}

/* A part of a line gets onto a full disk: what comes later begins a line of its own. */
Test(log, a_file_that_is_full)
{
    char name[] = "/tmp/test_log.XXXXXX", text[300];
    int fd = mkostemp(name, O_APPEND | O_CLOEXEC);
    cr_assert(fd >= 0);
    unlink(name);
    dup2(fd, STDERR_FILENO);
    log_start();
    struct rlimit limit, all;
    getrlimit(RLIMIT_FSIZE, &all);
    limit = (struct rlimit){.rlim_cur = 60, .rlim_max = all.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 10; i++)
        log_line(LOG_INFO, "area", "line number %d", i);
    setrlimit(RLIMIT_FSIZE, &all);
    log_line(LOG_INFO, "area", "again");
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    cr_expect(eq(str, text,
                 "info area: line number 0\ninfo area: line number 1\n"
                 "info area:\nwarn log: 8 lines lost, as nobody took them\ninfo area: again\n"));
}
