/* SPDX-License-Identifier: MIT
 * worker.h: one thread with one loop, which owns its sessions alone.
 */
#ifndef TRAFFIC_WORKER_H
#define TRAFFIC_WORKER_H

#include "base/slab.h"
#include "route/env.h"
#include "traffic/budget.h"
#include "traffic/loop.h"
#include "traffic/relay.h"
#include "traffic/service.h"
#include "traffic/sources.h"

#include <pthread.h>

struct session;
struct worker;

/* Something for a worker to do in its own thread; whoever sent it owns its memory, which must last
 * until run() is called. */
struct message {
    struct message *next;
    void (*run)(struct worker *w, struct message *m);
};

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct io *io;
    struct dial_env env;
    struct relay_shared *shared;
    struct message *inbox; /* atomic; a stack, newest first */
    uint32_t n_sessions;   /* atomic; counted from the moment one is given to this worker */
    /* From here on its own. */
    const struct service *service;
    struct acceptor *acceptor;
    size_t n_acceptors;
    bool paused;         /* accepts nothing, for want of descriptors or memory */
    bool shortage_known; /* and has said so */
    struct io_timer pause, check;
    struct session *sessions;  /* a list */
    struct session *unchecked; /* the rest of it, in the round of looks that is on; NULL: none is */
    struct slab session_slab;
    uint32_t n_handshakes; /* sessions that are not yet relayed */
    bool trim_due;         /* some have been since the heap was trimmed */
    bool draining;
    bool stopped;            /* what is still handed over is not served */
    void (*idle)(void *ctx); /* while draining: the last session has ended */
    void *idle_ctx;
    /* Of the server; the same for all. */
    struct worker *all; /* the workers, n_all of them */
    unsigned n_all;
    struct budget *budget;
    struct sources *sources;
};

int worker_start(struct worker *w); /* 0, or an errno */
void worker_join(struct worker *w); /* after worker_stop: waits for the thread */
void worker_free(struct worker *w); /* when all workers have been joined */

/* Runs m->run in the worker's thread, soon, in the order of sending. [any thread] */
void worker_send(struct worker *w, struct message *m);

/* [worker, inside run()] Takes who waits at a socket that `service` has not; then serves by that what
 * others hand over, and accepts nothing. NULL: for ever. */
void worker_serve(struct worker *w, const struct service *service);
/* [worker, inside run()] Accepts, now that each worker can serve what it is handed over. */
void worker_accept(struct worker *w);
/* [worker, inside run()] Closes what is left and stops the loop. */
void worker_stop(struct worker *w);

/* The listener of that name as it is now configured; NULL: there is none any more. */
const struct acceptor *worker_acceptor(const struct worker *w, const char *name);

/* A session calls these when it is in the list, and when it is over, with the source it was given at
 * its start. */
void worker_watch_sessions(struct worker *w);
void worker_session_over(struct worker *w, uint32_t source);

#endif
