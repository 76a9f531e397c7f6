/* SPDX-License-Identifier: MIT
 * stream.h: streams from a client through the proxy to the server, both ends of them here.
 */
#ifndef LOAD_STREAM_H
#define LOAD_STREAM_H

#include <netinet/in.h>

#include "loop.h"

/* What is said to the proxy. */
enum speech {
    SPEAK_NOTHING, /* it passes on what it gets */
    SPEAK_SOCKS,   /* SOCKS5 */
    SPEAK_CONNECT, /* HTTP CONNECT */
    SPEAK_GET,     /* plain HTTP: a message is a request, its answer a document */
};

/* What is asked for on the command line. */
struct plan {
    struct sockaddr_in server;  /* listens here */
    struct sockaddr_in through; /* the client connects to this: a proxy, or the server itself */
    const char *server_ns;      /* the server's network namespace; NULL: this one */
    const char *host;           /* what the proxy is asked for; NULL: the server's address */
    const char *way;            /* of bulk: down, up, both */
    const char *steps;          /* of idle: streams held at each step, as 1000,3000 */
    enum speech speech;
    uint64_t body_len; /* of a document of HTTP; at least 1 */
    uint32_t streams;  /* at once */
    uint64_t count;    /* connections in all */
    uint64_t rate;     /* of them, or of exchanges, a second; 0: as many as can be */
    double seconds;
    double patience;
};

/* Prepares `n` client ends, numbered from 0, and the server. accepted() is called for each server
 * end once it has read the first message and knows its twin; of plain HTTP never, which is served
 * here: those ends have no twin. */
struct end *streams_init(const struct plan *plan, uint32_t n, void (*accepted)(struct end *server));

/* Connects; the handshake is done when opened() is called. The stream's number may grow by
 * multiples of the n of streams_init() while its end is used again. */
void stream_open(struct end *client, void (*opened)(struct end *client));

/* Reads what there is, until in_len is `len`, at most HEAD_MAX; returns whether something has come.
 * At the end of the stream a server's end is closed if its client has closed, if nothing has come by
 * it, or if it is of plain HTTP; any other end is fatal. */
bool end_fill(struct end *end, size_t len);

/* The same; returns whether in_len is `len`. */
bool end_take(struct end *end, size_t len);

/* Sends one small thing whole, as any socket that is not full can. */
void end_put(struct end *end, const void *data, size_t len);

/* Sends message number `sent`, and counts it. */
void message_put(struct end *end);

/* Reads the twin's message number `got`; checks and counts it. Returns whether it has come. */
bool message_take(struct end *end);

/* Closes a client's end; from now on its server's end may end too. */
void stream_close(struct end *client);

/* Whether the client of this server's end has closed. */
bool client_gone(const struct end *server);

/* Closes a server's end and frees it. */
void server_close(struct end *server);

/* Server ends that are open. */
uint32_t servers_open(void);

#endif
