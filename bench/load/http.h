/* SPDX-License-Identifier: MIT
 * http.h: what is said of HTTP, by the client and by the server.
 */
#ifndef LOAD_HTTP_H
#define LOAD_HTTP_H

#include "stream.h"

/* Asks the proxy for a tunnel to the server. */
void connect_put(struct end *client, const struct plan *plan);

/* Reads the answer to that. Returns whether the tunnel is open. */
bool connect_take(struct end *client);

/* Asks for the document that is number `sent` of this stream, and counts it. */
void get_put(struct end *client, const struct plan *plan);

/* Reads what has come of document number `got`, and checks it. Returns whether it is whole, and
 * counted then. */
bool get_take(struct end *client, const struct plan *plan);

/* Serves the server's end: documents to whoever asks for them. */
void get_serve(struct end *server, const struct plan *plan, uint32_t events);

#endif
