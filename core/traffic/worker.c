/* SPDX-License-Identifier: MIT
 * worker.c: one thread with one loop, which owns its sessions alone.
 */
#include "traffic/worker.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/resolver_cares.h"
#include "traffic/client.h"
#include "traffic/listen.h"
#include "traffic/session.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Accepting in rounds: 2^5 connections at most, for others in the loop want their turn; and after one
 * that found too few, so many of one before more is tried. */
#define PACE_MAX 5
#define PATIENCE 8

/* Between rounds of looks at whether sessions' peers are still there. One is some system calls: many
 * sessions are looked at a part at a time. */
#define CHECK_NS (2 * NS_PER_S)
#define CHECK_PART 256
#define CHECK_PART_NS (20 * NS_PER_MS)

/* Out of descriptors or memory: how long nothing is accepted, if no session ends before. Clients wait
 * in the backlog. */
#define PAUSE_NS (100 * NS_PER_MS)
#define SHORTAGE_LOG_NS (10 * NS_PER_S)

/* ---- messages ---- */

void worker_send(struct worker *w, struct message *m)
{
    struct message *newest = __atomic_load_n(&w->inbox, __ATOMIC_RELAXED);
    do
        m->next = newest;
    while (!__atomic_compare_exchange_n(&w->inbox, &newest, m, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
    if (!newest) /* else whoever put that there wakes it, and it takes both; `m` may be gone now */
        loop_wake(w->loop);
}

static void inbox_run(void *ctx)
{
    struct worker *w = ctx;
    struct message *newest = __atomic_exchange_n(&w->inbox, NULL, __ATOMIC_ACQUIRE), *m = NULL;
    while (newest) {
        struct message *next = newest->next;
        newest->next = m;
        m = newest;
        newest = next;
    }
    while (m) {
        struct message *next = m->next;
        m->run(w, m);
        m = next;
    }
}

/* ---- handing over ---- */

/* A connection on its way to the worker that will serve it. */
struct handover {
    struct message message;
    const struct acceptor *at; /* of the worker that has accepted it; outlasts this message */
    int fd;
    uint32_t source;
    struct dp_addr client;
};

const struct acceptor *worker_acceptor(const struct worker *w, const char *name)
{
    for (size_t i = 0; i < w->n_acceptors; i++)
        if (strcmp(w->acceptor[i].conf->name, name) == 0)
            return &w->acceptor[i];
    return NULL;
}

static void handover_run(struct worker *w, struct message *m)
{
    struct handover *h = (struct handover *)m;
    if (w->stopped) {
        close(h->fd);
        worker_session_over(w, h->source);
    } else {
        session_start(w, h->at, h->fd, &h->client, h->source);
    }
    free(h);
}

static struct worker *worker_least(struct worker *w)
{
    struct worker *best = w;
    uint32_t fewest = dp_load(&w->n_sessions);
    for (unsigned i = 0; i < w->n_all; i++) {
        uint32_t n = dp_load(&w->all[i].n_sessions);
        if (n < fewest) {
            fewest = n;
            best = &w->all[i];
        }
    }
    return best;
}

static void client_give(const struct acceptor *a, int fd, const struct dp_addr *client,
                        uint32_t source)
{
    struct worker *w = a->worker, *to = worker_least(w);
    struct handover *h = NULL;
    if (to != w && !(h = malloc(sizeof *h)))
        to = w;
    dp_add(&to->n_sessions, 1);
    if (to == w) {
        session_start(w, a, fd, client, source);
        return;
    }
    h->message.run = handover_run;
    h->at = a;
    h->fd = fd;
    h->source = source;
    h->client = *client;
    worker_send(to, &h->message);
}

/* ---- accepting ---- */

/* Returns 0, or -1: out of memory, or of what the user may watch. */
static int accept_watch(struct worker *w, short events)
{
    int failed = 0;
    for (size_t i = 0; i < w->n_acceptors; i++)
        failed |= io_watch(w->io, &w->acceptor[i].io, events);
    return failed;
}

/* Goes on when a session of this worker ends, or after a while. A shortage that lasts is told of
 * once. */
static void accept_pause(struct worker *w)
{
    w->paused = true;
    w->shortage_known = true;
    accept_watch(w, 0);
    io_timer(w->io, &w->pause, io_now(w->io) + PAUSE_NS);
}

static void accept_resume(struct worker *w)
{
    w->paused = false;
    io_timer(w->io, &w->pause, 0);
    if (accept_watch(w, POLLIN | IO_SHARED) < 0)
        accept_pause(w);
}

static void pause_over(struct io_timer *t)
{
    struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, pause));
    if (budget_full(w->budget))
        io_timer(w->io, t, io_now(w->io) + PAUSE_NS);
    else
        accept_resume(w);
}

