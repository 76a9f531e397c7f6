/* SPDX-License-Identifier: MIT
 * exchange.c: one plain request of HTTP and its answer.
 *
 * Up: the head, which is ready from the start, then the body. Down: interim heads (1xx), the head of
 * the answer proper, then its body. Neither waits for the other; both together are over when the
 * answer has been passed on and nobody wants the rest of the request any more.
 */
#include "traffic/exchange.h"
#include "proto/http_rewrite.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* What may be moved one way before others get their turn: some 100 us of work. */
#define TURN_BYTES (512 << 10)

/* Reads more of a lane. Returns GOES_ON with *n as of recv(), or the end. */
static enum exchange_end fill(struct lane *l, ssize_t *n)
{
    *n = lane_fill(l);
    if (*n <= 0)
        l->from->readable = false;
    return *n == -ENOMEM ? EXCHANGE_NO_MEMORY : EXCHANGE_GOES_ON;
}

/* ---- up ---- */

/* The server has gone, or reads no more; what it has said before belongs to the client still. */
static enum exchange_end up_stop(struct exchange *ex)
{
    ex->up_stopped = true;
    ex->up.at = ex->up.ready; /* what is next may be another request */
    relay_side_empty(ex->up.to);
    return EXCHANGE_GOES_ON;
}

static enum exchange_end up_read(struct exchange *ex)
{
    ssize_t n;
    enum exchange_end end = fill(&ex->up, &n);
    if (end != EXCHANGE_GOES_ON || n > 0 || n == -EAGAIN)
        return end;
    return EXCHANGE_BROKEN; /* a request that is not whole is none */
}

/* The client can be told so if it has been told nothing else. */
static enum exchange_end up_refuse(const struct exchange *ex, enum exchange_end why)
{
    return ex->answered || !lane_is_flushed(&ex->down) ? EXCHANGE_BROKEN : why;
}

/* Looks for more to send, in what has been read first. Returns whether there is a next step. */
static bool up_look(struct exchange *ex, uint64_t enough, enum exchange_end *end)
{
    struct lane *up = &ex->up;
    enum http_piece piece = lane_body(up);
    ex->body_begun |= !lane_is_flushed(up);
    ex->up_over = piece == HTTP_PIECE_END;
    if (!lane_is_flushed(up))
        return true;
    if (piece == HTTP_PIECE_BAD)
        *end = up_refuse(ex, EXCHANGE_MISFRAMED);
    else if (piece == HTTP_PIECE_TOO_LARGE)
        *end = up_refuse(ex, EXCHANGE_TOO_LARGE);
    else if (!ex->up_over && up->from->readable && up->from->received < enough)
        *end = up_read(ex);
    else
        return false;
    return *end == EXCHANGE_GOES_ON;
}

static enum exchange_end up_turn(struct exchange *ex)
{
    enum exchange_end end = EXCHANGE_GOES_ON;
    uint64_t enough = ex->up.from->received + TURN_BYTES;
    while (!ex->up_stopped) {
        enum moved m = lane_flush(&ex->up);
        if (m == BROKEN)
            return up_stop(ex);
        if (m == NO_MEMORY)
            return EXCHANGE_NO_MEMORY;
        if (m == BLOCKED || ex->up_over || !up_look(ex, enough, &end))
            return end;
    }
    return end;
}

/* ---- down ---- */

static_assert(HTTP_REWRITE_MAX <= RELAY_BUFFER, "a head fits");

static void down_head(struct exchange *ex, const struct http_response *r, size_t n)
{
    uint8_t *head = ex->relay->shared->buffer; /* one on the stack is cleared each time */
    const struct http_rewriting rewriting = {.close = !ex->client_persists,
                                             .no_chunks = ex->errand->old};
    lane_head(&ex->down, n, head, http_rewrite_response(r, &rewriting, head));
}

