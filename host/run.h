/* SPDX-License-Identifier: MIT
 * run.h: one command that is run by way of the proxy: --run.
 */
#ifndef HOST_RUN_H
#define HOST_RUN_H

#include "config/config.h"
#include "traffic/loop.h"

#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>

/* Instead of all that the configuration listens on: `own`, a free port of the loopback, which serves
 * the pool of its first listener, and speaks all that there is unless that is raw. `own` must last as long as the configuration. */
void run_listen(struct config *config, struct conf_listener *own);

/* What the command is to have as we were started with it. */
struct run_origin {
    sigset_t mask;
    struct rlimit files;
};

/* Starts `file`, looked for as execvp(3) does, as we were started; `actions` may be NULL. Returns 0
 * or an errno. */
int run_spawn(pid_t *pid, const char *file, char *const *argv, char *const *environment,
              const posix_spawn_file_actions_t *actions, const struct run_origin *origin);

/* Starts argv[0] with an environment in which `proxy` is the proxy for everything; `http`: it
 * speaks HTTP beside SOCKS5. `loop`, the main
 * one, is woken when there is something for run_woken(). Returns 0; or, after a message, the exit
 * status of a command that cannot be started: 127 not found, 126 otherwise. The signals that are
 * taken over, SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGCHLD, are to be blocked meanwhile. */
int run_start(char *const *argv, const struct dp_addr *proxy, bool http,
              const struct run_origin *origin, struct loop *loop);

/* Whenever the loop is woken: passes on signals. Returns true once the command has ended, with the
 * exit status: its own, or 128 and the number of the signal it died by. */
bool run_woken(int *status);

#endif
