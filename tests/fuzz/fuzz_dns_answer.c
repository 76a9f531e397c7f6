/* SPDX-License-Identifier: MIT
 * fuzz_dns_answer.c: what a name server may answer. The first byte says what was asked, and what
 * c-ares made of the answer.
 */
#include "fuzz/target.h"
#include "route/dns_answer.h"

#include <ares.h>
#include <dispatch-plugin.h>
#include <sys/socket.h>

#define DAY_S 86400
#define NEGATIVE_S 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const int said[] = {ARES_SUCCESS, ARES_SUCCESS, ARES_ENODATA, ARES_ENOTFOUND};
    struct dns_answer answer;
    if (len < 1)
        return 0;
    int family = data[0] & 1 ? AF_INET6 : AF_INET, status = said[data[0] >> 1 & 3];
    dns_answer_read(&answer, family, status, data + 1, len - 1);
    require((answer.err == DP_OK) == (answer.n > 0) && answer.n <= DNS_ADDRESSES_MAX);
    require(answer.err == DP_OK || answer.err == DP_ERR_NO_HOST ||
            answer.err == DP_ERR_HOST_UNREACH || answer.err == DP_ERR_LOCAL);
    require(answer.err != DP_OK || (answer.exists && answer.ttl_s <= DAY_S));
    require(answer.err != DP_ERR_NO_HOST || answer.ttl_s <= NEGATIVE_S);
    require(status == ARES_SUCCESS || answer.err == DP_ERR_NO_HOST);
    return 0;
}
