/* SPDX-License-Identifier: MIT
 * loop.h: one epoll, one timer, and the ends of streams that are watched.
 *
 * The load generator is one thread that holds both ends of every stream: the client's, and the
 * server's beyond the proxy. So each end can be compared with the other. Whatever goes wrong ends
 * the program with a message and status 1: a figure is of correct bytes or there is none.
 */
#ifndef LOAD_LOOP_H
#define LOAD_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define MESSAGE_LEN 64
#define HEAD_MAX 512 /* of HTTP, as proxies leave it */

/* One end of a stream. */
struct end {
    void (*ready)(struct end *end, uint32_t events); /* an event of epoll */
    void (*opened)(struct end *end);                 /* the way through the proxy is open */
    struct end *twin;   /* the stream's other end; NULL: not known yet */
    uint64_t sent, got; /* bytes of bulk, or whole messages */
    uint64_t left;      /* bytes of a document of HTTP that are still to come, or to be sent */
    int64_t since_ns;   /* when connecting began, or when the exchange under way was due */
    uint32_t id;        /* the stream's number */
    uint32_t events;    /* watched for these */
    int fd;             /* -1: closed */
    bool server;        /* the server's end */
    bool busy;          /* an exchange is under way */
    bool closes;        /* after the document */
    uint16_t in_len;    /* bytes of `in` */
    uint8_t in[HEAD_MAX];
};

/* Ends the program. */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

int64_t now_ns(void);

/* `waiting` prints what is still awaited, if nothing moves for `patience_ns`. */
void loop_init(int64_t patience_ns, void (*waiting)(void));

/* Calls func() once, at this time; takes the place of the call set before. */
void loop_at(int64_t at_ns, void (*func)(void));

/* Serves events until loop_stop(). */
void loop_run(void);
void loop_stop(void);

/* Watches for these events (0: none) of EPOLLIN, EPOLLOUT. */
void end_watch(struct end *end, uint32_t events);
void end_close(struct end *end);

#endif
