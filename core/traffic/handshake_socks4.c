/* SPDX-License-Identifier: MIT
 * handshake_socks4.c: clients that speak SOCKS4 or SOCKS4a.
 */
#include "proto/socks4.h"
#include "traffic/handshake.h"

static void refusal_set(const char *why, struct refusal *refusal)
{
    refusal->len = socks4_reply(refusal->bytes, SOCKS4_REJECTED, NULL);
    refusal->code = SOCKS4_REJECTED;
    refusal->why = why;
}

/* The user id is no login: whoever says one need not prove it. */
static enum turn socks4_read(struct handshake *hs, struct refusal *refusal)
{
    struct socks4_request request;
    if (hs->login) {
        refusal_set("speaks SOCKS4, which has no login", refusal);
        return TURN_REFUSE;
    }
    int n = socks4_request(hs->bytes, hs->len, &request);
    if (n == 0)
        return TURN_CLIENT;
    if (n < 0) {
        refusal_set(n == SOCKS4_BAD_COMMAND ? "asks for a command that is not CONNECT"
                                            : "sent a request that cannot be served",
                    refusal);
        return TURN_REFUSE;
    }
    handshake_dest(hs, &request.to);
    handshake_consume(hs, (size_t)n);
    return TURN_DIAL;
}

static size_t socks4_grant(const struct handshake *hs, const struct dp_addr *bound, uint8_t *out)
{
    (void)hs;
    return socks4_reply(out, SOCKS4_GRANTED, bound);
}

/* There is one code for whatever has failed: 92 and 93 are about identd. */
static void socks4_fail(const struct handshake *hs, int err, const char *link,
                        struct refusal *refusal)
{
    (void)hs;
    (void)err;
    (void)link;
    refusal_set(NULL, refusal);
}

const struct client_protocol client_socks4 = {
    .proto = PROTO_SOCKS4, .read = socks4_read, .grant = socks4_grant, .fail = socks4_fail};
