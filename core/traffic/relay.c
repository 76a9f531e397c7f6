/* SPDX-License-Identifier: MIT
 * relay.c: two connected sockets joined, by plain reads and writes.
 *
 * A read goes through the worker's buffer straight to the other side; only what that does not take
 * is kept, in a block of its own size, and nothing more is read until it has gone.
 */
#include "traffic/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Reads in a row for one event, so that one busy relay leaves the worker to others in between. */
#define READS_MAX 4

enum moved { MOVED, BLOCKED, BROKEN, NO_MEMORY };

static struct relay_side *other(struct relay_side *s)
{
    return &s->relay->side[s == &s->relay->side[0]];
}

static enum moved send_some(struct relay_side *s, const uint8_t *bytes, size_t len, size_t *sent)
{
    ssize_t n;
    *sent = 0;
    while ((n = send(s->io.fd, bytes, len, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return errno == EAGAIN ? BLOCKED : BROKEN;
    *sent = (size_t)n;
    return *sent == len ? MOVED : BLOCKED;
}

static int keep(struct relay_side *s, const uint8_t *bytes, size_t len)
{
    s->pending = malloc(len);
    if (!s->pending)
        return -1;
    memcpy(s->pending, bytes, len);
    s->pending_off = 0;
    s->pending_len = len;
    return 0;
}

static void pending_free(struct relay_side *s)
{
    free(s->pending);
    s->pending = NULL;
}

static enum moved flush(struct relay_side *s)
{
    size_t sent;
    enum moved m = send_some(s, s->pending + s->pending_off, s->pending_len, &sent);
    s->pending_off += sent;
    s->pending_len -= sent;
    if (m == MOVED)
        pending_free(s);
    return m;
}

/* One read from `s`, written to the other side. MOVED: there may be more at once. */
static enum moved pump_once(struct relay_side *s)
{
    struct relay_side *to = other(s);
    uint8_t *bytes = s->relay->buffer->bytes;
    ssize_t n;
    while ((n = recv(s->io.fd, bytes, RELAY_BUFFER, 0)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return errno == EAGAIN ? BLOCKED : BROKEN;
    if (n == 0) {
        s->ended = true;
        return BLOCKED;
    }
    s->received += (uint64_t)n;
    size_t sent;
    enum moved m = send_some(to, bytes, (size_t)n, &sent);
    if (m == BLOCKED && keep(to, bytes + sent, (size_t)n - sent) < 0)
        return NO_MEMORY;
    return m == MOVED && n < RELAY_BUFFER ? BLOCKED : m; /* a short read has emptied it */
}

static enum moved pump(struct relay_side *s)
{
    enum moved m = MOVED;
    for (int i = 0; i < READS_MAX && m == MOVED && !other(s)->pending && !s->ended; i++)
        m = pump_once(s);
    return m;
}

/* The end of one side's data, and all before it, has reached the other. */
static enum moved pass_end(struct relay_side *s)
{
    struct relay_side *to = other(s);
    if (!s->ended || to->pending || to->shut)
        return BLOCKED;
    to->shut = true;
    return shutdown(to->io.fd, SHUT_WR) < 0 ? BROKEN : BLOCKED;
}

static void interest(struct relay_side *s)
{
    int in = !s->ended && !other(s)->pending ? POLLIN : 0;
    int out = s->pending ? POLLOUT : 0;
    io_watch(s->relay->io, &s->io, (short)(in | out));
}

/* A side that has gone may have sent something before: that still belongs to the other. */
static void rescue(struct relay *r)
{
    for (int i = 0; i < 2; i++) {
        struct relay_side *s = &r->side[i];
        while (!s->ended && !other(s)->pending && pump_once(s) == MOVED)
            ;
    }
}

static void side_ready(struct io_fd *io, short revents)
{
    struct relay_side *s = (struct relay_side *)((char *)io - offsetof(struct relay_side, io));
    struct relay *r = s->relay;
    enum moved m = BLOCKED;
    if (revents & POLLOUT && s->pending)
        m = flush(s);
    if (m != BROKEN && revents & POLLIN)
        m = pump(s);
    for (int i = 0; i < 2 && m != BROKEN && m != NO_MEMORY; i++)
        if (pass_end(&r->side[i]) == BROKEN)
            m = BROKEN;
    r->active_ns = io_now(r->io);
    if (m == BROKEN)
        rescue(r);
    if (m == BROKEN || m == NO_MEMORY) {
        r->over(r, m == BROKEN ? RELAY_RESET : RELAY_NO_MEMORY);
    } else if (r->side[0].shut && r->side[1].shut) {
        r->over(r, RELAY_DONE);
    } else {
        interest(&r->side[0]);
        interest(&r->side[1]);
    }
}

/* What cannot be sent just now waits; a broken socket shows itself when it is tried again. */
static int send_early(struct relay_side *s, const void *bytes, size_t len)
{
    size_t sent;
    if (len == 0 || send_some(s, bytes, len, &sent) == MOVED)
        return 0;
    return keep(s, (const uint8_t *)bytes + sent, len - sent);
}

int relay_start(struct relay *r, struct io *io, struct relay_buffer *buffer, const int fd[2],
                const void *const early[2], const size_t early_len[2])
{
    r->io = io;
    r->buffer = buffer;
    r->active_ns = io_now(io);
    for (int i = 0; i < 2; i++) {
        r->side[i].relay = r;
        r->side[i].io.fd = fd[i];
        r->side[i].io.ready = side_ready;
    }
    for (int i = 0; i < 2; i++)
        if (send_early(&r->side[i], early[i], early_len[i]) < 0)
            return -1;
    interest(&r->side[0]);
    interest(&r->side[1]);
    return 0;
}

void relay_stop(struct relay *r)
{
    for (int i = 0; i < 2 && r->io; i++) {
        io_watch(r->io, &r->side[i].io, 0);
        pending_free(&r->side[i]);
    }
}
