/* SPDX-License-Identifier: MIT
 * socket.h: sockets that leave by a link, and what went wrong with them.
 */
#ifndef ROUTE_SOCKET_H
#define ROUTE_SOCKET_H

#include "route/link.h"

/* A non-blocking, close-on-exec socket prepared by the bottom link's dialer if that is a socket
 * dialer, bound to the source address it asks for. `local`: that address, or salen 0. Returns the
 * descriptor or an error. `bottom` NULL: prepared by nobody. */
int socket_open(const struct link *bottom, int family, int type, struct dp_addr *local);

/* The same for a socket made elsewhere, fresh and unbound: runs the dialer's prepare() and binds the
 * source address it asks for. Returns DP_OK or an error. */
int socket_prepare(int fd, const struct link *bottom, int family, int type, struct dp_addr *local);

/* The first half of that: the dialer's prepare() alone, `local` being what is to be bound. */
int socket_dress(int fd, const struct link *bottom, int family, int type, struct dp_addr *local);

/* Before connecting: the first bytes that are sent leave with the request for the connection, where
 * the server is known to take them so. Then connecting succeeds at once, and fails with what follows. */
void socket_fast_open(int fd);

/* Starts to connect. Returns DP_OK, DP_AGAIN (wait until writable, then socket_connected), or an
 * error. */
int socket_connect(int fd, const struct dp_addr *to);

/* Is it an address of this machine? Costs a socket. */
bool socket_is_own(const struct dp_addr *addr);

/* After readiness (`revents`; 0: not known): DP_OK with the socket's own address, DP_AGAIN, or an
 * error. */
int socket_connected(int fd, short revents, const struct dp_addr *to, struct dp_addr *bound);

/* Sends some of these bytes on a stream that is connected. Returns DP_OK with how many in *sent,
 * DP_AGAIN (wait until writable), or an error. */
int socket_send(int fd, const void *bytes, size_t len, size_t *sent);

/* What dispatch sets on every TCP socket: no delay; and, once it has proved to be more than a short
 * one, keepalive after 60 s, each 10 s, 3 times. Accepted sockets have both from their listener. */
void socket_no_delay(int fd);
void socket_keepalive(int fd);

/* What the kernel knows of the other end. */
struct socket_health {
    bool unacked;     /* it owes an acknowledgement */
    int64_t quiet_ns; /* nothing at all has come from its kernel for so long; one that just does not
                         read acknowledges probes, and is not quiet */
};
struct socket_health socket_health(int fd);

/* Did it take more than one try to get something across, as the request for the connection? */
bool socket_has_resent(int fd);

/* So that closing it sends a reset. */
void socket_set_reset(int fd);

#endif
