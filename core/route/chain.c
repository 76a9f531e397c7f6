/* SPDX-License-Identifier: MIT
 * chain.c: one walk up a link's chain.
 */
#include "route/chain.h"
#include "base/error.h"
#include "proto/proxy.h"
#include "route/guard.h"
#include "route/socket.h"
#include "route/wants.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum stage_state { NOT_STARTED, RUNNING, ENDED };

/* The way to one target: a plugin at work on the stream, or a plain connect. */
struct stage {
    struct dp_addr target;
    const struct link *link; /* a stream dialer, or the tunnel; NULL: the connect */
    enum stage_state state;
    struct dp_dial_req req;
    void *dial; /* dial_size bytes behind the stages */
};

struct chain {
    struct io *io;
    const struct dial_env *env;
    const struct chain_plan *plan;
    void (*over)(struct chain *chain, void *ctx, int result);
    void *ctx;
    struct dp_addr bound;
    int fd;
    unsigned at; /* the stage at work */
    bool connecting;
    bool arrived; /* at its target: what is left to do there is the header */
    uint8_t header[PROXY_OUT_MAX];
    size_t header_len, header_sent;
    bool has_server; /* the first target, a tunnel's server, has accepted */
    short told;      /* edges of `fd`: nobody is told them again */
    struct wants wants;
    char name[256]; /* of the destination: dials may outlive the request */
    unsigned n_stages;
    struct stage stage[]; /* [k + 1]: tunnel k */
};

static const struct dp_dialer_ops *stage_ops(const struct stage *stage)
{
    return instance_dialer(stage->link->dialer);
}

static bool dials_itself(const struct link *link)
{
    const struct dp_dialer_ops *ops = instance_dialer(link->dialer);
    return !ops->hop && ops->start;
}

void chain_plan_init(struct chain_plan *plan, const struct link *link, bool raw)
{
    unsigned n_tunnels = 0;
    *plan = (struct chain_plan){.raw = raw};
    for (unsigned i = 0; i < link->depth; i++) {
        if (link_is_tunnel(link->chain[i]))
            plan->tunnel[n_tunnels++] = link->chain[i];
        else
            plan->bottom = link->chain[i];
    }
    plan->n_targets = n_tunnels + 1 - raw;
}

bool chain_plan_takes_names(const struct chain_plan *plan, unsigned k)
{
    if (k > 0)
        return link_caps(plan->tunnel[k - 1]) & DP_NAMES;
    return plan->bottom && dials_itself(plan->bottom) && link_caps(plan->bottom) & DP_NAMES;
}

static int chain_step(struct chain *c);

static void chain_resume(struct wants *wants)
{
    struct chain *c = (struct chain *)((char *)wants - offsetof(struct chain, wants));
    int result = chain_step(c);
    if (result != DP_AGAIN)
        c->over(c, c->ctx, result);
}

/* ---- the stages ---- */

/* A tunnel's server is no destination. */
static int guard(const struct chain *c, const struct dp_addr *local)
{
    const struct dp_addr *to = &c->stage[c->n_stages - 1].target;
    return c->plan->raw ? DP_OK : guard_check(c->env, c->plan->permit, to, local);
}

/* Is the first target a server that wants its connection opened fast? */
static bool fast_open(const struct chain_plan *plan)
{
    return plan->tunnel[0] && plan->tunnel[0]->fast_open;
}

/* Watched as the relay will watch it, so that nothing changes hands but the watcher. */
static int connect_wait(struct chain *c)
{
    struct dp_want want = {.nfds = 1, .fd = {{.fd = c->fd, .events = POLLIN | POLLOUT}}};
    return wants_await(&c->wants, &want, c->fd, IO_EDGE);
}

static int connect_start(struct chain *c)
{
    const struct dp_addr *to = &c->stage[0].target;
    const struct link *tunnel = c->plan->tunnel[0];
    struct dp_addr local;
    int err = tunnel ? guard_server(c->env, tunnel, to) : DP_OK;
    if (err != DP_OK)
        return err;
    int fd = socket_open(c->plan->bottom, addr_family(to), SOCK_STREAM, &local);
    if (fd < 0)
        return fd;
    c->fd = fd;
    err = c->plan->n_targets == 1 ? guard(c, &local) : DP_OK;
    if (err != DP_OK)
        return err;
    if (c->env->made)
        c->env->made(c->env, fd);
    if (fast_open(c->plan))
        socket_fast_open(fd);
    c->connecting = true;
    int result = socket_connect(fd, to);
    if (result == DP_OK) /* with fast open it is as good as connected */
        c->wants.fd[0].revents = POLLOUT;
    return result == DP_AGAIN ? connect_wait(c) : result;
}

