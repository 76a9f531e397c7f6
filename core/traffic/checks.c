/* SPDX-License-Identifier: MIT
 * checks.c: health checks of all links.
 *
 *   WAITING for its time --- due ---> [QUEUED for a place] ---> RUNNING --- over ---> WAITING
 */
#include "traffic/checks.h"
#include "route/health.h"
#include "route/resolver_cares.h"
#include "traffic/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <utlist.h>

/* At once, each with a descriptor: at 50 ms a check 2,500 a second, and where each takes its whole
 * 3 s still 40. */
#define RUNNING_MAX 128

/* A link and its check. */
struct checked {
    struct checks *all;
    struct link *link;     /* a reference */
    struct config *config; /* a reference: `conf` is of it */
    const struct conf_check *conf;
    struct io_timer timer; /* WAITING */
    int64_t due_ns;
    struct check *check; /* RUNNING */
    bool queued;
    bool begun;
    bool stays;                  /* while the others are sought out */
    struct checked *prev, *next; /* in the queue */
};

struct checks {
    struct dial_env env; /* resolver NULL: nothing is checked */
    struct checked **checked;
    size_t n;
    struct checked *queue;
    unsigned running;
};

/* ---- one at a time for a link, so many at once for all ---- */

static struct io *io_of(const struct checked *k)
{
    return k->all->env.io;
}

/* One that took longer than the interval is followed by the next at once. */
static void schedule(struct checked *k)
{
    int64_t now = io_now(io_of(k));
    k->due_ns += k->conf->interval;
    if (k->due_ns < now)
        k->due_ns = now;
    io_timer(io_of(k), &k->timer, k->due_ns);
}

static void check_over(void *ctx, enum check_verdict verdict, const char *why);

/* Of a link whose interface is gone it is known, and told, how it stands. */
static void run(struct checked *k)
{
    if (link_has_way(k->link, WAY_ANY))
        k->check = check_start(&k->all->env, k->link, k->conf, check_over, k);
    if (k->check)
        k->all->running++;
    else
        schedule(k);
}

static void queue_leave(struct checked *k)
{
    if (k->queued)
        DL_DELETE(k->all->queue, k);
    k->queued = false;
}

static void places_fill(struct checks *c)
{
    struct checked *k;
    while (c->running < RUNNING_MAX && (k = c->queue)) {
        queue_leave(k);
        run(k);
    }
}

static void check_end(struct checked *k)
{
    if (k->check)
        k->all->running--;
    check_free(k->check);
    k->check = NULL;
}

static void check_over(void *ctx, enum check_verdict verdict, const char *why)
{
    struct checked *k = ctx;
    if (verdict == CHECK_PASSED)
        link_check_passed(k->link, k->conf, io_now(io_of(k)));
    else if (verdict == CHECK_FAILED && link_has_way(k->link, WAY_ANY))
        link_check_failed(k->link, k->conf, why);
    check_end(k);
    schedule(k);
    places_fill(k->all);
}

static void due(struct io_timer *t)
{
    struct checked *k = (struct checked *)((char *)t - offsetof(struct checked, timer));
    k->queued = true;
    DL_APPEND(k->all->queue, k);
    places_fill(k->all);
}

/* ---- which links ---- */

static void checked_free(struct checked *k)
{
    io_timer(io_of(k), &k->timer, 0);
    queue_leave(k);
    check_end(k);
    ref_drop(&k->link->ref);
    config_free(k->config);
    free(k);
}

/* The first checks are spread over the interval, at places that are the same in each run. */
static void checked_begin(struct checked *k)
{
    enum { PLACES = 1024 };
    k->begun = true;
    k->due_ns = io_now(io_of(k)) + k->conf->interval / PLACES * (int64_t)(k->link->id % PLACES);
    io_timer(io_of(k), &k->timer, k->due_ns);
}

static struct checked *checked_new(struct checks *c, struct config *config, struct link *link,
                                   const struct conf_check *conf)
{
    struct checked *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->all = c;
    k->link = link;
    k->config = config_ref(config);
    k->conf = conf;
    k->timer.fire = due;
    ref_get(&link->ref);
    return k;
}

/* The one of before, if link and check are the same. */
static struct checked *checked_find(const struct checks *c, const struct link *link,
                                    const struct conf_check *conf)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->checked[i]->link == link && conf_check_equal(c->checked[i]->conf, conf))
            return c->checked[i];
    return NULL;
}

/* All that are checked from now on, new ones not begun. Returns how many, or -1: out of memory. */
static ssize_t list_fill(struct checks *c, const struct router *router, struct checked **list)
{
    ssize_t n = 0;
    for (size_t i = 0; i < router->config->n_links; i++) {
        const struct conf_check *conf = router->config->link[i].check;
        if (!conf)
            continue;
        struct checked *k = checked_find(c, router->link[i], conf);
        if (!k && !(k = checked_new(c, router->config, router->link[i], conf)))
            return -1;
        list[n++] = k;
    }
    return n;
}

static void list_discard(struct checked **list)
{
    for (; *list; list++)
        if (!(*list)->begun)
            checked_free(*list);
}

static int resolver_need(struct checks *c)
{
    if (!c->env.resolver)
        c->env.resolver = resolver_cares_new(c->env.io);
    return c->env.resolver ? 0 : -1;
}

static void resolver_end(struct checks *c)
{
    if (c->env.resolver)
        resolver_cares_free(c->env.resolver);
    c->env.resolver = NULL;
}

static bool is_named(const struct config *config, const char *name)
{
    size_t i = 0;
    while (i < config->n_links && strcmp(config->link[i].name, name) != 0)
        i++;
    return i < config->n_links;
}

/* A link that is gone is not told to be in use again. */
static void checked_end(struct checked *k)
{
    if (!link_fails_checks(k->link) || is_named(k->all->env.config, k->link->name))
        link_check_none(k->link, io_now(io_of(k)));
    checked_free(k);
}

/* Ends those that are not in `list`, and begins those that are new in it. */
static void list_take(struct checks *c, struct checked **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        list[i]->stays = true;
    for (size_t i = 0; i < c->n; i++)
        if (!c->checked[i]->stays)
            checked_end(c->checked[i]);
    free(c->checked);
    c->checked = list;
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        list[i]->stays = false;
        if (!list[i]->begun)
            checked_begin(list[i]);
    }
    places_fill(c);
}

int checks_watch(struct checks *c, const struct router *router)
{
    struct checked **list = calloc(router->config->n_links + 1, sizeof(struct checked *));
    c->env.config = router->config; /* that of before goes */
    ssize_t n = list ? list_fill(c, router, list) : -1;
    if (n < 0 || (n > 0 && resolver_need(c) < 0)) {
        if (list)
            list_discard(list);
        free(list);
        return -1;
    }
    list_take(c, list, (size_t)n);
    if (n == 0)
        resolver_end(c);
    else
        resolver_cares_trim(c->env.resolver);
    return 0;
}

size_t checks_descriptors(const struct config *config)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_links && n < RUNNING_MAX; i++)
        n += config->link[i].check != NULL;
    return n;
}

/* ---- life ---- */

struct checks *checks_new(struct io *io)
{
    struct checks *c = calloc(1, sizeof *c);
    if (c)
        c->env.io = io;
    return c;
}

void checks_free(struct checks *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        checked_free(c->checked[i]);
    free(c->checked);
    resolver_end(c);
    free(c);
}
