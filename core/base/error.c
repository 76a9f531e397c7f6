/* SPDX-License-Identifier: MIT
 * error.c: the errors of dispatch-plugin.h, compared and checked.
 */
#include "base/error.h"

#include <stdbool.h>

/* DEST says most: the destination itself has answered. */
int error_worse(int a, int b)
{
    static const int rank[] = {
        [DP_CANCELLED] = 1, [DP_UNABLE] = 2, [DP_LINK] = 3,
        [DP_LOCAL] = 4,     [DP_PATH] = 5,   [DP_DEST] = 6,
    };
    int ra = a ? rank[dp_blame(a)] : 0, rb = b ? rank[dp_blame(b)] : 0;
    return rb > ra ? b : a;
}

int error_checked(int result)
{
    if (result == DP_OK || result == DP_AGAIN)
        return result;
    bool has_blame = result <= DP_ERROR(DP_LOCAL, 0) && result >= DP_ERROR(DP_CANCELLED, 255);
    return has_blame ? result : DP_ERR_LINK;
}
