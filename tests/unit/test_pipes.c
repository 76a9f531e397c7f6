/* SPDX-License-Identifier: MIT
 * test_pipes.c: a pool of pipes: how many there are, when they are closed, what goes through them,
 * and that there are none where the system gives none.
 */
#include "lib/fake_route.h"
#include "route/socket.h"
#include "traffic/pipes.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

enum { MIB = 1 << 20, SIZE_MIN = 65536, MANY = 10 };

static int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    cr_assert(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static struct pipes *pool_of(unsigned max)
{
    struct pipes *pool = pipes_new(max);
    cr_assert(pool != NULL);
    return pool;
}

static struct pipe *taken(struct pipes *pool)
{
    struct pipe *pipe = pipes_take(pool);
    cr_assert(pipe != NULL);
    cr_expect(eq(sz, pipe->len, 0));
    return pipe;
}

/* Takes n, and gives all back. */
static void use(struct pipes *pool, int n)
{
    struct pipe *pipe[MANY];
    for (int i = 0; i < n; i++)
        pipe[i] = taken(pool);
    while (n > 0)
        pipes_give(pool, pipe[--n]);
}

/* ---- how many ---- */

Test(pipes, as_many_as_allowed_and_used_again)
{
    static const unsigned most[] = {0, 1, 4};
    for (size_t i = 0; i < LENGTH(most); i++) {
        struct pipes *pool = pool_of(most[i]);
        struct pipe *pipe[MANY];
        int before = open_descriptors();
        for (int round = 0; round < 3; round++) {
            unsigned n = 0;
            while (n < MANY && (pipe[n] = pipes_take(pool)))
                n++;
            cr_expect(eq(u32, n, most[i]));
            cr_expect(pipes_take(pool) == NULL, "still none");
            cr_expect(eq(int, open_descriptors(), before + 2 * (int)n), "round %d", round);
            while (n > 0)
                pipes_give(pool, pipe[--n]);
        }
        pipes_free(pool);
        cr_expect(eq(int, open_descriptors(), before));
    }
    pipes_free(NULL);
}

Test(pipes, the_one_used_last_comes_first)
{
    struct pipes *pool = pool_of(2);
    struct pipe *a = taken(pool), *b = taken(pool);
    pipes_give(pool, b);
    pipes_give(pool, a);
    cr_expect(eq(ptr, taken(pool), a));
    cr_expect(eq(ptr, taken(pool), b));
    pipes_give(pool, a);
    pipes_give(pool, b);
    pipes_free(pool);
}

Test(pipes, what_a_pipe_is)
{
    struct pipes *pool = pool_of(1);
    struct pipe *pipe = taken(pool);
    cr_expect(eq(sz, pipe->size, (size_t)fcntl(pipe->in, F_GETPIPE_SZ)));
    cr_expect(pipe->size >= SIZE_MIN);
    cr_expect(geteuid() != 0 || pipe->size == MIB, "%zu", pipe->size);
    const int end[2] = {pipe->in, pipe->out};
    for (int i = 0; i < 2; i++) {
        cr_expect(eq(int, fcntl(end[i], F_GETFL) & O_NONBLOCK, O_NONBLOCK));
        cr_expect(eq(int, fcntl(end[i], F_GETFD), FD_CLOEXEC));
    }
    pipes_give(pool, pipe);
    pipes_free(pool);
}

/* How many are used at once between two calls, and what each call leaves. */
Test(pipes, those_that_nobody_needs_are_closed)
{
    static const struct {
        int used;
        unsigned left;
    } rows[] = {{0, 0}, {4, 4}, {4, 4}, {2, 2}, {0, 0}, {3, 3}, {1, 1}, {3, 3}, {2, 2}, {0, 0}};
    struct pipes *pool = pool_of(4);
    int before = open_descriptors();
    for (size_t i = 0; i < LENGTH(rows); i++) {
        use(pool, rows[i].used);
        cr_expect(eq(u32, pipes_trim(pool), rows[i].left), "row %zu", i);
        cr_expect(eq(int, open_descriptors(), before + 2 * (int)rows[i].left), "row %zu", i);
    }
    pipes_free(pool);
}

Test(pipes, one_in_use_is_not_closed)
{
    struct pipes *pool = pool_of(3);
    struct pipe *held = taken(pool);
    use(pool, 2);
    for (int i = 0; i < 3; i++)
        pipes_trim(pool);
    cr_expect(eq(u32, pipes_trim(pool), 1));
    cr_expect(fcntl(held->in, F_GETFD) >= 0 && fcntl(held->out, F_GETFD) >= 0);
    use(pool, 2); /* its place counts */
    pipes_give(pool, held);
    pipes_free(pool);
}

/* ---- what goes through ---- */

static void pair(int fd[2])
{
    cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0));
}