static int connect_step(struct chain *c)
{
    short revents = c->wants.fd[0].revents;
    int result = socket_connected(c->fd, revents, &c->stage[0].target, &c->bound);
    if (result == DP_AGAIN)
        return connect_wait(c);
    c->connecting = false;
    c->has_server = result == DP_OK && c->wants.n > 0; /* else it is put off: fast open */
    c->told = revents;
    return result;
}

static int stage_start(struct chain *c, struct stage *s, struct dp_want *want, struct dp_conn *conn)
{
    s->req =
        (struct dp_dial_req){.size = sizeof s->req, .proto = DP_TCP, .to = s->target, .fd = c->fd};
    int result = stage_ops(s)->start(s->link->dialer->self, s->dial, &s->req, want, conn);
    s->state = result < 0 ? ENDED : RUNNING;
    return result;
}

static int stage_go(struct chain *c, struct stage *s, struct dp_want *want, struct dp_conn *conn)
{
    if (s->state == NOT_STARTED)
        return stage_start(c, s, want, conn);
    wants_happened(&c->wants, want);
    return stage_ops(s)->step(s->dial, want, conn);
}

/* A name is of no use to most clients and lies in the plugin's memory: only its port is kept. */
static void bound_set(struct chain *c, const struct dp_addr *bound)
{
    c->bound = *bound;
    if (!bound->salen)
        c->bound = (struct dp_addr){.port = bound->port};
}

static int stage_step(struct chain *c, struct stage *s)
{
    struct dp_want want = {.size = sizeof want, .now = io_now(c->io)};
    struct dp_conn conn = {.size = sizeof conn, .fd = c->fd};
    int result = error_checked(stage_go(c, s, &want, &conn));
    if (result == DP_AGAIN)
        return wants_await(&c->wants, &want, c->fd, 0);
    if (result != DP_OK)
        return result;
    if (c->fd < 0)
        c->fd = conn.fd;
    if (conn.bound.salen || conn.bound.name_len)
        bound_set(c, &conn.bound);
    return c->fd < 0 ? DP_ERR_LINK : DP_OK;
}

/* ---- whose connection it is ---- */

/* The link to whose server the stream has come, or that has brought it to the destination. */
static const struct link *link_reached(const struct chain *c)
{
    const struct chain_plan *plan = c->plan;
    if (plan->tunnel[c->at])
        return plan->tunnel[c->at];
    return plan->n_targets == 1 ? plan->bottom : NULL;
}

static void header_write(struct chain *c)
{
    static const struct dp_addr nobody;
    const struct link *link = link_reached(c);
    const struct dp_addr *client = c->plan->client ? c->plan->client : &nobody;
    c->header_sent = c->header_len = 0;
    if (link && link->send_proxy)
        c->header_len = proxy_write(c->header, link->send_proxy, client, &c->stage[c->at].target);
}

static int header_send(struct chain *c)
{
    struct dp_want want = {.nfds = 1, .fd = {{.fd = c->fd, .events = POLLOUT}}};
    while (c->header_sent < c->header_len) {
        size_t sent;
        int result =
            socket_send(c->fd, c->header + c->header_sent, c->header_len - c->header_sent, &sent);
        if (result != DP_OK)
            return result == DP_AGAIN ? wants_await(&c->wants, &want, c->fd, 0) : result;
        c->header_sent += sent;
    }
    return DP_OK;
}

/* Below the top, whatever is wrong with the way to the next server is this link's fault. */
static int blame_below_top(const struct chain *c, int err)
{
    int blame = dp_blame(err);
    bool excuse = blame == DP_DEST || blame == DP_PATH;
    return excuse && !chain_at_top(c) ? DP_ERR_LINK : err;
}

/* Leads the stream to target[at]. */
static int target_step(struct chain *c)
{
    if (!c->arrived) {
        int result = c->connecting ? connect_step(c) : stage_step(c, &c->stage[c->at]);
        if (result != DP_OK)
            return result;
        c->arrived = true;
        header_write(c);
    }
    return header_send(c);
}

