/* SPDX-License-Identifier: MIT
 * wants.c: what a dial waits for.
 */
#include "route/wants.h"

void wants_drop(struct wants *wants, int stream)
{
    for (unsigned i = 0; i < wants->n; i++)
        if (wants->fd[i].io.fd != stream)
            io_watch(wants->io, &wants->fd[i].io, 0);
    io_timer(wants->io, &wants->timer, 0);
}

void wants_let_go(struct wants *wants, int stream, bool closing)
{
    for (unsigned i = 0; i < wants->n; i++) {
        struct io_fd *w = &wants->fd[i].io;
        if (w->fd == stream && closing)
            io_forget(wants->io, w);
        else if (w->fd == stream)
            io_leave(wants->io, w);
    }
}

static void fd_ready(struct io_fd *io, short revents)
{
    struct want_fd *w = (struct want_fd *)((char *)io - offsetof(struct want_fd, io));
    w->revents = revents;
    w->wants->ready(w->wants);
}

static void time_come(struct io_timer *timer)
{
    struct wants *wants = (struct wants *)((char *)timer - offsetof(struct wants, timer));
    wants->ready(wants);
}

/* Is number i watched already, on the stream, and wanted again? A plugin's own descriptor may be
 * another by now, under the same number. */
static bool stays(const struct wants *wants, unsigned i, const struct dp_want *want, int stream)
{
    return i < want->nfds && wants->fd[i].io.fd == stream && want->fd[i].fd == stream;
}

int wants_await(struct wants *wants, const struct dp_want *want, int stream, short how)
{
    unsigned n = want->nfds < WANT_FDS ? want->nfds : WANT_FDS;
    int failed = 0;
    for (unsigned i = 0; i < wants->n; i++)
        if (!stays(wants, i, want, stream))
            io_watch(wants->io, &wants->fd[i].io, 0);
    for (unsigned i = 0; i < n; i++) {
        struct want_fd *w = &wants->fd[i];
        short events = (short)(want->fd[i].events & (POLLIN | POLLOUT));
        w->wants = wants;
        w->revents = 0;
        w->io.fd = want->fd[i].fd;
        w->io.ready = fd_ready;
        if (w->io.fd >= 0)
            failed |= io_watch(wants->io, &w->io, events ? events | how : 0);
    }
    wants->n = n;
    wants->timer.fire = time_come;
    io_timer(wants->io, &wants->timer, want->deadline);
    return failed ? DP_ERR_LOCAL : DP_AGAIN;
}

void wants_happened(const struct wants *wants, struct dp_want *want)
{
    for (unsigned i = 0; i < wants->n; i++) {
        want->fd[i].fd = wants->fd[i].io.fd;
        want->fd[i].events = wants->fd[i].io.events;
        want->fd[i].revents = wants->fd[i].revents;
    }
}