static void put(int fd, const char *text)
{
    cr_assert(eq(i64, send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text)));
}

Test(pipes, bytes_go_in_and_come_out)
{
    struct pipes *pool = pool_of(1);
    struct pipe *pipe = taken(pool);
    int from[2], to[2];
    char got[100] = "";
    pair(from);
    pair(to);
    cr_expect(eq(i64, pipe_fill(pipe, from[0]), -EAGAIN), "nothing yet");
    put(from[1], "one ");
    cr_expect(eq(i64, pipe_fill(pipe, from[0]), 4));
    put(from[1], "two");
    shutdown(from[1], SHUT_WR);
    cr_expect(eq(i64, pipe_fill(pipe, from[0]), 3));
    cr_expect(eq(sz, pipe->len, 7));
    cr_expect(eq(i64, pipe_fill(pipe, from[0]), 0), "the end");
    cr_expect(eq(sz, pipe->len, 7));
    cr_expect(eq(i64, pipe_drain(pipe, to[0]), 7));
    cr_expect(eq(sz, pipe->len, 0));
    cr_expect(eq(i64, recv(to[1], got, sizeof got, 0), 7));
    cr_expect(eq(str, got, "one two"));
    pipes_give(pool, pipe);
    pipes_free(pool);
    for (int i = 0; i < 2; i++) {
        close(from[i]);
        close(to[i]);
    }
}

/* One end of a flow through a pipe to the other. */
struct flow {
    struct pipe *pipe;
    int from[2], to[2];
    uint8_t *sent, *got;
    size_t n_sent, n_in, n_out, n_got;
};

enum { ALL = 6 * MIB };

static bool fill_some(struct flow *f)
{
    ssize_t n = send(f->from[1], f->sent + f->n_sent, ALL - f->n_sent, MSG_NOSIGNAL);
    f->n_sent += n > 0 ? (size_t)n : 0;
    ssize_t in = pipe_fill(f->pipe, f->from[0]);
    cr_assert(in == -EAGAIN || (in > 0 && in <= (ssize_t)f->pipe->size), "%zd", in);
    f->n_in += in > 0 ? (size_t)in : 0;
    cr_assert(eq(sz, f->pipe->len, f->n_in - f->n_out));
    return n > 0 || in > 0;
}

static bool drain_some(struct flow *f)
{
    ssize_t n = f->pipe->len ? pipe_drain(f->pipe, f->to[0]) : -EAGAIN;
    cr_assert(n > 0 || n == -EAGAIN, "%zd", n);
    f->n_out += n > 0 ? (size_t)n : 0;
    cr_assert(eq(sz, f->pipe->len, f->n_in - f->n_out));
    return n > 0;
}

/* What does not go in stays in the socket, what does not come out in the pipe; all in its order. */
Test(pipes, a_full_pipe_and_a_full_socket)
{
    struct pipes *pool = pool_of(1);
    struct flow f = {.pipe = taken(pool), .sent = malloc(ALL), .got = malloc(ALL)};
    cr_assert(f.sent && f.got);
    for (size_t i = 0; i < ALL; i++)
        f.sent[i] = (uint8_t)(i * 7 + i / 251);
    pair(f.from);
    pair(f.to);
    while (fill_some(&f))
        ;
    cr_expect(f.n_sent < ALL && f.n_in < f.n_sent, "the pipe is full");
    while (drain_some(&f))
        ;
    cr_expect(f.pipe->len > 0, "the socket is full");
    while (f.n_got < ALL) {
        ssize_t n = recv(f.to[1], f.got + f.n_got, ALL - f.n_got, 0);
        cr_assert(n > 0, "%zu of %zu", f.n_got, f.n_sent);
        f.n_got += (size_t)n;
        drain_some(&f);
        fill_some(&f);
        drain_some(&f);
    }
    cr_expect(eq(int, memcmp(f.sent, f.got, ALL), 0));
    pipes_give(pool, f.pipe);
    pipes_free(pool);
    free(f.sent);
    free(f.got);
    for (int i = 0; i < 2; i++) {
        close(f.from[i]);
        close(f.to[i]);
    }
}

static void tcp_pair(int fd[2])
{
    struct dp_addr addr;
    int listener = fake_listen("127.0.0.1", 1, &addr);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(eq(int, connect(fd[0], (struct sockaddr *)&addr.sa, addr.salen), 0));
    fd[1] = accept(listener, NULL, NULL);
    cr_assert(fd[1] >= 0);
    close(listener);
}