/* All workers together say it once in a while. */
static struct log_rate shortage_rate;

static void pause_full(struct worker *w)
{
    if (!w->shortage_known)
        log_rated(&shortage_rate, SHORTAGE_LOG_NS, LOG_WARN, "listener",
                  "%" PRIu32 " connections are open, and there are descriptors for no more: new "
                  "ones wait; for more, raise `ulimit -n` (LimitNOFILE=)",
                  dp_load(&w->budget->sessions));
    accept_pause(w);
}

static void pause_failed(struct worker *w, int err)
{
    if (!w->shortage_known)
        log_rated(&shortage_rate, SHORTAGE_LOG_NS, LOG_WARN, "listener",
                  "cannot accept just now: %s; open connections go on, new ones wait",
                  strerror(err));
    accept_pause(w);
}

/* Returns whether there may be more to take. */
static bool accept_failed(struct worker *w, int err)
{
    budget_give(w->budget);
    if (err != EMFILE && err != ENFILE && err != ENOBUFS && err != ENOMEM)
        return err != EAGAIN; /* all else is the end of that one connection (accept(2)) */
    pause_failed(w, err);
    return false;
}

static void accepted(struct acceptor *a, int fd, const struct dp_addr *client)
{
    struct worker *w = a->worker;
    uint32_t source = 0;
    w->shortage_known = false;
    if (client_is_proxy(a->conf, client) || client_enters(w->sources, a->conf, client, &source)) {
        client_give(a, fd, client, source);
        return;
    }
    close(fd);
    budget_give(w->budget);
}

/* Takes one connection. Returns false when there is no more to take just now. */
static bool accept_one(struct acceptor *a)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (!budget_take(a->worker->budget)) {
        pause_full(a->worker);
        return false;
    }
    int fd = accept4(a->io.fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return accept_failed(a->worker, errno);
    struct dp_addr client = {.salen = 0};
    if (sa.ss_family != AF_UNIX)
        addr_from_sockaddr(&client, (const struct sockaddr *)&sa, len);
    addr_unmap(&client);
    accepted(a, fd, &client);
    return true;
}

/* A round takes one connection, for mostly there is one, and a call that finds none costs as much as
 * one that does. Only when many rounds in a row were full, each next one takes twice as many. */
static void accept_ready(struct io_fd *io, short revents)
{
    struct acceptor *a = (struct acceptor *)((char *)io - offsetof(struct acceptor, io));
    int most = a->pace > 0 ? 1 << a->pace : 1, n = 0;
    (void)revents;
    while (n < most && accept_one(a))
        n++;
    if (n < most)
        a->pace = -PATIENCE;
    else if (a->pace < PACE_MAX)
        a->pace++;
}

static void accept_stop(struct worker *w)
{
    accept_watch(w, 0);
    io_timer(w->io, &w->pause, 0);
    w->paused = false;
}

/* Takes who waits at a socket that goes, or its close would reset them. Not more than a queue holds:
 * whoever comes later is for others who have this socket. */
static void accept_rest(struct worker *w, const struct service *service)
{
    for (size_t i = 0; i < w->n_acceptors; i++) {
        struct acceptor *a = &w->acceptor[i];
        bool more = !service_has_fd(service, a->io.fd);
        for (int n = 0; n < LISTEN_BACKLOG && more; n++)
            more = accept_one(a);
    }
}

