/* SPDX-License-Identifier: MIT
 * log.h: one line to standard error, or a sink: `level area: text key=value`.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG }; /* the same numbers as DP_LOG_ */

/* From here on a reader of standard error that is stuck or gone stops nothing: what it does not take
 * at once is lost, and counted. Before, lines wait for it. [main, before other threads] */
void log_start(void);

/* In a child process, before it logs or closes what it has inherited: lines go to standard error
 * itself. */
void log_child(void);

/* From here on each line goes to `sink` instead, len bytes without a line break; NULL: to standard
 * error again. [main, before other threads] */
void log_to(void (*sink)(enum log_level level, const char *line, size_t len));

/* Lines above this level are dropped. Default: LOG_INFO. */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* One write(2) for a line; never fails, cuts at 2 KiB. Control bytes in the
 * text come out as `?`. [any thread] */
__attribute__((format(printf, 3, 4))) //
void log_line(enum log_level level, const char *area, const char *fmt, ...);

/* For what may repeat without end: at most one line per `every_ns`, with the number of those left
 * out since the last. One static struct for each place. [any thread] */
struct log_rate {
    int64_t next_ns;
    uint64_t dropped;
};
__attribute__((format(printf, 5, 6))) //
void log_rated(struct log_rate *rate, int64_t every_ns, enum log_level level, const char *area,
               const char *fmt, ...);

/* Peer's text made printable: control, 8-bit and quote bytes as \xNN, cut to fit. Returns buf. */
const char *log_escape(char *buf, size_t size, const char *text, size_t len);

#endif
