/* SPDX-License-Identifier: MIT
 * tunnel_rig.h: one dial of a tunnel plugin on a socket pair; the test is the server, byte by byte.
 */
#ifndef LIB_TUNNEL_RIG_H
#define LIB_TUNNEL_RIG_H

#include "lib/plugin_fake.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

enum { REMOTE, LOCAL };

/* The options of dialer-http, and one more of dialer-socks. */
struct conf {
    struct dp_addr server;
    struct dp_str username, password;
    uint32_t resolve, version;
};

struct rig {
    const struct dp_dialer_ops *ops;
    struct fake_host host;
    struct conf conf;
    void *self, *dial;
    int peer, rc;
    struct dp_dial_req req;
    struct dp_want want;
    struct dp_conn conn;
};

static inline struct dp_str str(const char *text)
{
    return (struct dp_str){text, text ? (uint32_t)strlen(text) : 0};
}

static inline struct dp_addr ip(const char *text, uint16_t port)
{
    struct dp_addr a = {.port = port};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, text, &sin.sin_addr) == 1) {
        a.salen = sizeof sin;
        memcpy(&a.sa, &sin, sizeof sin);
    } else {
        cr_assert(inet_pton(AF_INET6, text, &sin6.sin6_addr) == 1);
        a.salen = sizeof sin6;
        memcpy(&a.sa, &sin6, sizeof sin6);
    }
    return a;
}

static inline struct dp_addr name(const char *p, size_t len, uint16_t port)
{
    return (struct dp_addr){.name = p, .name_len = (uint16_t)len, .port = port};
}

static inline int same(const struct dp_addr *a, struct dp_addr b)
{
    return a->salen == b.salen && a->port == b.port && a->name_len == b.name_len &&
           memcmp(&a->sa, &b.sa, sizeof a->sa) == 0 &&
           (!a->name_len || memcmp(a->name, b.name, a->name_len) == 0);
}

/* An instance of the plugin in that file. */
static inline void rig_open_version(struct rig *r, const char *file, const char *username,
                                    const char *password, uint32_t version)
{
    memset(r, 0, sizeof *r);
    r->ops = fake_load(file)->ops;
    r->conf.username = str(username);
    r->conf.password = str(password);
    r->conf.server = name("server", 6, 1080);
    r->conf.version = version;
    r->peer = r->req.fd = -1;
    fake_host_init(&r->host);
    cr_assert(eq(int, r->ops->create(&r->host.host, &r->conf, &r->self), 0));
}

static inline void rig_hang_up(struct rig *r)
{
    if (r->peer >= 0)
        close(r->peer);
    if (r->req.fd >= 0)
        close(r->req.fd);
    free(r->dial);
    r->peer = r->req.fd = -1;
    r->dial = NULL;
}

static inline void rig_close(struct rig *r)
{
    rig_hang_up(r);
    r->ops->destroy(r->self);
}

/* A connected stream for the next dial. */
static inline void rig_connect(struct rig *r, struct dp_addr to)
{
    int fd[2];
    rig_hang_up(r);
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0));
    r->peer = fd[1];
    r->req = (struct dp_dial_req){.size = sizeof r->req, .proto = DP_TCP, .to = to, .fd = fd[0]};
    r->conn = (struct dp_conn){.size = sizeof r->conn, .fd = -1};
    r->dial = calloc(1, r->ops->dial_size);
    cr_assert(r->dial != NULL);
}

static inline void clear_want(struct rig *r)
{
    r->want = (struct dp_want){.size = sizeof r->want, .now = r->want.now};
}

static inline void rig_start(struct rig *r)
{
    clear_want(r);
    r->rc = r->ops->start(r->self, r->dial, &r->req, &r->want, &r->conn);
}

static inline void rig_step(struct rig *r)
{
    clear_want(r);
    r->rc = r->ops->step(r->dial, &r->want, &r->conn);
}

/* It waits for the stream and nothing else. */
static inline void waits_for(const struct rig *r, short events)
{
    cr_assert(eq(int, r->rc, DP_AGAIN));
    cr_assert(eq(u32, r->want.nfds, 1));
    cr_assert(eq(int, r->want.fd[0].fd, r->req.fd));
    cr_assert(eq(int, r->want.fd[0].events, events));
    cr_assert(eq(i64, r->want.deadline, 0));
}

/* The server has got just these bytes. */
static inline void hears(const struct rig *r, const char *p, size_t len)
{
    char got[2048];
    ssize_t n = recv(r->peer, got, sizeof got, 0);
    cr_assert(eq(i64, n, (ssize_t)len));
    cr_assert(memcmp(got, p, len) == 0, "%.*s", (int)n, got);
}

/* The server says this, `chunk` bytes at a time; `extra` goes with the last of them. */
static inline void says(struct rig *r, const char *p, size_t len, size_t chunk, const char *extra)
{
    while (len && r->rc == DP_AGAIN) {
        size_t n = chunk < len ? chunk : len, more = n == len && extra ? strlen(extra) : 0;
        char *piece = malloc(n + more);
        waits_for(r, POLLIN);
        cr_assert(piece != NULL);
        memcpy(piece, p, n);
        if (more)
            memcpy(piece + n, extra, more);
        cr_assert(eq(i64, send(r->peer, piece, n + more, MSG_NOSIGNAL), (ssize_t)(n + more)));
        free(piece);
        rig_step(r);
        p += n;
        len -= n;
    }
}

/* Of what the server has said nothing is left in the stream but this. */
static inline void left(const struct rig *r, const char *text)
{
    char rest[64];
    ssize_t n = recv(r->req.fd, rest, sizeof rest, 0), len = (ssize_t)strlen(text);
    cr_expect(len ? n == len && memcmp(rest, text, strlen(text)) == 0 : n < 0, "%zd bytes", n);
    cr_expect(eq(int, r->conn.fd, -1));
}

#endif
