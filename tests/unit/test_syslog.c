/* SPDX-License-Identifier: MIT
 * test_syslog.c: lines as they reach the socket of a system's log, or standard error instead.
 */
#include "base/syslog.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/dispatch-test-XXXXXX", path[64];
static int daemon_fd = -1, captured = -1, real_stderr = -1;

/* The log of this test's own, and standard error as a pipe. */
static void begin(void)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd[2];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    strcpy(sun.sun_path, path);
    daemon_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(daemon_fd, (struct sockaddr *)&sun, sizeof sun), 0);
    cr_assert_eq(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    cr_assert_geq(dup2(fd[1], STDERR_FILENO), 0);
    close(fd[1]);
    captured = fd[0];
}

static void end(void)
{
    dup2(real_stderr, STDERR_FILENO);
    unlink(path);
    rmdir(folder);
}

TestSuite(syslog, .init = begin, .fini = end);

/* What has come since the last call: one datagram; all of standard error. */
static const char *received(void)
{
    static char text[4096];
    ssize_t n = recv(daemon_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char *fallen_back(void)
{
    static char text[8192];
    ssize_t n = read(captured, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void line(enum log_level level, const char *text)
{
    syslog_write_to(path, level, "danted", text, strlen(text));
}

Test(syslog, severities)
{
    static const char *const head[] = {"<27>", "<28>", "<30>", "<31>"};
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        char expect[64];
        line((enum log_level)level, "info area: text key=value");
        const char *text = received();
        cr_expect_eq(strncmp(text, head[level], 4), 0, "%s", text);
        snprintf(expect, sizeof expect, " danted[%d]: info area: text key=value", (int)getpid());
        cr_assert_gt(strlen(text), strlen(expect));
        cr_expect_str_eq(text + strlen(text) - strlen(expect), expect);
    }
    cr_expect_str_eq(received(), "", "one datagram for a line");
    cr_expect_str_eq(fallen_back(), "");
}

/* Local time, in a field of 15 that is parted by spaces also on the first of a month. */
Test(syslog, time)
{
    setenv("TZ", "XYZ-05:30", 1);
    tzset();
    time_t before = time(NULL);
    line(LOG_INFO, "text");
    const char *text = received() + 4;
    struct tm tm;
    localtime_r(&before, &tm); /* the year, which is not sent */
    const char *rest = strptime(text, "%b %d %H:%M:%S ", &tm);
    cr_assert_not_null(rest, "%s", text);
    cr_expect_eq(rest - text, 16, "%s", text);
    cr_expect(text[3] == ' ' && text[4] != '0' && text[6] == ' ', "%s", text);
    tm.tm_isdst = -1;
    double late = difftime(mktime(&tm), before);
    cr_expect(late >= 0 && late <= 5, "%g s", late);
}

Test(syslog, long_lines_and_names)
{
    char text[5000], name[200];
    memset(text, 'x', sizeof text);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    syslog_write_to(path, LOG_ERROR, name, text, sizeof text);
    const char *got = received(), *line = strchr(got, 'x');
    cr_assert_not_null(line);
    cr_expect_eq(strlen(line), 2047);
    cr_expect_eq(strspn(strchr(got, 'n'), "n"), 32);
    unlink(path);
    syslog_write_to(path, LOG_ERROR, name, text, sizeof text);
    cr_expect_eq(strlen(strchr(fallen_back(), 'x')), 2048);
}

Test(syslog, nobody_there)
{
    unlink(path);
    errno = ENOTTY;
    line(LOG_WARN, "warn area: one");
    line(LOG_INFO, "info area: two");
    cr_expect_eq(errno, ENOTTY);
    const char *both = fallen_back();
    cr_expect_neq(both[0], '<', "without a priority: %s", both);
    cr_expect_not_null(strstr(both, "]: warn area: one\n"));
    cr_expect_not_null(strstr(both, "]: info area: two\n"));
    syslog_write_to("/a/name/that/is/longer/than/the/name/of/a/socket/can/be/and/that/is/not/much/"
                    "more/than/one/hundred/bytes",
                    LOG_INFO, "danted", "three", 5);
    cr_expect_not_null(strstr(fallen_back(), " danted["));
    close(daemon_fd);
}

/* One that has ended without its name: the socket is there, and refuses. */
Test(syslog, nobody_there_any_more)
{
    close(daemon_fd);
    line(LOG_INFO, "info area: text");
    cr_expect_not_null(strstr(fallen_back(), "]: info area: text\n"));
}

/* It hangs: what it does not take goes the other way, and what that does not take is lost. */
Test(syslog, nothing_waits)
{
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    unsigned taken = 0, other = 0;
    fcntl(STDERR_FILENO, F_SETFL, 0); /* a pipe that would wait */
    fcntl(captured, F_SETFL, O_NONBLOCK);
    alarm(20);
    for (int i = 0; i < 2000; i++)
        line(LOG_INFO, text);
    while (*received())
        taken++;
    for (const char *t; *(t = fallen_back());)
        for (; *t; t++)
            other += *t == 'x';
    cr_expect(taken >= 1 && taken < 2000, "%u", taken);
    cr_expect(other >= 1000 && other % 1000 == 0 && other / 1000 + taken < 2000, "%u", other);
    line(LOG_INFO, "again");
    cr_expect_not_null(strstr(received(), ": again"));
}

/* The reader of standard error has gone: no SIGPIPE. */
Test(syslog, nobody_anywhere)
{
    signal(SIGPIPE, SIG_DFL);
    unlink(path);
    close(captured);
    line(LOG_INFO, "text");
    close(STDERR_FILENO);
    line(LOG_INFO, "text");
}

/* Where descriptor 2 is a socket it may be a client's. */
Test(syslog, a_socket_as_standard_error)
{
    int fd[2];
    char byte;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    dup2(fd[1], STDERR_FILENO);
    unlink(path);
    line(LOG_INFO, "text");
    cr_expect_eq(recv(fd[0], &byte, 1, MSG_DONTWAIT), -1);
}

static int next_fd(void)
{
    int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

Test(syslog, no_descriptor_is_kept)
{
    int before = next_fd();
    line(LOG_INFO, "text");
    unlink(path);
    line(LOG_INFO, "text");
    cr_expect_eq(next_fd(), before);
}
