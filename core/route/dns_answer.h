/* SPDX-License-Identifier: MIT
 * dns_answer.h: what a name server has answered: addresses or none, and for how long that holds.
 */
#ifndef ROUTE_DNS_ANSWER_H
#define ROUTE_DNS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_ADDRESSES_MAX 16 /* of one name in one family; more are not used */

struct dns_answer {
    int err;     /* DP_OK and n > 0, DP_ERR_NO_HOST, or why there is no answer */
    bool exists; /* the name does, if perhaps without such an address */
    uint32_t ttl_s;
    size_t n;
    uint8_t ip[DNS_ADDRESSES_MAX][16]; /* of IPv4 the first four bytes */
};

/* How an IPv4 or IPv6 question to a name server ended: `status` is c-ares', `msg` the answer if there
 * is one. */
void dns_answer_read(struct dns_answer *answer, int family, int status, const uint8_t *msg,
                     size_t len);

/* How many bytes an address of the family has. */
size_t dns_ip_size(int family);

#endif
