/* SPDX-License-Identifier: MIT
 * libc.h: the functions of libc that this module stands before.
 */
#ifndef DANTE_LIBC_H
#define DANTE_LIBC_H

#include <sys/resource.h>
#include <sys/socket.h>

struct libc {
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t len);
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t len);
    int (*listen)(int fd, int backlog);
    int (*accept)(int fd, struct sockaddr *addr, socklen_t *len);
    int (*getsockname)(int fd, struct sockaddr *addr, socklen_t *len);
    ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *msg, int flags);
    int (*dup2)(int from, int to);
    int (*close)(int fd);
    pid_t (*wait3)(int *status, int options, struct rusage *usage);
    int (*daemon)(int nochdir, int noclose);
};

/* Looked up on first use: other libraries' constructors call them before ours has run. */
const struct libc *libc(void);

#endif
