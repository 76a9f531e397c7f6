/* SPDX-License-Identifier: MIT
 * errand.h: a plain request of HTTP on its way: its head as the server gets it, and what else must be
 * known of it until it has been answered.
 */
#ifndef TRAFFIC_ERRAND_H
#define TRAFFIC_ERRAND_H

#include "proto/http.h"

struct errand {
    bool head;       /* asks for no body */
    bool old;        /* of HTTP/1.0: the client knows neither chunks nor interim responses */
    bool keep;       /* the client wants its connection kept */
    bool upgrade;    /* asks for another protocol */
    bool expects;    /* the client may wait for 100 before it sends the body */
    bool idempotent; /* sent twice it comes to the same */
    bool whole;      /* all of it has come from the client */
    enum http_body body;
    uint64_t body_len, body_max;
    size_t len;
    uint8_t bytes[]; /* the head */
};

/* Of a request in absolute form, whose head had head_len bytes, with a body of body_max bytes at most;
 * free() frees it. NULL: out of memory. */
struct errand *errand_new(const struct http_request *request, size_t head_len, uint64_t body_max);

#endif
