/* SPDX-License-Identifier: MIT
 * relay_side.c: one of two connected sockets, watched by edges.
 */
#include "traffic/relay_side.h"
#include "traffic/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Reads stop before an urgent byte, pipes get no further at all, and the byte itself would be passed
 * over: from now on it is one as any other (RFC 6093), but reads stop there still. */
static void side_urgent(struct relay_side *s)
{
    int on = 1;
    if (!s->urgent)
        setsockopt(s->io.fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    s->urgent = true;
}

void relay_side_told(struct relay_side *s, short revents)
{
    if (revents & (POLLOUT | POLLERR | POLLHUP))
        s->blocked = false;
    if (revents & POLLPRI)
        side_urgent(s);
    if (revents & (POLLPRI | POLLRDHUP | POLLERR | POLLHUP))
        s->more = true;
    if (revents & ~POLLOUT)
        s->readable = !s->ended;
}

enum moved relay_side_blocked(struct relay_side *to)
{
    to->blocked = true;
    int err = io_watch(to->relay->shared->io, &to->io, POLLIN | POLLOUT | IO_EDGE);
    return err ? NO_MEMORY : BLOCKED;
}

enum moved relay_side_send(struct relay_side *to, const uint8_t *bytes, size_t len, size_t *sent)
{
    ssize_t n;
    *sent = 0;
    while ((n = send(to->io.fd, bytes, len, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (n < 0 && errno != EAGAIN && errno != EINPROGRESS) /* the latter: fast open had to wait */
        return BROKEN;
    *sent = n < 0 ? 0 : (size_t)n;
    return *sent == len ? MOVED : relay_side_blocked(to);
}

static enum moved flush_pending(struct relay_side *to)
{
    size_t sent;
    enum moved m = relay_side_send(to, to->pending + to->pending_off, to->pending_len, &sent);
    to->pending_off += (uint32_t)sent;
    to->pending_len -= (uint32_t)sent;
    if (m == MOVED) {
        free(to->pending);
        to->pending = NULL;
    }
    return m;
}

/* That a part was taken does not say that there is no room for more: a process that is stopped or
 * suspended meanwhile leaves off in the middle. */
static enum moved flush_pipe(struct relay_side *to)
{
    while (to->pipe->len) {
        ssize_t n = pipe_drain(to->pipe, to->io.fd);
        if (n <= 0)
            return n == -EAGAIN ? relay_side_blocked(to) : BROKEN;
    }
    pipes_give(to->relay->shared->pipes, to->pipe);
    to->pipe = NULL;
    return MOVED;
}

enum moved relay_side_flush(struct relay_side *to)
{
    if (!relay_side_waits(to))
        return MOVED;
    if (to->blocked)
        return BLOCKED;
    return to->pending ? flush_pending(to) : flush_pipe(to);
}

void relay_side_empty(struct relay_side *to)
{
    free(to->pending);
    to->pending = NULL;
    if (to->pipe)
        pipes_give(to->relay->shared->pipes, to->pipe);
    to->pipe = NULL;
}

ssize_t relay_side_pour(struct relay_side *from, struct relay_side *to, struct pipe *pipe)
{
    ssize_t n = pipe_fill(pipe, from->io.fd);
    if (n > 0) {
        from->received += (uint64_t)n;
        to->pipe = pipe;
    } else {
        pipes_give(from->relay->shared->pipes, pipe);
    }
    return n;
}

ssize_t relay_side_receive(struct relay_side *from, uint8_t *buffer, size_t size)
{
    ssize_t n;
    while ((n = recv(from->io.fd, buffer, size, 0)) < 0 && errno == EINTR)
        ;
    if (n > 0) {
        from->readable = from->more || (size_t)n == size;
        from->received += (uint64_t)n;
    }
    return n < 0 ? -errno : n;
}
