/* SPDX-License-Identifier: MIT
 * sockets.h: danted's sockets on their way out, from the anchor to their last close.
 *
 *   bind() to an anchor -> ARMED   -> connect() -> LED -> another process -> close()
 *                       -> BOUND (BIND and UDP: the link is picked at once) -> accept(), close()
 *
 * All functions but socket_is_ours() belong between module_enter() and module_leave(), and return
 * what libc's would, or a negative errno.
 */
#ifndef DANTE_SOCKETS_H
#define DANTE_SOCKETS_H

#include <stdbool.h>
#include <sys/socket.h>

bool socket_is_ours(int fd);

int socket_bind(int fd, const struct sockaddr *addr, socklen_t len);
int socket_lead(int fd, const struct sockaddr *addr, socklen_t len); /* connect() */
int socket_listen(int fd, int backlog);
int socket_accept(int fd, struct sockaddr *addr, socklen_t *len);
int socket_name(int fd, struct sockaddr *addr, socklen_t *len); /* getsockname() */
int socket_replace(int from, int to);                           /* dup2() */
int socket_end(int fd);                                         /* close() */

/* Descriptors in a message: before and after it is sent, and when it has come. */
void sockets_leave(const struct msghdr *msg);
void sockets_left(const struct msghdr *msg, bool sent);
void sockets_arrive(struct msghdr *msg);

/* In a new child: what it has inherited is its parent's. */
void sockets_forget(void);

#endif
