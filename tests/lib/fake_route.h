/* SPDX-License-Identifier: MIT
 * fake_route.h: links that do what a test says, in a world of their own: its clock, its names, its
 * listeners, one pool. A fault of the test's own set-up ends the program.
 */
#ifndef LIB_FAKE_ROUTE_H
#define LIB_FAKE_ROUTE_H

#include "route/dial.h"
#include "route/poll.h"
#include "route/router.h"

#define FAKE_LINKS 20
#define FAKE_ACTS 24
#define FAKE_START_NS INT64_C(1000000000000) /* what the fake clock shows at first */
#define FAKE_HANG 1000                       /* as a result: no answer, ever */

/* What one dial comes to: at once (after_ms 0, from start()) or in a step() after that time. */
struct fake_act {
    int result;
    int after_ms;
};

enum fake_shape { FAKE_STREAM, FAKE_SOCKET, FAKE_TUNNEL };

struct fake_link {
    const char *name; /* NULL: the end of the list */
    enum fake_shape shape;
    const char *via;                /* NULL: none; it must stand before this one */
    bool outside;                   /* of the pool: only for others to go via */
    bool names;                     /* takes host names */
    struct fake_act act[FAKE_ACTS]; /* of each start() in turn, n_acts of them, then OK at once */
    unsigned n_acts;
    const char *hop;                /* tunnel: its server, as an endpoint */
    const char *bound;              /* what it tells, as an endpoint */
    const char *local;              /* socket: the source address */
    int prepare;                    /* socket: what prepare() returns */
    uint32_t weight, limit;         /* weight 0: 1 */
    uint32_t send_proxy;            /* 0: no */
    const struct dp_plugin *plugin; /* a real one instead, with this conf */
    const void *conf;

    /* What became of it. */
    unsigned creates, destroys, prepares, starts, refused, ends;
    struct {
        char to[64];
        int at_ms; /* after FAKE_START_NS */
    } start[FAKE_ACTS];
};

/* A name: after_ms later its addresses, or err. */
struct fake_name {
    const char *name; /* NULL: the end of the list */
    int after_ms;
    int err;
    const char *addr[20];
};

struct fake_lookup {
    struct io_timer timer;
    struct fake_world *world;
    struct resolver_query *query; /* NULL: free */
    const struct fake_name *name;
};

struct fake_world {
    /* Set by the test before fake_world_open(). */
    struct fake_link link[FAKE_LINKS];
    const struct fake_name *names;
    const char *listeners[4]; /* endpoints */
    uint32_t retries;
    const struct dp_plugin *balancer; /* NULL: the first member that is allowed */
    const void *balancer_conf;
    bool real_clock, raw;
    const char *client;         /* an endpoint; NULL: nobody */
    int connect_ms, attempt_ms; /* 0: 10 s and 3 s */

    struct poll_loop loop;
    struct dial_env env;
    struct config config;
    struct conf_link link_conf[FAKE_LINKS];
    struct conf_member member[FAKE_LINKS];
    struct conf_pool pool_conf;
    struct conf_listener listener_conf[4];
    struct arena *arena;
    struct trash trash;
    struct conf_errors errors;
    struct router *router;
    struct resolver resolver;
    struct fake_lookup lookup[8];
    unsigned asked, cancelled; /* lookups */
    char asked_by[16];         /* the bottom link of the last */

    /* The dial under way, or the last. */
    struct dial *dial;
    bool over;
    int err;
    int64_t began_ns;
    int took_ms;
    char won[16], blamed[16]; /* the link; empty: none */
    char bound[64];
    struct stream stream;
};

void fake_world_open(struct fake_world *w);
/* Returns NULL, or what is not as it was before: a claim not given back, a dial not ended. */
const char *fake_world_close(struct fake_world *w);
/* The same while the world goes on, after fake_dial_end(). */
const char *fake_world_idle(const struct fake_world *w);

/* `dest`: an endpoint. */
void fake_dial_start(struct fake_world *w, const char *dest);
/* Turns until it is over or nothing can happen any more. */
void fake_dial_wait(struct fake_world *w);
void fake_dial_end(struct fake_world *w);

const struct dp_stat *fake_stat(const struct fake_world *w, const char *link);

/* A listening TCP socket on a free port of this address (of either family). */
int fake_listen(const char *ip, int backlog, struct dp_addr *addr);

#endif
