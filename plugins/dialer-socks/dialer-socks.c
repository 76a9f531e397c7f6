/* SPDX-License-Identifier: MIT
 * dialer-socks: through a SOCKS5 server (RFC 1928), with a name and password if need be (RFC 1929).
 */
#include <dispatch-plugin.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A wrong password fails each dial: say so now and then. */
#define LOG_EVERY_NS INT64_C(10000000000)

enum { REMOTE, LOCAL };                             /* the choices of `resolve` */
enum { NO_LOGIN = 0, PASSWORD = 2 };                /* methods, RFC 1928 section 3 */
enum { ATYP_IP4 = 1, ATYP_NAME = 3, ATYP_IP6 = 4 }; /* section 5 */

#define OUT_MAX (1 + 1 + 255 + 1 + 255) /* the longest message sent: name and password */
#define IN_MAX (255 + 2)                /* the longest piece read: a host name and a port */

struct conf {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve;
};

struct instance {
    const struct dp_host *host;
    const struct conf *conf;
    int64_t next_log; /* atomic */
};

/* What is in `out` is sent first, then `need` bytes are read, not one more; the function of the
 * state looks at them, fills `out` and `need`, and returns the next state or an error.
 *
 *   METHOD --02--> LOGIN --00--> REPLY --ATYP 1, 4-----------> BOUND --> DONE
 *      |__________00______________^ |____ATYP 3___> NAME_LEN ___^
 */
enum state { METHOD, LOGIN, REPLY, NAME_LEN, BOUND, DONE };

struct dial {
    struct instance *in;
    const struct dp_dial_req *req;
    int64_t now;
    enum state state;
    uint8_t atyp; /* of the address in the reply */
    uint16_t out_len, sent, need, got;
    uint8_t out[OUT_MAX], buf[IN_MAX];
};

static void put(struct dial *d, const void *data, size_t len)
{
    memcpy(d->out + d->out_len, data, len);
    d->out_len = (uint16_t)(d->out_len + len);
}

static void put_u8(struct dial *d, unsigned v)
{
    d->out[d->out_len++] = (uint8_t)v;
}

static enum state expect(struct dial *d, enum state next, size_t need)
{
    d->need = (uint16_t)need;
    d->got = 0;
    return next;
}

/* The server is of no use: says why, at most one line in LOG_EVERY_NS. */
static int broken(struct dial *d, const char *why)
{
    struct instance *in = d->in;
    int64_t next = dp_load(&in->next_log);
    if (d->now >= next && __atomic_compare_exchange_n(&in->next_log, &next, d->now + LOG_EVERY_NS,
                                                      0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        in->host->log(in->host, DP_LOG_WARN, why);
    return DP_ERR_LINK;
}

/* ---- the states ---- */

static int put_request(struct dial *d)
{
    const struct dp_addr *to = &d->req->to;
    const uint8_t port[2] = {(uint8_t)(to->port >> 8), (uint8_t)to->port};
    d->out_len = d->sent = 0;
    put(d, (const uint8_t[]){5, 1, 0}, 3); /* CONNECT */
    if (!to->salen) {
        put_u8(d, ATYP_NAME);
        put_u8(d, to->name_len);
        put(d, to->name, to->name_len);
    } else if (to->sa.ss_family == AF_INET) {
        put_u8(d, ATYP_IP4);
        put(d, &((const struct sockaddr_in *)&to->sa)->sin_addr, 4);
    } else {
        put_u8(d, ATYP_IP6);
        put(d, &((const struct sockaddr_in6 *)&to->sa)->sin6_addr, 16);
    }
    put(d, port, 2);
    return expect(d, REPLY, 4);
}

static int put_login(struct dial *d)
{
    const struct conf *conf = d->in->conf;
    d->out_len = d->sent = 0;
    put_u8(d, 1);
    put_u8(d, conf->username.len);
    put(d, conf->username.p, conf->username.len);
    put_u8(d, conf->password.len);
    if (conf->password.len)
        put(d, conf->password.p, conf->password.len);
    return expect(d, LOGIN, 2);
}

/* VER METHOD */
static int on_method(struct dial *d, struct dp_conn *conn)
{
    (void)conn;
    bool login = d->in->conf->username.len > 0;
    if (d->buf[0] != 5)
        return broken(d, "the server does not speak SOCKS5");
    if (d->buf[1] == NO_LOGIN)
        return put_request(d);
    if (d->buf[1] == PASSWORD && login)
        return put_login(d);
    return broken(d, login ? "the server takes neither a password nor no login"
                           : "the server wants a login, and no username is configured");
}

/* VER STATUS. Some servers answer with the 5 of SOCKS instead of the 1 of RFC 1929. */
static int on_login(struct dial *d, struct dp_conn *conn)
{
    (void)conn;
    if (d->buf[0] != 1 && d->buf[0] != 5)
        return broken(d, "the server's answer to the login makes no sense");
    if (d->buf[1] != 0)
        return broken(d, "the server refused the username or password");
    return put_request(d);
}

/* VER REP RSV ATYP. RSV is not looked at. */
static int on_reply(struct dial *d, struct dp_conn *conn)
{
    static const int error[] = {
        /* by REP, RFC 1928 section 6 */
        [1] = DP_ERR_LINK,         [2] = DP_ERR_DENIED,  [3] = DP_ERR_NET_UNREACH,
        [4] = DP_ERR_HOST_UNREACH, [5] = DP_ERR_REFUSED, [6] = DP_ERR_TTL,
        [7] = DP_ERR_COMMAND,      [8] = DP_ERR_FAMILY,
    };
    (void)conn;
    uint8_t rep = d->buf[1];
    if (d->buf[0] != 5)
        return broken(d, "the server's reply is not SOCKS5");
    if (rep)
        return rep < sizeof error / sizeof *error ? error[rep] : DP_ERR_LINK;

    d->atyp = d->buf[3];
    if (d->atyp == ATYP_NAME)
        return expect(d, NAME_LEN, 1);
    if (d->atyp == ATYP_IP4 || d->atyp == ATYP_IP6)
        return expect(d, BOUND, (d->atyp == ATYP_IP4 ? 4 : 16) + 2);
    return broken(d, "the server's reply has an unknown type of address");
}

static int on_name_len(struct dial *d, struct dp_conn *conn)
{
    (void)conn;
    return expect(d, BOUND, d->buf[0] + 2u);
}

/* BND.ADDR BND.PORT; a name stays where it is, in the dial's memory. */
static int on_bound(struct dial *d, struct dp_conn *conn)
{
    struct dp_addr *bound = &conn->bound;
    uint16_t len = (uint16_t)(d->need - 2), port;
    memset(bound, 0, sizeof *bound);
    memcpy(&port, d->buf + len, 2);
    bound->port = ntohs(port);
    if (d->atyp == ATYP_NAME) {
        bound->name = (const char *)d->buf;
        bound->name_len = len;
    } else if (d->atyp == ATYP_IP4) {
        struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = port};
        memcpy(&sin.sin_addr, d->buf, 4);
        memcpy(&bound->sa, &sin, sizeof sin);
        bound->salen = sizeof sin;
    } else {
        struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = port};
        memcpy(&sin6.sin6_addr, d->buf, 16);
        memcpy(&bound->sa, &sin6, sizeof sin6);
        bound->salen = sizeof sin6;
    }
    return DONE;
}

