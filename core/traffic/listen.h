/* SPDX-License-Identifier: MIT
 * listen.h: listening sockets.
 */
#ifndef TRAFFIC_LISTEN_H
#define TRAFFIC_LISTEN_H

#include "config/config.h"

/* Opens it; -1 with the mistake in errors, which for a port in use says whose it is. */
int listen_open(const struct conf_listener *listener, struct conf_errors *errors);

#endif
