/* SPDX-License-Identifier: MIT
 * fake_route.c: links that do what a test says, in a world of their own.
 */
#include "fake_route.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REFS 1000000 /* the hand-made configuration is never freed */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "fake_route: %s: %s\n", what, why);
    abort();
}

static struct dp_addr endpoint(const char *text)
{
    struct dp_addr a;
    if (addr_parse_endpoint(&a, text, strlen(text)) < 0)
        die(text, "no endpoint");
    return a;
}

/* ---- the dialers ---- */

struct fake_dial {
    struct fake_link *link;
    struct fake_act act;
    int64_t due_ns;
};

static int create(const struct dp_host *host, const void *conf, void **self)
{
    struct fake_link *link = (struct fake_link *)conf;
    (void)host;
    link->creates++;
    *self = link;
    return DP_OK;
}

static void destroy(void *self)
{
    ((struct fake_link *)self)->destroys++;
}

static uint32_t caps(const void *self)
{
    return ((const struct fake_link *)self)->names ? DP_NAMES : 0;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    struct fake_link *link = (struct fake_link *)self;
    (void)fd;
    (void)type;
    link->prepares++;
    if (link->prepare != DP_OK)
        return link->prepare;
    if (!link->local)
        return DP_OK;
    if (addr_parse_ip(local, link->local, strlen(link->local)) < 0)
        die(link->local, "no address");
    return addr_family(local) == family ? DP_OK : DP_ERR_FAMILY;
}

static int hop(const void *self, struct dp_addr *addr)
{
    *addr = endpoint(((const struct fake_link *)self)->hop);
    return DP_OK;
}

static int finish(const struct fake_link *link, const struct fake_act *act, struct dp_conn *conn)
{
    int pair[2];
    if (act->result != DP_OK)
        return act->result;
    if (link->bound)
        conn->bound = endpoint(link->bound);
    if (link->shape == FAKE_TUNNEL)
        return DP_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair", "failed");
    close(pair[1]);
    conn->fd = pair[0];
    return DP_OK;
}

static int start(const void *self, void *dial, const struct dp_dial_req *req, struct dp_want *want,
                 struct dp_conn *conn)
{
    struct fake_link *link = (struct fake_link *)self;
    struct fake_dial *d = dial;
    unsigned n = link->starts++;
    char text[ADDR_TEXT];
    if (n < FAKE_ACTS) {
        snprintf(link->start[n].to, sizeof link->start[n].to, "%.63s", addr_text(&req->to, text));
        link->start[n].at_ms = (int)((want->now - FAKE_START_NS) / NS_PER_MS);
    }
    d->link = link;
    d->act = n < link->n_acts ? link->act[n] : (struct fake_act){DP_OK, 0};
    int result =
        d->act.result == FAKE_HANG || d->act.after_ms ? DP_AGAIN : finish(link, &d->act, conn);
    if (result == DP_AGAIN && d->act.result != FAKE_HANG)
        want->deadline = d->due_ns = want->now + d->act.after_ms * NS_PER_MS;
    link->refused += result < 0;
    return result;
}

static int step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    struct fake_dial *d = dial;
    if (d->act.result == FAKE_HANG || want->now < d->due_ns)
        die(d->link->name, "step() for no reason");
    return finish(d->link, &d->act, conn);
}

static void end(void *dial)
{
    ((struct fake_dial *)dial)->link->ends++;
}

static const struct dp_dialer_ops shapes[] = {
    [FAKE_STREAM] = {.dial_size = sizeof(struct fake_dial),
                     .create = create,
                     .destroy = destroy,
                     .caps = caps,
                     .start = start,
                     .step = step,
                     .end = end},
    [FAKE_SOCKET] = {.create = create, .destroy = destroy, .prepare = prepare},
    [FAKE_TUNNEL] = {.dial_size = sizeof(struct fake_dial),
                     .create = create,
                     .destroy = destroy,
                     .caps = caps,
                     .hop = hop,
                     .start = start,
                     .step = step,
                     .end = end},
};

#define DIALER(shape)                                                                        \
    {                                                                                        \
        .size = sizeof(struct dp_plugin), .abi = DP_ABI, .kind = DP_DIALER,                  \
        .ops_size = sizeof shapes[0], .name = "fake", .version = "1", .summary = "scripted", \
        .ops = &shapes[shape], .conf_size = sizeof(struct fake_link)                         \
    }
static const struct dp_plugin dialers[] = {DIALER(FAKE_STREAM), DIALER(FAKE_SOCKET),
                                           DIALER(FAKE_TUNNEL)};

/* ---- the balancer: the first that is allowed ---- */

static int first_create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host;
    (void)conf;
    *self = NULL;
    return DP_OK;
}

