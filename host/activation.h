/* SPDX-License-Identifier: MIT
 * activation.h: sockets that the service manager has opened for us, by the protocol of
 * sd_listen_fds(3): `listen: fd:NAME`.
 *
 * They stay open as long as the process, whether a listener uses them or not, and are handed on to a
 * new program as they came.
 */
#ifndef HOST_ACTIVATION_H
#define HOST_ACTIVATION_H

#include "config/config.h"

/* At the start, once. `handed_on`: what is there was meant for the program before this one. */
void activation_begin(bool handed_on);

/* Finds the sockets of listeners that go by them, and what they listen on. Returns 0, or -1 with what
 * is missing in errors. */
int activation_find(struct config *config, struct conf_errors *errors);

/* How many there are: from ACTIVATION_FIRST on. */
#define ACTIVATION_FIRST 3
int activation_count(void);

#endif
