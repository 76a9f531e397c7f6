/* SPDX-License-Identifier: MIT
 * client.h: who has come to a listener, and whether he may come in.
 *
 * A client is an address; of a unix socket, whose peers have none, one with salen 0.
 */
#ifndef TRAFFIC_CLIENT_H
#define TRAFFIC_CLIENT_H

#include "config/config.h"
#include "traffic/sources.h"

/* `192.0.2.1:1024`, or `unix`. Returns buf. */
const char *client_text(const struct dp_addr *client, char buf[ADDR_TEXT]);

/* Is it a proxy, by whose first bytes it is known who the client is? */
bool client_is_proxy(const struct conf_listener *conf, const struct dp_addr *peer);

/* Is it in a network that is served? Else the log has been told. [any thread] */
bool client_is_allowed(const struct conf_listener *conf, const struct dp_addr *client);

/* May it come in? Then `source` is for sources_give(), else the log has been told. [any thread] */
bool client_enters(struct sources *sources, const struct conf_listener *conf,
                   const struct dp_addr *client, uint32_t *source);

#endif
