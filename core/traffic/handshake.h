/* SPDX-License-Identifier: MIT
 * handshake.h: what a client says before its connection is relayed, in whichever protocol: bytes in,
 * whose turn it is out. No I/O.
 *
 * The first byte tells the protocols apart; from then on one struct client_protocol is at work, in a
 * file of its own: handshake_socks5.c, handshake_socks4.c, handshake_http.c.
 */
#ifndef TRAFFIC_HANDSHAKE_H
#define TRAFFIC_HANDSHAKE_H

#include "config/config.h"
#include "proto/http.h"
#include "proto/socks5.h"
#include "route/dial.h"
#include "traffic/errand.h"
#include "traffic/login.h"

/* A SOCKS5 greeting and request of the greatest length, and some payload behind them. HTTP gets a
 * larger buffer when it needs one. */
#define HANDSHAKE_BYTES 768

#define GRANT_MAX 64     /* what tells a client that its connection stands */
#define REFUSAL_MAX 1024 /* what tells it that there is none */

enum turn {
    TURN_CLIENT, /* more must come */
    TURN_PAY,    /* and what is owed must go to the client first */
    TURN_LOGIN,  /* hs->login is GIVEN: with its verdict there, read again */
    TURN_ANSWER, /* the refusal goes to the client, which may go on */
    TURN_DIAL,   /* hs->dest is asked for; if there is an errand, it alone */
    TURN_REFUSE  /* the refusal is the last word */
};

#define REFUSAL_KINDS 8
#define REFUSAL_LOGIN (REFUSAL_KINDS - 2)
#define REFUSAL_HELD (REFUSAL_KINDS - 1)

/* What a client is sent at last, and what the log says of it. */
struct refusal {
    const char *why; /* static; NULL: nothing to log */
    int code;        /* of its protocol */
    unsigned kind; /* repeats of the same kind are logged once in a while: REFUSAL_KINDS of them */
    bool keep;     /* but only of this request */
    size_t len;
    uint8_t bytes[REFUSAL_MAX];
};

struct handshake {
    const struct client_protocol *protocol; /* NULL: the first byte has not come, or it is raw */
    unsigned speaks;                        /* PROTO_ of the listener */
    struct pool *pool;                      /* a reference */
    bool raw;
    bool header_due;   /* of the PROXY protocol: what has come begins with it */
    bool early_reply;  /* to be told success before there is any */
    bool replied;      /* has been */
    uint64_t body_max; /* of a plain request of HTTP */
    struct dial *dial;
    struct permit permit; /* what the rules say of an address */
    struct session *session;
    bool ruled_out;   /* they have denied it, or an address of its */
    int64_t since_ns; /* accepted; then, when dialing, the start of that */
    struct dp_addr dest;
    struct login *login;   /* NULL: this listener wants none */
    bool greeted;          /* SOCKS5 */
    bool admitted;         /* SOCKS5: it has been told that its login is right */
    struct http_scan scan; /* HTTP */
    struct errand *errand; /* HTTP: a plain request; or NULL */
    size_t owed;           /* bytes of an answer that can wait for the next one */
    uint8_t answer[GRANT_MAX];
    bool unread;      /* something has come that has not been looked at */
    size_t len, size; /* of what has come and is not used up; of the room for it */
    uint8_t *bytes;
    char name[256]; /* what dest.name points to */
    char listener[65];
    uint8_t first[HANDSHAKE_BYTES]; /* what `bytes` is at first */
};

struct client_protocol {
    unsigned proto; /* PROTO_ */
    /* Looks at what has come, and uses up what it understands. */
    enum turn (*read)(struct handshake *hs, struct refusal *refusal);
    /* Writes what tells the client that its connection stands; `bound` NULL: not known yet. Returns
     * its length, GRANT_MAX - hs->owed at most. */
    size_t (*grant)(const struct handshake *hs, const struct dp_addr *bound, uint8_t *out);
    /* Why there is no connection: an error of dispatch-plugin.h, from `link`. */
    void (*fail)(const struct handshake *hs, int err, const char *link, struct refusal *refusal);
};
extern const struct client_protocol client_socks5, client_socks4, client_http;

/* For a client of this listener; takes a reference on pool. NULL: out of memory. */
struct handshake *handshake_new(const struct conf_listener *listener, struct pool *pool,
                                int64_t now_ns);
void handshake_free(struct handshake *hs); /* NULL is fine */

/* The connection goes to this one instead: a user's own. */
void handshake_pool(struct handshake *hs, struct pool *pool);

/* What has come, at hs->bytes, has become more. Not of a raw one. */
enum turn handshake_read(struct handshake *hs, struct refusal *refusal);

/* Has room for these, which have come already; of HTTP_HEAD_MAX at most. Returns 0, or -1: out of
 * memory. */
int handshake_put(struct handshake *hs, const uint8_t *bytes, size_t len);

/* What HTTP clients are told that have asked for something by `link`. */
void handshake_http_page(const struct handshake *hs, int status, const char *text, const char *link,
                         struct refusal *refusal);

/* ... whose body is larger than hs->body_max. */
void handshake_http_too_large(const struct handshake *hs, struct refusal *refusal);

/* For protocols: n bytes have been used up; the destination is this, its name is copied. */
void handshake_consume(struct handshake *hs, size_t n);
void handshake_dest(struct handshake *hs, const struct dp_addr *dest);

#endif