/* RFC 9110, section 15.2: not for clients of HTTP/1.0. */
static enum exchange_end interim(struct exchange *ex, const struct http_response *r, size_t n)
{
    ex->scan = (struct http_scan){0};
    if (ex->errand->old)
        ex->down.next += n;
    else
        down_head(ex, r, n);
    return EXCHANGE_GOES_ON;
}

static enum exchange_end switching(struct exchange *ex, const struct http_response *r, size_t n)
{
    if (!ex->errand->upgrade || !http_field(&r->fields, "Upgrade"))
        return EXCHANGE_GARBLED;
    ex->answered = ex->down_over = ex->upgraded = true;
    down_head(ex, r, n);
    return EXCHANGE_GOES_ON;
}

/* The client's connection goes on if the end of the answer is to be told, and the whole of the
 * request has come: else what follows it could be anything. */
static enum exchange_end answer(struct exchange *ex, const struct http_response *r, size_t n)
{
    ex->answered = true;
    ex->server_persists = r->persists;
    ex->client_persists = ex->errand->keep && !ex->closing && ex->up_over && r->body != HTTP_TO_END;
    http_body_begin(&ex->down.body, r->body, r->body_len, UINT64_MAX);
    ex->down.no_chunks = ex->errand->old;
    down_head(ex, r, n);
    return EXCHANGE_GOES_ON;
}

/* Returns the length of the head, if one has come; 0, or the end is not GOES_ON. */
static int head_look(struct exchange *ex, enum exchange_end *end)
{
    struct http_response r;
    const struct lane *down = &ex->down;
    if (lane_left(down) == 0)
        return 0;
    int n = http_response(lane_next(down), lane_left(down), &ex->scan, ex->errand->head, &r);
    if (n < 0)
        *end = EXCHANGE_GARBLED;
    else if (n > 0 && r.status == HTTP_SWITCHING)
        *end = switching(ex, &r, (size_t)n);
    else if (n > 0)
        *end = r.status < HTTP_OK ? interim(ex, &r, (size_t)n) : answer(ex, &r, (size_t)n);
    return n;
}

/* Returns whether there is something to send, or the end of it. */
static bool body_look(struct exchange *ex, enum exchange_end *end)
{
    enum http_piece piece = lane_body(&ex->down);
    if (piece == HTTP_PIECE_BAD && lane_is_flushed(&ex->down))
        *end = EXCHANGE_BROKEN;
    ex->down_over = piece == HTTP_PIECE_END;
    return ex->down_over || !lane_is_flushed(&ex->down);
}

/* RFC 9112, section 8: an answer that is not whole must not look so. */
static enum exchange_end server_ended(struct exchange *ex, ssize_t n)
{
    if (!ex->answered)
        return EXCHANGE_UNANSWERED;
    if (ex->down.body.kind != HTTP_TO_END || n < 0)
        return EXCHANGE_BROKEN;
    ex->down_over = true;
    return EXCHANGE_GOES_ON;
}

static enum exchange_end down_read(struct exchange *ex)
{
    ssize_t n;
    enum exchange_end end = fill(&ex->down, &n);
    ex->heard |= n > 0;
    if (end != EXCHANGE_GOES_ON || n > 0 || n == -EAGAIN)
        return end;
    return server_ended(ex, n);
}

/* The same as of up. What has come of the body leaves with the head. */
static bool down_look(struct exchange *ex, uint64_t enough, enum exchange_end *end)
{
    bool found = !ex->answered && head_look(ex, end) > 0;
    if (ex->answered && !ex->down_over)
        found = body_look(ex, end);
    if (*end != EXCHANGE_GOES_ON)
        return false;
    if (found)
        return true;
    if (!ex->down.from->readable || ex->down.from->received >= enough)
        return false;
    *end = down_read(ex);
    return *end == EXCHANGE_GOES_ON;
}

