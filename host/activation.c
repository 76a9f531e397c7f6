/* SPDX-License-Identifier: MIT
 * activation.c: sockets that the service manager has opened for us.
 */
#include "activation.h"
#include "config/units.h"
#include "route/socket.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 1024

static int count;         /* of descriptors, from ACTIVATION_FIRST on */
static const char *names; /* with colons between them; NULL: they have none */

/* A whole number in the environment, or -1. */
static long number(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    long n = text && *text ? strtol(text, &end, 10) : -1;
    return n >= 0 && !*end ? n : -1;
}

void activation_begin(bool handed_on)
{
    long n = number("LISTEN_FDS");
    if (n < 0 || n > MOST || (!handed_on && number("LISTEN_PID") != (long)getpid()))
        return;
    count = (int)n;
    names = getenv("LISTEN_FDNAMES");
    for (int fd = ACTIVATION_FIRST; fd < ACTIVATION_FIRST + count; fd++) {
        int flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
}

int activation_count(void)
{
    return count;
}

/* -1: there is none. */
static int by_number(const char *text)
{
    uint64_t fd;
    bool known = units_number(&fd, text) == 0 && fd >= ACTIVATION_FIRST &&
                 fd < (uint64_t)(ACTIVATION_FIRST + count);
    return known ? (int)fd : -1;
}

static int by_name(const char *name)
{
    size_t len = strlen(name);
    const char *at = names;
    for (int fd = ACTIVATION_FIRST; at && fd < ACTIVATION_FIRST + count; fd++) {
        size_t n = strcspn(at, ":");
        if (n == len && memcmp(at, name, len) == 0)
            return fd;
        at = at[n] ? at + n + 1 : NULL;
    }
    return -1;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

/* What clients connect to, for a stream. */
static bool is_listening(int fd, struct dp_addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return false;
    addr_from_sockaddr(addr, (const struct sockaddr *)&sa, len);
    int family = addr_family(addr);
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

static void missing(const struct conf_listener *l, struct conf_errors *errors)
{
    if (count == 0)
        conf_error(errors, l->node,
                   "listener \"%s\": fd:%s: the service manager has opened no sockets "
                   "(LISTEN_FDS): is there a socket unit, and was it what started this?",
                   l->name, l->handed);
    else
        conf_error(errors, l->node,
                   "listener \"%s\": fd:%s: the service manager has opened none of that name; "
                   "there are %s, of the numbers %d to %d",
                   l->name, l->handed, names ? names : "no names", ACTIVATION_FIRST,
                   ACTIVATION_FIRST + count - 1);
}

static bool find(struct conf_listener *l, struct conf_errors *errors)
{
    int fd = by_name(l->handed);
    if (fd < 0)
        fd = by_number(l->handed);
    if (fd < 0) {
        missing(l, errors);
        return false;
    }
    if (!is_listening(fd, &l->listen)) {
        conf_error(errors, l->node,
                   "listener \"%s\": fd:%s is not a socket that listens for streams "
                   "(ListenStream=, Accept=no)",
                   l->name, l->handed);
        return false;
    }
    l->handed_fd = fd;
    if (!conf_listener_exposed(l))
        return true;
    conf_error(errors, l->node, "listener \"%s\": fd:%s: " CONF_EXPOSED, l->name, l->handed);
    return false;
}

static bool is_taken(const struct config *config, const struct conf_listener *l)
{
    for (const struct conf_listener *other = config->listener; other < l; other++)
        if (other->handed && other->handed_fd == l->handed_fd)
            return true;
    return false;
}

int activation_find(struct config *config, struct conf_errors *errors)
{
    bool sound = true;
    for (size_t i = 0; i < config->n_listeners; i++) {
        struct conf_listener *l = (struct conf_listener *)&config->listener[i]; /* nobody's yet */
        if (!l->handed)
            continue;
        bool found = find(l, errors);
        bool twice = found && is_taken(config, l);
        if (twice)
            conf_error(errors, l->node, "listener \"%s\": fd:%s is another listener's already",
                       l->name, l->handed);
        sound &= found && !twice;
        if (found && !conf_listens_unix(l)) {
            socket_no_delay(l->handed_fd);
            socket_keepalive(l->handed_fd);
        }
    }
    return sound ? 0 : -1;
}
