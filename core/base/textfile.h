/* SPDX-License-Identifier: MIT
 * textfile.h: a small file of the system, read whole, and again when it has changed.
 */
#ifndef BASE_TEXTFILE_H
#define BASE_TEXTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* Starts zeroed, but for path and max. */
struct textfile {
    const char *path;
    size_t max;       /* what is beyond is not read */
    char *text;       /* ends with NUL; NULL: there is no such file, or it cannot be read */
    size_t len;       /* without the NUL */
    struct stat seen; /* as it was when it was read; all 0: it was not there */
    bool looked;
};

/* Looks whether the file has changed since the last time, and if so reads it: true. Costs one system
 * call when it has not. */
bool textfile_refresh(struct textfile *f);

void textfile_deinit(struct textfile *f);

#endif
