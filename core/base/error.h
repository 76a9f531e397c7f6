/* SPDX-License-Identifier: MIT
 * error.h: the errors of dispatch-plugin.h, compared and checked.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <dispatch-plugin.h>

/* Which of two errors says more about the destination? Returns it. 0: none yet. */
int error_worse(int a, int b);

/* What a plugin has returned, if it may: DP_OK, DP_AGAIN or an error with a blame. Anything else is
 * its fault, and so its link's. */
int error_checked(int result);

#endif
