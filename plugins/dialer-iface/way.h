/* SPDX-License-Identifier: MIT
 * way.h: which of several ways out behind one interface: marks, rules and routes of a link.
 */
#ifndef IFACE_WAY_H
#define IFACE_WAY_H

#include <dispatch-plugin.h>
#include <netinet/in.h>
#include <pthread.h>

struct way_conf { /* one of them, or none */
    uint32_t mark, table;
    struct dp_list gateway; /* at most one of each family */
};

struct way {
    uint32_t mark;  /* of its sockets; 0: not known yet, or none */
    uint32_t table; /* where its routes are; 0: the machine's, or its own */
    struct in_addr ipv4;
    struct in6_addr ipv6;
    uint32_t has_ipv4, has_ipv6; /* gateways */
    int lock;                    /* keeps the mark ours; -1: no such one */
    pthread_mutex_t making;
};

/* Returns 0, or what host->fail() returned. */
int way_init(struct way *way, const struct way_conf *conf, const struct dp_host *host);
/* Takes away what was made. */
void way_end(struct way *way);

/* Makes the socket leave by this way of the device, and the way itself if that is not there. Returns
 * 0 or an errno; EAFNOSUPPORT: it has none for this family. Any thread may call it. */
int way_take(struct way *way, int fd, int family, const char *device);

#endif
