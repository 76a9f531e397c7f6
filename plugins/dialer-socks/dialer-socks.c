/* SPDX-License-Identifier: MIT
 * dialer-socks: through a SOCKS server: version 5 (RFC 1928), with a name and password if need be
 * (RFC 1929), version 4a or 4.
 */
#include "handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A wrong password fails each dial: say so now and then. */
#define LOG_EVERY_NS INT64_C(10000000000)

struct instance {
    const struct dp_host *host;
    const struct conf *conf;
    int64_t next_log; /* atomic */
};

struct dial {
    struct instance *in;
    int fd;
    uint16_t sent, got;
    struct handshake shake;
};

/* Says why the server is of no use, at most one line in LOG_EVERY_NS. */
static void complain(struct instance *in, int64_t now, const char *why)
{
    int64_t next = dp_load(&in->next_log);
    if (now >= next && __atomic_compare_exchange_n(&in->next_log, &next, now + LOG_EVERY_NS, 0,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        in->host->log(in->host, DP_LOG_WARN, why);
}

static int wait_for(const struct dial *d, struct dp_want *want, short events)
{
    want->nfds = 1;
    want->fd[0] = (struct pollfd){.fd = d->fd, .events = events};
    return DP_AGAIN;
}

/* Returns DP_OK when all is sent. A stream that breaks here has not taken the request. */
static int flush(struct dial *d, struct dp_want *want)
{
    const struct handshake *h = &d->shake;
    while (d->sent < h->out_len) {
        ssize_t n = send(d->fd, h->out + d->sent, h->out_len - (size_t)d->sent, MSG_NOSIGNAL);
        if (n >= 0)
            d->sent = (uint16_t)(d->sent + n);
        else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINPROGRESS)
            return wait_for(d, want, POLLOUT);
        else if (errno != EINTR)
            return DP_ERR_LINK;
    }
    return DP_OK;
}

/* Returns DP_OK when all that is needed is there. A stream that ends after the request may mean
 * that the destination failed: `ssh -D` says it so. */
static int fetch(struct dial *d, struct dp_want *want)
{
    struct handshake *h = &d->shake;
    while (d->got < h->need) {
        ssize_t n = recv(d->fd, h->in + d->got, h->need - (size_t)d->got, 0);
        if (n > 0)
            d->got = (uint16_t)(d->got + n);
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return wait_for(d, want, POLLIN);
        else if (n == 0 || errno != EINTR)
            return h->state < REPLY ? DP_ERR_LINK : DP_ERR_NO_ANSWER;
    }
    return DP_OK;
}

static int step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    struct dial *d = dial;
    int rc;
    do {
        rc = flush(d, want);
        if (rc == DP_OK)
            rc = fetch(d, want);
        if (rc != DP_OK)
            return rc;
        d->sent = d->got = 0;
        rc = handshake_next(&d->shake, &conn->bound);
    } while (rc == DP_AGAIN);
    if (d->shake.complaint)
        complain(d->in, want->now, d->shake.complaint);
    return rc;
}

static int start(const void *self, void *dial, const struct dp_dial_req *req, struct dp_want *want,
                 struct dp_conn *conn)
{
    struct dial *d = dial;
    if (req->proto != DP_TCP)
        return DP_ERR_COMMAND;
    d->in = (struct instance *)self; /* only its atomic field is written */
    d->fd = req->fd;
    int rc = handshake_begin(&d->shake, d->in->conf, &req->to);
    return rc ? rc : step(dial, want, conn);
}

/* ---- the instance ---- */

static uint32_t caps(const void *self)
{
    const struct conf *conf = ((const struct instance *)self)->conf;
    return conf->resolve == REMOTE && conf->version != VERSION_4 ? DP_NAMES : 0;
}

static int hop(const void *self, struct dp_addr *addr)
{
    const struct instance *in = self;
    *addr = in->conf->server;
    return DP_OK;
}

static void destroy(void *self)
{
    free(self);
}

/* A user of SOCKS4 ends with a NUL. */
static int check(const struct dp_host *host, const struct conf *conf)
{
    if (conf->version != VERSION_5 && conf->password.len)
        return host->fail(host, "password", "only version 5 has passwords");
    if (conf->password.len && !conf->username.len)
        return host->fail(host, "password", "a password needs a username");
    if (conf->version != VERSION_5 && conf->username.len &&
        memchr(conf->username.p, '\0', conf->username.len))
        return host->fail(host, "username", "a user of version 4 has no NUL byte");
    if (!conf->server.port)
        return host->fail(host, "server", "a server has a port from 1 to 65535");
    return 0;
}

static int create(const struct dp_host *host, const void *conf_, void **self)
{
    const struct conf *conf = conf_;
    int rc = check(host, conf);
    if (rc)
        return rc;
    struct instance *in = calloc(1, sizeof *in);
    if (!in)
        return DP_ERR_LOCAL;
    in->host = host;
    in->conf = conf;
    *self = in;
    return 0;
}

static const struct dp_dialer_ops ops = {
    .dial_size = sizeof(struct dial),
    .create = create,
    .destroy = destroy,
    .caps = caps,
    .hop = hop,
    .start = start,
    .step = step,
};

static const struct dp_opt opts[] = {
    {
        .name = "server",
        .type = DP_ENDPOINT,
        .flags = DP_REQUIRED,
        .offset = offsetof(struct conf, server),
        .help = "the SOCKS server, with its port",
    },
    {
        .name = "username",
        .type = DP_STRING,
        .offset = offsetof(struct conf, username),
        .min = 1,
        .max = 255,
        .help = "log in with this name, if the server asks",
    },
    {
        .name = "password",
        .type = DP_SECRET,
        .offset = offsetof(struct conf, password),
        .min = 1,
        .max = 255,
        .help = "and this password",
    },
    {
        .name = "resolve",
        .type = DP_ENUM,
        .offset = offsetof(struct conf, resolve),
        .dflt = "remote",
        .choices = "remote|local",
        .help = "who looks up host names: the server, or this machine",
    },
    {
        .name = "version",
        .type = DP_ENUM,
        .offset = offsetof(struct conf, version),
        .dflt = "5",
        .choices = "5|4a|4",
        .help = "of SOCKS; 4 takes neither host names nor IPv6, 4a no IPv6",
    },
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "socks",
    .version = "1",
    .summary = "through a SOCKS server",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
