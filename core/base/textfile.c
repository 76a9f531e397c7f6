/* SPDX-License-Identifier: MIT
 * textfile.c: a small file of the system, read whole, and again when it has changed.
 */
#include "base/textfile.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           same_time(&a->st_mtim, &b->st_mtim) && same_time(&a->st_ctim, &b->st_ctim);
}

/* What has been added since the look at it shows at the next one. */
static void read_all(struct textfile *f, int fd)
{
    size_t size = (size_t)f->seen.st_size < f->max ? (size_t)f->seen.st_size : f->max;
    ssize_t n;
    f->text = malloc(size + 1);
    if (!f->text) {
        f->looked = false; /* again the next time */
        return;
    }
    while (f->len < size && (n = read(fd, f->text + f->len, size - f->len)) > 0)
        f->len += (size_t)n;
    f->text[f->len] = '\0';
}

bool textfile_refresh(struct textfile *f)
{
    struct stat now = {0};
    if (stat(f->path, &now) < 0)
        memset(&now, 0, sizeof now);
    if (f->looked && same_file(&now, &f->seen))
        return false;
    f->looked = true;
    f->seen = now;
    free(f->text);
    f->text = NULL;
    f->len = 0;
    int fd = S_ISREG(now.st_mode) ? open(f->path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return true;
    read_all(f, fd);
    close(fd);
    return true;
}

void textfile_deinit(struct textfile *f)
{
    free(f->text);
    f->text = NULL;
}
