/* SPDX-License-Identifier: MIT
 * dialer-http: through an HTTP proxy by CONNECT (RFC 9110, section 9.3.6), with Basic credentials if
 * need be (RFC 7617).
 */
#include "reply.h"

#include <arpa/inet.h>
#include <dispatch-plugin.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A wrong password fails each dial: say so now and then. */
#define LOG_EVERY_NS INT64_C(10000000000)

enum { REMOTE, LOCAL }; /* the choices of `resolve` */

#define NAME_MAX_LEN 255
#define CREDENTIALS_MAX (255 + 1 + 255)
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)
#define LOGIN_FIELD "Proxy-Authorization: Basic "
#define LOGIN_SIZE (sizeof LOGIN_FIELD "\r\n" + BASE64_LEN(CREDENTIALS_MAX))
#define AUTHORITY_SIZE (NAME_MAX_LEN + sizeof ":65535")
#define REQUEST "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"
#define REQUEST_SIZE (sizeof REQUEST + 2 * AUTHORITY_SIZE + LOGIN_SIZE)

struct conf {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve;
};

struct instance {
    const struct dp_host *host;
    const struct conf *conf;
    int64_t next_log;       /* atomic */
    char login[LOGIN_SIZE]; /* the whole field line, or empty */
};

struct dial {
    struct instance *in;
    int fd;
    uint16_t out_len, sent;
    int64_t now;
    struct reply reply;
    char out[REQUEST_SIZE];
};

/* Says why there is no tunnel, at most one line in LOG_EVERY_NS. Returns err. */
static int blame(struct dial *d, int err, const char *why)
{
    struct instance *in = d->in;
    int64_t next = dp_load(&in->next_log);
    if (d->now >= next && __atomic_compare_exchange_n(&in->next_log, &next, d->now + LOG_EVERY_NS,
                                                      0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        in->host->log(in->host, DP_LOG_WARN, why);
    return err;
}

/* ---- the request ---- */

/* A name stands in the request line as it is, so it may hold only what a host name in a URI may
 * (RFC 3986, section 3.2.2), percent-encoding excepted: no server is led to see another host, port
 * or line in it. */
static bool name_is_safe(const char *name, size_t len)
{
    static const char mark[] = "-._~!$&'()*+,;=";
    for (size_t i = 0; i < len; i++) {
        char c = name[i], lower = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'z') &&
            !memchr(mark, c, sizeof mark - 1))
            return false;
    }
    return len > 0 && len <= NAME_MAX_LEN;
}

/* HOST:PORT, with brackets around IPv6. */
static void authority(char out[AUTHORITY_SIZE], const struct dp_addr *to)
{
    char ip[INET6_ADDRSTRLEN];
    if (!to->salen) {
        snprintf(out, AUTHORITY_SIZE, "%.*s:%u", (int)to->name_len, to->name, to->port);
    } else if (to->sa.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&to->sa)->sin_addr, ip, sizeof ip);
        snprintf(out, AUTHORITY_SIZE, "%s:%u", ip, to->port);
    } else {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&to->sa)->sin6_addr, ip, sizeof ip);
        snprintf(out, AUTHORITY_SIZE, "[%s]:%u", ip, to->port);
    }
}

static void put_request(struct dial *d, const struct dp_addr *to)
{
    char host[AUTHORITY_SIZE];
    authority(host, to);
    d->out_len = (uint16_t)snprintf(d->out, sizeof d->out, REQUEST, host, host, d->in->login);
}

/* ---- the answer ---- */

/* Whose fault is it? Servers say that a destination refused, did not answer or has no name by 500
 * (tinyproxy), 502, 503 (squid, privoxy), 504 or 404 (privoxy), and the same if it is they who have
 * lost their way: whether the link has failed is known when another one gets through. What a server
 * will not do for this one request, another may. */
static int verdict(struct dial *d)
{
    uint16_t status = d->reply.status;
    if (status < 300)
        return DP_OK;
    if (status < 400)
        return blame(d, DP_ERR_LINK, "the server redirects instead of connecting");
    switch (status) {
    case 401: /* as tinyproxy says it of a wrong password */
    case 407:
        return blame(d, DP_ERR_LINK,
                     d->in->login[0] ? "the server refused the username or password"
                                     : "the server wants a login, and no username is configured");
    case 403:
        return DP_ERROR(DP_UNABLE, 2);
    case 405:
    case 501:
        return blame(d, DP_ERR_COMMAND, "the server does not do CONNECT");
    case 404:
        return DP_ERR_HOST_UNREACH;
    default:
        return status < 500 ? DP_ERROR(DP_UNABLE, 1) : DP_ERR_HOST_UNREACH;
    }
}

/* ---- the driver ---- */

