/* SPDX-License-Identifier: MIT
 * pipes.h: a worker's pipes, by which bytes go from one socket to another without being copied.
 *
 * A user may own a bounded amount of pipe (pipe-user-pages-soft of proc(5)), shared with all else
 * this user runs; so there are few, each held only while bytes are in flight. Where a system cannot
 * splice there are none, and everything is copied.
 */
#ifndef TRAFFIC_PIPES_H
#define TRAFFIC_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct pipe {
    struct pipe *next; /* in the pool */
    int in, out;
    size_t size, len; /* bytes it takes at most, about; bytes in it */
    size_t most;      /* are put into it */
    size_t seen;      /* were in it at the last pipe_is_stuck() */
};

/* When most pipes are taken no more is put into another: so it can be emptied into memory. */
#define PIPE_LITTLE 65536

struct pipes;

/* At most `max` pipes at once. NULL: out of memory. */
struct pipes *pipes_new(unsigned max);
void pipes_free(struct pipes *pipes); /* when all are back; NULL is fine */

/* An empty pipe, or NULL: there is none to be had just now. */
struct pipe *pipes_take(struct pipes *pipes);

/* Gives it back; what is still in it is lost. */
void pipes_give(struct pipes *pipes, struct pipe *pipe);

/* Closes those that nobody has needed since the last call; returns how many are left. */
unsigned pipes_trim(struct pipes *pipes);

/* Moves what a socket has into the pipe, or out of it, without waiting. Returns the bytes moved (0
 * of pipe_fill: the end of the data) or -errno. */
ssize_t pipe_fill(struct pipe *pipe, int fd);
ssize_t pipe_drain(struct pipe *pipe, int fd);

/* Has nothing been taken from it since the last call, and is it little? */
bool pipe_is_stuck(struct pipe *pipe);

/* Empties it into a buffer of pipe->len bytes. Returns 0 or -errno. */
int pipe_read(struct pipe *pipe, void *buffer);

#endif