void worker_serve(struct worker *w, const struct service *service)
{
    accept_watch(w, 0);
    accept_rest(w, service);
    accept_stop(w);
    if (!service) { /* what others have accepted and handed over is served still */
        w->draining = true;
        sessions_drain(w);
        return;
    }
    const struct config *config = service->router->config;
    w->service = service;
    w->env.config = config;
    resolver_cares_trim(w->env.resolver);
    w->n_acceptors = config->n_listeners;
    w->acceptor = service->acceptor + (size_t)(w - w->all) * w->n_acceptors;
    for (size_t i = 0; i < w->n_acceptors; i++) {
        struct acceptor *a = &w->acceptor[i];
        a->worker = w;
        a->conf = &config->listener[i];
        a->pool = router_pool(service->router, a->conf->pool);
        a->io.fd = service->fd[i];
        a->io.ready = accept_ready;
    }
}

void worker_accept(struct worker *w)
{
    accept_resume(w);
}

/* ---- life ---- */

void worker_session_over(struct worker *w, uint32_t source)
{
    sources_give(w->sources, source);
    budget_give(w->budget);
    if (w->paused)
        accept_resume(w);
    uint32_t before = dp_add(&w->n_sessions, UINT32_MAX); /* one less */
    if (before == 1 && w->draining && w->idle)
        w->idle(w->idle_ctx);
}

/* Handshakes need much more memory than what follows: when there are none, that is given back. */
static void heap_trim(struct worker *w)
{
    if (w->n_handshakes > 0 || !w->trim_due)
        return;
    malloc_trim(0);
    w->trim_due = false;
}

static void sessions_check(struct io_timer *t)
{
    struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, check));
    int64_t now = io_now(w->io);
    if (!w->unchecked)
        w->unchecked = w->sessions;
    for (int i = 0; i < CHECK_PART && w->unchecked; i++) {
        struct session *s = w->unchecked;
        w->unchecked = session_next(s);
        session_check(s, now);
    }
    if (w->unchecked) {
        io_timer(w->io, &w->check, now + CHECK_PART_NS);
        return;
    }
    heap_trim(w);
    if (pipes_trim(w->shared->pipes) > 0 || w->sessions)
        io_timer(w->io, &w->check, now + CHECK_NS);
}

void worker_watch_sessions(struct worker *w)
{
    if (w->sessions && !w->check.at_ns)
        io_timer(w->io, &w->check, io_now(w->io) + CHECK_NS);
}

static void sessions_close(struct worker *w)
{
    for (struct session *s = w->sessions, *next; s; s = next) {
        next = session_next(s);
        session_close(s);
    }
}

void worker_stop(struct worker *w)
{
    accept_stop(w);
    w->stopped = true;
    sessions_close(w);
    io_timer(w->io, &w->check, 0);
    loop_stop(w->loop);
}

static void *worker_main(void *ctx)
{
    struct worker *w = ctx;
    loop_run(w->loop);
    return NULL;
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

void worker_free(struct worker *w)
{
    if (w->loop)
        inbox_run(w); /* a connection handed over at the last moment */
    if (w->env.resolver)
        resolver_cares_free(w->env.resolver);
    loop_free(w->loop);
    if (w->shared)
        pipes_free(w->shared->pipes);
    free(w->shared);
    slab_deinit(&w->session_slab);
}

/* Each may have one at least, or it could not splice at all. */
static unsigned pipes_share(const struct worker *w)
{
    return (dp_load(&w->budget->pipes) + w->n_all - 1) / w->n_all;
}

int worker_start(struct worker *w)
{
    int err = 0;
    w->loop = loop_new();
    if (!w->loop)
        return errno;
    w->io = loop_io(w->loop);
    w->env.io = w->io;
    w->env.resolver = resolver_cares_new(w->io);
    w->pause.fire = pause_over;
    w->check.fire = sessions_check;
    w->session_slab.size = session_size();
    loop_on_wake(w->loop, inbox_run, w);
    w->shared = calloc(1, sizeof *w->shared);
    if (w->shared) {
        w->shared->io = w->io;
        w->shared->pipes = pipes_new(pipes_share(w));
    }
    if (!w->env.resolver || !w->shared || !w->shared->pipes)
        err = ENOMEM;
    else
        err = pthread_create(&w->thread, NULL, worker_main, w);
    if (err)
        worker_free(w);
    return err;
}
