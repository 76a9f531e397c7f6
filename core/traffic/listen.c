/* SPDX-License-Identifier: MIT
 * listen.c: listening sockets.
 */
#include "traffic/listen.h"
#include "base/log.h"
#include "route/socket.h"
#include "traffic/listen_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INHERITED_MAX 1024

static void listen_error(const struct conf_listener *l, struct conf_errors *errors, int err)
{
    char text[ADDR_TEXT];
    addr_text(&l->listen, text);
    if (conf_listens_unix(l) && (err == EADDRINUSE || err == EEXIST))
        conf_error(errors, l->node, "listener \"%s\": %s: %s; choose another path", l->name, text,
                   err == EEXIST ? "this file is no socket" : "another program listens on it");
    else if (conf_listens_unix(l))
        conf_error(errors, l->node, "listener \"%s\": cannot listen on %s: %s", l->name, text,
                   strerror(err));
    else if (err == EADDRINUSE)
        conf_error(errors, l->node,
                   "listener \"%s\": port %u is taken: another program listens on %s; stop it, or "
                   "choose another port (-lport, or `listen:` in the file)",
                   l->name, l->listen.port, text);
    else if (err == EBUSY)
        conf_error(errors, l->node,
                   "listener \"%s\": port %u is this program's own already, at another address: "
                   "stop it and start it again for %s, or choose another port",
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

static void option_set(int fd, int level, int option, int value)
{
    int done = setsockopt(fd, level, option, &value, sizeof value);
    (void)done; /* what needs it fails next */
}

static int close_with(int fd, int err)
{
    close(fd);
    errno = err;
    return -1;
}

static int listen_on_path(const struct conf_listener *l)
{
    int fd = unix_bind(l);
    if (fd < 0 || listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int err = errno;
    unix_remove(fd);
    return close_with(fd, err);
}

/* -1: see errno. */
static int listen_on(const struct conf_listener *l, bool shared)
{
    const struct dp_addr *a = &l->listen;
    int fd = socket(addr_family(a), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    option_set(fd, SOL_SOCKET, SO_REUSEPORT, shared);
    if (bind(fd, (const struct sockaddr *)&a->sa, a->salen) == 0) {
        socket_no_delay(fd); /* connections inherit these: it costs them nothing */
        socket_keepalive(fd);
        if (listen(fd, LISTEN_BACKLOG) == 0)
            return fd;
    }
    return close_with(fd, errno);
}

/* ---- a port that is our own, at another address ----
 *
 * Two sockets of ours may share a port for the moment in which the new one takes its place. What Linux
 * notes of that about the port outlives the moment, and would let in any program of this user that
 * asks to share; it is forgotten when somebody binds who does not share. */

/* Binds for a moment where no IPv4 listener is in the way. Without it the port would stay open to
 * others: then nothing is shared at all. */
static bool port_unshare(uint16_t port)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    sa.sin6_addr = in6addr_loopback;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    bool bound = bind(fd, (const struct sockaddr *)&sa, sizeof sa) == 0;
    close(fd);
    return bound;
}

static size_t ports_share(const int *own, size_t n_own, uint16_t port, bool shared)
{
    size_t n = 0;
    for (size_t i = 0; i < n_own; i++) {
        struct sockaddr_storage sa;
        struct dp_addr addr;
        socklen_t len = sizeof sa;
        if (getsockname(own[i], (struct sockaddr *)&sa, &len) < 0)
            continue;
        addr_from_sockaddr(&addr, (const struct sockaddr *)&sa, len);
        if (addr.port != port)
            continue;
        option_set(own[i], SOL_SOCKET, SO_REUSEPORT, shared);
        n++;
    }
    return n;
}

/* EBUSY: it is one of our own that is in the way, and it cannot be helped. */
static int listen_beside(const struct conf_listener *l, const int *own, size_t n_own)
{
    uint16_t port = l->listen.port;
    if (ports_share(own, n_own, port, false) == 0) {
        errno = EADDRINUSE;
        return -1;
    }
    if (addr_family(&l->listen) != AF_INET || !port_unshare(port)) {
        errno = EBUSY;
        return -1;
    }
    ports_share(own, n_own, port, true);
    int fd = listen_on(l, true), err = errno;
    ports_share(own, n_own, port, false);
    if (fd >= 0)
        option_set(fd, SOL_SOCKET, SO_REUSEPORT, 0);
    port_unshare(port);
    errno = err;
    return fd;
}

/* ---- sockets of the program before this one ---- */

static struct {
    int fd;
    bool taken;
} inherited[INHERITED_MAX];
static size_t n_inherited;

void listen_inherit(int fd)
{
    if (n_inherited < INHERITED_MAX)
        inherited[n_inherited++].fd = fd;
    else
        close(fd);
}

void listen_inherit_end(void)
{
    while (n_inherited > 0) {
        if (inherited[--n_inherited].taken)
            continue;
        unix_remove(inherited[n_inherited].fd);
        close(inherited[n_inherited].fd);
    }
}

static bool is_inherited(int fd)
{
    for (size_t i = 0; i < n_inherited; i++)
        if (inherited[i].fd == fd)
            return true;
    return false;
}

/* Port 0 means any port, and so the one that it was. */
static bool listens_on(int fd, const struct dp_addr *addr)
{
    struct sockaddr_storage sa;
    struct dp_addr bound;
    socklen_t len = sizeof sa;
    int listening = 0;
    socklen_t size = sizeof listening;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
        return false;
    addr_from_sockaddr(&bound, (const struct sockaddr *)&sa, len);
    if (addr->port == 0)
        addr_set_port(&bound, 0);
    return addr_equal(&bound, addr);
}

static int inherited_take(const struct dp_addr *addr)
{
    for (size_t i = 0; i < n_inherited; i++) {
        if (inherited[i].taken || !listens_on(inherited[i].fd, addr))
            continue;
        inherited[i].taken = true;
        return inherited[i].fd;
    }
    return -1;
}

/* The service manager's stays open beside it. */
static int open_handed(const struct conf_listener *l, struct conf_errors *errors)
{
    int fd = fcntl(l->handed_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        listen_error(l, errors, errno);
    return fd;
}

int listen_open(const struct conf_listener *l, const int *own, size_t n_own,
                struct conf_errors *errors)
{
    bool local = conf_listens_unix(l);
    if (l->handed)
        return open_handed(l, errors);
    int fd = inherited_take(&l->listen);
    if (fd >= 0)
        listen_renew(l);
    else
        fd = local ? listen_on_path(l) : listen_on(l, false);
    if (fd < 0 && errno == EADDRINUSE && !local)
        fd = listen_beside(l, own, n_own);
    if (fd < 0)
        listen_error(l, errors, errno);
    return fd;
}

void listen_renew(const struct conf_listener *l)
{
    char text[ADDR_TEXT];
    if (conf_listens_unix(l) && !l->handed && unix_chmod(l) < 0)
        log_line(LOG_WARN, "listener", "%s: cannot set the mode of %s: %s", l->name,
                 addr_text(&l->listen, text), strerror(errno));
}

void listen_remove(int fd)
{
    if (!is_inherited(fd))
        unix_remove(fd);
}

/* The file goes first: nobody finds the socket any more. Of the others,
 * new connections are looked for by device, too, and this one does not exist; a connection under way
 * knows its listener already. */
void listen_give_up(int fd)
{
    unix_remove(fd);
    option_set(fd, SOL_SOCKET, SO_BINDTOIFINDEX, INT_MAX);
}
