/* SPDX-License-Identifier: MIT
 * host.h: the host of a request as clients write it: a name or an address.
 */
#ifndef PROTO_HOST_H
#define PROTO_HOST_H

#include <dispatch-plugin.h>

/* A text that is an IP literal becomes the address, any other the name, which keeps pointing into s.
 * Returns 0, or -1 for what is neither: empty or longer than 255 bytes, with NUL, control bytes or
 * blanks, or an address to some and a name to others: ending in a number, as `127.1` does, or with a
 * colon. */
int host_read(struct dp_addr *to, const char *s, size_t len, uint16_t port);

#endif
