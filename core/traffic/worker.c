/* SPDX-License-Identifier: MIT
 * worker.c: one thread with one loop, which owns its sessions alone.
 */
#include "traffic/worker.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/resolver_cares.h"
#include "traffic/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 32 /* for one event: others in the loop get their turn */

#define CHECK_NS (2 * NS_PER_S) /* between looks at whether sessions' peers are still there */

/* Out of descriptors or memory: how long nothing is accepted. Clients wait in the backlog. */
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)

/* ---- messages ---- */

void worker_send(struct worker *w, struct message *m)
{
    m->next = __atomic_load_n(&w->inbox, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&w->inbox, &m->next, m, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
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

/* ---- accepting ---- */

/* A connection on its way to the worker that will serve it. */
struct handover {
    struct message message;
    int fd;
    struct dp_addr client;
    char listener[65]; /* by name: the other worker may be ahead or behind in configuration */
};

static const struct conf_listener *listener_named(const struct worker *w, const char *name)
{
    for (size_t i = 0; i < w->n_acceptors; i++)
        if (strcmp(w->acceptor[i].conf->name, name) == 0)
            return w->acceptor[i].conf;
    return NULL;
}

static void handover_run(struct worker *w, struct message *m)
{
    struct handover *h = (struct handover *)m;
    const struct conf_listener *conf = listener_named(w, h->listener);
    if (conf) {
        session_start(w, h->fd, &h->client, conf, 0);
    } else {
        close(h->fd);
        worker_session_over(w, 0);
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

static bool client_allowed(const struct conf_listener *conf, const struct dp_addr *client)
{
    for (size_t i = 0; i < conf->n_allow; i++)
        if (addr_in_net(client, &conf->allow[i]))
            return true;
    return conf->n_allow == 0;
}

static void client_deny(int fd, const struct conf_listener *conf, const struct dp_addr *client)
{
    static struct log_rate rate;
    char text[ADDR_TEXT];
    log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "listener",
              "%s: client=%s is in none of its allowed networks: closed", conf->name,
              addr_text(client, text));
    close(fd);
}

static void client_give(struct worker *w, const struct conf_listener *conf, int fd,
                        const struct dp_addr *client)
{
    struct worker *to = worker_least(w);
    struct handover *h = NULL;
    if (to != w && !(h = calloc(1, sizeof *h)))
        to = w;
    dp_add(&to->n_sessions, 1);
    if (to == w) {
        session_start(w, fd, client, conf, 0);
        return;
    }
    h->message.run = handover_run;
    h->fd = fd;
    h->client = *client;
    snprintf(h->listener, sizeof h->listener, "%s", conf->name);
    worker_send(to, &h->message);
}

static void accept_watch(struct worker *w, short events)
{
    for (size_t i = 0; i < w->n_acceptors; i++)
        io_watch(w->io, &w->acceptor[i].io, events ? events | IO_SHARED : 0);
}

static void accept_pause(struct worker *w, int err)
{
    static struct log_rate rate;
    log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "listener",
              "cannot accept just now: %s; open connections go on, new ones wait", strerror(err));
    accept_watch(w, 0);
    io_timer(w->io, &w->accept_pause, io_now(w->io) + ACCEPT_PAUSE_NS);
}

static void accept_resume(struct io_timer *t)
{
    accept_watch((struct worker *)((char *)t - offsetof(struct worker, accept_pause)), POLLIN);
}

/* Takes one connection. Returns false when there is no more to take just now. */
static bool accept_one(struct acceptor *a)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int fd = accept4(a->io.fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(a->worker, errno);
            return false;
        }
        return errno != EAGAIN; /* all else is the end of that one connection (accept(2)) */
    }
    struct dp_addr client;
    addr_from_sockaddr(&client, (const struct sockaddr *)&sa, len);
    addr_unmap(&client);
    if (client_allowed(a->conf, &client))
        client_give(a->worker, a->conf, fd, &client);
    else
        client_deny(fd, a->conf, &client);
    return true;
}

static void accept_ready(struct io_fd *io, short revents)
{
    struct acceptor *a = (struct acceptor *)((char *)io - offsetof(struct acceptor, io));
    (void)revents;
    for (int i = 0; i < ACCEPTS_MAX && accept_one(a); i++)
        ;
}

void worker_serve(struct worker *w, const struct service *service)
{
    accept_watch(w, 0);
    io_timer(w->io, &w->accept_pause, 0);
    free(w->acceptor);
    w->acceptor = NULL;
    w->n_acceptors = 0;
    if (!service) {
        w->draining = true;
        return;
    }
    const struct config *config = service->router->config;
    w->service = service;
    w->env.config = config;
    resolver_cares_trim(w->env.resolver);
    w->acceptor = calloc(config->n_listeners + 1, sizeof *w->acceptor);
    if (!w->acceptor) {
        log_line(LOG_ERROR, "worker", "out of memory: this worker accepts nothing");
        return;
    }
    w->n_acceptors = config->n_listeners;
    for (size_t i = 0; i < w->n_acceptors; i++) {
        struct acceptor *a = &w->acceptor[i];
        a->worker = w;
        a->conf = &config->listener[i];
        a->io.fd = service->fd[i];
        a->io.ready = accept_ready;
    }
    accept_watch(w, POLLIN);
}

/* ---- life ---- */

void worker_session_over(struct worker *w, uint32_t source)
{
    (void)source; /* nothing is counted by source yet */
    uint32_t before = dp_add(&w->n_sessions, UINT32_MAX); /* one less */
    if (before == 1 && w->draining && w->idle)
        w->idle(w->idle_ctx);
}

static void sessions_check(struct io_timer *t)
{
    struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, check));
    int64_t now = io_now(w->io);
    for (struct session *s = w->sessions, *next; s; s = next) {
        next = session_next(s);
        session_check(s, now);
    }
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
    worker_serve(w, NULL);
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
    free(w->acceptor);
}

int worker_start(struct worker *w)
{
    w->loop = loop_new();
    w->shared = calloc(1, sizeof *w->shared);
    if (w->loop && w->shared) {
        w->io = loop_io(w->loop);
        w->shared->io = w->io;
        w->shared->pipes = pipes_new(PIPES_MAX / w->n_all);
        w->env.io = w->io;
        w->env.resolver = resolver_cares_new(w->io);
        w->accept_pause.fire = accept_resume;
        w->check.fire = sessions_check;
        loop_on_wake(w->loop, inbox_run, w);
    }
    if (w->io && w->shared->pipes && w->env.resolver &&
        pthread_create(&w->thread, NULL, worker_main, w) == 0)
        return 0;
    worker_free(w);
    return -1;
}
