/* SPDX-License-Identifier: MIT
 * stream.c: streams from a client through the proxy to the server.
 *
 * A client's end:
 *
 *     connecting --> (method --> reply) --> open: opened()
 *              \---> (granted) --------/
 *
 * with the parts in brackets if the proxy speaks SOCKS5, or CONNECT is asked of it. Its first message
 * tells the server which stream it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bytes.h"
#include "http.h"
#include "stream.h"

static struct {
    const struct plan *plan;
    struct end *clients;
    uint32_t n_clients;
    uint32_t n_servers; /* ends that are open */
    struct end listener;
    void (*accepted)(struct end *server);
} streams;

static const char *whose(const struct end *end)
{
    return end->server ? "server" : "client";
}

/* ---- bytes of fixed length ---- */

/* Proxies take back what they have connected beside another: by that nobody has sent anything. */
static bool may_end(const struct end *end)
{
    bool unused = end->server && !end->twin;
    return unused || client_gone(end) || (end->server && streams.plan->speech == SPEAK_GET);
}

bool end_fill(struct end *end, size_t len)
{
    ssize_t n = recv(end->fd, end->in + end->in_len, len - end->in_len, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n == 0 && end->in_len == 0 && may_end(end)) {
        server_close(end);
        return false;
    }
    if (n <= 0)
        fatal("stream %" PRIu32 ": the %s's end was closed: %s", end->id, whose(end),
              n < 0 ? strerror(errno) : "end of the stream");
    end->in_len = (uint16_t)(end->in_len + n);
    return true;
}

bool end_take(struct end *end, size_t len)
{
    return end_fill(end, len) && end->in_len == len;
}

void end_put(struct end *end, const void *data, size_t len)
{
    ssize_t n = send(end->fd, data, len, MSG_NOSIGNAL);
    if (n != (ssize_t)len)
        fatal("stream %" PRIu32 ": the %s cannot send: %s", end->id, whose(end),
              n < 0 ? strerror(errno) : "the socket is full");
}

void message_put(struct end *end)
{
    if (streams.plan->speech == SPEAK_GET) {
        get_put(end, streams.plan);
        return;
    }
    uint8_t message[MESSAGE_LEN];
    message_make(message, end, end->sent++);
    end_put(end, message, sizeof message);
}

static void message_check(struct end *end)
{
    if (!end->twin)
        fatal("stream %" PRIu32 ": the %s got what nobody has sent", end->id, whose(end));
    uint8_t wanted[MESSAGE_LEN];
    message_make(wanted, end->twin, end->got);
    if (memcmp(end->in, wanted, MESSAGE_LEN) != 0)
        fatal("stream %" PRIu32 ": the %s got a wrong message %" PRIu64, end->id, whose(end),
              end->got);
    end->got++;
    end->in_len = 0;
}

bool message_take(struct end *end)
{
    if (streams.plan->speech == SPEAK_GET)
        return get_take(end, streams.plan);
    if (!end_take(end, MESSAGE_LEN))
        return false;
    message_check(end);
    return true;
}

/* ---- the client ---- */

static void client_open(struct end *client)
{
    client->in_len = 0;
    client->opened(client);
}

/* The length of a SOCKS5 answer, by its address type (RFC 1928, section 6); 5 bytes are there. */
static uint8_t reply_len(const struct end *client)
{
    switch (client->in[3]) {
    case 1:
        return 4 + 4 + 2;
    case 4:
        return 4 + 16 + 2;
    default:
        fatal("stream %" PRIu32 ": the SOCKS answer has address type %d", client->id,
              client->in[3]);
    }
}

static void on_reply(struct end *client, uint32_t events)
{
    (void)events;
    if (client->in_len < 5 && !end_take(client, 5))
        return;
    if (client->in[0] != 5 || client->in[1] != 0)
        fatal("stream %" PRIu32 ": SOCKS answer %d %d", client->id, client->in[0], client->in[1]);
    if (end_take(client, reply_len(client)))
        client_open(client);
}

/* RFC 1928, section 4. */
static void request_put(struct end *client)
{
    const struct plan *plan = streams.plan;
    uint8_t request[4 + 1 + 255 + 2] = {5, 1, 0, plan->host ? 3 : 1};
    size_t len = 4;
    if (plan->host) {
        size_t n = strlen(plan->host);
        request[len++] = (uint8_t)n;
        memcpy(request + len, plan->host, n);
        len += n;
    } else {
        memcpy(request + len, &plan->server.sin_addr, 4);
        len += 4;
    }
    memcpy(request + len, &plan->server.sin_port, 2);
    end_put(client, request, len + 2);
}

