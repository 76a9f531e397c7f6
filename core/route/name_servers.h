/* SPDX-License-Identifier: MIT
 * name_servers.h: the name servers of one link, in order, and which of them do not answer there.
 */
#ifndef ROUTE_NAME_SERVERS_H
#define ROUTE_NAME_SERVERS_H

#include "route/cares_channel.h"
#include "route/system_names.h"

struct name_server {
    struct dp_addr addr;
    struct channel *channel; /* NULL: not asked yet */
    bool outside;            /* the link has no address of its family: asked last, and directly */
    unsigned fails;          /* in a row */
    int64_t retry_at_ns;     /* after failures: asked last until then */
};

/* One worker's. Counted: a set that is out of date goes with its last user. */
struct name_servers {
    struct io *io;
    struct link *link; /* a reference */
    uint64_t source;   /* as below, when it was made */
    unsigned users;
    bool stale;
    struct io_timer end;
    struct name_servers **list, *next;
    size_t n;
    struct name_server server[];
};

/* A number for what an answer depends on: the link, its servers, the system's domains. */
uint64_t name_servers_source(const struct link *link, const struct system_names *system);

/* Those of the link now, its own or the system's; kept in *list until there are others. To be given
 * back. NULL: out of memory. */
struct name_servers *name_servers_take(struct name_servers **list, struct io *io, struct link *link,
                                       const struct system_names *system);
void name_servers_give_back(struct name_servers *servers);

/* Lets go of all that nobody uses, and later of the rest. */
void name_servers_retire(struct name_servers **list);
/* Ends what is under way. */
void name_servers_free(struct name_servers **list);

/* Who is to be asked next, of those for whom asked() is false: the first that is not known to fail,
 * else the one that failed longest ago. NULL: nobody is left. */
struct name_server *name_servers_pick(struct name_servers *servers, const void *ctx,
                                      bool (*asked)(const void *ctx, const struct name_server *s));

/* How long its answer is waited for before another is asked beside it. */
int64_t name_server_grace_ns(const struct name_server *s);

/* NULL: out of memory. */
struct channel *name_server_channel(struct name_servers *servers, struct name_server *s);

/* The link has no address of its family. */
void name_server_outside(struct name_server *s);

/* It has answered; or has not, or not us. */
void name_server_worked(struct name_server *s);
void name_server_failed(struct name_servers *servers, struct name_server *s);

#endif
