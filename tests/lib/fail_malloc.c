/* SPDX-License-Identifier: MIT
 * fail_malloc.c: preloaded into the host, it lets one allocation in so many fail, by chance but by
 * the same chance each time.
 *
 * The file that DISPATCH_FAIL_MALLOC names says how many, and may change at any time. Nothing fails
 * before the main thread waits in its loop: at the start, out of memory is the end by design.
 */
#include "lib/shim.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

struct control {
    uint32_t every; /* one in so many fails; 0: none */
    uint32_t seed;
    uint64_t calls, failed; /* counted here */
};

static struct control *control;
static bool armed; /* atomic */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

__attribute__((constructor)) static void start(void)
{
    control = shim_control("DISPATCH_FAIL_MALLOC", sizeof *control);
}

/* splitmix64: neighbours have nothing in common. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static bool fails(void)
{
    if (!__atomic_load_n(&armed, __ATOMIC_RELAXED))
        return false;
    uint32_t every = __atomic_load_n(&control->every, __ATOMIC_RELAXED);
    if (!every)
        return false;
    uint64_t n = __atomic_fetch_add(&control->calls, 1, __ATOMIC_RELAXED);
    if (mix(((uint64_t)control->seed << 32) + n) % every)
        return false;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    return fails() ? NULL : __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __libc_memalign(align, size);
}

void *memalign(size_t align, size_t size)
{
    return fails() ? NULL : __libc_memalign(align, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
    void *got = fails() ? NULL : __libc_memalign(align, size);
    if (!got)
        return ENOMEM;
    *p = got;
    return 0;
}

int epoll_wait(int fd, struct epoll_event *events, int n, int ms)
{
    if (control && gettid() == getpid())
        __atomic_store_n(&armed, true, __ATOMIC_RELAXED);
    return (int)syscall(SYS_epoll_pwait, fd, events, n, ms, NULL, _NSIG / 8);
}
