/* SPDX-License-Identifier: MIT
 * question.c: one name in one family, asked of the name servers of a link until there is an answer.
 *
 * The first server is asked. If it fails the next is at once, and if it is silent, after a moment
 * beside it; when all have been asked it begins again, a second later. Whatever answers first
 * counts: addresses, or that there are none. Then the next name is asked for, where the name has
 * domains to be tried; or the question is over.
 */
#include "route/question.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define ROUND_NS NS_PER_S /* a lost datagram or two within an attempt's limit */
#define QUESTION_NS (5 * NS_PER_S)

/* One datagram to one server, waited for also when its question has ended. */
struct ask {
    struct channel_question base;
    struct question *question;    /* NULL: it has ended, or asks for another name by now */
    struct name_servers *servers; /* a use */
    struct name_server *server;
    struct ask *prev, *next;
    unsigned round;
    int64_t since_ns, grace_ns;
    bool over;
};

struct question {
    const struct question_ops *ops;
    void *owner;
    struct name_servers *servers; /* a use */
    const struct system_names *system;
    struct io_timer timer;
    int64_t until_ns;
    struct ask *asks;
    unsigned round;
    unsigned form; /* of the name: the next to be asked for */
    bool busy;     /* c-ares may answer at once */
    bool answered;
    int err; /* of servers that failed */
    struct dns_answer answer;
    int family;
    char name[NAME_SIZE], asked[NAME_SIZE];
};

static struct io *io_of(const struct question *q)
{
    return q->servers->io;
}

/* ---- asks ---- */

static void ask_free(struct ask *a)
{
    name_servers_give_back(a->servers);
    free(a);
}

/* Those under way go on alone: c-ares has no way to take one back. */
static void asks_drop(struct question *q)
{
    struct ask *a, *next;
    DL_FOREACH_SAFE(q->asks, a, next)
    {
        DL_DELETE(q->asks, a);
        a->question = NULL;
        if (a->over)
            ask_free(a);
    }
}

/* Silence is held against a server where another has answered in its place. */
static void asks_blame(const struct question *q, const struct name_server *answered)
{
    const struct ask *a;
    int64_t now = io_now(io_of(q));
    DL_FOREACH(q->asks, a)
    if (!a->over && a->server != answered && now - a->since_ns >= a->grace_ns)
        name_server_failed(a->servers, a->server);
}

static void question_answered(struct question *q, const struct dns_answer *answer)
{
    uint32_t ttl_s = q->answer.ttl_s;
    q->answer = *answer;
    q->answered = true;
    if (answer->err != DP_OK && ttl_s < answer->ttl_s) /* "no" holds as long as each part of it */
        q->answer.ttl_s = ttl_s;
}

/* A server that refuses is not meant for us. Anything else may be the name's fault; or the link's,
 * if the question has not left. */
static void ask_failed(struct ask *a, struct question *q, int status, int err)
{
    int unsent = status == ARES_ECONNREFUSED ? a->base.channel->err : DP_OK;
    if (unsent == DP_ERR_FAMILY && !a->server->outside) {
        name_server_outside(a->server);
        a->round--; /* it has not been asked in this one */
        return;
    }
    q->err = error_worse(q->err, unsent ? unsent : err);
    if (status == ARES_EREFUSED || (status == ARES_ECONNREFUSED && !unsent))
        name_server_failed(a->servers, a->server);
}

static void question_go(struct question *q);

static void ask_done(struct channel_question *base, int status, const uint8_t *msg, size_t len)
{
    struct ask *a = (struct ask *)base;
    struct question *q = a->question;
    a->over = true;
    if (!q) {
        ask_free(a);
        return;
    }
    struct dns_answer answer;
    dns_answer_read(&answer, q->family, status, msg, len);
    if (answer.err == DP_OK || answer.err == DP_ERR_NO_HOST) {
        name_server_worked(a->server);
        asks_blame(q, a->server);
        question_answered(q, &answer);
    } else {
        ask_failed(a, q, status, answer.err);
    }
    if (!q->busy)
        question_go(q);
}

