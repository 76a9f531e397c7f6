/* SPDX-License-Identifier: MIT
 * handshake.c: what a client says before its connection is relayed.
 */
#include "traffic/handshake.h"
#include "proto/sniff.h"

#include <stdlib.h>
#include <string.h>

struct handshake *handshake_new(const struct conf_listener *listener, struct pool *pool,
                                int64_t now_ns)
{
    struct handshake *hs = calloc(1, sizeof *hs);
    struct login *login = listener->users ? login_new() : NULL;
    if (!hs || (listener->users && !login)) {
        login_free(login);
        free(hs);
        return NULL;
    }
    hs->login = login;
    ref_get(&pool->ref);
    hs->pool = pool;
    hs->speaks = listener->protocols;
    hs->raw = listener->protocols == PROTO_RAW;
    hs->early_reply = listener->early_reply;
    hs->body_max = listener->max_request_body ? listener->max_request_body : UINT64_MAX;
    hs->since_ns = now_ns;
    hs->bytes = hs->first;
    hs->size = sizeof hs->first;
    memcpy(hs->listener, listener->name, strnlen(listener->name, sizeof hs->listener - 1));
    return hs;
}

static void buffer_free(struct handshake *hs)
{
    if (hs->bytes != hs->first)
        free(hs->bytes);
    hs->bytes = hs->first;
    hs->size = sizeof hs->first;
}

void handshake_free(struct handshake *hs)
{
    if (!hs)
        return;
    dial_free(hs->dial);
    ref_drop(&hs->pool->ref);
    if (hs->login)
        explicit_bzero(hs->bytes, hs->size);
    login_free(hs->login);
    buffer_free(hs);
    free(hs->errand);
    free(hs);
}

void handshake_consume(struct handshake *hs, size_t n)
{
    hs->len -= n;
    memmove(hs->bytes, hs->bytes + n, hs->len);
    if (hs->login)
        explicit_bzero(hs->bytes + hs->len, n); /* there may be a password in it */
    if (hs->len == 0)
        buffer_free(hs);
}

void handshake_dest(struct handshake *hs, const struct dp_addr *dest)
{
    hs->dest = *dest;
    if (dest->salen)
        return;
    memcpy(hs->name, dest->name, dest->name_len);
    hs->dest.name = hs->name;
}

void handshake_pool(struct handshake *hs, struct pool *pool)
{
    ref_get(&pool->ref);
    ref_drop(&hs->pool->ref);
    hs->pool = pool;
}

/* ---- which protocol ---- */

static const struct client_protocol *const spoken[] = {
    [SNIFF_SOCKS5] = &client_socks5, [SNIFF_SOCKS4] = &client_socks4, [SNIFF_HTTP] = &client_http};

_Static_assert(1 + SNIFF_UNKNOWN < REFUSAL_LOGIN, "one for each, and one for requests");

/* A client of a protocol that this port does not speak is told so in its own. */
static enum turn refuse_protocol(enum sniff kind, struct refusal *refusal)
{
    size_t len;
    const char *text = sniff_refusal(kind, &len);
    memcpy(refusal->bytes, text, len);
    refusal->len = len;
    refusal->why = sniff_mistake(kind);
    refusal->kind = 1 + kind;
    return TURN_REFUSE;
}

static bool grow(struct handshake *hs)
{
    uint8_t *bytes = malloc(HTTP_HEAD_MAX);
    if (!bytes)
        return false;
    memcpy(bytes, hs->first, hs->len);
    if (hs->login)
        explicit_bzero(hs->first, sizeof hs->first);
    hs->bytes = bytes;
    hs->size = HTTP_HEAD_MAX;
    return true;
}

int handshake_put(struct handshake *hs, const uint8_t *bytes, size_t len)
{
    if (len > hs->size - hs->len && (hs->bytes != hs->first || !grow(hs)))
        return -1;
    if (len)
        memcpy(hs->bytes + hs->len, bytes, len);
    hs->len += len;
    hs->unread |= len > 0;
    return 0;
}

enum turn handshake_read(struct handshake *hs, struct refusal *refusal)
{
    refusal->why = NULL;
    refusal->code = 0;
    refusal->kind = 0;
    refusal->keep = false;
    refusal->len = 0;
    if (!hs->protocol) {
        enum sniff kind = sniff_first_byte(hs->bytes[0]);
        if (kind > SNIFF_HTTP || !(hs->speaks & spoken[kind]->proto))
            return refuse_protocol(kind, refusal);
        hs->protocol = spoken[kind];
    }
    enum turn turn = hs->protocol->read(hs, refusal);
    bool full = turn == TURN_CLIENT && hs->len == hs->size;
    return full && !grow(hs) ? TURN_REFUSE : turn;
}
