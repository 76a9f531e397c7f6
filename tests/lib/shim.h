/* SPDX-License-Identifier: MIT
 * shim.h: what a test steers a preloaded shim by: a struct in a file that both have mapped.
 */
#ifndef TESTS_LIB_SHIM_H
#define TESTS_LIB_SHIM_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Maps the file that the variable names; NULL in other programs than the host, which may be started
 * by some and may start others. */
static inline void *shim_control(const char *variable, size_t size)
{
    const char *path = getenv(variable);
    if (!path || strcmp(program_invocation_short_name, "dispatch-host") != 0)
        return NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        abort();
    void *control = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (control == MAP_FAILED)
        abort();
    return control;
}

#endif