static bool is_asked(const void *ctx, const struct name_server *server)
{
    const struct question *q = ctx;
    const struct ask *a;
    DL_FOREACH(q->asks, a)
    if (a->server == server && a->round == q->round)
        return true;
    return false;
}

static int ask_start(struct question *q, struct name_server *server)
{
    struct channel *channel = name_server_channel(q->servers, server);
    struct ask *a = channel ? calloc(1, sizeof *a) : NULL;
    if (!a)
        return -1;
    a->base.done = ask_done;
    a->question = q;
    a->servers = q->servers;
    a->servers->users++;
    a->server = server;
    a->round = q->round;
    a->since_ns = io_now(io_of(q));
    a->grace_ns = name_server_grace_ns(server);
    DL_APPEND(q->asks, a);
    channel_ask(channel, &a->base, q->asked, q->family);
    return 0;
}

static bool any_under_way(const struct question *q)
{
    const struct ask *a;
    DL_FOREACH(q->asks, a)
    if (!a->over)
        return true;
    return false;
}

/* ---- the question ---- */

void question_cancel(struct question *q)
{
    io_timer(io_of(q), &q->timer, 0);
    asks_drop(q);
    name_servers_give_back(q->servers);
    free(q);
}

static void question_over(struct question *q)
{
    struct dns_answer answer = q->answer;
    if (!q->answered) {
        answer.n = 0;
        answer.ttl_s = 0;
        answer.err = q->err ? q->err : DP_ERR_HOST_UNREACH;
    }
    const struct question_ops *ops = q->ops;
    void *owner = q->owner;
    question_cancel(q);
    ops->over(owner, &answer);
}

/* The name in its first form, or, if that was answered by "no", in another. */
static bool next_form(struct question *q)
{
    do
        if (!system_names_candidate(q->system, q->name, q->form++, q->asked))
            return false;
    while (!q->asked[0]);
    asks_drop(q);
    q->answered = false;
    q->round = 0;
    return true;
}

/* Asks the next server, and sets the time for the one after it. false: there is nobody to wait for. */
static bool ask_next(struct question *q)
{
    struct name_server *server;
    while (!q->answered && (server = name_servers_pick(q->servers, q, is_asked))) {
        if (ask_start(q, server) < 0) {
            q->err = DP_ERR_LOCAL;
            return false;
        }
        const struct ask *last = q->asks->prev;
        if (last->over)
            continue;
        bool more = name_servers_pick(q->servers, q, is_asked) != NULL;
        io_timer(io_of(q), &q->timer, last->since_ns + (more ? last->grace_ns : ROUND_NS));
        return true;
    }
    if (!any_under_way(q))
        return false;
    if (!q->timer.at_ns)
        io_timer(io_of(q), &q->timer, io_now(io_of(q)) + ROUND_NS);
    return true;
}

/* After each event: on, or over. */
static void question_go(struct question *q)
{
    bool waits = true;
    q->busy = true;
    if (!q->answered)
        waits = ask_next(q);
    while (q->answered && !q->answer.exists && next_form(q))
        waits = ask_next(q);
    q->busy = false;
    if (q->answered || !waits)
        question_over(q);
}

static void question_timer(struct io_timer *t)
{
    struct question *q = (struct question *)((char *)t - offsetof(struct question, timer));
    if (io_now(io_of(q)) >= q->until_ns || !q->ops->wanted(q->owner)) {
        question_over(q);
        return;
    }
    if (!name_servers_pick(q->servers, q, is_asked))
        q->round++;
    question_go(q);
}

int question_start(struct name_servers *servers, const struct system_names *system,
                   const char *name, int family, const struct question_ops *ops, void *owner,
                   struct question **question)
{
    struct question *q = calloc(1, sizeof *q);
    if (!q) {
        name_servers_give_back(servers);
        return -1;
    }
    q->ops = ops;
    q->owner = owner;
    q->servers = servers;
    q->system = system;
    q->family = family;
    q->timer.fire = question_timer;
    q->until_ns = io_now(servers->io) + QUESTION_NS;
    q->answer.ttl_s = UINT32_MAX;
    snprintf(q->name, sizeof q->name, "%s", name);
    next_form(q);
    *question = q;
    question_go(q);
    return 0;
}
