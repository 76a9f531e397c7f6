/* SPDX-License-Identifier: MIT
 * listen_unix.h: listening on unix sockets, and the files that come and go with them.
 */
#ifndef TRAFFIC_LISTEN_UNIX_H
#define TRAFFIC_LISTEN_UNIX_H

#include "config/config.h"

/* A socket bound to the listener's path, with its permissions, on which nobody can connect yet. A file
 * that nobody listens on any more is replaced. Returns -1 with errno: EADDRINUSE, somebody does;
 * EEXIST, it is no socket. */
int unix_bind(const struct conf_listener *listener);

/* Gives the file the permissions that are configured. Returns 0, or -1 with errno. */
int unix_chmod(const struct conf_listener *listener);

/* Removes the file of such a socket; of others there is none. */
void unix_remove(int fd);

#endif
