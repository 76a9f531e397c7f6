/* SPDX-License-Identifier: MIT
 * way.c: a way out by one of the links: the dial engine run to its end inside a call.
 */
#include "dante/way.h"
#include "base/clock.h"
#include "base/log.h"
#include "dante/libc.h"
#include "dante/module.h"
#include "dante/replay.h"
#include "route/dial.h"
#include "route/health.h"
#include "route/poll.h"
#include "route/resolver_cares.h"
#include "route/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#define LOG_EVERY_NS NS_PER_S

int way_errno(int err)
{
    switch (dp_reply(err)) {
    case 2:
        return EACCES;
    case 3:
        return ENETUNREACH;
    case 4:
        return EHOSTUNREACH;
    case 5:
        return ECONNREFUSED;
    case 6:
        return ETIMEDOUT;
    case 7:
        return EOPNOTSUPP;
    case 8:
        return EAFNOSUPPORT;
    default:
        return EIO;
    }
}

uint64_t way_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

/* Puts `from` under danted's number, in the mode that danted's has, and closes it. */
static int take_place(int from, int fd)
{
    int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD), err = DP_OK;
    if (flags < 0 || fd_flags < 0 || fcntl(from, F_SETFL, flags) < 0 || libc()->dup2(from, fd) < 0)
        err = DP_ERR_LOCAL;
    else if (fd_flags & FD_CLOEXEC) /* dup2() has cleared it */
        fcntl(fd, F_SETFD, fd_flags);
    libc()->close(from);
    return err;
}

/* ---- names of tunnels' servers ---- */

/* Most configurations have none, so c-ares is set up when the first is asked for. */
struct late_resolver {
    struct resolver base;
    struct io *io;
    struct resolver *cares;
};

static int late_start(struct resolver *base, struct link *bottom, const char *name, size_t len,
                      struct resolver_query *q, struct dp_addr *addr, size_t *n)
{
    struct late_resolver *r = (struct late_resolver *)base;
    if (!r->cares)
        r->cares = resolver_cares_new(r->io);
    return r->cares ? resolver_start(r->cares, bottom, name, len, q, addr, n) : DP_ERR_LOCAL;
}

static void late_cancel(struct resolver *base, struct resolver_query *q)
{
    resolver_cancel(((struct late_resolver *)base)->cares, q);
}

static const struct resolver_ops late_ops = {.start = late_start, .cancel = late_cancel};

/* ---- connecting ---- */

struct job {
    struct poll_loop loop;
    struct late_resolver resolver;
    struct dial_env env;
    struct dial *dial;
    struct stream stream;
    int fd; /* danted's */
    int err;
    bool over;
};

static void socket_made(const struct dial_env *env, int fd)
{
    const struct job *job = (const struct job *)((const char *)env - offsetof(struct job, env));
    replay_options(job->fd, fd);
}

static void dial_over(struct dial *dial, void *ctx, int err)
{
    struct job *job = ctx;
    struct arrival arrival;
    job->err = err;
    job->over = true;
    if (err == DP_OK)
        dial_take(dial, &job->stream, &arrival);
}

static void job_run(struct job *job, const struct dial_request *request)
{
    poll_init(&job->loop, 0);
    job->resolver = (struct late_resolver){.base.ops = &late_ops, .io = &job->loop.io};
    job->env = (struct dial_env){
        .io = &job->loop.io, .resolver = &job->resolver.base, .made = socket_made};
    job->dial = dial_start(&job->env, request, dial_over, job);
    job->err = DP_ERR_LOCAL;
    while (job->dial && !job->over && poll_turn(&job->loop, 0) == 0)
        ;
}

static void job_end(struct job *job)
{
    dial_free(job->dial);
    if (job->resolver.cares)
        resolver_cares_free(job->resolver.cares);
    poll_deinit(&job->loop);
}

static void say_failed(const struct job *job, const struct dial_request *request)
{
    static struct log_rate rate;
    char client[ADDR_TEXT], dest[ADDR_TEXT];
    log_rated(&rate, LOG_EVERY_NS, LOG_WARN, "connect", "failed client=%s dest=%s link=%s reply=%d",
              request->flow.client.salen ? addr_text(&request->flow.client, client) : "-",
              addr_text(&request->flow.dest, dest), dial_link_name(job->dial), dp_reply(job->err));
}

/* The connection is made: from here on it is known by its socket, in whichever process. A plugin's
 * own part of it cannot travel, and ends. */
static int job_settle(struct job *job, uint32_t *ticket)
{
    int64_t now = clock_now_ns();
    int from = job->stream.fd;
    chain_free(job->stream.chain);
    *ticket = claim_park(&job->stream.claim, way_cookie(from), now);
    int err = take_place(from, job->fd);
    if (err != DP_OK && *ticket)
        router_claim_end(module_router(), module_ledger(), *ticket, now, 0, 0);
    return err;
}

