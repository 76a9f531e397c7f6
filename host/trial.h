/* SPDX-License-Identifier: MIT
 * trial.h: a configuration tried out in a child process, so that a plugin that crashes while it is
 * loaded takes nothing with it.
 */
#ifndef HOST_TRIAL_H
#define HOST_TRIAL_H

#define EXIT_CONFIG 78 /* sysexits(3): a mistake in the configuration */

/* Runs try(ctx) in a child; what it returns is the result. The child reports its mistakes on standard
 * error itself; a crash or a hang is reported here, and the result is EXIT_CONFIG. 1: there was no child. */
int trial_run(int (*try)(void *ctx), void *ctx);

#endif
