/* SPDX-License-Identifier: MIT
 * listen.h: listening sockets.
 */
#ifndef TRAFFIC_LISTEN_H
#define TRAFFIC_LISTEN_H

#include "config/config.h"

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

/* Opens it; -1 with the mistake in errors, which for a port in use says whose it is. It may be one of
 * our own, `own`, which are open still and about to be given up. */
int listen_open(const struct conf_listener *listener, const int *own, size_t n_own,
                struct conf_errors *errors);

/* A listening socket that this process was started with: the listener of its address gets it. Those
 * that no listener has got are closed at the end. [main] */
void listen_inherit(int fd);
void listen_inherit_end(void);

/* Removes the file of a unix socket before it is closed; of one that was inherited only when that has
 * ended, for the program before may go on. */
void listen_remove(int fd);

/* What is configured may have changed for one that stays: its file's permissions. */
void listen_renew(const struct conf_listener *listener);

/* From now on it takes no new connection; those under way can still be accepted. */
void listen_give_up(int fd);

#endif