static uint32_t first_pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen;
    for (uint32_t i = 0; i < pool->view->n; i++)
        if (dp_allowed(pool, flow, i))
            return i;
    return DP_NONE;
}

static const struct dp_balancer_ops first_ops = {.create = first_create, .pick = first_pick};
static const struct dp_plugin first = {
    .size = sizeof first,
    .abi = DP_ABI,
    .kind = DP_BALANCER,
    .ops_size = sizeof first_ops,
    .name = "first",
    .version = "1",
    .summary = "the first that is allowed",
    .ops = &first_ops,
};

/* ---- names ---- */

static struct fake_world *world_of(struct resolver *r)
{
    return (struct fake_world *)((char *)r - offsetof(struct fake_world, resolver));
}

static size_t addresses(const struct fake_name *name, struct dp_addr *addr)
{
    size_t n = 0;
    for (; n < 20 && name->addr[n]; n++)
        if (addr_parse_ip(&addr[n], name->addr[n], strlen(name->addr[n])) < 0)
            die(name->addr[n], "no address");
    return n;
}

static void lookup_done(struct io_timer *t)
{
    struct fake_lookup *l = (struct fake_lookup *)((char *)t - offsetof(struct fake_lookup, timer));
    struct resolver_query *query = l->query;
    struct dp_addr addr[RESOLVER_ADDRESSES_MAX];
    size_t n = addresses(l->name, addr);
    l->query = NULL;
    query->done(query, l->name->err, addr, n);
}

/* What takes no time is known at once. */
static int resolve_start(struct resolver *r, struct link *bottom, const char *name, size_t len,
                         struct resolver_query *q, struct dp_addr *addr, size_t *n_addr)
{
    struct fake_world *w = world_of(r);
    struct fake_lookup *l = w->lookup;
    while (l->query)
        l++;
    snprintf(w->asked_by, sizeof w->asked_by, "%s", bottom->name);
    w->asked++;
    for (const struct fake_name *n = w->names; n && n->name; n++)
        if (strlen(n->name) == len && memcmp(n->name, name, len) == 0) {
            if (n->after_ms == 0) {
                *n_addr = addresses(n, addr);
                return n->err;
            }
            *l = (struct fake_lookup){.world = w, .query = q, .name = n};
            l->timer.fire = lookup_done;
            q->lookup = l;
            io_timer(&w->loop.io, &l->timer, io_now(&w->loop.io) + n->after_ms * NS_PER_MS);
            return DP_AGAIN;
        }
    return DP_ERR_NO_HOST;
}

static void resolve_cancel(struct resolver *r, struct resolver_query *q)
{
    struct fake_world *w = world_of(r);
    struct fake_lookup *l = q->lookup;
    if (l->query != q)
        die("resolver_cancel", "nothing to cancel");
    io_timer(&w->loop.io, &l->timer, 0);
    l->query = NULL;
    w->cancelled++;
}

static const struct resolver_ops resolver_ops = {.start = resolve_start, .cancel = resolve_cancel};

/* ---- the world ---- */

static void link_add(struct fake_world *w, struct fake_link *link, struct conf_link *conf)
{
    *conf = (struct conf_link){.name = link->name,
                               .dialer = {.plugin = &dialers[link->shape], .conf = link},
                               .weight = link->weight ? link->weight : 1,
                               .send_proxy = link->send_proxy,
                               .max_connections = link->limit};
    if (link->plugin)
        conf->dialer = (struct conf_instance){.plugin = link->plugin, .conf = link->conf};
    for (size_t i = 0; link->via && i < w->config.n_links; i++)
        if (strcmp(w->link_conf[i].name, link->via) == 0)
            conf->via = &w->link_conf[i];
    if (link->via && !conf->via)
        die(link->via, "no such link before");
    if (!link->outside)
        w->member[w->pool_conf.n_members++].link = conf;
    w->config.n_links++;
}

static void config_make(struct fake_world *w)
{
    w->config = (struct config){.refs = REFS,
                                .link = w->link_conf,
                                .pool = &w->pool_conf,
                                .n_pools = 1,
                                .listener = w->listener_conf};
    w->pool_conf = (struct conf_pool){
        .name = "all",
        .balancer = {.plugin = w->balancer ? w->balancer : &first, .conf = w->balancer_conf},
        .member = w->member,
        .retries = w->retries};
    for (size_t i = 0; i < FAKE_LINKS && w->link[i].name; i++)
        link_add(w, &w->link[i], &w->link_conf[i]);
    for (size_t i = 0; i < 4 && w->listeners[i]; i++, w->config.n_listeners++)
        w->listener_conf[i] = (struct conf_listener){
            .name = "main", .listen = endpoint(w->listeners[i]), .pool = &w->pool_conf};
}

