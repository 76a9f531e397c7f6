/* SPDX-License-Identifier: MIT
 * upgrade.c: USR2: a new program takes over the listening sockets.
 *
 * The sockets go by inheritance, their numbers by one variable of the environment:
 * `DISPATCH_UPGRADE=PID:SAY,FD,FD...`, PID being whom it is meant for and SAY the pipe to say by that
 * it serves.
 */
#include "upgrade.h"
#include "activation.h"
#include "traffic/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "DISPATCH_UPGRADE"
#define NUMBER_TEXT 12 /* a descriptor and a comma */

extern char **environ;

static char program[PATH_MAX]; /* whose file may be another by the time it is run again */
static int say = -1;

/* ---- the new program ---- */

static void own(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* `SAY,FD,FD...` */
static void take(const char *numbers)
{
    char *end;
    say = (int)strtol(numbers, &end, 10);
    own(say);
    while (*end == ',') {
        int fd = (int)strtol(end + 1, &end, 10);
        own(fd);
        listen_inherit(fd);
    }
}

bool upgrade_begin(void)
{
    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = '\0';
    char *given = getenv(VARIABLE), *end;
    bool upgraded = given && strtol(given, &end, 10) == (long)getppid() && *end == ':';
    if (upgraded)
        take(end + 1);
    unsetenv(VARIABLE);
    return upgraded;
}

void upgrade_say_ready(void)
{
    listen_inherit_end();
    if (say < 0)
        return;
    ssize_t n = write(say, "", 1);
    (void)n; /* the old one has gone: its sockets are here */
    close(say);
    say = -1;
}

/* ---- the old one ---- */

static void said(struct io_fd *io, short revents)
{
    struct upgrade *u = (struct upgrade *)((char *)io - offsetof(struct upgrade, said));
    char byte;
    (void)revents;
    bool serves = read(io->fd, &byte, 1) == 1;
    pid_t pid = u->pid;
    io_watch(loop_io(u->loop), io, 0);
    close(io->fd);
    u->pid = 0;
    if (!serves)
        waitpid(pid, NULL, 0);
    u->over(u->ctx, serves ? pid : 0);
}

/* The environment with the variable; to be freed with all its memory. NULL: out of memory. */
static char **environment_make(char *variable)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **e = calloc(n + 2, sizeof *e);
    if (!e)
        return NULL;
    memcpy(e, environ, n * sizeof *e);
    e[n] = variable;
    return e;
}

static int numbers_print(char *text, size_t size, int pipe_end, const int *fd, size_t n)
{
    size_t len = (size_t)snprintf(text, size, VARIABLE "=%ld:%d", (long)getpid(), pipe_end);
    for (size_t i = 0; i < n && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, ",%d", fd[i]);
    return len < size ? 0 : ENOMEM;
}

/* These descriptors stay open over exec; all others of ours are closed by it. */
static int spawn_with(pid_t *pid, char *const *argv, char *const *environment, int pipe_end,
                      const int *fd, size_t n, const struct run_origin *origin)
{
    posix_spawn_file_actions_t actions;
    int err = posix_spawn_file_actions_init(&actions);
    if (err)
        return err;
    err = posix_spawn_file_actions_adddup2(&actions, pipe_end, pipe_end);
    for (size_t i = 0; i < n && !err; i++)
        err = posix_spawn_file_actions_adddup2(&actions, fd[i], fd[i]);
    for (int i = 0; i < activation_count() && !err; i++)
        err =
            posix_spawn_file_actions_adddup2(&actions, ACTIVATION_FIRST + i, ACTIVATION_FIRST + i);
    if (!err)
        err = run_spawn(pid, program, argv, environment, &actions, origin);
    posix_spawn_file_actions_destroy(&actions);
    return err;
}

static int spawn(pid_t *pid, char *const *argv, int pipe_end, const int *fd, size_t n,
                 const struct run_origin *origin)
{
    size_t size = sizeof VARIABLE + (n + 3) * NUMBER_TEXT;
    char *variable = malloc(size);
    char **environment = variable ? environment_make(variable) : NULL;
    int err = environment ? numbers_print(variable, size, pipe_end, fd, n) : ENOMEM;
    if (!err)
        err = spawn_with(pid, argv, environment, pipe_end, fd, n, origin);
    free(environment);
    free(variable);
    return err;
}

int upgrade_start(struct upgrade *u, char *const *argv, const struct server *server,
                  const struct run_origin *origin)
{
    int ends[2];
    size_t n = server_config(server)->n_listeners;
    int *fd = malloc((n + 1) * sizeof *fd);
    int err = !fd || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0 ? errno : 0;
    if (err) {
        free(fd);
        return err;
    }
    n = server_listen_fds(server, fd);
    err = spawn(&u->pid, argv, ends[1], fd, n, origin);
    free(fd);
    close(ends[1]);
    u->said = (struct io_fd){.fd = ends[0], .ready = said};
    if (!err && io_watch(loop_io(u->loop), &u->said, POLLIN) < 0)
        err = ENOMEM;
    if (err) {
        close(ends[0]);
        u->pid = 0;
    }
    return err;
}