static int chain_step(struct chain *c)
{
    do {
        int result = target_step(c);
        if (result == DP_AGAIN)
            return DP_AGAIN;
        if (result < 0)
            return blame_below_top(c, result);
        wants_drop(&c->wants, c->fd);
        c->arrived = false;
    } while (++c->at < c->plan->n_targets);
    return DP_OK;
}

/* ---- life ---- */

static const struct link *stage_link(const struct chain_plan *plan, unsigned i)
{
    if (i > 0)
        return plan->tunnel[i - 1];
    return plan->bottom && dials_itself(plan->bottom) ? plan->bottom : NULL;
}

static size_t dial_bytes(const struct link *link)
{
    return link ? ((size_t)instance_dialer(link->dialer)->dial_size + 15) / 16 * 16 : 0;
}

static struct chain *chain_alloc(const struct chain_plan *plan)
{
    size_t size = sizeof(struct chain) + plan->n_targets * sizeof(struct stage);
    size_t at = size = (size + 15) / 16 * 16;
    for (unsigned i = 0; i < plan->n_targets; i++)
        size += dial_bytes(stage_link(plan, i));
    struct chain *c = calloc(1, size);
    if (!c)
        return NULL;
    c->n_stages = plan->n_targets;
    for (unsigned i = 0; i < c->n_stages; i++) {
        c->stage[i].link = stage_link(plan, i);
        c->stage[i].dial = (char *)c + at;
        at += dial_bytes(c->stage[i].link);
    }
    return c;
}

/* Where the socket's own address decides (a plain connect to the destination), connect_start() asks
 * the guard; any other way it is asked first. */
static int chain_begin(struct chain *c)
{
    bool dialer = c->stage[0].link != NULL;
    int err = dialer || c->plan->n_targets > 1 ? guard(c, NULL) : DP_OK;
    if (err != DP_OK)
        return err;
    if (dialer)
        return chain_step(c);
    int result = connect_start(c);
    if (result == DP_OK)
        return chain_step(c);
    return result == DP_AGAIN ? DP_AGAIN : blame_below_top(c, result);
}

int chain_start(struct dial_env *env, const struct chain_plan *plan, const struct dp_addr *targets,
                void (*over)(struct chain *chain, void *ctx, int result), void *ctx,
                struct chain **chain)
{
    struct chain *c = chain_alloc(plan);
    *chain = NULL;
    if (!c)
        return DP_ERR_LOCAL;
    c->io = env->io;
    c->wants = (struct wants){.io = env->io, .ready = chain_resume};
    c->env = env;
    c->plan = plan;
    c->over = over;
    c->ctx = ctx;
    c->fd = -1;
    for (unsigned i = 0; i < c->n_stages; i++)
        c->stage[i].target = targets[i];
    struct dp_addr *dest = &c->stage[c->n_stages - 1].target;
    if (!dest->salen && dest->name_len < sizeof c->name) {
        memcpy(c->name, dest->name, dest->name_len);
        dest->name = c->name;
    }
    int result = chain_begin(c);
    if (result < 0)
        chain_free(c);
    else
        *chain = c;
    return result;
}

bool chain_at_top(const struct chain *c)
{
    return !c->plan->raw && c->at + 1 >= c->plan->n_targets;
}

bool chain_has_server(const struct chain *c)
{
    return c->has_server && c->at > 0;
}

static bool has_end(const struct stage *s)
{
    return s->state == RUNNING && stage_ops(s)->end;
}

struct chain *chain_take(struct chain *c, struct arrival *arrival)
{
    *arrival = (struct arrival){.fd = c->fd, .bound = c->bound, .told = c->told};
    wants_let_go(&c->wants, c->fd, false);
    c->fd = -1;
    for (unsigned i = 0; i < c->n_stages; i++)
        if (c->stage[i].link && has_end(&c->stage[i]))
            return c;
    chain_free(c);
    return NULL;
}

void chain_free(struct chain *c)
{
    if (!c)
        return;
    wants_drop(&c->wants, c->fd);
    wants_let_go(&c->wants, c->fd, true);
    for (unsigned i = c->n_stages; i-- > 0;)
        if (c->stage[i].link && has_end(&c->stage[i]))
            stage_ops(&c->stage[i])->end(c->stage[i].dial);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}
