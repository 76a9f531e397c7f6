/* SPDX-License-Identifier: MIT
 * libc.c: the functions of libc that this module stands before.
 */
#include "dante/libc.h"

#include <dlfcn.h>
#include <stdlib.h>

/* POSIX lets a data pointer stand for a function's, C does not. */
static void find(void *slot, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort(); /* not a libc that danted runs on */
    *(void **)slot = found;
}

const struct libc *libc(void)
{
    static struct libc next;
    if (next.daemon)
        return &next;
    find(&next.bind, "bind");
    find(&next.connect, "connect");
    find(&next.listen, "listen");
    find(&next.accept, "accept");
    find(&next.getsockname, "getsockname");
    find(&next.sendmsg, "sendmsg");
    find(&next.recvmsg, "recvmsg");
    find(&next.dup2, "dup2");
    find(&next.close, "close");
    find(&next.wait3, "wait3");
    find(&next.daemon, "daemon"); /* the last: it says that all are there */
    return &next;
}
