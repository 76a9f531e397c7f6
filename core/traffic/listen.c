/* SPDX-License-Identifier: MIT
 * listen.c: listening sockets.
 */
#include "traffic/listen.h"
#include "route/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

/* A client that has sent nothing is accepted after this only. */
#define DEFER_S 1

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

void listen_tune(int fd, const struct conf_listener *l)
{
    /* A raw listener's server may be the one that speaks first. */
    int seconds = l->protocols == PROTO_RAW ? 0 : DEFER_S;
    socket_no_delay(fd);
    socket_keepalive(fd);
    int done = setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
    (void)done; /* it only saves work */
}

int listen_open(const struct conf_listener *l, struct conf_errors *errors)
{
    int one = 1;
    const struct dp_addr *a = &l->listen;
    int fd = socket(addr_family(a), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, (const struct sockaddr *)&a->sa, a->salen) == 0) {
        listen_tune(fd, l);
        if (listen(fd, BACKLOG) == 0)
            return fd;
    }
    listen_error(l, errors, errno);
    if (fd >= 0)
        close(fd);
    return -1;
}
