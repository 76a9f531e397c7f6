/* SPDX-License-Identifier: MIT
 * notify.c: the service manager is told how things stand, by the protocol of sd_notify(3).
 */
#include "notify.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_SECONDS \
    5 /* a manager is busy when the machine starts; one that hangs is not waited for */

static bool handed_over;

/* A path, or behind an '@' a name without a file. Returns its size, or 0: no such address. */
static socklen_t address_of(struct sockaddr_un *addr, const char *text)
{
    size_t len = strlen(text);
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if ((*text != '/' && *text != '@') || len < 2 || len >= sizeof addr->sun_path)
        return 0;
    memcpy(addr->sun_path, text, len);
    if (*text == '@')
        addr->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*text == '/'));
}

/* Returns 0 or an errno. */
static int send_to(const char *address, const char *message)
{
    struct sockaddr_un addr;
    const struct timeval limit = {.tv_sec = SEND_SECONDS};
    socklen_t size = address_of(&addr, address);
    if (!size)
        return EAFNOSUPPORT;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        sendto(fd, message, strlen(message), MSG_NOSIGNAL, (const struct sockaddr *)&addr, size) <
            0)
        err = errno;
    close(fd);
    return err;
}

static void tell(const char *message)
{
    const char *address = getenv("NOTIFY_SOCKET");
    if (!address || !*address || handed_over)
        return;
    int err = send_to(address, message);
    if (err)
        log_line(LOG_WARN, "host", "cannot tell the service manager at %s: %s", address,
                 strerror(err));
}

void notify_ready(void)
{
    tell("READY=1");
}

void notify_reloading(void)
{
    char message[64];
    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)(clock_now_ns() / 1000));
    tell(message);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

void notify_handed_over(pid_t pid)
{
    char message[64];
    snprintf(message, sizeof message, "MAINPID=%ld", (long)pid);
    tell(message);
    handed_over = true;
}
