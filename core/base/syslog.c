/* SPDX-License-Identifier: MIT
 * syslog.c: a line of the log as a datagram of RFC 3164.
 */
#include "base/syslog.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FACILITY_DAEMON 3 /* RFC 3164, 4.1.1 */
#define HEAD_MAX 96
#define LINE_MAX_LEN 2048

/* `<30>Jan  2 03:04:05 ident[123]: `, in English whatever the locale. Returns its length. A tag has
 * at most 32 characters (RFC 3164, 4.1.3). */
static size_t head_print(char head[HEAD_MAX], enum log_level level, const char *ident)
{
    static const int severity[] = {3, 4, 6, 7}; /* error, warning, informational, debug */
    static const char month[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm tm = {0};
    localtime_r(&now, &tm);
    int n = snprintf(head, HEAD_MAX, "<%d>%s %2d %02d:%02d:%02d %.32s[%ld]: ",
                     FACILITY_DAEMON * 8 + severity[level], month[tm.tm_mon], tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, ident, (long)getpid());
    return n > 0 ? (size_t)n : 0;
}

/* To a name with each line: a connection would not outlive a restart of whoever listens. */
static bool datagram_sent(const char *path, const char *text, size_t len)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sun.sun_path)
        return false;
    memcpy(sun.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t n = sendto(fd, text, len, MSG_DONTWAIT, (const struct sockaddr *)&sun, sizeof sun);
    close(fd);
    return n == (ssize_t)len;
}

/* A pipe that nobody reads any more is writable, and an error too. */
static bool stderr_takes(void)
{
    struct stat st;
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    return fstat(STDERR_FILENO, &st) == 0 && !S_ISSOCK(st.st_mode) && poll(&p, 1, 0) == 1 &&
           p.revents == POLLOUT;
}

void syslog_write_to(const char *path, enum log_level level, const char *ident, const char *line,
                     size_t len)
{
    int err = errno;
    char text[HEAD_MAX + LINE_MAX_LEN];
    size_t head = head_print(text, level, ident);
    if (len >= LINE_MAX_LEN)
        len = LINE_MAX_LEN - 1; /* room for the end of the line */
    memcpy(text + head, line, len);
    if (!datagram_sent(path, text, head + len) && stderr_takes()) {
        const char *from = strchr(text, '>') + 1; /* without its priority */
        text[head + len] = '\n';
        ssize_t n = write(STDERR_FILENO, from, (size_t)(text + head + len + 1 - from));
        (void)n; /* there is nobody left to tell */
    }
    errno = err;
}

void syslog_write(enum log_level level, const char *ident, const char *line, size_t len)
{
    syslog_write_to("/dev/log", level, ident, line, len);
}