static const struct dp_str listener = {"dante", 5};

int way_connect(int fd, const struct dp_addr *client, const struct dp_addr *to, uint32_t *ticket)
{
    const struct router *router = module_router();
    struct dial_request request = {
        .pool = router_pool(router, router->config->dante->pool),
        .flow = {.client = *client, .dest = *to, .listener = listener},
        .connect_ns = router->config->timeouts.connect,
        .attempt_ns = router->config->timeouts.attempt,
    };
    struct job job = {.fd = fd};
    module_sweep(clock_now_ns());
    job_run(&job, &request);
    int err = job.err;
    if (err == DP_OK)
        err = job_settle(&job, ticket);
    else if (job.dial)
        say_failed(&job, &request);
    job_end(&job);
    return err;
}

/* ---- binding ---- */

static bool needs_a_stream(const struct link *link)
{
    return link->depth > 1 || !instance_dialer(link->dialer)->prepare;
}

static bool reaches_far(const struct sockaddr *a)
{
    return a->sa_family != AF_INET6 ||
           !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* An address of this family on the device that a socket is bound to. Without one a client could not
 * be told where to send to. */
static void device_address(int fd, int family, struct dp_addr *local)
{
    char device[IF_NAMESIZE] = "";
    socklen_t len = sizeof device;
    struct ifaddrs *all;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len) < 0 || getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i && !local->salen; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != family || strcmp(i->ifa_name, device) != 0)
            continue;
        if (reaches_far(i->ifa_addr))
            addr_from_sockaddr(local, i->ifa_addr,
                               family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6));
    }
    freeifaddrs(all);
}

/* The port that is asked for, or any if it is taken. */
static int bind_port(int fd, struct dp_addr *local, uint16_t port)
{
    addr_set_port(local, port);
    int rc = libc()->bind(fd, (const struct sockaddr *)&local->sa, local->salen);
    if (rc < 0 && port) {
        addr_set_port(local, 0);
        rc = libc()->bind(fd, (const struct sockaddr *)&local->sa, local->salen);
    }
    return rc < 0 ? DP_ERR_LINK : DP_OK;
}

/* A socket that is bound by this link, in the place of danted's. */
static int bind_by(const struct link *link, int fd, int type, int family, uint16_t port)
{
    int from = socket(family, type | SOCK_CLOEXEC, 0);
    if (from < 0)
        return DP_ERR_LOCAL;
    struct dp_addr local;
    replay_options(fd, from);
    int err = socket_dress(from, link, family, type, &local);
    if (err == DP_OK && !local.salen)
        device_address(from, family, &local);
    if (err == DP_OK && !local.salen)
        err = DP_ERR_FAMILY;
    if (err == DP_OK)
        err = bind_port(from, &local, port);
    if (err == DP_OK)
        return take_place(from, fd);
    libc()->close(from);
    return err;
}

static int socket_family(int fd)
{
    int family = AF_UNSPEC;
    socklen_t len = sizeof family;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ? AF_UNSPEC : family;
}

int way_bind(int fd, uint32_t proto, const struct dp_addr *client, uint16_t port, uint32_t *ticket,
             uint64_t *link)
{
    const struct router *router = module_router();
    struct pool *pool = router_pool(router, router->config->dante->pool);
    struct tried tried = {0};
    struct dp_flow flow = {.size = sizeof flow,
                           .proto = proto,
                           .client = *client,
                           .listener = listener,
                           .now = clock_now_ns()};
    struct claim claim;
    int err = DP_ERR_COMMAND; /* no link can */
    module_sweep(flow.now);
    pool_bar(pool, &tried, needs_a_stream);
    for (; pool_claim(pool, &flow, &tried, &claim); flow.attempt++) {
        err = bind_by(claim.link, fd, proto == DP_UDP ? SOCK_DGRAM : SOCK_STREAM, socket_family(fd),
                      port);
        if (err == DP_OK) {
            *link = claim.link->hash;
            *ticket = claim_park(&claim, way_cookie(fd), flow.now);
            return DP_OK;
        }
        if (dp_blame(err) == DP_LINK)
            link_failed(claim.link, flow.now, clock_now_ns(), err);
        claim_end(&claim, err, flow.now, 0, 0);
    }
    return err;
}

int way_restore(int fd, uint64_t hash)
{
    const struct router *router = module_router();
    struct dp_addr local;
    for (size_t i = 0; i < router->config->n_links; i++)
        if (router->link[i]->hash == hash)
            return socket_dress(fd, router->link[i], socket_family(fd), SOCK_DGRAM, &local);
    return DP_ERR_LINK; /* a link that is gone is no way out */
}