Test(pipes, errors)
{
    struct pipes *pool = pool_of(1);
    struct pipe *pipe = taken(pool);
    int fd[2], before = open_descriptors();
    signal(SIGPIPE, SIG_IGN); /* as the host does */
    tcp_pair(fd);
    put(fd[1], "held");
    cr_expect(eq(i64, pipe_fill(pipe, fd[0]), 4));
    socket_set_reset(fd[1]);
    close(fd[1]);
    cr_expect(eq(i64, pipe_drain(pipe, fd[0]), -ECONNRESET));
    cr_expect(eq(i64, pipe_drain(pipe, fd[0]), -EPIPE));
    cr_expect(eq(sz, pipe->len, 4), "it is still there");
    close(fd[0]);

    tcp_pair(fd);
    socket_set_reset(fd[1]);
    close(fd[1]);
    cr_expect(eq(i64, pipe_fill(pipe, fd[0]), -ECONNRESET));
    close(fd[0]);

    int cannot = epoll_create1(EPOLL_CLOEXEC);
    cr_expect(eq(i64, pipe_fill(pipe, cannot), -EINVAL), "no such file can be spliced");
    cr_expect(eq(i64, pipe_fill(pipe, -1), -EBADF));
    cr_expect(eq(sz, pipe->len, 4));
    close(cannot);

    pipes_give(pool, pipe);
    cr_expect(eq(int, open_descriptors(), before - 2), "what was in it is lost with it");
    pipe = taken(pool);
    tcp_pair(fd);
    put(fd[1], "new");
    cr_expect(eq(i64, pipe_fill(pipe, fd[0]), 3));
    close(fd[0]);
    close(fd[1]);
    pipes_give(pool, pipe);
    pipes_free(pool);
    cr_expect(eq(int, open_descriptors(), before - 2));
}

/* ---- none to be had ---- */

/* With so many descriptors left there is a pipe or none; either way none is lost. */
Test(pipes, no_descriptors)
{
    struct rlimit limit;
    struct pipes *pool = pool_of(2);
    cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
    for (rlim_t left = 0; left < 4; left++) {
        int next = dup(STDERR_FILENO), before = open_descriptors();
        struct rlimit few = {.rlim_cur = (rlim_t)next + 1 + left, .rlim_max = limit.rlim_max};
        cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &few), 0));
        struct pipe *pipe[2];
        for (int i = 0; i < 2; i++)
            pipe[i] = pipes_take(pool);
        cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
        cr_expect(eq(int, pipe[0] != NULL, left >= 2), "%ju left", (uintmax_t)left);
        cr_expect(pipe[1] == NULL);
        cr_expect(eq(int, open_descriptors(), before + (pipe[0] ? 2 : 0)));
        if (pipe[0])
            pipes_give(pool, pipe[0]);
        pipes_trim(pool);
        pipes_trim(pool);
        close(next);
    }
    use(pool, 2); /* they have not been counted */
    pipes_free(pool);
}

enum { NOBODYS_UID = 54321, MORE_THAN_ALLOWED = 1500 };

/* Runs as a user of its own, for a status of 0: takes what there is, and all of it is of use. */
static int take_all_there_is(void)
{
    static struct pipe *pipe[MORE_THAN_ALLOWED];
    struct pipes *pool = pipes_new(MORE_THAN_ALLOWED);
    int before = open_descriptors(), n = 0;
    if (setresuid(NOBODYS_UID, NOBODYS_UID, NOBODYS_UID) < 0)
        return 1;
    while (n < MORE_THAN_ALLOWED && (pipe[n] = pipes_take(pool)))
        if (pipe[n++]->size < SIZE_MIN)
            return 2;
    if (n < 4 || n == MORE_THAN_ALLOWED)
        return 3;
    if (pipes_take(pool) || open_descriptors() != before + 2 * n)
        return 4;
    pipe[--n]->len = 1; /* so that it is closed */
    pipes_give(pool, pipe[n]);
    pipes_trim(pool); /* who has been refused asks again after it only */
    return (pipe[n] = pipes_take(pool)) && pipe[n]->size >= SIZE_MIN ? 0 : 5;
}

static long user_limit(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/sys/fs/pipe-user-pages-soft", "re");
    if (!f || fscanf(f, "%ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages;
}

Test(pipes, the_limit_of_a_user)
{
    if (geteuid() != 0 || user_limit() == 0 || user_limit() > 16384)
        cr_skip("needs root, and the usual limit of pipes");
    pid_t child = fork();
    if (child == 0)
        _exit(take_all_there_is());
    int status = -1;
    cr_assert(eq(int, waitpid(child, &status, 0), child));
    cr_expect(eq(int, status, 0), "%d", WEXITSTATUS(status));
}