static enum exchange_end down_turn(struct exchange *ex)
{
    enum exchange_end end = EXCHANGE_GOES_ON;
    uint64_t enough = ex->down.from->received + TURN_BYTES;
    for (;;) {
        enum moved m = lane_flush(&ex->down);
        if (m == BROKEN)
            return EXCHANGE_BROKEN;
        if (m == NO_MEMORY)
            return EXCHANGE_NO_MEMORY;
        if (m == BLOCKED || ex->down_over || !down_look(ex, enough, &end))
            return end;
    }
}

/* ---- both ---- */

/* The server may have closed behind its answer. A client that was to wait for a word, and has got
 * another one, may never send the body. */
static bool is_up_unwanted(const struct exchange *ex)
{
    bool closed = ex->up_stopped || !ex->server_persists || ex->up.to->more;
    return closed || (ex->errand->expects && !ex->body_begun);
}

static enum exchange_end settle(const struct exchange *ex)
{
    if (!ex->down_over || !lane_is_flushed(&ex->down))
        return EXCHANGE_GOES_ON;
    bool sent = ex->up_over && lane_is_flushed(&ex->up);
    if (ex->upgraded)
        return sent ? EXCHANGE_UPGRADED : EXCHANGE_GOES_ON;
    return sent || is_up_unwanted(ex) ? EXCHANGE_DONE : EXCHANGE_GOES_ON;
}

/* Has it been left off in the middle? */
static bool is_tired(const struct lane *l, bool over)
{
    return !over && l->from->readable && lane_is_flushed(l);
}

static void go_on(struct exchange *ex)
{
    if (is_tired(&ex->up, ex->up_over || ex->up_stopped) || is_tired(&ex->down, ex->down_over))
        io_timer(ex->relay->shared->io, &ex->again, 1);
    lane_rest(&ex->up);
    lane_rest(&ex->down);
}

void exchange_go(struct exchange *ex)
{
    enum exchange_end end = up_turn(ex);
    if (end == EXCHANGE_GOES_ON)
        end = down_turn(ex);
    if (end == EXCHANGE_GOES_ON)
        end = settle(ex);
    ex->relay->active_ns = io_now(ex->relay->shared->io);
    if (end == EXCHANGE_GOES_ON)
        go_on(ex);
    else
        ex->over(ex, end);
}

static void again_fire(struct io_timer *t)
{
    exchange_go((struct exchange *)((char *)t - offsetof(struct exchange, again)));
}

bool exchange_is_unsent(const struct exchange *ex)
{
    return !ex->heard && !ex->body_begun;
}

static void reset(struct exchange *ex, struct relay *relay, const struct errand *errand)
{
    void (*over)(struct exchange *, enum exchange_end) = ex->over;
    *ex = (struct exchange){.relay = relay, .errand = errand, .closing = ex->closing, .over = over};
    ex->up.from = ex->down.to = &relay->side[0];
    ex->up.to = ex->down.from = &relay->side[1];
    ex->again.fire = again_fire;
    http_body_begin(&ex->up.body, errand->body, errand->body_len, errand->body_max);
}

/* Early bytes of the body leave with the head. What comes of it is looked at in the first turn. */
int exchange_start(struct exchange *ex, struct relay *relay, const struct errand *errand,
                   const uint8_t *rest, size_t len)
{
    struct io *io = relay->shared->io;
    reset(ex, relay, errand);
    if (lane_put_ready(&ex->up, errand->bytes, errand->len) < 0 || lane_put(&ex->up, rest, len) < 0)
        return -1;
    size_t head_end = ex->up.ready;
    ex->up_over = lane_body(&ex->up) == HTTP_PIECE_END;
    ex->body_begun = ex->up.ready > head_end;
    relay->active_ns = io_now(io);
    if (lane_flush(&ex->up) == NO_MEMORY)
        return -1;
    go_on(ex);
    return 0;
}

void exchange_stop(struct exchange *ex)
{
    if (!ex->relay)
        return;
    io_timer(ex->relay->shared->io, &ex->again, 0);
    lane_empty(&ex->up);
    lane_empty(&ex->down);
}
