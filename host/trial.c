/* SPDX-License-Identifier: MIT
 * trial.c: a configuration tried out in a child process.
 */
#include "trial.h"
#include "plugin/note.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIAL_SECONDS 10 /* far more than any plugin needs to start */

/* Shared with the child. */
struct trial {
    char note[PLUGIN_NOTE_MAX];
    int finished; /* try() has returned: a plugin may end the process with any status */
    int result;
};

static int trial_result(const struct trial *trial, int status)
{
    if (trial->finished)
        return trial->result;
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (sig == SIGALRM)
        fprintf(stderr, "dispatch-host: a plugin hung for %d s: %s\n", TRIAL_SECONDS, trial->note);
    else if (sig)
        fprintf(stderr, "dispatch-host: a plugin crashed (%s): %s\n", strsignal(sig), trial->note);
    else
        fprintf(stderr, "dispatch-host: a plugin ended the process: %s\n", trial->note);
    return EXIT_CONFIG;
}

static void trial_child(struct trial *trial, int (*try)(void *ctx), void *ctx)
{
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGALRM, SIG_DFL);
    alarm(TRIAL_SECONDS);
    plugin_note_to(trial->note);
    trial->result = try(ctx);
    trial->finished = 1;
    fflush(NULL);
    _exit(trial->result);
}

int trial_run(int (*try)(void *ctx), void *ctx)
{
    struct trial *trial =
        mmap(NULL, sizeof *trial, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(NULL);
    pid_t child = trial == MAP_FAILED ? -1 : fork();
    if (child == 0)
        trial_child(trial, try, ctx);
    int status = 0, result = 1;
    if (child < 0) {
        fprintf(stderr, "dispatch-host: no process to try the configuration in: %s\n",
                strerror(errno));
    } else {
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        result = trial_result(trial, status);
    }
    if (trial != MAP_FAILED)
        munmap(trial, sizeof *trial);
    return result;
}
