/* SPDX-License-Identifier: MIT
 * listen_unix.c: listening on unix sockets, and the files that come and go with them.
 */
#include "traffic/listen_unix.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *path_of(const struct sockaddr_storage *sa)
{
    return ((const struct sockaddr_un *)sa)->sun_path;
}

/* 0: nobody listens there. Else an errno; a queue that is full belongs to somebody. */
static int probe(const struct dp_addr *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = connect(fd, (const struct sockaddr *)&addr->sa, addr->salen) < 0 ? errno : 0;
    close(fd);
    if (err == ECONNREFUSED)
        return 0;
    return err == 0 || err == EAGAIN ? EADDRINUSE : err;
}

/* What a program has left behind that was killed. Returns 0 or an errno. */
static int remove_stale(const struct dp_addr *addr)
{
    struct stat st;
    if (lstat(path_of(&addr->sa), &st) < 0)
        return errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int err = probe(addr);
    if (err == 0 && unlink(path_of(&addr->sa)) < 0)
        err = errno;
    return err;
}

static int bind_to(int fd, const struct dp_addr *addr)
{
    return bind(fd, (const struct sockaddr *)&addr->sa, addr->salen) < 0 ? errno : 0;
}

int unix_chmod(const struct conf_listener *l)
{
    return l->mode ? chmod(path_of(&l->listen.sa), l->mode) : 0;
}

int unix_bind(const struct conf_listener *l)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int err = bind_to(fd, &l->listen);
    if (err == EADDRINUSE && (err = remove_stale(&l->listen)) == 0)
        err = bind_to(fd, &l->listen);
    if (err == 0 && unix_chmod(l) < 0) {
        err = errno;
        unix_remove(fd);
    }
    if (err == 0)
        return fd;
    close(fd);
    errno = err;
    return -1;
}

void unix_remove(int fd)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0 && sa.ss_family == AF_UNIX &&
        *path_of(&sa))
        unlink(path_of(&sa));
}
