/* SPDX-License-Identifier: MIT
 * budget.c: how many sessions at once this process has descriptors for.
 */
#include "traffic/budget.h"

#include <dirent.h>
#include <dispatch-plugin.h>
#include <sys/resource.h>

#define SESSION_FDS 2 /* the client's and the link's */

/* Kept for what comes and goes beside sessions: 32 pipes of two (half of what a user may own by
 * default), 32 to name servers, 32 for dials side by side, 32 for whoever else opens something; or a
 * quarter, where that is less. */
#define RESERVE_FDS 160
#define RESERVE_SHARE 4
#define RESERVE_FDS_PER_PIPE 5

uint64_t budget_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

uint64_t budget_open(void)
{
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return RESERVE_FDS; /* no /proc: surely not more */
    while (readdir(dir))
        n++;
    closedir(dir);
    return n > 3 ? n - 3 : 0; /* `.`, `..` and the folder itself */
}

bool budget_set(struct budget *b, uint64_t limit, uint64_t open)
{
    uint64_t room = limit > open ? limit - open : 0;
    uint64_t reserve = room / RESERVE_SHARE < RESERVE_FDS ? room / RESERVE_SHARE : RESERVE_FDS;
    uint64_t sessions = (room - reserve) / SESSION_FDS;
    if (sessions == 0)
        return false;
    dp_store(&b->sessions, sessions < UINT32_MAX ? (uint32_t)sessions : UINT32_MAX);
    dp_store(&b->pipes, (uint32_t)(reserve / RESERVE_FDS_PER_PIPE));
    return true;
}

bool budget_full(const struct budget *b)
{
    return dp_load(&b->used) >= dp_load(&b->sessions);
}

bool budget_take(struct budget *b)
{
    uint32_t used = dp_load(&b->used);
    do
        if (used >= dp_load(&b->sessions))
            return false;
    while (!__atomic_compare_exchange_n(&b->used, &used, used + 1, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    return true;
}

void budget_give(struct budget *b)
{
    dp_add(&b->used, UINT32_MAX); /* one less */
}
