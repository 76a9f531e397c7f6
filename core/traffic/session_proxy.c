/* SPDX-License-Identifier: MIT
 * session_proxy.c: connections that a proxy in front has made: its header says for whom.
 *
 * It stands before all else, whatever protocol follows, and in the time of the handshake. Only when it
 * is there is it known whether the client may come in.
 */
#include "base/clock.h"
#include "base/log.h"
#include "proto/proxy.h"
#include "traffic/client.h"
#include "traffic/session_state.h"

#include <string.h>

/* Where the header says nothing the client is whoever has sent it. */
static enum state enter(struct session *s, const struct proxy_header *header)
{
    struct worker *w = s->worker;
    if (!header->local) {
        memset(&s->client, 0, sizeof s->client);
        memcpy(&s->client, &header->client.sa, header->client.salen);
    }
    const struct dp_addr client = session_client(s);
    const struct acceptor *at = worker_acceptor(w, s->hs->listener);
    if (!at || !client_enters(w->sources, at->conf, &client, &s->source))
        return CLOSED;
    return s->hs->raw ? session_ask(s) : HANDSHAKE;
}

enum state session_header(struct session *s)
{
    static struct log_rate rate;
    struct handshake *hs = s->hs;
    struct proxy_header header;
    char proxy[ADDR_TEXT];
    int n = proxy_read(hs->bytes, hs->len, &header);
    if (n < 0) {
        log_rated(&rate, NS_PER_S, LOG_WARN, "session",
                  "client=%s no header of the PROXY protocol comes from it: closed",
                  session_client_text(s, proxy));
        return CLOSED;
    }
    if (n == 0)
        return HANDSHAKE;
    hs->header_due = false;
    handshake_consume(hs, (size_t)n);
    hs->unread = hs->len > 0;
    return enter(s, &header);
}
