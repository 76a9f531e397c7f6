/* SPDX-License-Identifier: MIT
 * file.c: a small file read whole: the configuration, a password.
 */
#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_whole(int fd, char *buf, size_t size, size_t *len)
{
    *len = 0;
    while (*len < size) {
        ssize_t n = read(fd, buf + *len, size - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return 0;
}

/* Returns false with the reason. */
static bool file_check(int fd, bool guarded, char why[FILE_WHY])
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        snprintf(why, FILE_WHY, "not a regular file");
    else if (guarded && st.st_mode & S_IWOTH)
        snprintf(why, FILE_WHY, "everybody may write to it (chmod o-w)");
    else
        return true;
    return false;
}

/* One byte more than allowed is asked for, so that a file which grows meanwhile is noticed too. */
static char *file_read_fd(int fd, size_t max, size_t *len, char why[FILE_WHY])
{
    char *buf = malloc(max + 1);
    int err = buf ? read_whole(fd, buf, max + 1, len) : -ENOMEM;
    if (err < 0)
        snprintf(why, FILE_WHY, "%s", strerror(-err));
    else if (*len > max)
        snprintf(why, FILE_WHY, "larger than %zu KiB", max / 1024);
    else
        return buf;
    free(buf);
    return NULL;
}

static char *file_open_read(const char *path, bool guarded, size_t max, size_t *len,
                            char why[FILE_WHY])
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(why, FILE_WHY, "%s", strerror(errno));
        return NULL;
    }
    char *text = file_check(fd, guarded, why) ? file_read_fd(fd, max, len, why) : NULL;
    close(fd);
    return text;
}

char *file_read(const char *path, size_t max, size_t *len, char why[FILE_WHY])
{
    return file_open_read(path, false, max, len, why);
}

char *file_read_guarded(const char *path, size_t max, size_t *len, char why[FILE_WHY])
{
    return file_open_read(path, true, max, len, why);
}
