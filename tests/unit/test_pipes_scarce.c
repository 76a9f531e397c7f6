/* SPDX-License-Identifier: MIT
 * test_pipes_scarce.c: a few pipes for many: how much goes into each, and who has to do without.
 */
#include "traffic/pipes.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 4

static struct pipes *pipes;
static int end[2];

static void setup(void)
{
    int size = 1 << 20;
    pipes = pipes_new(MAX);
    cr_assert(pipes != NULL);
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, end), 0));
    cr_assert(eq(int, setsockopt(end[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0));
}

static void teardown(void)
{
    pipes_free(pipes);
    close(end[0]);
    close(end[1]);
}

TestSuite(pipes_scarce, .init = setup, .fini = teardown);

/* Fills one with what the socket has, `len` bytes. */
static size_t filled(struct pipe *pipe, size_t len)
{
    uint8_t *bytes = malloc(len);
    cr_assert(bytes != NULL);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i % 251);
    cr_assert(eq(i64, send(end[0], bytes, len, MSG_NOSIGNAL), (ssize_t)len));
    for (ssize_t n = 1; n > 0 && pipe->len < pipe->most;)
        n = pipe_fill(pipe, end[1]);
    free(bytes);
    return pipe->len;
}

/* Half of them take all they can: the others can be emptied into memory. */
Test(pipes_scarce, the_last_ones_take_little)
{
    struct pipe *pipe[MAX + 1];
    for (int i = 0; i < MAX; i++) {
        pipe[i] = pipes_take(pipes);
        cr_assert(pipe[i] != NULL);
        cr_expect(eq(sz, pipe[i]->most, i < MAX / 2 ? pipe[i]->size : PIPE_LITTLE), "%d", i);
    }
    cr_expect(pipes_take(pipes) == NULL);
    cr_expect(le(sz, filled(pipe[MAX - 1], 3 * PIPE_LITTLE), PIPE_LITTLE));
    for (int i = 0; i < MAX; i++)
        pipes_give(pipes, pipe[i]);
    pipe[0] = pipes_take(pipes);
    cr_expect(eq(sz, pipe[0]->most, pipe[0]->size), "the same one, now that there are more");
    pipes_give(pipes, pipe[0]);
}

Test(pipes_scarce, stuck)
{
    static const struct {
        size_t len;
        bool stuck;
    } rows[] = {{1, true}, {PIPE_LITTLE, true}, {PIPE_LITTLE + 1, false}, {300000, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pipe *pipe = pipes_take(pipes);
        uint8_t got[PIPE_LITTLE];
        cr_assert(eq(sz, filled(pipe, rows[i].len), rows[i].len));
        cr_expect(not(pipe_is_stuck(pipe)), "%zu: it may just have been filled", i);
        cr_expect(eq(int, pipe_is_stuck(pipe), rows[i].stuck), "%zu bytes", rows[i].len);
        cr_assert(gt(i64, pipe_drain(pipe, end[1]), 0));
        cr_expect(not(pipe_is_stuck(pipe)), "%zu: something was taken", i);
        while (recv(end[0], got, sizeof got, 0) > 0)
            ;
        pipes_give(pipes, pipe);
    }
}

Test(pipes_scarce, emptied_into_memory)
{
    struct pipe *pipe = pipes_take(pipes);
    static uint8_t got[PIPE_LITTLE];
    size_t len = filled(pipe, sizeof got);
    cr_assert(eq(int, pipe_read(pipe, got), 0));
    cr_expect(eq(sz, pipe->len, 0));
    for (size_t i = 0; i < len; i++)
        cr_assert(eq(int, got[i], (int)(i % 251)), "%zu", i);
    pipes_give(pipes, pipe);
}

/* Whoever is refused one does not ask for it at each read. */
Test(pipes_scarce, refused_until_the_next_trim)
{
    struct rlimit limit, none = {0, 0};
    cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
    none.rlim_max = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &none);
    cr_expect(pipes_take(pipes) == NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_expect(pipes_take(pipes) == NULL);
    pipes_trim(pipes);
    struct pipe *pipe = pipes_take(pipes);
    cr_assert(pipe != NULL);
    pipes_give(pipes, pipe);
}
