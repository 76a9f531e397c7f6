/* SPDX-License-Identifier: MIT
 * pipes.c: pipes to splice through, for Linux.
 */
#include "traffic/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* The greatest an ordinary user gets by default (pipe-max-size of proc(5)), and the least worth it:
 * below, the kernel has begun to refuse. */
#define PIPE_SIZE (1 << 20)
#define PIPE_SIZE_MIN 65536

struct pipes {
    struct pipe *idle; /* a stack: the one used last is the warmest */
    unsigned n, n_idle, max;
    unsigned spare; /* fewest idle ones since the last trim */
    bool refused;   /* since then: the system has no more for us */
};

struct pipes *pipes_new(unsigned max)
{
    struct pipes *pipes = calloc(1, sizeof *pipes);
    if (pipes)
        pipes->max = max;
    return pipes;
}

static void pipe_close(struct pipes *pipes, struct pipe *pipe)
{
    close(pipe->in);
    close(pipe->out);
    free(pipe);
    pipes->n--;
}

static struct pipe *pipe_pop(struct pipes *pipes)
{
    struct pipe *pipe = pipes->idle;
    if (!pipe)
        return NULL;
    pipes->idle = pipe->next;
    pipes->n_idle--;
    if (pipes->n_idle < pipes->spare)
        pipes->spare = pipes->n_idle;
    return pipe;
}

unsigned pipes_trim(struct pipes *pipes)
{
    for (unsigned n = pipes->spare; n > 0; n--)
        pipe_close(pipes, pipe_pop(pipes));
    pipes->spare = pipes->n_idle;
    pipes->refused = false;
    return pipes->n;
}

void pipes_free(struct pipes *pipes)
{
    if (!pipes)
        return;
    pipes->spare = pipes->n_idle;
    pipes_trim(pipes);
    free(pipes);
}

static struct pipe *pipe_open(struct pipes *pipes)
{
    struct pipe *pipe = calloc(1, sizeof *pipe);
    int end[2];
    if (!pipe)
        return NULL;
    if (pipe2(end, O_NONBLOCK | O_CLOEXEC) < 0) {
        free(pipe);
        return NULL;
    }
    pipe->out = end[0];
    pipe->in = end[1];
    pipes->n++;
    int size = fcntl(pipe->in, F_SETPIPE_SZ, PIPE_SIZE);
    if (size < 0)
        size = fcntl(pipe->in, F_GETPIPE_SZ);
    if (size < PIPE_SIZE_MIN) {
        pipe_close(pipes, pipe);
        return NULL;
    }
    pipe->size = (size_t)size;
    return pipe;
}

/* Half of them may be stuck for good, with much in them; there is always another half to share. */
static bool pipes_scarce(const struct pipes *pipes)
{
    return pipes->n - pipes->n_idle > pipes->max / 2;
}

struct pipe *pipes_take(struct pipes *pipes)
{
    struct pipe *pipe = pipe_pop(pipes);
    if (!pipe && pipes->n < pipes->max && !pipes->refused) {
        pipe = pipe_open(pipes);
        pipes->refused = !pipe; /* asking costs much: not at each read */
    }
    if (!pipe)
        return NULL;
    pipe->seen = 0;
    pipe->most = pipes_scarce(pipes) ? PIPE_LITTLE : pipe->size;
    return pipe;
}

void pipes_give(struct pipes *pipes, struct pipe *pipe)
{
    if (pipe->len) {
        pipe_close(pipes, pipe);
        return;
    }
    pipe->next = pipes->idle;
    pipes->idle = pipe;
    pipes->n_idle++;
}

static ssize_t move(int from, int to, size_t len)
{
    ssize_t n;
    while ((n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)) < 0 &&
           errno == EINTR)
        ;
    return n < 0 ? -errno : n;
}

ssize_t pipe_fill(struct pipe *pipe, int fd)
{
    ssize_t n = move(fd, pipe->in, pipe->most);
    if (n > 0)
        pipe->len += (size_t)n;
    return n;
}

ssize_t pipe_drain(struct pipe *pipe, int fd)
{
    ssize_t n = move(pipe->out, fd, pipe->len);
    if (n > 0)
        pipe->len -= (size_t)n;
    return n;
}

bool pipe_is_stuck(struct pipe *pipe)
{
    bool same = pipe->len == pipe->seen;
    pipe->seen = pipe->len;
    return same && pipe->len <= PIPE_LITTLE;
}

int pipe_read(struct pipe *pipe, void *buffer)
{
    char *at = buffer;
    while (pipe->len) {
        ssize_t n = read(pipe->out, at, pipe->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        pipe->len -= (size_t)n;
    }
    return 0;
}