static int wait_for(const struct dial *d, struct dp_want *want, short events)
{
    want->nfds = 1;
    want->fd[0] = (struct pollfd){.fd = d->fd, .events = events};
    return DP_AGAIN;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* Returns DP_OK when all is sent. A stream that breaks here has not taken the request. */
static int flush(struct dial *d, struct dp_want *want)
{
    while (d->sent < d->out_len) {
        ssize_t n = send(d->fd, d->out + d->sent, d->out_len - (size_t)d->sent, MSG_NOSIGNAL);
        if (n >= 0)
            d->sent = (uint16_t)(d->sent + n);
        else if (would_block() || errno == EINPROGRESS)
            return wait_for(d, want, POLLOUT);
        else if (errno != EINTR)
            return DP_ERR_LINK;
    }
    return DP_OK;
}

/* Reads from the stream what belongs to the head, and leaves there what the destination has said
 * behind it. Returns as recv() does. */
static ssize_t read_head(struct dial *d)
{
    char buf[1024];
    struct reply ahead = d->reply;
    ssize_t n = recv(d->fd, buf, sizeof buf, MSG_PEEK);
    if (n > 0)
        n = recv(d->fd, buf, reply_take(&ahead, buf, (size_t)n), 0);
    if (n > 0)
        reply_take(&d->reply, buf, (size_t)n);
    return n;
}

/* Returns DP_OK when the whole head is there. */
static int fetch(struct dial *d, struct dp_want *want)
{
    while (d->reply.state < REPLY_DONE) {
        ssize_t n = read_head(d);
        if (n < 0 && would_block())
            return wait_for(d, want, POLLIN);
        if (n == 0 || (n < 0 && errno != EINTR))
            return d->reply.taken ? DP_ERR_LINK : DP_ERR_NO_ANSWER;
    }
    if (d->reply.state == REPLY_DONE)
        return DP_OK;
    return blame(d, DP_ERR_LINK,
                 d->reply.state == REPLY_BROKEN ? "the server's answer is not HTTP/1"
                                                : "the server's answer is too long");
}

static int step(void *dial, struct dp_want *want, struct dp_conn *conn)
{
    struct dial *d = dial;
    (void)conn; /* where the server connects from it does not say */
    d->now = want->now;
    int rc = flush(d, want);
    if (rc == DP_OK)
        rc = fetch(d, want);
    return rc == DP_OK ? verdict(d) : rc;
}

static int start(const void *self, void *dial, const struct dp_dial_req *req, struct dp_want *want,
                 struct dp_conn *conn)
{
    struct dial *d = dial;
    if (req->proto != DP_TCP)
        return DP_ERR_COMMAND;
    if (!req->to.salen && !name_is_safe(req->to.name, req->to.name_len))
        return DP_ERR_FAMILY;
    d->in = (struct instance *)self; /* only its atomic field is written */
    d->fd = req->fd;
    put_request(d, &req->to);
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

/* RFC 4648, section 4. Returns where the text ends; no NUL is put there. */
static char *base64(char *out, const unsigned char *in, size_t len)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < len; i += 3) {
        size_t rest = len - i;
        unsigned v = (unsigned)in[i] << 16;
        v |= rest > 1 ? (unsigned)in[i + 1] << 8 : 0;
        v |= rest > 2 ? in[i + 2] : 0;
        *out++ = digit[v >> 18];
        *out++ = digit[v >> 12 & 63];
        *out++ = rest > 1 ? digit[v >> 6 & 63] : '=';
        *out++ = rest > 2 ? digit[v & 63] : '=';
    }
    return out;
}

static void put_login(char *out, const struct conf *conf)
{
    unsigned char pair[CREDENTIALS_MAX];
    size_t len = conf->username.len;
    memcpy(pair, conf->username.p, len);
    pair[len++] = ':';
    if (conf->password.len)
        memcpy(pair + len, conf->password.p, conf->password.len);
    memcpy(out, LOGIN_FIELD, sizeof LOGIN_FIELD - 1);
    char *end = base64(out + sizeof LOGIN_FIELD - 1, pair, len + conf->password.len);
    memcpy(end, "\r\n", sizeof "\r\n");
}

static bool has_control(struct dp_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

/* RFC 7617, section 2: no colon in a user name, no control character in either. */
static int check(const struct dp_host *host, const struct conf *conf)
{
    if (conf->password.len && !conf->username.len)
        return host->fail(host, "password", "a password needs a username");
    if (conf->username.len && memchr(conf->username.p, ':', conf->username.len))
        return host->fail(host, "username", "a username for HTTP has no colon");
    if (has_control(conf->username))
        return host->fail(host, "username", "a username for HTTP has no control characters");
    if (has_control(conf->password))
        return host->fail(host, "password", "a password for HTTP has no control characters");
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
    if (conf->username.len)
        put_login(in->login, conf);
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
        .help = "the HTTP proxy, with its port",
    },
    {
        .name = "username",
        .type = DP_STRING,
        .offset = offsetof(struct conf, username),
        .min = 1,
        .max = 255,
        .help = "log in with this name",
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
    .name = "http",
    .version = "1",
    .summary = "through an HTTP proxy",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
