/* SPDX-License-Identifier: MIT
 * dns_answer.c: what a name server has answered: addresses or none, and for how long that holds.
 */
#include "route/dns_answer.h"

#include <ares.h>
#include <dispatch-plugin.h>
#include <string.h>
#include <sys/socket.h>

#define TTL_MAX_S 86400        /* whatever a server says: a day */
#define NEGATIVE_TTL_MAX_S 300 /* RFC 2308, section 5, allows hours, and a new name is waited for */

/* The RFC would have "no" without a SOA record forgotten at once, lest forwarders pass it round for
 * ever; we forward to nobody. Many home routers answer so for IPv6, and a name that has IPv4 is not
 * to be asked for each time on that account. */
#define NO_SUCH_TYPE_TTL_S 30

#define TYPE_SOA 6

size_t dns_ip_size(int family)
{
    return family == AF_INET ? 4 : 16;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* RFC 2181, section 8: with the highest bit set it is 0. */
static uint32_t ttl_known(int64_t ttl, uint32_t max)
{
    return ttl < 0 || ttl > INT32_MAX ? 0 : smaller((uint32_t)ttl, max);
}

/* ---- addresses ---- */

static int read_v4(struct dns_answer *a, const uint8_t *msg, size_t len)
{
    struct ares_addrttl found[DNS_ADDRESSES_MAX];
    int n = DNS_ADDRESSES_MAX, status = ares_parse_a_reply(msg, (int)len, NULL, found, &n);
    for (int i = 0; status == ARES_SUCCESS && i < n; i++) {
        memcpy(a->ip[a->n++], &found[i].ipaddr, 4);
        a->ttl_s = smaller(a->ttl_s, ttl_known(found[i].ttl, TTL_MAX_S));
    }
    return status;
}

static int read_v6(struct dns_answer *a, const uint8_t *msg, size_t len)
{
    struct ares_addr6ttl found[DNS_ADDRESSES_MAX];
    int n = DNS_ADDRESSES_MAX, status = ares_parse_aaaa_reply(msg, (int)len, NULL, found, &n);
    for (int i = 0; status == ARES_SUCCESS && i < n; i++) {
        memcpy(a->ip[a->n++], &found[i].ip6addr, 16);
        a->ttl_s = smaller(a->ttl_s, ttl_known(found[i].ttl, TTL_MAX_S));
    }
    return status;
}

/* ---- how long "no" holds ---- */

struct reader {
    const uint8_t *p, *end;
    bool broken;
};

static uint32_t take(struct reader *r, size_t n)
{
    uint32_t value = 0;
    if (r->broken || (size_t)(r->end - r->p) < n) {
        r->broken = true;
        return 0;
    }
    while (n--)
        value = value << 8 | *r->p++;
    return value;
}

static void skip(struct reader *r, size_t n)
{
    if (r->broken || (size_t)(r->end - r->p) < n)
        r->broken = true;
    else
        r->p += n;
}

/* Labels up to an empty one, or up to a pointer (RFC 1035, section 4.1.4), which is not followed. */
static void skip_name(struct reader *r)
{
    uint32_t label;
    while ((label = take(r, 1)) != 0) {
        if (label >= 0xc0) {
            skip(r, 1);
            return;
        }
        skip(r, label);
    }
}

/* RFC 2308, section 5: the lesser of the TTL of the SOA record among the authorities and its own
 * `minimum`. `without` one. */
static uint32_t negative_ttl(const uint8_t *msg, size_t len, uint32_t without)
{
    struct reader r = {.p = msg, .end = msg + len};
    skip(&r, 4);
    uint32_t questions = take(&r, 2), answers = take(&r, 2), authorities = take(&r, 2);
    skip(&r, 2);
    for (uint32_t i = 0; i < questions && !r.broken; i++) {
        skip_name(&r);
        skip(&r, 4);
    }
    for (uint32_t i = 0; i < answers + authorities && !r.broken; i++) {
        skip_name(&r);
        uint32_t type = take(&r, 2);
        skip(&r, 2);
        uint32_t ttl = take(&r, 4), data_len = take(&r, 2);
        if (type != TYPE_SOA || i < answers) {
            skip(&r, data_len);
            continue;
        }
        skip_name(&r);
        skip_name(&r);
        skip(&r, 16);
        uint32_t minimum = take(&r, 4);
        return r.broken ? 0
                        : smaller(ttl_known(ttl, NEGATIVE_TTL_MAX_S),
                                  ttl_known(minimum, NEGATIVE_TTL_MAX_S));
    }
    return r.broken ? 0 : without;
}

/* ---- the whole ---- */

static int status_error(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return DP_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return DP_ERR_NO_HOST;
    case ARES_ENOMEM:
    case ARES_ECANCELLED: /* the channel has become deaf */
    case ARES_EDESTRUCTION:
        return DP_ERR_LOCAL;
    default:
        return DP_ERR_HOST_UNREACH;
    }
}

void dns_answer_read(struct dns_answer *answer, int family, int status, const uint8_t *msg,
                     size_t len)
{
    answer->n = 0;
    answer->ttl_s = TTL_MAX_S;
    if (status == ARES_SUCCESS)
        status = family == AF_INET ? read_v4(answer, msg, len) : read_v6(answer, msg, len);
    if (status == ARES_SUCCESS && answer->n == 0) /* an alias of a name without */
        status = ARES_ENODATA;
    answer->err = status_error(status);
    answer->exists = status == ARES_SUCCESS || status == ARES_ENODATA;
    if (answer->err == DP_ERR_NO_HOST)
        answer->ttl_s = msg ? negative_ttl(msg, len, answer->exists ? NO_SUCH_TYPE_TTL_S : 0) : 0;
}
