/* SPDX-License-Identifier: MIT
 * stream.h: streams from a client through the proxy to the server, both ends of them here.
 */
#ifndef LOAD_STREAM_H
#define LOAD_STREAM_H

#include <netinet/in.h>

#include "loop.h"

/* What is asked for on the command line. */
struct plan {
    struct sockaddr_in server;  /* listens here */
    struct sockaddr_in through; /* the client connects to this: a proxy, or the server itself */
    const char *server_ns;      /* the server's network namespace; NULL: this one */
    const char *host;           /* what the proxy is asked for; NULL: the server's address */
    const char *way;            /* of bulk: down, up, both */
    const char *steps;          /* of idle: streams held at each step, as 1000,3000 */
    bool socks;                 /* the proxy speaks SOCKS5; else it passes on what it gets */
    uint32_t streams;           /* at once */
    uint64_t count;             /* connections in all */
    uint64_t rate;              /* of them, or of exchanges, a second; 0: as many as can be */
    double seconds;
    double patience;
};

/* Prepares `n` client ends, numbered from 0, and the server. accepted() is called for each server
 * end once it has read the first message and knows its twin. */
struct end *streams_init(const struct plan *plan, uint32_t n, void (*accepted)(struct end *server));

/* Connects; the SOCKS5 handshake is done when opened() is called. The stream's number may grow by
 * multiples of the n of streams_init() while its end is used again. */
void stream_open(struct end *client, void (*opened)(struct end *client));

/* Reads until in_len is `len`, at most MESSAGE_LEN, and returns whether it is. A server's end
 * whose client has closed is closed at the end of the stream; any other end is fatal. */
bool end_take(struct end *end, uint8_t len);

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
