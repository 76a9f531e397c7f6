/* SPDX-License-Identifier: MIT
 * http.c: what is said of HTTP.
 *
 * A proxy sends requests to the server by connections of its own, in which those of several clients
 * may follow each other. So the path of a document names stream and number, its bytes are those that
 * the server sends on that stream, and its ETag says the same: an answer that went astray is found.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bytes.h"

/* Of the server's name or address, with its port. */
#define AUTHORITY_MAX 264

static void authority_print(char text[AUTHORITY_MAX], const struct plan *plan)
{
    char ip[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &plan->server.sin_addr, ip, sizeof ip);
    snprintf(text, AUTHORITY_MAX, "%s:%u", plan->host ? plan->host : ip,
             ntohs(plan->server.sin_port));
}

/* Reads until there is a whole head, and makes a string of it. Returns its length; else 0. */
static size_t head_take(struct end *end)
{
    if (!end_fill(end, sizeof end->in))
        return 0;
    uint8_t *blank = memmem(end->in, end->in_len, "\r\n\r\n", 4);
    if (!blank && end->in_len == sizeof end->in)
        fatal("stream %" PRIu32 ": a head of more than %zu bytes", end->id, sizeof end->in);
    if (!blank)
        return 0;
    blank[3] = 0;
    return (size_t)(blank + 4 - end->in);
}

static void status_check(const struct end *client)
{
    const char *head = (const char *)client->in;
    if (strncmp(head, "HTTP/1.", 7) != 0 || strncmp(head + 8, " 200 ", 5) != 0)
        fatal("stream %" PRIu32 ": HTTP answer %.*s", client->id, (int)strcspn(head, "\r"), head);
}

/* ---- CONNECT ---- */

void connect_put(struct end *client, const struct plan *plan)
{
    char to[AUTHORITY_MAX], request[2 * AUTHORITY_MAX + 64];
    authority_print(to, plan);
    int len = snprintf(request, sizeof request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to);
    end_put(client, request, (size_t)len);
}

bool connect_take(struct end *client)
{
    size_t len = head_take(client);
    if (len == 0)
        return false;
    status_check(client);
    if (len != client->in_len)
        fatal("stream %" PRIu32 ": bytes that nobody has sent", client->id);
    return true;
}

/* ---- GET: the client ---- */

void get_put(struct end *client, const struct plan *plan)
{
    char to[AUTHORITY_MAX], request[2 * AUTHORITY_MAX + 128];
    authority_print(to, plan);
    int len = snprintf(request, sizeof request,
                       "GET http://%s/of/%" PRIu32 "/%" PRIu64 " HTTP/1.1\r\nHost: %s\r\n\r\n", to,
                       client->id, client->sent++, to);
    end_put(client, request, (size_t)len);
}

static void answer_check(const struct end *client, const struct plan *plan)
{
    char field[64];
    status_check(client);
    snprintf(field, sizeof field, "\r\nETag: \"%" PRIu32 "/%" PRIu64 "\"\r\n", client->id,
             client->got);
    if (!strcasestr((const char *)client->in, field))
        fatal("stream %" PRIu32 ": the answer to another request than %" PRIu64, client->id,
              client->got);
    snprintf(field, sizeof field, "\r\nContent-Length: %" PRIu64 "\r\n", plan->body_len);
    if (!strcasestr((const char *)client->in, field))
        fatal("stream %" PRIu32 ": an answer of another length", client->id);
}

static void body_take(struct end *client, const struct plan *plan, const uint8_t *seen, size_t len)
{
    const struct end from = {.id = client->id, .server = true};
    size_t mine = len < client->left ? len : (size_t)client->left;
    bytes_check(&from, (client->got + 1) * plan->body_len - client->left, seen, mine);
    if (mine < len)
        fatal("stream %" PRIu32 ": bytes behind the answer", client->id);
    client->left -= mine;
}

static void body_read(struct end *client, const struct plan *plan)
{
    static uint8_t seen[CHUNK_LEN];
    ssize_t n = recv(client->fd, seen, sizeof seen, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        fatal("stream %" PRIu32 ": closed %" PRIu64 " bytes before the end: %s", client->id,
              client->left, n < 0 ? strerror(errno) : "end of the stream");
    body_take(client, plan, seen, (size_t)n);
}

bool get_take(struct end *client, const struct plan *plan)
{
    if (client->left > 0) {
        body_read(client, plan);
    } else {
        size_t head_len = head_take(client);
        if (head_len == 0)
            return false;
        answer_check(client, plan);
        client->left = plan->body_len;
        body_take(client, plan, client->in + head_len, client->in_len - head_len);
    }
    if (client->left > 0)
        return false;
    client->got++;
    client->in_len = 0;
    return true;
}

/* ---- GET: the server ---- */

static const uint8_t *body_at(const struct end *server, const struct plan *plan)
{
    return bytes_at(server, (server->sent + 1) * plan->body_len - server->left);
}

static ssize_t part_send(struct end *server, const void *part, size_t len)
{
    ssize_t n = send(server->fd, part, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        fatal("stream %" PRIu32 ": the server cannot send: %s", server->id, strerror(errno));
    return n < 0 ? 0 : n;
}

static void answer_over(struct end *server)
{
    server->in_len = 0;
    if (server->closes)
        server_close(server);
    else
        end_watch(server, EPOLLIN);
}

/* Sends as much as goes, but not all that goes: the others have their turn. */
static void answer_go(struct end *server, const struct plan *plan)
{
    for (int i = 0; i < 4 && server->left > 0; i++) {
        size_t len = server->left < CHUNK_LEN ? (size_t)server->left : CHUNK_LEN;
        server->left -= (uint64_t)part_send(server, body_at(server, plan), len);
    }
    if (server->left == 0)
        answer_over(server);
    else
        end_watch(server, EPOLLOUT);
}

/* Head and beginning of the body leave in one piece. */
static void answer_start(struct end *server, const struct plan *plan)
{
    uint8_t out[4096];
    int head_len = snprintf((char *)out, sizeof out,
                            "HTTP/1.1 200 OK\r\nETag: \"%" PRIu32 "/%" PRIu64
                            "\"\r\nContent-Length: %" PRIu64 "\r\n%s\r\n",
                            server->id, server->sent, plan->body_len,
                            server->closes ? "Connection: close\r\n" : "");
    size_t room = sizeof out - (size_t)head_len;
    server->left = plan->body_len;
    size_t len = server->left < room ? (size_t)server->left : room;
    memcpy(out + head_len, body_at(server, plan), len);
    end_put(server, out, (size_t)head_len + len);
    server->left -= len;
    answer_go(server, plan);
}

static void request_take(struct end *server, const struct plan *plan)
{
    const char *head = (const char *)server->in;
    size_t len = head_take(server);
    if (len == 0)
        return;
    const char *path = strstr(head, "/of/");
    if (len != server->in_len || strncmp(head, "GET ", 4) != 0 || !path ||
        sscanf(path, "/of/%" SCNu32 "/%" SCNu64 " HTTP/1.", &server->id, &server->sent) != 2)
        fatal("the server got a request that nobody has sent: %s", head);
    server->closes = strstr(head, " HTTP/1.0\r\n") || strcasestr(head, "\r\nConnection: close\r\n");
    answer_start(server, plan);
}

void get_serve(struct end *server, const struct plan *plan, uint32_t events)
{
    (void)events;
    if (server->left > 0)
        answer_go(server, plan);
    else
        request_take(server, plan);
}
