/* SPDX-License-Identifier: MIT
 * check.c: one health check of one link.
 *
 *   tcp    CONNECT -------------------------------+
 *   http   CONNECT -> REQUEST -> ANSWER's status --+--> over
 *   dns    ASK -----------------------------------+
 *
 * Connecting is as for a client's connection: names, chains, one address after another. But it is
 * nobody's: no claim is taken, no limit obeyed, and it teaches nothing about connect times.
 */
#include "traffic/check.h"
#include "base/clock.h"
#include "config/units.h"
#include "proto/http_status.h"
#include "route/attempt.h"
#include "route/resolver_cares.h"
#include "route/socket.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 2560 /* a URL of 1 KiB, its host once more, and what stands around them */
#define WHY_MAX 1200     /* a URL, and what is wrong with it */

/* A loop that comes so much too late, one part of the time that was given, has not been there to
 * see an answer. */
#define LATE_SHARE 4

struct check {
    struct dial_env *env;
    struct link *link;
    const struct conf_check *conf;
    struct dp_flow flow; /* nobody's, to where it connects */
    void (*over)(void *ctx, enum check_verdict verdict, const char *why);
    void *ctx;
    struct io_timer timer; /* its limit; or, settled, its end */
    int64_t until_ns;
    bool settled;
    enum check_verdict verdict;
    struct attempt *attempt;   /* while it connects */
    struct question *question; /* while name servers are asked */
    struct chain *chain;       /* kept for the stream */
    struct io_fd stream;       /* fd -1: none */
    size_t sent, len;
    struct http_status status;
    char why[WHY_MAX];
    char request[REQUEST_MAX]; /* `len` bytes; not cleared, for most checks have none */
};

/* Told from the loop: whoever has found it out may still be at work on what it holds. The first
 * verdict stands. */
static void settle(struct check *c, enum check_verdict verdict)
{
    if (c->settled)
        return;
    c->settled = true;
    c->verdict = verdict;
    io_timer(c->env->io, &c->timer, io_now(c->env->io));
}

__attribute__((format(printf, 2, 3))) //
static void
fail(struct check *c, const char *fmt, ...)
{
    va_list ap;
    if (c->settled)
        return;
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof c->why, fmt, ap);
    va_end(ap);
    settle(c, CHECK_FAILED);
}

static void fail_silent(struct check *c)
{
    char text[UNITS_TEXT];
    fail(c, "no answer %s %s in %s", c->conf->kind == CHECK_DNS ? "for" : "from", c->conf->target,
         units_duration_text(c->conf->timeout, text));
}

/* ---- connecting ---- */

static const char *error_text(int err)
{
    switch (err) {
    case DP_ERR_REFUSED:
        return "refused the connection";
    case DP_ERR_DENIED:
        return "may not be connected to by this link";
    case DP_ERR_NO_HOST:
        return "has no address";
    case DP_ERR_FAMILY:
        return "is of a family that the link has no address of";
    default:
        return dp_blame(err) == DP_LINK ? "is out of reach: the link or its server failed"
                                        : "is out of reach";
    }
}

static void fail_connect(struct check *c, int err)
{
    if (dp_blame(err) == DP_LOCAL)
        settle(c, CHECK_VOID);
    else
        fail(c, "%s %s", c->conf->target, error_text(err));
}

static void answer_take(struct check *c);

static void request_send(struct check *c)
{
    while (c->sent < c->len) {
        ssize_t n = send(c->stream.fd, c->request + c->sent, c->len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            fail(c, "%s: %s", c->conf->target, strerror(errno));
            return;
        }
        c->sent += (size_t)n;
    }
    answer_take(c);
}

static void status_note(struct check *c, int status)
{
    const struct conf_check *conf = c->conf;
    if (status < 0)
        fail(c, "%s answered not in HTTP/1", conf->target);
    else if ((uint32_t)status < conf->status_min || (uint32_t)status > conf->status_max)
        fail(c, "%s answered %d", conf->target, status);
    else
        settle(c, CHECK_PASSED);
}

static void answer_take(struct check *c)
{
    char buf[1024];
    int status = 0;
    while (status == 0) {
        ssize_t n = recv(c->stream.fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            fail(c, "%s: %s", c->conf->target,
                 n == 0 ? "closed without an answer" : strerror(errno));
            return;
        }
        status = http_status_read(&c->status, buf, (size_t)n);
    }
    status_note(c, status);
}

