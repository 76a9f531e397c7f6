/* SPDX-License-Identifier: MIT
 * log.c: a line is formatted on the stack and leaves by one write, or not at all.
 */
#include "base/log.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_LEN 2048

/* How a line leaves, so that it takes one system call and never waits. */
enum log_way {
    LOG_WAITS,  /* write(), before log_start() */
    LOG_WRITES, /* write() that cannot wait: a file, or opened so */
    LOG_SENDS,  /* send() without waiting: a socket */
    LOG_POLLS   /* poll() first: a pipe or terminal of somebody else */
};

static int log_max_level = LOG_INFO;
static enum log_way log_way;
static int log_fd = STDERR_FILENO;
static void (*log_sink)(enum log_level level, const char *line, size_t len); /* NULL: log_fd */
static bool log_busy;                                                        /* atomic */
static bool log_torn;     /* while busy: the last line lacks its end */
static uint64_t log_lost; /* while busy: lines */

/* A terminal or pipe is opened once more, so that it can be written without blocking; setting that
 * on descriptor 2 itself would change it for whoever else has it. Where that is not allowed poll()
 * has to do: a pipe that is writable takes PIPE_BUF bytes. */
void log_start(void)
{
    struct stat st;
    log_way = LOG_WRITES;
    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        log_way = LOG_SENDS;
    } else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
            log_fd = fd;
        else
            log_way = LOG_POLLS;
    }
}

/* The thread that was writing when this one was forked is not here. */
void log_child(void)
{
    __atomic_store_n(&log_busy, false, __ATOMIC_RELAXED);
    if (log_fd == STDERR_FILENO)
        return;
    log_fd = STDERR_FILENO;
    log_way = LOG_POLLS;
}

void log_to(void (*sink)(enum log_level level, const char *line, size_t len))
{
    log_sink = sink;
}

static ssize_t line_put(const char *line, size_t len)
{
    struct pollfd p = {.fd = log_fd, .events = POLLOUT};
    if (log_way == LOG_SENDS)
        return send(log_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (log_way == LOG_POLLS && poll(&p, 1, 0) != 1)
        return -1;
    return write(log_fd, line, len);
}

/* A disk that fills up may take a part: the next line does not go on where it ends. */
static bool line_sent(const char *line, size_t len)
{
    ssize_t n = line_put(line, len);
    if (n > 0)
        log_torn = (size_t)n < len;
    return n == (ssize_t)len;
}

/* Of lines that nobody took the next one that gets through tells. */
static bool loss_told(void)
{
    char text[80];
    int n = snprintf(text, sizeof text, "%swarn log: %llu lines lost, as nobody took them\n",
                     log_torn ? "\n" : "", (unsigned long long)log_lost);
    if (!line_sent(text, (size_t)n))
        return false;
    log_lost = 0;
    return true;
}

/* Lines of several threads go one after the other, as nothing here waits for a reader. */
static void line_out(const char *line, size_t len)
{
    while (__atomic_exchange_n(&log_busy, true, __ATOMIC_ACQUIRE))
        sched_yield();
    bool sent = (log_lost == 0 || loss_told()) && line_sent(line, len);
    log_lost += !sent;
    __atomic_store_n(&log_busy, false, __ATOMIC_RELEASE);
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&log_max_level, (int)level, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= __atomic_load_n(&log_max_level, __ATOMIC_RELAXED);
}

const char *log_escape(char *buf, size_t size, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t o = 0;
    for (size_t i = 0; i < len && o + 5 <= size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c > ' ' && c < 0x7f && c != '"' && c != '\\') {
            buf[o++] = (char)c;
        } else {
            buf[o++] = '\\';
            buf[o++] = 'x';
            buf[o++] = hex[c >> 4];
            buf[o++] = hex[c & 15];
        }
    }
    buf[o] = '\0';
    return buf;
}

/* Arguments are escaped where they come from; this keeps a line a line whatever slipped through. */
static void line_clean(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
}

/* Where a line of `len` bytes ends when printf has added n, or as many as fit. */
static size_t line_end(size_t len, int n)
{
    if (n < 0)
        return len;
    return len + (size_t)n < LINE_MAX_LEN ? len + (size_t)n : LINE_MAX_LEN - 1;
}

__attribute__((format(printf, 4, 0))) //
static void
line_write(enum log_level level, uint64_t dropped, const char *area, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[LINE_MAX_LEN];
    size_t len = line_end(0, snprintf(line, sizeof line, "%s %s: ", names[level], area));
    len = line_end(len, vsnprintf(line + len, sizeof line - len, fmt, ap));
    if (dropped)
        len =
            line_end(len, snprintf(line + len, sizeof line - len, " (%llu similar lines left out)",
                                   (unsigned long long)dropped));
    line_clean(line, len);
    if (log_sink) {
        log_sink(level, line, len);
        return;
    }
    line[len++] = '\n';
    line_out(line, len);
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    va_list ap;
    va_start(ap, fmt);
    line_write(level, 0, area, fmt, ap);
    va_end(ap);
}

void log_rated(struct log_rate *rate, int64_t every_ns, enum log_level level, const char *area,
               const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int64_t now = clock_now_ns();
    int64_t next = __atomic_load_n(&rate->next_ns, __ATOMIC_RELAXED);
    if (now < next || !__atomic_compare_exchange_n(&rate->next_ns, &next, now + every_ns, false,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&rate->dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    uint64_t dropped = __atomic_exchange_n(&rate->dropped, 0, __ATOMIC_RELAXED);
    va_list ap;
    va_start(ap, fmt);
    line_write(level, dropped, area, fmt, ap);
    va_end(ap);
}
