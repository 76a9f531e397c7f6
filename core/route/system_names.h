/* SPDX-License-Identifier: MIT
 * system_names.h: what the system says of names: hosts(5), and the servers and domains of
 * resolv.conf(5).
 */
#ifndef ROUTE_SYSTEM_NAMES_H
#define ROUTE_SYSTEM_NAMES_H

#include "base/hosts.h"

#define SYSTEM_SERVERS_MAX 8
#define SYSTEM_DOMAINS_MAX 8
#define NAME_SIZE 256 /* a name as text, with its NUL */

/* One thread's. */
struct system_names {
    struct hosts hosts;
    struct textfile resolv;   /* /etc/resolv.conf */
    struct textfile resolved; /* what systemd-resolved has collected from all interfaces */
    struct dp_addr server[SYSTEM_SERVERS_MAX];
    size_t n_servers;
    char domain[SYSTEM_DOMAINS_MAX][NAME_SIZE]; /* for names with fewer dots than `ndots` */
    size_t n_domains;
    unsigned ndots;
    uint64_t hash; /* of servers and domains */
    int64_t checked_ns;
};

void system_names_init(struct system_names *s);
void system_names_deinit(struct system_names *s);

/* Looks whether the files have changed, at most once a second. */
void system_names_refresh(struct system_names *s, int64_t now_ns);

/* The nth name to be asked for where `name` was given: itself, or with a domain behind it. false:
 * there are no more. */
bool system_names_candidate(const struct system_names *s, const char *name, unsigned nth,
                            char out[NAME_SIZE]);

#endif
