/* SPDX-License-Identifier: MIT
 * log.c: a line is formatted on the stack and leaves by one write.
 */
#include "base/log.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_LEN 2048

static int log_max_level = LOG_INFO;

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

__attribute__((format(printf, 3, 0))) //
static void
line_write(enum log_level level, const char *area, const char *fmt, va_list ap)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[LINE_MAX_LEN];
    int n = snprintf(line, sizeof line, "%s %s: ", names[level], area);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    n = vsnprintf(line + len, sizeof line - len, fmt, ap);
    if (n > 0)
        len = len + (size_t)n < sizeof line ? len + (size_t)n : sizeof line - 1;
    line_clean(line, len);
    line[len++] = '\n';
    ssize_t done = write(STDERR_FILENO, line, len);
    (void)done; /* nowhere left to report it */
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    va_list ap;
    va_start(ap, fmt);
    line_write(level, area, fmt, ap);
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
    line_write(level, area, fmt, ap);
    va_end(ap);
    if (dropped)
        log_line(level, area, "%llu similar lines left out", (unsigned long long)dropped);
}
