/* SPDX-License-Identifier: MIT
 * test_arena.c: blocks of the arena are aligned, zeroed, apart, come back when freed, and are shared.
 */
#include "route/arena.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

static bool filled(const uint8_t *p, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != value)
            return false;
    return true;
}

Test(arena, sizes)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 128, 1000, 4096};
    struct arena *a = arena_new(65536, -1);
    cr_assert(a != NULL);
    for (int round = 0; round < 3; round++) {
        uint8_t *block[LENGTH(sizes)];
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            block[i] = arena_alloc(a, sizes[i]);
            cr_assert(block[i] != NULL);
            cr_assert(eq(sz, (uintptr_t)block[i] % 64, 0));
            cr_assert(filled(block[i], sizes[i], 0), "zeroed, also when used again");
            memset(block[i], (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            cr_assert(filled(block[i], sizes[i], (uint8_t)(i + 1)), "no two blocks overlap");
            arena_free(a, block[i]);
        }
    }
    arena_free(a, NULL);
    arena_destroy(a);
    arena_destroy(NULL);
}

Test(arena, full)
{
    struct arena *a = arena_new(1, -1); /* a page at least */
    void *block[64];
    size_t n = 0;
    cr_assert(a != NULL);
    cr_expect(eq(ptr, arena_alloc(a, SIZE_MAX), NULL));
    cr_expect(eq(ptr, arena_alloc(a, SIZE_MAX - 64), NULL));
    cr_expect(eq(ptr, arena_alloc(a, 4096), NULL), "the page has a header");
    while (n < LENGTH(block) && (block[n] = arena_alloc(a, 64)))
        n++;
    cr_assert(n > 20 && n < LENGTH(block));
    cr_expect(eq(ptr, arena_alloc(a, 0), NULL));

    /* Every second one freed: there is room, but nowhere for two. */
    for (size_t i = 0; i < n; i += 2)
        arena_free(a, block[i]);
    cr_expect(eq(ptr, arena_alloc(a, 129), NULL));
    for (size_t i = 1; i < n; i += 2)
        arena_free(a, block[i]);
    cr_expect(arena_alloc(a, 3900) != NULL, "neighbours are joined");
    arena_destroy(a);
}

/* Against a record of what is in use: nothing is lost and nothing given twice. */
Test(arena, many_rounds)
{
    enum { SLOTS = 50 };
    struct {
        uint8_t *p;
        size_t len;
        uint8_t value;
    } slot[SLOTS] = {{NULL, 0, 0}};
    struct arena *a = arena_new(1 << 18, -1);
    unsigned seed = 7;
    cr_assert(a != NULL);
    for (int i = 0; i < 20000; i++) {
        size_t s = (size_t)rand_r(&seed) % SLOTS;
        if (slot[s].p) {
            cr_assert(filled(slot[s].p, slot[s].len, slot[s].value), "round %d", i);
            arena_free(a, slot[s].p);
            slot[s].p = NULL;
        } else {
            slot[s].len = (size_t)rand_r(&seed) % 2000;
            slot[s].value = (uint8_t)i;
            slot[s].p = arena_alloc(a, slot[s].len);
            cr_assert(slot[s].p != NULL, "round %d", i);
            cr_assert(filled(slot[s].p, slot[s].len, 0), "round %d", i);
            memset(slot[s].p, slot[s].value, slot[s].len);
        }
    }
    for (size_t s = 0; s < SLOTS; s++)
        arena_free(a, slot[s].p);
    cr_expect(arena_alloc(a, (1 << 18) - 256) != NULL, "all of it has come back");
    arena_destroy(a);
}

/* Of a large block nothing is touched before its user does, but for what was used before. */
Test(arena, fresh_memory_costs_nothing)
{
    enum { PAGE = 4096, PAGES = 1024 };
    static unsigned char resident[PAGES + 4];
    struct arena *a = arena_new((PAGES + 4) * PAGE, -1);
    void *small = arena_alloc(a, PAGE);
    arena_free(a, small);
    cr_assert(arena_alloc(a, PAGES * PAGE) != NULL);
    cr_assert(eq(int, mincore(a, sizeof resident * PAGE, resident), 0));
    int n = 0;
    for (size_t i = 0; i < sizeof resident; i++)
        n += resident[i] & 1;
    cr_expect(n < 8, "%d pages", n);
    arena_destroy(a);
}

Test(arena, shared_by_a_forked_process)
{
    for (int shared = 0; shared < 2; shared++) {
        struct arena *a = shared ? arena_new_shared(4096) : arena_new(4096, -1);
        uint32_t *number = arena_alloc(a, sizeof *number);
        cr_assert(number != NULL);
        pid_t pid = fork();
        cr_assert(pid >= 0);
        if (pid == 0) {
            __atomic_fetch_add(number, 5, __ATOMIC_RELAXED);
            execl("/bin/true", "true", NULL); /* an exit that no leak checker looks at */
            _exit(1);
        }
        waitpid(pid, NULL, 0);
        cr_expect(eq(u32, *number, shared ? 5 : 0));
        arena_destroy(a);
    }
}

/* One process makes the blocks, all find them; a file shows them to other programs. */
Test(arena, shared_blocks)
{
    char path[] = "/tmp/test-arena-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    struct arena *a = arena_new(1 << 16, fd);
    cr_assert(a != NULL);
    cr_expect(arena_is_shared(a));
    uint64_t *one = arena_share(a, ARENA_LINK, 7, sizeof *one);
    uint64_t *two = arena_share(a, ARENA_LINK, 8, sizeof *two);
    uint64_t *other = arena_share(a, ARENA_POOL, 7, 4000);
    cr_assert(one && two && other && one != two && other != one);
    cr_expect(eq(ptr, arena_share(a, ARENA_LINK, 7, sizeof *one), one), "found again");
    cr_expect(eq(ptr, arena_at(a, arena_offset(a, two)), two));
    *one = 11;
    arena_free(a, one);
    cr_expect(eq(ptr, arena_share(a, ARENA_LINK, 7, sizeof *one), one), "is never freed");
    pid_t pid = fork();
    if (pid == 0) {
        bool good = arena_share(a, ARENA_LINK, 7, sizeof *one) == one &&
                    !arena_share(a, ARENA_LINK, 9, sizeof *one);
        *two = 22;
        execl(good ? "/bin/true" : "/bin/false", "x", NULL);
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_expect(eq(i32, status, 0), "another process finds blocks and makes none");

    struct arena *seen = arena_look(fd);
    cr_assert(seen != NULL);
    const uint64_t *block = arena_next(seen, ARENA_LINK, NULL);
    cr_assert(block != NULL);
    cr_expect(eq(u64, *block, 11));
    block = arena_next(seen, ARENA_LINK, block);
    cr_assert(block != NULL);
    cr_expect(eq(u64, *block, 22));
    cr_expect(arena_room(a, block) >= sizeof *two);
    cr_expect(eq(ptr, arena_next(seen, ARENA_LINK, block), NULL));
    arena_destroy(seen);
    arena_destroy(a);

    cr_assert(eq(i32, ftruncate(fd, 0), 0));
    cr_expect(eq(ptr, arena_look(fd), NULL), "an empty file");
    cr_assert(eq(i32, ftruncate(fd, 1 << 16), 0));
    cr_expect(eq(ptr, arena_look(fd), NULL), "not an arena");
    close(fd);
    unlink(path);
}
