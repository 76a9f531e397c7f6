/* SPDX-License-Identifier: MIT
 * server.c: the workers and what they serve by.
 *
 * A change: build everything new beside the old; publish; send each worker a message to serve by
 * it, and not to accept; when all have answered, another to accept. Workers hand connections over to
 * each other by messages, too: so each finds its receiver at a service, and when all have answered
 * again none can hold anything of the old, and that is let go.
 */
#include "traffic/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "route/monitor.h"
#include "traffic/checks.h"
#include "traffic/login.h"
#include "traffic/session.h"
#include "traffic/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

/* Shared numbers of links and pools. Only touched pages cost memory. */
#define ARENA_SIZE ((size_t)64 << 20)

/* Room for less than this is worth a word at the start. */
#define FEW_SESSIONS 1000

#define RAISE_FILES "raise the limit of open files (ulimit -n, LimitNOFILE=)"

struct server {
    struct worker *worker;
    unsigned n_workers;
    struct arena *arena;
    struct trash trash;
    struct budget budget;
    uint64_t n_files, n_open; /* the limit of descriptors; those taken by all but the service */
    struct sources *sources;
    struct logins *logins;   /* NULL: no listener has had users yet */
    struct service *service; /* NULL: none yet */
    struct monitor *monitor; /* NULL: links are taken as they come */
    struct checks *checks;   /* NULL: it drains */
    struct loop *main_loop;
    bool draining;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* ---- telling all workers something ---- */

struct order {
    struct message message;
    void (*run)(struct worker *w, const void *arg);
    const void *arg;
    sem_t *done;
};

static void order_run(struct worker *w, struct message *m)
{
    struct order *o = (struct order *)m;
    o->run(w, o->arg);
    sem_post(o->done); /* the last touch: `o` is the waiting thread's */
}

/* Runs it in every worker and waits until all have. */
static void workers_order(struct server *s, void (*run)(struct worker *w, const void *arg),
                          const void *arg)
{
    sem_t done;
    sem_init(&done, 0, 0);
    struct order order[CONF_WORKERS_MAX];
    for (unsigned i = 0; i < s->n_workers; i++) {
        order[i] =
            (struct order){.message = {.run = order_run}, .run = run, .arg = arg, .done = &done};
        worker_send(&s->worker[i], &order[i].message);
    }
    for (unsigned i = 0; i < s->n_workers; i++)
        while (sem_wait(&done) < 0)
            ;
    sem_destroy(&done);
}

static void order_serve(struct worker *w, const void *service)
{
    worker_serve(w, service);
}

static void order_accept(struct worker *w, const void *arg)
{
    (void)arg;
    worker_accept(w);
}

static void order_stop(struct worker *w, const void *arg)
{
    (void)arg;
    worker_stop(w);
}

/* ---- links that are gone ---- */

/* On its way to a worker, whose it is then. */
struct farewell {
    struct message message;
    struct link *link; /* a reference */
    bool all;
    struct dp_addr from; /* unless all */
};

static void farewell_run(struct worker *w, struct message *m)
{
    struct farewell *f = (struct farewell *)m;
    sessions_reset(w, f->link, f->all ? NULL : &f->from);
    ref_drop(&f->link->ref);
    free(f);
}

/* Without memory for it connections end later, when nothing comes any more. */
static void link_gone(void *ctx, struct link *link, const struct dp_addr *from)
{
    struct server *s = ctx;
    for (unsigned i = 0; i < s->n_workers; i++) {
        struct farewell *f = calloc(1, sizeof *f);
        if (!f)
            return;
        f->message.run = farewell_run;
        f->link = link;
        f->all = !from;
        if (from)
            f->from = *from;
        ref_get(&link->ref);
        worker_send(&s->worker[i], &f->message);
    }
}

static void links_watch(struct server *s, const struct router *router)
{
    if (s->monitor && monitor_watch(s->monitor, router) < 0)
        log_line(LOG_WARN, "link", "new links are not watched: out of memory");
    if (s->checks && checks_watch(s->checks, router) < 0)
        log_line(LOG_WARN, "link", "links are checked as before: out of memory");
}

/* ---- services ---- */

/* Made when they are first needed, and kept. */
static int logins_prepare(struct server *s, struct service *new, struct conf_errors *errors)
{
    if (!s->logins && service_has_users(new)) {
        s->logins = logins_new(s->n_workers, clock_now_ns());
        if (!s->logins)
            conf_error(errors, NULL, "cannot verify logins: %s", strerror(errno));
    }
    new->logins = s->logins;
    return s->logins || !service_has_users(new) ? 0 : -1;
}

/* False: not even one session fits. */
static bool room_share(const struct server *s, const struct service *new, struct budget *budget)
{
    const struct config *config = new->router->config;
    return budget_set(budget, s->n_files,
                      s->n_open + config->n_listeners + checks_descriptors(config));
}

/* Undoes a service that was never published. */
static void service_discard(struct service *new, const struct service *old)
{
    router_retract(new->router);
    service_remove_files(new, old);
    service_free(new, old);
}

static struct service *service_alloc(struct server *s, struct config *config,
                                     struct conf_errors *errors)
{
    const struct router *old = s->service ? s->service->router : NULL;
    struct router *router = router_new(config, old, s->arena, &s->trash, errors);
    struct service *new = router ? service_new(router, s->n_workers) : NULL;
    if (router && !new) {
        conf_error(errors, NULL, "out of memory");
        router_retract(router);
        router_free(router);
    }
    return new;
}

/* Everything new beside the old. */
static struct service *service_build(struct server *s, struct config *config,
                                     struct conf_errors *errors)
{
    struct service *new = service_alloc(s, config, errors);
    if (!new)
        return NULL;
    if (!room_share(s, new, &(struct budget){0}))
        conf_error(errors, NULL, "%" PRIu64 " files leave no room for connections: " RAISE_FILES,
                   s->n_files);
    else if (logins_prepare(s, new, errors) == 0 && service_listen(new, s->service, errors) == 0)
        return new;
    service_discard(new, s->service);
    return NULL;
}

/* Once, when it begins to serve. */
static void say_room(const struct server *s)
{
    uint32_t sessions = dp_load(&s->budget.sessions);
    if (sessions < FEW_SESSIONS)
        log_line(LOG_INFO, "host",
                 "room for %" PRIu32 " connections at once, with %" PRIu64
                 " files: for more, " RAISE_FILES,
                 sessions, s->n_files);
}

int server_apply(struct server *s, struct config *config, struct conf_errors *errors)
{
    struct service *new = service_build(s, config, errors);
    trash_empty(&s->trash); /* what a failure has dropped */
    if (!new)
        return -1;
    room_share(s, new, &s->budget);
    links_watch(s, new->router);
    service_leave(s->service, new);
    router_publish(new->router);
    workers_order(s, order_serve, new);
    workers_order(s, order_accept, NULL);
    router_settle(new->router);
    if (!s->service)
        say_room(s);
    service_free(s->service, new);
    s->service = new;
    trash_empty(&s->trash);
    return 0;
}

const struct config *server_config(const struct server *s)
{
    return s->service->router->config;
}

struct dp_addr server_listen_addr(const struct server *s, size_t i)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct dp_addr addr = server_config(s)->listener[i].listen;
    if (getsockname(s->service->fd[i], (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr(&addr, (const struct sockaddr *)&sa, len);
    return addr;
}

size_t server_listen_fds(const struct server *s, int *fd)
{
    size_t n = 0;
    for (size_t i = 0; i < server_config(s)->n_listeners; i++)
        if (!server_config(s)->listener[i].handed)
            fd[n++] = s->service->fd[i];
    return n;
}

/* ---- the end ---- */

static void worker_idle(void *ctx)
{
    loop_wake(((struct server *)ctx)->main_loop);
}

static void order_drain(struct worker *w, const void *server)
{
    w->idle = worker_idle;
    w->idle_ctx = (void *)server;
    worker_serve(w, NULL);
}

static bool sessions_left(const struct server *s)
{
    for (unsigned i = 0; i < s->n_workers; i++)
        if (dp_load(&s->worker[i].n_sessions) > 0)
            return true;
    return false;
}

void server_drain(struct server *s, bool taken_over, void (*drained)(void *ctx), void *ctx)
{
    s->drained = drained;
    s->drained_ctx = ctx;
    s->draining = true;
    workers_order(s, order_drain, s);
    checks_free(s->checks); /* who comes after us has its own */
    s->checks = NULL;
    if (s->service && !taken_over)
        service_remove_files(s->service, NULL);
    if (s->service)
        service_close(s->service);
    loop_wake(s->main_loop);
}

void server_woken(struct server *s)
{
    trash_empty(&s->trash);
    if (s->draining && s->drained && !sessions_left(s)) {
        void (*drained)(void *) = s->drained;
        s->drained = NULL;
        drained(s->drained_ctx);
    }
}

static void main_wake(void *ctx)
{
    loop_wake(ctx);
}

/* First all threads end, then what they could still have sent each other is freed. */
static void workers_end(struct server *s)
{
    if (s->n_workers > 0)
        workers_order(s, order_stop, NULL);
    for (unsigned i = 0; i < s->n_workers; i++)
        worker_join(&s->worker[i]);
    if (s->logins)
        logins_stop(s->logins);
    for (unsigned i = 0; i < s->n_workers; i++)
        worker_free(&s->worker[i]);
}

/* What they all need of the server's. Out of memory: false. */
static bool workers_prepare(struct server *s, unsigned n_workers)
{
    s->arena = arena_new(ARENA_SIZE, -1);
    s->sources = sources_new((uint32_t)(s->n_files / 2 < UINT32_MAX ? s->n_files / 2 : UINT32_MAX));
    s->worker = calloc(n_workers, sizeof *s->worker);
    if (!s->arena || !s->sources || !s->worker)
        return false;
    for (unsigned i = 0; i < n_workers; i++) {
        struct worker *w = &s->worker[i];
        w->all = s->worker;
        w->n_all = n_workers;
        w->budget = &s->budget;
        w->sources = s->sources;
    }
    return true;
}

/* Where this system says nothing, each connection finds out for itself. */
static void monitor_start(struct server *s)
{
    s->monitor = monitor_new(loop_io(s->main_loop), link_gone, s);
    if (!s->monitor)
        log_line(LOG_WARN, "link", "links are not watched: %s", strerror(errno));
}

/* Returns 0 or an errno. */
static int workers_start(struct server *s, unsigned n_workers)
{
    for (; s->n_workers < n_workers; s->n_workers++) {
        int err = worker_start(&s->worker[s->n_workers]);
        if (err)
            return err;
    }
    monitor_start(s);
    s->checks = checks_new(loop_io(s->main_loop));
    if (!s->checks)
        return ENOMEM;
    s->n_open = budget_open();
    return 0;
}

struct server *server_new(unsigned n_workers, struct loop *main_loop, struct conf_errors *errors)
{
    struct server *s = n_workers <= CONF_WORKERS_MAX ? calloc(1, sizeof *s) : NULL;
    int err = ENOMEM;
    if (s) {
        s->main_loop = main_loop;
        s->trash = (struct trash){.wake = main_wake, .ctx = main_loop};
        s->n_files = budget_limit();
        if (!budget_set(&s->budget, s->n_files, budget_open()))
            err = EMFILE;
        else if (workers_prepare(s, n_workers)) {
            malloc_trim(0); /* in workers it may else be the first call of all, in two at once */
            err = workers_start(s, n_workers);
        }
    }
    if (!err)
        return s;
    conf_error(errors, NULL, "cannot start %u workers: %s%s", n_workers, strerror(err),
               err == EMFILE ? ": " RAISE_FILES : "");
    server_free(s);
    return NULL;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    monitor_free(s->monitor);
    checks_free(s->checks);
    workers_end(s);
    if (s->service)
        service_remove_files(s->service, NULL);
    service_free(s->service, NULL);
    trash_empty(&s->trash);
    arena_destroy(s->arena);
    sources_free(s->sources);
    logins_free(s->logins);
    free(s->worker);
    free(s);
}
