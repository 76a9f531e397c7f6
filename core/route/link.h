/* SPDX-License-Identifier: MIT
 * link.h: one way out at work: its dialer instance, its chain, its counters.
 */
#ifndef ROUTE_LINK_H
#define ROUTE_LINK_H

#include "base/ref.h"
#include "plugin/instance.h"
#include "route/arena.h"

#define LINK_DEPTH_MAX 4 /* levels of a chain */

/* Families a link may lead out by. */
enum { WAY_IPV4 = 1, WAY_IPV6 = 2, WAY_ANY = WAY_IPV4 | WAY_IPV6 };

/* What all threads and processes know of a link: in the arena, and atomic. */
struct link_shared {
    struct dp_stat stat; /* first: what plugins see of it */
    int64_t retry_at;    /* 0: in use; else it is out until then */
    uint32_t no_way;     /* ways that there are not, as the monitor sees it; 0 if nobody looks */
    uint32_t no_route;   /* those that lead to the link's own networks at best */
    int32_t check;       /* health checks: failed so often in a row; below 0: must pass so often */
    uint32_t ejections;  /* in a row, the trials that have begun among them */
    uint32_t told;       /* the log says that it is out */
    int64_t told_at;     /* when it last did */
    int64_t renewed_at;  /* dials that began before say nothing of it */
    int64_t rtt_var;     /* how much the time to connect, stat.rtt, varies */
    int64_t rated_at;    /* when so many dials had failed that it was put out */
    uint32_t silences;   /* in a row: it said nothing where another link got through */
    uint32_t outcomes;   /* of the last dials, a bit each, the lowest the last: 1 has failed */
    int64_t back_at;     /* when it was last back from being out, or from no way; 0: never */
    uint32_t offers;     /* of flows since then, while it ramps (ramp.h) */
    char name[64 + 1];   /* for who looks at a shared arena from outside */
    uint32_t generation; /* of the configuration that had it last, where several share it */
};

/* Immutable after link_new(), but for *shared. */
struct link {
    struct ref ref;
    const char *name; /* the instance's copy */
    uint64_t id;
    uint64_t hash; /* what it is called in a shared arena */
    struct instance *dialer;
    struct link *via;                         /* NULL: none; holds a reference */
    const struct link *chain[LINK_DEPTH_MAX]; /* bottom first; the last is this link */
    unsigned depth;
    const struct dp_addr *dns; /* in the dialer's config */
    size_t n_dns;
    bool fast_open;      /* to the dialer's server */
    uint32_t send_proxy; /* version of the header its connections begin with; 0: none */
    struct arena *arena;
    struct link_shared *shared;
    struct dp_stat *stat; /* in *shared */
};

/* Makes the link with a new dialer instance; takes a reference on via. NULL: see errors. [main] */
struct link *link_new(struct config *config, const struct conf_link *conf, struct link *via,
                      struct arena *arena, struct trash *trash, struct conf_errors *errors);

/* Would `conf`, going via `via`, make the same link? Weight and limit do not count. */
bool link_same(const struct link *link, const struct conf_link *conf, const struct link *via);

/* Is the dialer a tunnel (hop, start, step)? */
bool link_is_tunnel(const struct link *link);
uint32_t link_caps(const struct link *link);

#endif
