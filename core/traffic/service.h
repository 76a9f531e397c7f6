/* SPDX-License-Identifier: MIT
 * service.h: what all workers serve by: a router, and the listening sockets before it.
 */
#ifndef TRAFFIC_SERVICE_H
#define TRAFFIC_SERVICE_H

#include "base/io.h"
#include "route/router.h"

#include <stdbool.h>

struct logins;
struct worker;

/* A listening socket as one worker waits on it. */
struct acceptor {
    struct io_fd io;
    struct worker *worker;
    const struct conf_listener *conf;
    struct pool *pool;
    int pace; /* rounds that were full, see accept_ready() */
};

/* Published by the server as a whole. Immutable, but for the acceptors, which are one worker's each. */
struct service {
    struct router *router;
    struct logins *logins;     /* shared by all services; NULL: nobody has had to log in yet */
    int *fd;                   /* listening sockets, as router->config->listener; -1: not open */
    struct acceptor *acceptor; /* as many for each worker, zeroed */
};

/* With no socket open. Takes router over; NULL: out of memory, and it is the caller's still. [main] */
struct service *service_new(struct router *router, unsigned n_workers);

/* Opens its sockets, or takes over those of equal listeners in `old` (NULL: there are none). Returns
 * 0, or -1 and the mistakes in errors. [main] */
int service_listen(struct service *service, const struct service *old, struct conf_errors *errors);

/* Before `new` is published in its place: sockets that `new` has not take no new client. Waits for
 * those who are just connecting. [main] */
void service_leave(const struct service *service, const struct service *new);

/* Removes the files of unix sockets that `keep` does not use (NULL: there is none). [main] */
void service_remove_files(const struct service *service, const struct service *keep);

/* Closes its sockets, all of them; it goes on without. [main] */
void service_close(struct service *service);

/* Frees a service (NULL is none), and closes the sockets that `keep` does not use. [main] */
void service_free(struct service *service, const struct service *keep);

/* NULL: no. */
bool service_has_fd(const struct service *service, int fd);

/* Has it a listener at which clients log in? */
bool service_has_users(const struct service *service);

#endif