static void on_method(struct end *client, uint32_t events)
{
    (void)events;
    if (!end_take(client, 2))
        return;
    if (client->in[0] != 5 || client->in[1] != 0)
        fatal("stream %" PRIu32 ": SOCKS method %d %d", client->id, client->in[0], client->in[1]);
    client->in_len = 0;
    request_put(client);
    client->ready = on_reply;
}

static void on_granted(struct end *client, uint32_t events)
{
    (void)events;
    if (connect_take(client))
        client_open(client);
}

static void client_connected(struct end *client)
{
    switch (streams.plan->speech) {
    case SPEAK_SOCKS:
        end_put(client, "\5\1\0", 3);
        client->ready = on_method;
        break;
    case SPEAK_CONNECT:
        connect_put(client, streams.plan);
        client->ready = on_granted;
        break;
    default:
        client_open(client);
        return;
    }
    end_watch(client, EPOLLIN);
}

static void on_connect(struct end *client, uint32_t events)
{
    (void)events;
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0)
        fatal("stream %" PRIu32 ": connect: %s", client->id, strerror(error));
    client_connected(client);
}

static int socket_make(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fatal("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void stream_open(struct end *client, void (*opened)(struct end *client))
{
    client->since_ns = now_ns();
    client->opened = opened;
    client->sent = client->got = client->left = 0;
    client->in_len = 0;
    client->twin = NULL;
    client->fd = socket_make();
    const struct sockaddr_in *to = &streams.plan->through;
    if (connect(client->fd, (const struct sockaddr *)to, sizeof *to) == 0) {
        client_connected(client);
        return;
    }
    if (errno != EINPROGRESS)
        fatal("stream %" PRIu32 ": connect: %s", client->id, strerror(errno));
    client->ready = on_connect;
    end_watch(client, EPOLLOUT);
}

void stream_close(struct end *client)
{
    end_close(client);
    client->twin = NULL;
}

/* ---- the server ---- */

bool client_gone(const struct end *server)
{
    return server->twin && server->twin->twin != server;
}

void server_close(struct end *server)
{
    end_close(server);
    free(server);
    streams.n_servers--;
}

uint32_t servers_open(void)
{
    return streams.n_servers;
}

/* The first message says which stream it is. */
static void on_first(struct end *server, uint32_t events)
{
    (void)events;
    if (!end_take(server, MESSAGE_LEN))
        return;
    server->id = message_id(server->in);
    struct end *client = &streams.clients[server->id % streams.n_clients];
    if (client->id != server->id || client->fd < 0 || client->twin)
        fatal("the server got a message of stream %" PRIu32 ", which awaits none", server->id);
    server->twin = client;
    client->twin = server;
    message_check(server);
    streams.accepted(server);
}

static void on_get(struct end *server, uint32_t events)
{
    get_serve(server, streams.plan, events);
}

static void on_accept(struct end *listener, uint32_t events)
{
    (void)events;
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            fatal("accept: %s", strerror(errno));
        struct end *server = calloc(1, sizeof *server);
        if (!server)
            fatal("out of memory");
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        server->fd = fd;
        server->server = true;
        server->ready = streams.plan->speech == SPEAK_GET ? on_get : on_first;
        streams.n_servers++;
        end_watch(server, EPOLLIN);
    }
}

/* A socket belongs to the network namespace in which it was made. */
static int socket_make_in(const char *ns)
{
    if (!ns)
        return socket_make();
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(ns, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
        fatal("%s: %s", ns, strerror(errno));
    int fd = socket_make();
    if (setns(home, CLONE_NEWNET) != 0)
        fatal("setns: %s", strerror(errno));
    close(home);
    close(there);
    return fd;
}

static void server_listen(const struct plan *plan)
{
    struct end *listener = &streams.listener;
    listener->fd = socket_make_in(plan->server_ns);
    listener->ready = on_accept;
    int on = 1;
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener->fd, (const struct sockaddr *)&plan->server, sizeof plan->server) != 0 ||
        listen(listener->fd, 4096) != 0)
        fatal("cannot listen: %s", strerror(errno));
    end_watch(listener, EPOLLIN);
}

struct end *streams_init(const struct plan *plan, uint32_t n, void (*accepted)(struct end *server))
{
    streams.plan = plan;
    streams.n_clients = n;
    streams.accepted = accepted;
    streams.clients = calloc(n, sizeof *streams.clients);
    if (!streams.clients)
        fatal("out of memory");
    for (uint32_t i = 0; i < n; i++) {
        streams.clients[i].id = i;
        streams.clients[i].fd = -1;
    }
    server_listen(plan);
    return streams.clients;
}
