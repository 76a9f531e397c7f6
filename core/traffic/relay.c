/* SPDX-License-Identifier: MIT
 * relay.c: two connected sockets joined.
 *
 * Bytes are copied through the worker's buffer, straight to the other side; only what that does not
 * take is kept, in a block of its own size, and nothing more is read until it has gone. Where a read
 * brings much, the next ones go by a pipe instead, which is held only while something is in it.
 */
#include "traffic/relay.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What may be moved one way before others get their turn: some 100 us of work. */
#define TURN_BYTES (512 << 10)

/* So many reads in a row of less than BULK_BYTES, and the flow is no bulk any more. */
#define CALM 8

/* How long the other side has to take what one had sent before it was reset. */
#define LAST_WORDS_NS (2 * NS_PER_S)

static struct relay_side *other(struct relay_side *s)
{
    return &s->relay->side[s == &s->relay->side[0]];
}

/* ---- writing ---- */

static int keep(struct relay_side *to, const uint8_t *bytes, size_t len)
{
    to->pending = malloc(len);
    if (!to->pending)
        return -1;
    memcpy(to->pending, bytes, len);
    to->pending_off = 0;
    to->pending_len = (uint32_t)len;
    return 0;
}

/* Sends; what is not taken is kept. */
static enum moved send_or_keep(struct relay_side *to, const uint8_t *bytes, size_t len)
{
    size_t sent;
    enum moved m = relay_side_send(to, bytes, len, &sent);
    if (m == BLOCKED && keep(to, bytes + sent, len - sent) < 0)
        return NO_MEMORY;
    return m;
}

/* ---- reading ---- */

static enum moved read_ended(struct relay_side *from)
{
    from->ended = true;
    from->readable = false;
    return MOVED;
}

static enum moved read_failed(struct relay_side *from, int err)
{
    from->readable = false;
    return err == EAGAIN ? MOVED : BROKEN;
}

static enum moved pump_copied(struct relay_side *from)
{
    uint8_t *buffer = from->relay->shared->buffer;
    ssize_t n = relay_side_receive(from, buffer, RELAY_BUFFER);
    if (n <= 0)
        return n == 0 ? read_ended(from) : read_failed(from, (int)-n);
    if (n >= BULK_BYTES)
        from->calm = 0;
    return send_or_keep(other(from), buffer, (size_t)n);
}

static enum moved pump_spliced(struct relay_side *from, struct pipe *pipe)
{
    struct relay_side *to = other(from);
    ssize_t n = relay_side_pour(from, to, pipe);
    if (n == -EINVAL) {
        from->calm = CALM;
        return MOVED;
    }
    if (n <= 0)
        return n == 0 ? read_ended(from) : read_failed(from, (int)-n);
    from->calm = n < BULK_BYTES ? from->calm + 1 : 0;
    return relay_side_flush(to);
}

static enum moved pump(struct relay_side *from)
{
    bool bulk = from->calm < CALM && !from->urgent;
    struct pipe *pipe = bulk ? pipes_take(from->relay->shared->pipes) : NULL;
    return pipe ? pump_spliced(from, pipe) : pump_copied(from);
}

/* The end of one side's data, and all before it, has reached the other. Where that was the last to
 * be said, closing says it. */
static enum moved pass_end(struct relay_side *from)
{
    struct relay_side *to = other(from);
    to->shut = true;
    if (to->ended && from->shut)
        return MOVED;
    return shutdown(to->io.fd, SHUT_WR) < 0 ? BROKEN : MOVED;
}

/* ---- the turn ---- */

static enum moved move(struct relay_side *from)
{
    struct relay_side *to = other(from);
    uint64_t enough = from->received + TURN_BYTES;
    enum moved m = relay_side_flush(to);
    while (m == MOVED && from->readable && from->received < enough)
        m = pump(from);
    if (m == MOVED && from->readable)
        io_timer(from->relay->shared->io, &from->relay->again, 1);
    if (m == MOVED && from->ended && !to->shut)
        m = pass_end(from);
    return m;
}

/* A side that has gone may have sent something before: that still belongs to the other. */
static void rescue(struct relay_side *from)
{
    while (relay_side_flush(other(from)) == MOVED && !from->ended && pump_copied(from) == MOVED &&
           from->readable)
        ;
}

static void relay_break(struct relay *r)
{
    rescue(&r->side[0]);
    rescue(&r->side[1]);
    r->over(r, RELAY_RESET);
}

/* That more has come is of no interest while what is known to be there cannot be passed on. It is
 * asked for again when all has been read. */
static int interest(struct relay_side *s)
{
    bool deaf = s->readable && other(s)->blocked;
    short events = (short)(deaf ? s->io.events & ~POLLIN : s->io.events | POLLIN);
    return io_watch(s->relay->shared->io, &s->io, events);
}

