/* SPDX-License-Identifier: MIT
 * hosts.h: the names of hosts(5), looked up without reading the file each time.
 */
#ifndef BASE_HOSTS_H
#define BASE_HOSTS_H

#include "base/addr.h"
#include "base/textfile.h"

/* One thread's. Starts zeroed, but for file.path and file.max. */
struct hosts {
    struct textfile file; /* cut into words in place */
    struct hosts_name {
        const char *name; /* NULL: a free place */
        const char *ip;
    } * place;      /* a hash table that is searched on from place to place */
    size_t mask, n; /* its size less one; names in it */
};

/* Looks whether the file has changed, and if so reads it. */
void hosts_refresh(struct hosts *h);

/* The addresses of a name in lower case, in their order and without a port; at most `max`. Returns
 * how many there are; 0: the file does not have the name. */
size_t hosts_find(const struct hosts *h, const char *name, struct dp_addr *addr, size_t max);

void hosts_deinit(struct hosts *h);

#endif
