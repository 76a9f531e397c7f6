/* SPDX-License-Identifier: MIT
 * server.h: the workers and what they serve by, as the main thread steers them.
 */
#ifndef TRAFFIC_SERVER_H
#define TRAFFIC_SERVER_H

#include "config/config.h"
#include "traffic/loop.h"

#include <stdbool.h>

struct server;

/* Workers, on nothing yet. `main_loop` is woken for what the main thread must do. NULL, with the
 * reason in errors: cannot. */
struct server *server_new(unsigned n_workers, struct loop *main_loop, struct conf_errors *errors);

/* Serves by this configuration from now on: new links, pools, listeners beside the old ones, then
 * one swap that no connection notices. Takes config over. Returns 0, or -1 and the mistakes in
 * errors: then all goes on as before. Blocks until each worker has turned its loop. */
int server_apply(struct server *server, struct config *config, struct conf_errors *errors);

/* The configuration in use. */
const struct config *server_config(const struct server *server);

/* The address listener i is really on (its port, where the configuration says 0). */
struct dp_addr server_listen_addr(const struct server *server, size_t i);

/* The listening sockets, but for those of the service manager; returns how many there are, as many as
 * there are listeners at most. They stay the server's. */
size_t server_listen_fds(const struct server *server, int *fd);

/* Stops accepting; sessions go on. drained(ctx) is called in the main loop when the last is over.
 * Files of unix sockets are removed, unless another process has taken the sockets over. */
void server_drain(struct server *server, bool taken_over, void (*drained)(void *ctx), void *ctx);

/* To be called whenever the main loop is woken. */
void server_woken(struct server *server);

/* Ends everything. */
void server_free(struct server *server);

#endif
