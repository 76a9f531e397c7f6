/* SPDX-License-Identifier: MIT
 * test_listen.c: what accepted connections have from the socket they came by.
 */
#include "traffic/listen.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct conf_listener loopback(unsigned protocols)
{
    struct conf_listener l = {.name = "main", .protocols = protocols};
    cr_assert_eq(addr_parse_endpoint(&l.listen, "127.0.0.1:0", 11), 0);
    return l;
}

static int open_one(const struct conf_listener *l)
{
    struct conf_errors errors = {0};
    int fd = listen_open(l, NULL, 0, &errors);
    cr_assert(fd >= 0 && errors.n == 0, "%s", errors.n ? errors.line[0] : "");
    return fd;
}

static int connect_to(int listener)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
    return fd;
}

static bool ready_within(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    cr_assert_eq(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

Test(listen, options_are_inherited)
{
    struct conf_listener l = loopback(PROTO_SOCKS5);
    int listener = open_one(&l), client = connect_to(listener);
    cr_assert_eq(write(client, "x", 1), 1);
    cr_assert(ready_within(listener, 5000));
    int fd = accept(listener, NULL, NULL);
    cr_assert(fd >= 0);
    cr_expect_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    cr_expect_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    cr_expect_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    cr_expect_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 10);
    cr_expect_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    close(fd);
    close(client);
    close(listener);
}

Test(listen, a_taken_port_is_named)
{
    struct conf_listener l = loopback(PROTO_SOCKS5);
    struct conf_errors errors = {0};
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    int listener = open_one(&l);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    addr_set_port(&l.listen, ntohs(sa.sin_port));
    cr_expect_lt(listen_open(&l, NULL, 0, &errors), 0);
    cr_assert_eq(errors.n, 1);
    cr_expect_not_null(strstr(errors.line[0], "another program listens"), "%s", errors.line[0]);
    conf_errors_free(&errors);
    close(listener);
}

/* Beside a socket of our own, which is then given up: it still has who came before. */
Test(listen, another_address_at_the_same_port)
{
    struct conf_listener l = loopback(PROTO_SOCKS5);
    struct conf_errors errors = {0};
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    int old = open_one(&l);
    cr_assert_eq(getsockname(old, (struct sockaddr *)&sa, &len), 0);
    int before = connect_to(old);
    cr_assert_eq(addr_parse_endpoint(&l.listen, "0.0.0.0:0", 9), 0);
    addr_set_port(&l.listen, ntohs(sa.sin_port));
    int new = listen_open(&l, &old, 1, &errors);
    if (new < 0 && strstr(errors.line[0], "own already"))
        cr_skip_test("no IPv6 here");
    cr_assert(new >= 0, "%s", errors.n ? errors.line[0] : "");
    listen_give_up(old);
    int after = connect_to(old);
    cr_expect(ready_within(new, 5000));
    cr_expect(ready_within(old, 5000));
    int fd = accept(old, NULL, NULL);
    cr_expect(fd >= 0);
    cr_expect(not(ready_within(old, 0)), "only the one from before");
    cr_expect_eq(option(old, SOL_SOCKET, SO_REUSEPORT), 0);
    cr_expect_eq(option(new, SOL_SOCKET, SO_REUSEPORT), 0);
    close(fd);
    close(before);
    close(after);
    close(old);
    close(new);
}