/* ---- the driver ---- */

static int wait_for(const struct dial *d, struct dp_want *want, short events)
{
    want->nfds = 1;
    want->fd[0] = (struct pollfd){.fd = d->req->fd, .events = events};
    return DP_AGAIN;
}

/* Returns DP_OK when all is sent. A stream that breaks here has not taken the request. */
static int flush(struct dial *d, struct dp_want *want)
{
    while (d->sent < d->out_len) {
        ssize_t n = send(d->req->fd, d->out + d->sent, d->out_len - (size_t)d->sent, MSG_NOSIGNAL);
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
    while (d->got < d->need) {
        ssize_t n = recv(d->req->fd, d->buf + d->got, d->need - (size_t)d->got, 0);
        if (n > 0)
            d->got = (uint16_t)(d->got + n);
        else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return wait_for(d, want, POLLIN);
        else if (n == 0 || errno != EINTR)
            return d->state < REPLY ? DP_ERR_LINK : DP_ERR_NO_ANSWER;
    }
    return DP_OK;
}

static int step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    static int (*const on[])(struct dial *, struct dp_conn *) = {
        [METHOD] = on_method,     [LOGIN] = on_login, [REPLY] = on_reply,
        [NAME_LEN] = on_name_len, [BOUND] = on_bound,
    };
    struct dial *d = dial;
    d->now = want->now;
    while (d->state != DONE) {
        int rc = flush(d, want);
        if (rc == DP_OK)
            rc = fetch(d, want);
        if (rc != DP_OK)
            return rc;
        int next = on[d->state](d, conn);
        if (next < 0)
            return next;
        d->state = (enum state)next;
    }
    return DP_OK;
}

static int start(const void *self, void *dial, const struct dp_dial_req *req, struct dp_want *want,
                 struct dp_conn *conn)
{
    struct dial *d = dial;
    if (req->proto != DP_TCP)
        return DP_ERR_COMMAND;
    if (!req->to.salen && (req->to.name_len < 1 || req->to.name_len > 255))
        return DP_ERR_FAMILY;
    d->in = (struct instance *)self; /* only its atomic field is written */
    d->req = req;
    if (d->in->conf->username.len)
        put(d, (const uint8_t[]){5, 2, NO_LOGIN, PASSWORD}, 4);
    else
        put(d, (const uint8_t[]){5, 1, NO_LOGIN}, 3);
    d->state = expect(d, METHOD, 2);
    return step(dial, want, conn);
}

/* ---- the instance ---- */

static uint32_t caps(const void *self)
{
    const struct instance *in = self;
    return in->conf->resolve == REMOTE ? DP_NAMES : 0;
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

static int create(const struct dp_host *host, const void *conf_, void **self)
{
    const struct conf *conf = conf_;
    if (conf->password.len && !conf->username.len)
        return host->fail(host, "password", "a password needs a username");
    if (!conf->server.port)
        return host->fail(host, "server", "a server has a port from 1 to 65535");
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
        .help = "the SOCKS5 server, with its port",
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
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "socks",
    .version = "1",
    .summary = "through a SOCKS5 server",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
