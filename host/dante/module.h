/* SPDX-License-Identifier: MIT
 * module.h: the module in one of danted's processes: its configuration, and who this process is.
 *
 * danted is a mother that reads the configuration, and children that take requests, connect, and
 * relay. The mother loads ours beside its own and publishes it to the children, who follow when they
 * next need it. A process has one thread.
 */
#ifndef DANTE_MODULE_H
#define DANTE_MODULE_H

#include "route/router.h"

/* Is there anything to do: the program is danted, and this is not a call of our own? Then it counts
 * as one until module_leave(). */
bool module_enter(void);
void module_leave(void);

/* danted's process that reads configurations. */
bool module_is_mother(void);

/* Follows the configuration if the mother has published a new one. What is returned stays until the
 * next call, and its config has a section `dante`. */
const struct router *module_router(void);
struct ledger *module_ledger(void);

/* The mother is checking its own configuration, at the start and at each SIGHUP: it asks whether
 * each of its external addresses is there. [mother] */
void module_check(const struct dp_addr *addr);

/* danted listens: it is the one that serves. [mother] */
void module_serves(void);

/* danted cannot work like this: says why, and ends it. */
__attribute__((noreturn, format(printf, 1, 2))) void module_refuse(const char *fmt, ...);

/* Ends the claims of a process that has ended; and of those that nobody has told us about. */
void module_reap(uint32_t pid);
void module_sweep(int64_t now_ns);

/* Around libc's daemon(), whose child is still the mother. */
void module_daemon_begin(void);
void module_daemon_end(bool done);

#endif
