/* SPDX-License-Identifier: MIT
 * syslog.h: lines to the system's log, from inside a program that logs there by itself.
 */
#ifndef BASE_SYSLOG_H
#define BASE_SYSLOG_H

#include "base/log.h"

/* One line as one datagram to /dev/log, facility daemon, cut at 2 KiB. syslog(3) and its descriptor
 * are the program's, and it may close all descriptors that it does not know: so neither is used, and
 * none is kept. Never waits; errno stays. A line that nobody takes goes to standard error, if that is
 * a file, a pipe or a terminal: a socket there might be a client's. [any thread] */
void syslog_write(enum log_level level, const char *ident, const char *line, size_t len);

/* The same to a socket of another name. */
void syslog_write_to(const char *path, enum log_level level, const char *ident, const char *line,
                     size_t len);

#endif
