/* SPDX-License-Identifier: MIT
 * relay_rig.h: a relay between two real TCP connections; the test is client and server at once.
 */
#ifndef LIB_RELAY_RIG_H
#define LIB_RELAY_RIG_H

#include "base/clock.h"
#include "lib/fake_route.h"
#include "route/socket.h"
#include "traffic/loop.h"
#include "traffic/relay.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What relays on one loop share. */
struct bench {
    struct loop *loop;
    struct io_timer pause; /* of the loop */
    struct relay_shared shared;
    unsigned rigs;
    int descriptors; /* open before */
};

/*   client end[0] ---- inner[0] relay inner[1] ---- server end[1]   */
struct rig {
    struct bench *bench;
    struct relay relay;
    int end[2], inner[2];
    int over; /* times */
    enum relay_end how;
};

static inline int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    cr_assert(dir != NULL);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline void on_over(struct relay *r, enum relay_end how)
{
    struct rig *rig = (struct rig *)((char *)r - offsetof(struct rig, relay));
    rig->over++;
    rig->how = how;
    if (how != RELAY_DONE) { /* as the session does */
        socket_set_reset(rig->inner[0]);
        socket_set_reset(rig->inner[1]);
    }
    relay_stop(r);
    close(rig->inner[0]);
    close(rig->inner[1]);
    loop_stop(rig->bench->loop);
}

static inline void on_pause(struct io_timer *t)
{
    loop_stop(((struct bench *)((char *)t - offsetof(struct bench, pause)))->loop);
}

