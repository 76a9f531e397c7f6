/* SPDX-License-Identifier: MIT
 * service.c: what all workers serve by: a router, and the listening sockets before it.
 */
#include "traffic/service.h"
#include "base/clock.h"
#include "traffic/listen.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* A client that has begun to connect is there after this, from nearly everywhere. */
#define LEAVE_NS (100 * NS_PER_MS)

static size_t n_listeners(const struct service *service)
{
    return service ? service->router->config->n_listeners : 0;
}

static const struct conf_listener *listener(const struct service *service, size_t i)
{
    return &service->router->config->listener[i];
}

bool service_has_fd(const struct service *service, int fd)
{
    for (size_t i = 0; i < n_listeners(service); i++)
        if (service->fd[i] == fd)
            return true;
    return false;
}

bool service_has_users(const struct service *service)
{
    for (size_t i = 0; i < n_listeners(service); i++)
        if (listener(service, i)->users)
            return true;
    return false;
}

/* ---- how it begins ---- */

struct service *service_new(struct router *router, unsigned n_workers)
{
    struct service *service = calloc(1, sizeof *service);
    size_t n = router->config->n_listeners;
    if (!service)
        return NULL;
    service->acceptor = calloc(n * n_workers + 1, sizeof *service->acceptor);
    service->fd = malloc((n + 1) * sizeof *service->fd);
    if (!service->fd || !service->acceptor) {
        free(service->acceptor);
        free(service->fd);
        free(service);
        return NULL;
    }
    service->router = router;
    for (size_t i = 0; i < n; i++)
        service->fd[i] = -1;
    return service;
}

static bool taken_over(const int *fd, size_t n, int candidate)
{
    for (size_t i = 0; i < n; i++)
        if (fd[i] == candidate)
            return true;
    return false;
}

/* The open socket of an equal listener, or -1. Two on port 0 are equal and yet have a socket each:
 * `fd` are the n that have been taken over. */
static int socket_of(const struct service *old, const struct conf_listener *l, const int *fd,
                     size_t n)
{
    for (size_t i = 0; i < n_listeners(old); i++)
        if (addr_equal(&listener(old, i)->listen, &l->listen) && !taken_over(fd, n, old->fd[i]))
            return old->fd[i];
    return -1;
}

int service_listen(struct service *service, const struct service *old, struct conf_errors *errors)
{
    int failed = 0;
    for (size_t i = 0; i < n_listeners(service); i++) {
        const struct conf_listener *l = listener(service, i);
        int fd = socket_of(old, l, service->fd, i);
        if (fd >= 0)
            listen_renew(l);
        else
            fd = listen_open(l, old ? old->fd : NULL, n_listeners(old), errors);
        service->fd[i] = fd;
        failed |= fd < 0;
    }
    return failed ? -1 : 0;
}

/* ---- how it ends ---- */

/* Is this socket its own, and `keep` has no use for it? Those of the service manager's are not. */
static bool goes(const struct service *service, size_t i, const struct service *keep)
{
    return service->fd[i] >= 0 && !listener(service, i)->handed &&
           !service_has_fd(keep, service->fd[i]);
}

/* Whoever waits at them then is taken by worker_serve(). */
void service_leave(const struct service *service, const struct service *new)
{
    const struct timespec round_trip = {.tv_nsec = LEAVE_NS};
    bool any = false;
    for (size_t i = 0; i < n_listeners(service); i++)
        if (goes(service, i, new)) {
            listen_give_up(service->fd[i]);
            any = true;
        }
    if (any)
        nanosleep(&round_trip, NULL);
}

void service_remove_files(const struct service *service, const struct service *keep)
{
    for (size_t i = 0; i < n_listeners(service); i++)
        if (goes(service, i, keep))
            listen_remove(service->fd[i]);
}

static void sockets_close(struct service *service, const struct service *keep)
{
    for (size_t i = 0; i < n_listeners(service); i++) {
        if (service->fd[i] >= 0 && !service_has_fd(keep, service->fd[i]))
            close(service->fd[i]);
        service->fd[i] = -1;
    }
}

void service_close(struct service *service)
{
    sockets_close(service, NULL);
}

void service_free(struct service *service, const struct service *keep)
{
    if (!service)
        return;
    sockets_close(service, keep);
    router_free(service->router);
    free(service->acceptor);
    free(service->fd);
    free(service);
}
