/* SPDX-License-Identifier: MIT
 * file.h: a small file read whole: the configuration, a password.
 */
#ifndef CONFIG_FILE_H
#define CONFIG_FILE_H

#include <stddef.h>

#define FILE_WHY 128

/* Reads a regular file of at most `max` bytes. Returns its bytes, which the caller wipes and frees,
 * or NULL with the reason; there is room for a NUL behind. Never waits for a pipe or a device. */
char *file_read(const char *path, size_t max, size_t *len, char why[FILE_WHY]);

/* The same, and fails if everybody may write to it: for what decides who may do what. */
char *file_read_guarded(const char *path, size_t max, size_t *len, char why[FILE_WHY]);

#endif