/* Of its buffers; 0: as is. Beyond what an ordinary user may have only as root. */
static inline void set_size(int fd, int size)
{
    if (!size)
        return;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/* One connection: outer is the test's end, inner the relay's. */
static inline void connect_pair(int *outer, int *inner, int size)
{
    struct dp_addr addr;
    int listener = fake_listen("127.0.0.1", 1, &addr);
    set_size(listener, size);
    *outer = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    set_size(*outer, size);
    connect(*outer, (struct sockaddr *)&addr.sa, addr.salen);
    *inner = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert(outer[0] >= 0 && inner[0] >= 0);
    socket_no_delay(*outer);
    socket_no_delay(*inner);
    close(listener);
}

static inline struct bench *bench_new(unsigned pipes)
{
    struct bench *bench = calloc(1, sizeof *bench);
    cr_assert(bench != NULL);
    signal(SIGPIPE, SIG_IGN); /* as the host does */
    bench->descriptors = open_descriptors();
    bench->loop = loop_new();
    cr_assert(bench->loop != NULL);
    bench->pause.fire = on_pause;
    bench->shared.io = loop_io(bench->loop);
    bench->shared.pipes = pipes_new(pipes);
    cr_assert(bench->shared.pipes != NULL);
    return bench;
}

/* Pipes that are in use; those that are not, are closed. */
static inline unsigned pipes_held(struct bench *bench)
{
    pipes_trim(bench->shared.pipes);
    return pipes_trim(bench->shared.pipes);
}

static inline void bench_free(struct bench *bench)
{
    cr_expect(eq(u32, pipes_held(bench), 0), "all pipes are back");
    pipes_free(bench->shared.pipes);
    loop_free(bench->loop);
    cr_expect(eq(int, open_descriptors(), bench->descriptors), "no descriptor is lost");
    free(bench);
}

/* One more on this loop, which ends with the last. */
static inline struct rig *rig_on(struct bench *bench, int size)
{
    struct rig *rig = calloc(1, sizeof *rig);
    cr_assert(rig != NULL);
    rig->bench = bench;
    bench->rigs++;
    for (int i = 0; i < 2; i++) {
        connect_pair(&rig->end[i], &rig->inner[i], size);
        rig->relay.side[i].io.fd = rig->inner[i];
    }
    rig->relay.over = on_over;
    return rig;
}

static inline struct rig *rig_new(int size, unsigned pipes)
{
    return rig_on(bench_new(pipes), size);
}

static inline void rig_start(struct rig *rig, const void *to_client, size_t n,
                             const void *to_server, size_t m)
{
    const struct relay_early early[2] = {{to_client, n}, {to_server, m}};
    int started = relay_start(&rig->relay, &rig->bench->shared, early);
    cr_assert(eq(int, started, 0));
}

/* Turns for this long, or until it is over; 0: once. */
static inline void turn(struct rig *rig, int ms)
{
    struct bench *bench = rig->bench;
    if (rig->over)
        return;
    io_timer(bench->shared.io, &bench->pause, ms ? clock_now_ns() + ms * NS_PER_MS : 1);
    loop_run(bench->loop);
    io_timer(bench->shared.io, &bench->pause, 0);
}

static inline void rig_close(struct rig *rig)
{
    struct bench *bench = rig->bench;
    if (!rig->over) {
        relay_stop(&rig->relay);
        close(rig->inner[0]);
        close(rig->inner[1]);
    }
    cr_expect(rig->over <= 1, "over once");
    for (int i = 0; i < 2; i++) {
        cr_expect(eq(ptr, rig->relay.side[i].pending, NULL));
        cr_expect(eq(ptr, rig->relay.side[i].pipe, NULL));
        if (rig->end[i] >= 0)
            close(rig->end[i]);
    }
    free(rig);
    if (--bench->rigs == 0)
        bench_free(bench);
}

static inline void expect_idle(const struct rig *rig)
{
    for (int i = 0; i < 2; i++) {
        cr_expect(eq(ptr, rig->relay.side[i].pending, NULL));
        cr_expect(eq(ptr, rig->relay.side[i].pipe, NULL));
    }
    cr_expect(eq(u32, pipes_held(rig->bench), 0));
}

/* This end is gone with a RST. */
static inline void reset(struct rig *rig, int i)
{
    socket_set_reset(rig->end[i]);
    close(rig->end[i]);
    rig->end[i] = -1;
}

/* Waits up to 2 s for the next bytes at this end; 0 at the end of the data, or -errno. */
static inline ssize_t receive(struct rig *rig, int i, void *buf, size_t size)
{
    int64_t until = clock_now_ns() + 2 * NS_PER_S;
    for (;;) {
        ssize_t n = recv(rig->end[i], buf, size, 0);
        if (n >= 0 || errno != EAGAIN)
            return n < 0 ? -errno : n;
        if (clock_now_ns() > until)
            return -ETIMEDOUT;
        turn(rig, 1);
        if (rig->over)
            usleep(100);
    }
}

static inline void expect_text(struct rig *rig, int i, const char *text)
{
    char got[256] = "";
    size_t have = 0, len = strlen(text);
    while (have < len) {
        ssize_t n = receive(rig, i, got + have, len - have);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    cr_expect(eq(str, got, (char *)text));
}

static inline void expect_end(struct rig *rig, int i, ssize_t end)
{
    char c;
    cr_expect(eq(i64, receive(rig, i, &c, 1), end), "side %d", i);
}

static inline void expect_over(struct rig *rig, enum relay_end how)
{
    turn(rig, 1000);
    cr_expect(eq(int, rig->over, 1));
    cr_expect(eq(int, (int)rig->how, (int)how));
}

static inline void say(struct rig *rig, int i, const char *text)
{
    cr_assert(eq(i64, send(rig->end[i], text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text)));
}

/* Waits until the relay's socket has all that was sent at this end. */
static inline void delivered(struct rig *rig, int i)
{
    int waiting = 1;
    for (int n = 0; n < 1000 && waiting; n++) {
        cr_assert(eq(int, ioctl(rig->end[i], TIOCOUTQ, &waiting), 0));
        usleep(waiting ? 1000 : 0);
    }
}

/* The byte at this place of a stream. */
static inline uint8_t byte_at(size_t at, unsigned stream)
{
    return (uint8_t)(at * 7 + at / 251 + at / 65521 + stream);
}

#endif
