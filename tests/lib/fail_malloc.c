/* SPDX-License-Identifier: MIT
 * fail_malloc.c: preloaded into the host, it lets one allocation in so many fail, by chance but by
 * the same chance each time, or one alone; and counts what is in use.
 *
 * The file that DISPATCH_FAIL_MALLOC names says which, and may change at any time. Nothing fails
 * before the main thread waits in its loop: at the start, out of memory is the end by design.
 */
#include "lib/shim.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

struct control {
    uint32_t every; /* one in so many fails; 0: none */
    uint32_t seed;
    uint64_t calls, failed; /* counted here */
    uint64_t used;          /* bytes */
    uint64_t only;          /* this call fails, of those counted; 0: by chance */
};

static struct control *control;
static bool armed; /* atomic */
static bool counting;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

/* What a child has is another heap. */
static void in_child(void)
{
    counting = false;
}

__attribute__((constructor)) static void start(void)
{
    control = shim_control("DISPATCH_FAIL_MALLOC", sizeof *control);
    counting = control;
    pthread_atfork(NULL, NULL, in_child);
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
    uint64_t only = __atomic_load_n(&control->only, __ATOMIC_RELAXED);
    if (!every && !only)
        return false;
    uint64_t n = __atomic_add_fetch(&control->calls, 1, __ATOMIC_RELAXED);
    if (only ? n != only : mix(((uint64_t)control->seed << 32) + n) % every != 0)
        return false;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

/* What comes before the constructor is not counted: a difference is what matters. */
static void *count(void *p, uint64_t factor)
{
    if (counting && p)
        __atomic_fetch_add(&control->used, factor * malloc_usable_size(p), __ATOMIC_RELAXED);
    return p;
}

#define MORE UINT64_C(1)
#define LESS UINT64_MAX /* minus one */

void *malloc(size_t size)
{
    return fails() ? NULL : count(__libc_malloc(size), MORE);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : count(__libc_calloc(n, size), MORE);
}

void *realloc(void *p, size_t size)
{
    if (fails())
        return NULL;
    count(p, LESS);
    void *new = __libc_realloc(p, size);
    count(new || !size ? new : p, MORE);
    return new;
}

void *aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : count(__libc_memalign(align, size), MORE);
}

void *memalign(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}

int posix_memalign(void **p, size_t align, size_t size)
{
    void *new = aligned_alloc(align, size);
    if (!new)
        return ENOMEM;
    *p = new;
    return 0;
}

void free(void *p)
{
    count(p, LESS);
    __libc_free(p);
}

int epoll_wait(int fd, struct epoll_event *events, int n, int ms)
{
    if (control && gettid() == getpid())
        __atomic_store_n(&armed, true, __ATOMIC_RELAXED);
    return (int)syscall(SYS_epoll_pwait, fd, events, n, ms, NULL, _NSIG / 8);
}
