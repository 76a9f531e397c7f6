/* SPDX-License-Identifier: MIT
 * clock_jump.c: preloaded into the host, it puts the wall clock wrong by as many seconds as the file
 * says that DISPATCH_CLOCK_JUMP names. Clocks that cannot be set are left alone.
 */
#include "lib/shim.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static int64_t *jump; /* atomic: seconds */

__attribute__((constructor)) static void start(void)
{
    jump = shim_control("DISPATCH_CLOCK_JUMP", sizeof *jump);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && jump && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += __atomic_load_n(jump, __ATOMIC_RELAXED);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec t;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *now = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}
