/* SPDX-License-Identifier: MIT
 * dante_state.h: --dante-state: what the module in danted knows, seen from outside.
 */
#ifndef HOST_DANTE_STATE_H
#define HOST_DANTE_STATE_H

/* Prints the state file of a danted. Returns the exit status. */
int dante_state_print(const char *file);

#endif
