/* SPDX-License-Identifier: MIT
 * shared.c: the memory that all of danted's processes have in common.
 */
#include "dante/shared.h"
#include "dante/libc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of which the ledger takes 8 MiB, and each pool that is new in a reload up to 24 KiB. */
#define ARENA_SIZE ((size_t)20 << 20)

/* Two texts in turn: one generation is read while the next is written. Whoever read so slowly that
 * two more have come sees that the generation has moved, and reads again. */
struct published {
    size_t len[2];
    char text[2][SHARED_TEXT_MAX];
};

/* A new file beside the one of this name, with room for the arena. */
static int file_make(const char *file, char made[4096])
{
    if (snprintf(made, 4096, "%s.%ld", file, (long)getpid()) >= 4096)
        return -ENAMETOOLONG;
    unlink(made);
    int fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    int err = posix_fallocate(fd, 0, (off_t)ARENA_SIZE);
    if (!err)
        return fd;
    unlink(made);
    libc()->close(fd);
    return -err;
}

static int file_try(const char *file)
{
    char made[4096];
    int fd = file_make(file, made);
    if (fd < 0)
        return fd;
    unlink(made);
    libc()->close(fd);
    return 0;
}

int shared_make(struct shared *s, const char *file)
{
    int err = file ? file_try(file) : 0;
    if (err)
        return err;
    s->arena = arena_new_shared(ARENA_SIZE);
    s->published = mmap(NULL, sizeof *s->published, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    s->owner = s->arena ? arena_share(s->arena, ARENA_OWNER, 0, sizeof *s->owner) : NULL;
    if (s->published == MAP_FAILED || !s->owner)
        return -ENOMEM;
    madvise(s->published, sizeof *s->published, MADV_DONTDUMP); /* it holds secrets */
    s->owner->pid = (uint32_t)getpid();
    return 0;
}

/* From here on the arena lies in the file, where it has always been in memory. */
static int arena_move(const struct shared *s, int fd)
{
    struct arena *moved = arena_new(ARENA_SIZE, fd);
    if (!moved)
        return -errno;
    memcpy(moved, s->arena, ARENA_SIZE);
    madvise(moved, ARENA_SIZE, MADV_DONTNEED); /* most of it is not needed soon: the file has it */
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    return mremap(moved, ARENA_SIZE, ARENA_SIZE, flags, s->arena) == MAP_FAILED ? -errno : 0;
}

/* Whole from its first moment on; an old one stays with who has it. */
int shared_show(const struct shared *s, const char *file)
{
    char made[4096];
    int fd = file_make(file, made);
    if (fd < 0)
        return fd;
    int err = arena_move(s, fd);
    if (!err && (fchmod(fd, 0644) < 0 || rename(made, file) < 0))
        err = -errno;
    if (err)
        unlink(made);
    libc()->close(fd);
    return err;
}

void shared_publish(struct shared *s, const char *text, size_t len)
{
    uint32_t generation = shared_generation(s) + 1;
    __atomic_thread_fence(__ATOMIC_RELEASE); /* the one before is seen first: shared_read() */
    memcpy(s->published->text[generation % 2], text, len);
    s->published->len[generation % 2] = len;
    __atomic_store_n(&s->owner->generation, generation, __ATOMIC_RELEASE);
}

char *shared_read(const struct shared *s, uint32_t *generation, size_t *len)
{
    char *text;
    do {
        *generation = shared_generation(s);
        *len = s->published->len[*generation % 2];
        text = malloc(*len + 1);
        if (!text)
            return NULL;
        memcpy(text, s->published->text[*generation % 2], *len);
        __atomic_thread_fence(__ATOMIC_ACQUIRE); /* it has been read before the next look */
        if (shared_generation(s) == *generation)
            return text;
        free(text);
    } while (true);
}
