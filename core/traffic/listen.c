/* SPDX-License-Identifier: MIT
 * listen.c: listening sockets.
 */
#include "traffic/listen.h"
#include "route/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static void listen_error(const struct conf_listener *l, struct conf_errors *errors, int err)
{
    char text[ADDR_TEXT];
    addr_text(&l->listen, text);
    if (err == EADDRINUSE)
        conf_error(errors, l->node,
                   "listener \"%s\": port %u is taken: another program listens on %s; stop it, or "
                   "choose another port (-lport, or `listen:` in the file)",
                   l->name, l->listen.port, text);
    else if (err == EACCES)
        conf_error(errors, l->node,
                   "listener \"%s\": %s: ports below 1024 need privilege; choose a higher one "
                   "(-lport, or `listen:` in the file)",
                   l->name, text);
    else
        conf_error(errors, l->node, "listener \"%s\": cannot listen on %s: %s", l->name, text,
                   strerror(err));
}

int listen_open(const struct conf_listener *l, struct conf_errors *errors)
{
    int one = 1;
    const struct dp_addr *a = &l->listen;
    int fd = socket(addr_family(a), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, (const struct sockaddr *)&a->sa, a->salen) == 0) {
        socket_no_delay(fd); /* connections inherit these: it costs them nothing */
        socket_keepalive(fd);
        if (listen(fd, BACKLOG) == 0)
            return fd;
    }
    listen_error(l, errors, errno);
    if (fd >= 0)
        close(fd);
    return -1;
}