static void relay_go_on(struct relay *r)
{
    if (interest(&r->side[0]) < 0 || interest(&r->side[1]) < 0)
        r->over(r, RELAY_NO_MEMORY);
    else if (r->last_ns && !r->again.at_ns)
        io_timer(r->shared->io, &r->again, r->last_ns);
}

/* At an error nothing more is tried: a socket tells it once, and then that its data has ended. */
static void relay_turn(struct relay *r)
{
    bool broken = r->last_ns && io_now(r->shared->io) >= r->last_ns, no_memory = false;
    for (int i = 0; i < 2 && !broken; i++) {
        enum moved m = move(&r->side[i]);
        broken = m == BROKEN;
        no_memory |= m == NO_MEMORY;
    }
    r->active_ns = io_now(r->shared->io);
    if (broken)
        relay_break(r);
    else if (no_memory)
        r->over(r, RELAY_NO_MEMORY);
    else if (r->side[0].shut && r->side[1].shut)
        r->over(r, RELAY_DONE);
    else
        relay_go_on(r);
}

static void side_ready(struct io_fd *io, short revents)
{
    struct relay_side *s = (struct relay_side *)((char *)io - offsetof(struct relay_side, io));
    struct relay *r = s->relay;
    relay_side_told(s, revents);
    if (revents & POLLERR && !r->last_ns)
        r->last_ns = io_now(r->shared->io) + LAST_WORDS_NS;
    if (revents & POLLERR && s->ended && !relay_side_waits(other(s)))
        relay_break(r);
    else
        relay_turn(r);
}

static void again_fire(struct io_timer *t)
{
    relay_turn((struct relay *)((char *)t - offsetof(struct relay, again)));
}

/* ---- rest ---- */

static int side_rest(struct relay_side *to)
{
    size_t len = to->pipe && pipe_is_stuck(to->pipe) ? to->pipe->len : 0;
    uint8_t *bytes = len ? malloc(len) : NULL;
    if (!bytes)
        return 0; /* nothing to do, or no memory: it goes on as it is */
    int err = pipe_read(to->pipe, bytes);
    pipes_give(to->relay->shared->pipes, to->pipe);
    to->pipe = NULL;
    to->pending = bytes;
    to->pending_off = 0;
    to->pending_len = (uint32_t)len;
    return err;
}

int relay_rest(struct relay *r)
{
    return side_rest(&r->side[0]) < 0 || side_rest(&r->side[1]) < 0 ? -1 : 0;
}

/* ---- life ---- */

/* From inside relay_start(): it ends from the loop. */
static void relay_broken(struct relay *r)
{
    r->last_ns = io_now(r->shared->io);
}

/* What the other side has sent already leaves with it in one piece. */
static size_t send_first_more(struct relay_side *from, const struct relay_early *early)
{
    uint8_t *buffer = from->relay->shared->buffer;
    memcpy(buffer, early->bytes, early->len);
    ssize_t n = relay_side_receive(from, buffer + early->len, RELAY_BUFFER - early->len);
    if (n < 0 && read_failed(from, (int)-n) == BROKEN)
        relay_broken(from->relay);
    return n > 0 ? (size_t)n : 0;
}

static int send_first(struct relay_side *to, const struct relay_early *early)
{
    const uint8_t *bytes = early->bytes;
    size_t len = early->len;
    if (len == 0)
        return 0;
    if (other(to)->readable && len < RELAY_BUFFER) {
        len += send_first_more(other(to), early);
        bytes = to->relay->shared->buffer;
    }
    enum moved m = send_or_keep(to, bytes, len);
    if (m == BROKEN)
        relay_broken(to->relay);
    return m == NO_MEMORY ? -1 : 0;
}

int relay_start(struct relay *r, struct relay_shared *shared, const struct relay_early early[2])
{
    r->shared = shared;
    r->active_ns = io_now(shared->io);
    r->again.fire = again_fire;
    for (int i = 0; i < 2; i++) {
        r->side[i].relay = r;
        r->side[i].io.ready = side_ready;
        r->side[i].calm = CALM;
    }
    for (int i = 0; i < 2; i++) {
        struct io_fd *w = &r->side[i].io;
        if (!w->events && io_watch(shared->io, w, POLLIN | POLLOUT | IO_EDGE) < 0)
            return -1;
    }
    for (int i = 1; i >= 0; i--) /* the server first: it is further away */
        if (send_first(&r->side[i], &early[i]) < 0)
            return -1;
    if (r->last_ns || r->side[0].readable || r->side[1].readable)
        io_timer(shared->io, &r->again, 1);
    return 0;
}

static void side_stop(struct relay_side *s)
{
    io_forget(s->relay->shared->io, &s->io);
    relay_side_empty(s);
}

void relay_stop(struct relay *r)
{
    if (!r->shared)
        return;
    io_timer(r->shared->io, &r->again, 0);
    side_stop(&r->side[0]);
    side_stop(&r->side[1]);
}
