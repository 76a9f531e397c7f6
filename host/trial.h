/* SPDX-License-Identifier: MIT
 * trial.h: a configuration tried out in a child process, so that a plugin that crashes while it is
 * loaded takes nothing with it.
 */
#ifndef HOST_TRIAL_H
#define HOST_TRIAL_H

/* Runs try(ctx) in a child; what it returns is the result. The child reports its mistakes on standard
 * error itself; a crash or a hang is reported here, and the result is 78. 1: there was no child. */
int trial_run(int (*try)(void *ctx), void *ctx);

#endif