void fake_world_open(struct fake_world *w)
{
    config_make(w);
    poll_init(&w->loop, w->real_clock ? 0 : FAKE_START_NS);
    w->resolver.ops = &resolver_ops;
    w->env = (struct dial_env){.io = &w->loop.io, .resolver = &w->resolver, .config = &w->config};
    w->arena = arena_new(1 << 20, -1);
    w->router = router_new(&w->config, NULL, w->arena, &w->trash, &w->errors);
    if (!w->router)
        die("router_new", w->errors.line[0]);
    router_publish(w->router);
    router_settle(w->router);
    w->stream.fd = -1;
}

const struct dp_stat *fake_stat(const struct fake_world *w, const char *link)
{
    for (size_t i = 0; i < w->config.n_links; i++)
        if (strcmp(w->link_conf[i].name, link) == 0)
            return w->router->link[i]->stat;
    die(link, "no such link");
    return NULL;
}

const char *fake_world_idle(const struct fake_world *w)
{
    for (size_t i = 0; i < w->config.n_links; i++) {
        const struct dp_stat *s = w->router->link[i]->stat;
        if (s->active || s->dialing)
            return "a claim has not been given back";
        if (w->link[i].starts - w->link[i].refused != w->link[i].ends)
            return "not each dial that started has been ended once";
    }
    if (w->loop.n_fds || w->loop.n_timers)
        return "something is still waited for";
    for (size_t i = 0; i < 8; i++)
        if (w->lookup[i].query)
            return "a name is still looked up";
    return NULL;
}

const char *fake_world_close(struct fake_world *w)
{
    fake_dial_end(w);
    const char *wrong = fake_world_idle(w);
    router_free(w->router);
    trash_empty(&w->trash);
    for (size_t i = 0; i < w->config.n_links; i++)
        if (w->link[i].creates != w->link[i].destroys)
            wrong = "an instance has not been destroyed";
    if (w->config.refs != REFS - 1)
        wrong = "the configuration is still in use";
    arena_destroy(w->arena);
    poll_deinit(&w->loop);
    conf_errors_free(&w->errors);
    return wrong;
}

/* ---- one dial ---- */

static void over(struct dial *d, void *ctx, int err)
{
    struct fake_world *w = ctx;
    char text[ADDR_TEXT];
    if (w->over)
        die("dial", "over for the second time");
    w->over = true;
    w->err = err;
    w->took_ms = (int)((io_now(&w->loop.io) - w->began_ns) / NS_PER_MS);
    if (err == DP_OK) {
        struct arrival arrival;
        dial_take(d, &w->stream, &arrival);
        snprintf(w->won, sizeof w->won, "%s", w->stream.claim.link->name);
        snprintf(w->bound, sizeof w->bound, "%.63s", addr_text(&arrival.bound, text));
    } else {
        snprintf(w->blamed, sizeof w->blamed, "%s", dial_link_name(d));
    }
}

void fake_dial_start(struct fake_world *w, const char *dest)
{
    struct dial_request request = {
        .pool = w->router->pool[0],
        .flow = {.dest = endpoint(dest)},
        .raw = w->raw,
        .connect_ns = (w->connect_ms ? w->connect_ms : 10000) * NS_PER_MS,
        .attempt_ns = (w->attempt_ms ? w->attempt_ms : 3000) * NS_PER_MS,
    };
    if (w->client)
        request.flow.client = endpoint(w->client);
    w->over = false;
    w->won[0] = w->blamed[0] = w->bound[0] = '\0';
    w->began_ns = io_now(&w->loop.io);
    w->dial = dial_start(&w->env, &request, over, w);
    if (!w->dial)
        die("dial_start", "out of memory");
    if (w->over)
        die("dial_start", "over before it returned");
}

void fake_dial_wait(struct fake_world *w)
{
    while (!w->over && poll_turn(&w->loop, 0) == 0)
        ;
    if (!w->over)
        die("dial", "nothing is waited for, and it is not over");
    dial_free(w->dial);
    w->dial = NULL;
}

void fake_dial_end(struct fake_world *w)
{
    dial_free(w->dial);
    w->dial = NULL;
    if (w->stream.claim.link)
        stream_close(&w->stream, io_now(&w->loop.io), 0, 0);
    trash_empty(&w->trash);
}

int fake_listen(const char *ip, int backlog, struct dp_addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (addr_parse_ip(addr, ip, strlen(ip)) < 0)
        die(ip, "no address");
    int fd = socket(addr_family(addr), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr->sa, addr->salen) < 0 ||
        listen(fd, backlog) < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        die(ip, "cannot listen");
    addr_from_sockaddr(addr, (struct sockaddr *)&sa, len);
    return fd;
}
