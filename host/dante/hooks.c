/* SPDX-License-Identifier: MIT
 * hooks.c: the functions that danted calls instead of libc's: all that this object exports.
 *
 * Each asks whether the descriptor is one of ours, which costs a look at a table, and goes to libc
 * if not. What the module itself calls passes through.
 */
#include "dante/libc.h"
#include "dante/module.h"
#include "dante/sockets.h"

#include <errno.h>

#define HOOK __attribute__((visibility("default")))

/* Ours: 0 or an error becomes what libc's function would return. */
static int hook_leave(int result)
{
    module_leave();
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}

HOOK int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    if (!module_enter())
        return libc()->bind(fd, addr, len);
    return hook_leave(socket_bind(fd, addr, len));
}

HOOK int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    if (!socket_is_ours(fd) || !module_enter())
        return libc()->connect(fd, addr, len);
    return hook_leave(socket_lead(fd, addr, len));
}

HOOK int listen(int fd, int backlog)
{
    if (!module_enter())
        return libc()->listen(fd, backlog);
    return hook_leave(socket_listen(fd, backlog));
}

HOOK int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    if (!socket_is_ours(fd) || !module_enter())
        return libc()->accept(fd, addr, len);
    return hook_leave(socket_accept(fd, addr, len));
}

HOOK int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    if (!socket_is_ours(fd) || !module_enter())
        return libc()->getsockname(fd, addr, len);
    return hook_leave(socket_name(fd, addr, len));
}

HOOK int dup2(int from, int to)
{
    if (from == to || !socket_is_ours(to) || !module_enter())
        return libc()->dup2(from, to);
    return hook_leave(socket_replace(from, to));
}

HOOK int close(int fd)
{
    if (!socket_is_ours(fd) || !module_enter())
        return libc()->close(fd);
    return hook_leave(socket_end(fd));
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (!msg->msg_controllen || !module_enter())
        return libc()->sendmsg(fd, msg, flags);
    sockets_leave(msg);
    ssize_t n = libc()->sendmsg(fd, msg, flags);
    int err = errno;
    sockets_left(msg, n >= 0);
    module_leave();
    errno = err;
    return n;
}

HOOK ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t n = libc()->recvmsg(fd, msg, flags);
    int err = errno;
    if (n >= 0 && msg->msg_controllen && module_enter()) {
        sockets_arrive(msg);
        module_leave();
    }
    errno = err;
    return n;
}

HOOK pid_t wait3(int *status, int options, struct rusage *usage)
{
    pid_t pid = libc()->wait3(status, options, usage);
    int err = errno;
    if (pid > 0 && module_enter()) {
        module_reap((uint32_t)pid);
        module_leave();
    }
    errno = err;
    return pid;
}

HOOK int daemon(int nochdir, int noclose)
{
    module_daemon_begin();
    int result = libc()->daemon(nochdir, noclose);
    int err = errno;
    module_daemon_end(result == 0);
    errno = err;
    return result;
}