static void stream_ready(struct io_fd *io, short revents)
{
    struct check *c = (struct check *)((char *)io - offsetof(struct check, stream));
    (void)revents;
    if (!c->settled)
        request_send(c);
}

static void request_write(struct check *c)
{
    int n = snprintf(c->request, sizeof c->request,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: dispatch\r\nAccept: */*\r\n"
                     "Connection: close\r\n\r\n",
                     c->conf->path, c->conf->host);
    c->len = (size_t)n < sizeof c->request ? (size_t)n : sizeof c->request - 1;
}

/* Taken over from the dial, and watched by edges as there. */
static void connected(struct check *c)
{
    struct arrival arrival;
    int64_t took_ns;
    c->chain = attempt_take(c->attempt, &arrival, &took_ns);
    c->stream.fd = arrival.fd;
    if (io_watch(c->env->io, &c->stream, POLLIN | POLLOUT | IO_EDGE) < 0) {
        settle(c, CHECK_VOID);
    } else if (c->conf->kind == CHECK_TCP) {
        settle(c, CHECK_PASSED);
    } else {
        request_write(c);
        request_send(c);
    }
}

static void attempt_over(struct attempt *a, void *ctx, int result)
{
    struct check *c = ctx;
    (void)a;
    if (result == DP_OK)
        connected(c);
    else
        fail_connect(c, result);
}

/* The limit is ours: the attempt's own would not know that the loop was late. */
static void connect_start(struct check *c)
{
    int result = attempt_start(c->env, c->link, &c->flow, false, NULL, INT64_MAX / 2, attempt_over,
                               c, &c->attempt);
    if (result == DP_OK)
        connected(c);
    else if (result != DP_AGAIN)
        fail_connect(c, result);
}

/* ---- asking name servers ---- */

/* They work also if they know of no such name. */
static void answered(void *owner, const struct dns_answer *answer)
{
    struct check *c = owner;
    c->question = NULL;
    if (answer->err == DP_OK || answer->err == DP_ERR_NO_HOST)
        settle(c, CHECK_PASSED);
    else if (dp_blame(answer->err) == DP_LOCAL)
        settle(c, CHECK_VOID);
    else
        fail(c, "no name server answers for %s", c->conf->target);
}

static bool is_wanted(void *owner)
{
    (void)owner;
    return true;
}

static void ask_start(struct check *c)
{
    static const struct question_ops ops = {.over = answered, .wanted = is_wanted};
    if (resolver_cares_ask(c->env->resolver, c->link, c->conf->name, &ops, c, &c->question) < 0)
        settle(c, CHECK_VOID);
}

/* ---- life ---- */

static void timer_fire(struct io_timer *t)
{
    struct check *c = (struct check *)((char *)t - offsetof(struct check, timer));
    if (c->settled)
        c->over(c->ctx, c->verdict, c->why);
    else if (io_now(c->env->io) - c->until_ns > c->conf->timeout / LATE_SHARE)
        settle(c, CHECK_VOID);
    else
        fail_silent(c);
}

static struct check *check_alloc(void)
{
    struct check *c = malloc(sizeof *c);
    if (c)
        memset(c, 0, offsetof(struct check, request));
    return c;
}

struct check *check_start(struct dial_env *env, struct link *link, const struct conf_check *conf,
                          void (*over)(void *ctx, enum check_verdict verdict, const char *why),
                          void *ctx)
{
    struct check *c = check_alloc();
    if (!c)
        return NULL;
    c->env = env;
    c->link = link;
    c->conf = conf;
    c->flow.dest = conf->to;
    c->over = over;
    c->ctx = ctx;
    c->stream = (struct io_fd){.fd = -1, .ready = stream_ready};
    c->timer.fire = timer_fire;
    c->until_ns = io_now(env->io) + conf->timeout;
    io_timer(env->io, &c->timer, c->until_ns);
    if (conf->kind == CHECK_DNS)
        ask_start(c);
    else
        connect_start(c);
    return c;
}

/* By a reset, so that nothing of it stays behind, here or there. */
static void stream_close(struct check *c)
{
    if (c->stream.fd < 0)
        return;
    io_forget(c->env->io, &c->stream);
    socket_set_reset(c->stream.fd);
    close(c->stream.fd);
}

void check_free(struct check *c)
{
    if (!c)
        return;
    io_timer(c->env->io, &c->timer, 0);
    if (c->question)
        question_cancel(c->question);
    attempt_free(c->attempt);
    stream_close(c);
    chain_free(c->chain);
    free(c);
}
