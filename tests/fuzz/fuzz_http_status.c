/* SPDX-License-Identifier: MIT
 * fuzz_http_status.c: the status of what a health check is answered. The first byte says how the
 * rest is cut.
 */
#include "fuzz/cuts.h"
#include "proto/http_status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 1)
        return 0;
    struct http_status whole = {0}, cut = {0};
    uint32_t seed = data[0];
    int status = http_status_read(&whole, ++data, --len), got = 0;
    for (size_t at = 0, n; at < len && got == 0; at += n) {
        n = cut_next(&seed, len - at);
        got = http_status_read(&cut, data + at, n);
    }
    require(got == status);
    require(status == -1 || status == 0 || status == 101 || (status >= 200 && status <= 999));
    return 0;
}
