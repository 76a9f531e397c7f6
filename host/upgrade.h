/* SPDX-License-Identifier: MIT
 * upgrade.h: USR2: a new program takes over the listening sockets, the old one serves its sessions
 * to their end.
 *
 *   old: starts new, and goes on   new: opens its listeners, with the sockets it was handed
 *   old: stops accepting       <-  new: serves, and says so
 *
 * If the new one ends without having said so, the old one simply goes on.
 */
#ifndef HOST_UPGRADE_H
#define HOST_UPGRADE_H

#include "run.h"
#include "traffic/server.h"

/* In every program, at its start: remembers where the program's file is, and takes what an old one
 * may have handed over. Returns whether there is one. */
bool upgrade_begin(void);
/* When it serves: closes handed sockets that it had no use for, and tells the old program. */
void upgrade_say_ready(void);

/* In the old one. over(ctx, pid) is called in the loop: pid is the new program that serves, or 0: it
 * has ended before. */
struct upgrade {
    struct io_fd said; /* the new program's word */
    struct loop *loop;
    pid_t pid; /* 0: none is being started */
    void (*over)(void *ctx, pid_t pid);
    void *ctx;
};

/* Starts the program again with these words, as it was started itself. Returns 0 or an errno. */
int upgrade_start(struct upgrade *upgrade, char *const *argv, const struct server *server,
                  const struct run_origin *origin);

#endif
