/* SPDX-License-Identifier: MIT
 * proxy.h: the PROXY protocol, versions 1 and 2, by which a proxy before us tells whose connection it
 * is (HAProxy, doc/proxy-protocol.txt): bytes in, event out, no I/O; and bytes out.
 */
#ifndef PROTO_PROXY_H
#define PROTO_PROXY_H

#include <dispatch-plugin.h>
#include <stdbool.h>
#include <stddef.h>

/* The longest that is read: version 2 says its own length, and may carry what we skip. */
#define PROXY_MAX 536
/* The longest that is written: version 2 with IPv6. */
#define PROXY_OUT_MAX 108

struct proxy_header {
    bool local; /* it is the proxy's own connection: there is nobody behind it */
    struct dp_addr client, dest;
};

/* Returns the length of the header, 0 if more must come, or -1: there is none, or it is malformed.
 * A family that is not IP is as good as local. */
int proxy_read(const uint8_t *p, size_t len, struct proxy_header *header);

/* Writes a header of version 1 or 2. Where client and dest are not of the same family, or one is a
 * name, it says that nothing is known. Returns its length. */
size_t proxy_write(uint8_t out[PROXY_OUT_MAX], unsigned version, const struct dp_addr *client,
                   const struct dp_addr *dest);

#endif
