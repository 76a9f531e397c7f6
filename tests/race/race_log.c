/* SPDX-License-Identifier: MIT
 * race_log.c: 4 threads log to a pipe that nobody reads: each line is in the pipe, whole, or counted
 * as lost.
 */
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4, LINES = 50000, PIPE_BYTES = 65536 };

static const char line[] = "info race: a line\n";

static void *write_lines(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES; i++)
        log_line(LOG_INFO, "race", "a line");
    return NULL;
}

/* How many such lines the pipe begins with; `rest` is what follows. */
static long lines_take(int fd, char **rest)
{
    static char text[2 * PIPE_BYTES];
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    long lines = 0;
    for (*rest = text; strncmp(*rest, line, sizeof line - 1) == 0; *rest += sizeof line - 1)
        lines++;
    return lines;
}

int main(void)
{
    int fds[2];
    if (pipe(fds) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 || dup2(fds[1], 2) < 0)
        return 99;
    log_start();
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, write_lines, NULL) != 0)
            return 99;
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);

    char *rest;
    unsigned long lost = 0;
    long kept = lines_take(fds[0], &rest);
    bool whole = *rest == '\0';
    log_line(LOG_INFO, "race", "a line");
    lines_take(fds[0], &rest);
    whole = whole && sscanf(rest, "warn log: %lu lines lost", &lost) == 1;

    printf("1..2\n");
    printf("%s 1 - lines are whole\n", whole ? "ok" : "not ok");
    bool all = kept > 0 && lost > 0 && (unsigned long)kept + lost == THREADS * LINES;
    printf("%s 2 - each is there, or counted as lost\n", all ? "ok" : "not ok");
    if (!all)
        printf("# %ld there, %lu lost, of %d\n", kept, lost, THREADS * LINES);
    return whole && all ? 0 : 1;
}
