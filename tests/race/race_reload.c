/* SPDX-License-Identifier: MIT
 * race_reload.c: the whole server with 4 workers under load from 4 clients, while its configuration
 * is changed again and again: no connection notices.
 */
#include "base/clock.h"
#include "base/log.h"
#include "plugin/loader.h"
#include "traffic/server.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 4, CLIENTS = 4, ROUNDS = 200, MESSAGE = 20000 };

/* What the configuration changes between; each has the same listener. */
static const char *const configs[] = {
    "links: {a: {address: 127.0.0.2}, b: {address: 127.0.0.3}}\n"
    "pools: {all: {balancer: rr, links: [a, b]}}\n",
    "links: {a: {address: 127.0.0.2, weight: 3}, b: {address: 127.0.0.3}}\n"
    "pools: {all: {balancer: leastconn, links: [a, b]}}\n",
    "links: {a: {address: 127.0.0.4}, b: {address: 127.0.0.3}, c: {address: 127.0.0.5}}\n"
    "pools: {all: {balancer: leastconn, links: [c, a, b]}}\n",
    "links: {d: {address: 127.0.0.6, max-connections: 100}}\n"
    "pools: {all: {balancer: rr, order: block, links: [d]}}\n",
};
#define BAD "links: {a: {address: 127.0.0.2}}\npools: {all: {balancer: rr, links: [b]}}\n"

static struct dp_addr proxy, echo;
static uint32_t stop;   /* atomic */
static uint32_t served; /* atomic */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! %s\n", what);
    exit(1);
}

/* ---- the destination: sends back what it gets ---- */

static void *echo_one(void *arg)
{
    int fd = *(int *)arg;
    char buf[4096];
    free(arg);
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, 0)) > 0;)
        if (send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
            break;
    close(fd);
    return NULL;
}

static void *echo_all(void *arg)
{
    int listener = *(int *)arg, fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        pthread_t id;
        int *own = malloc(sizeof *own);
        check(own != NULL, "out of memory");
        *own = fd;
        check(pthread_create(&id, NULL, echo_one, own) == 0, "pthread_create");
        pthread_detach(id);
    }
    return NULL;
}

static int listen_on(struct dp_addr *addr)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 100) == 0 &&
              getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
          "cannot listen");
    addr_from_sockaddr(addr, (struct sockaddr *)&sa, len);
    return fd;
}

/* ---- clients ---- */

static bool receive(int fd, void *buf, size_t len)
{
    return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool send_all(int fd, const void *buf, size_t len)
{
    return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool handshake(int fd)
{
    uint8_t request[] = {5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 0}, reply[12];
    request[11] = (uint8_t)(echo.port >> 8);
    request[12] = (uint8_t)echo.port;
    return send_all(fd, request, sizeof request) && receive(fd, reply, sizeof reply) &&
           memcmp(reply, "\5\0\5\0", 4) == 0;
}

/* NULL, or what went wrong. */
static const char *one_connection(const uint8_t *message, uint8_t *got)
{
    struct timeval limit = {.tv_sec = 20};
    const char *wrong = NULL;
    uint8_t more;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&proxy.sa, proxy.salen) < 0)
        wrong = "connect";
    else if (!handshake(fd))
        wrong = "handshake";
    else if (!send_all(fd, message, MESSAGE) || shutdown(fd, SHUT_WR) < 0)
        wrong = "send";
    else if (!receive(fd, got, MESSAGE) || memcmp(message, got, MESSAGE) != 0)
        wrong = "answer";
    else if (recv(fd, &more, 1, 0) != 0)
        wrong = "end";
    close(fd);
    return wrong;
}

static void *client(void *arg)
{
    const char **wrong = arg;
    uint8_t message[MESSAGE], got[MESSAGE];
    for (size_t i = 0; i < MESSAGE; i++)
        message[i] = (uint8_t)(i * 7);
    while (!*wrong && !__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        *wrong = one_connection(message, got);
        __atomic_fetch_add(&served, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* ---- the server ---- */

static struct config *parse(const char *text, struct conf_errors *errors)
{
    char all[1000];
    const char *const *path;
    size_t n = loader_fallback_path(&path);
    int len = snprintf(all, sizeof all, "workers: %d\nlisteners: {main: {listen: 127.0.0.1:0}}\n%s",
                       WORKERS, text);
    return config_parse("test.yaml", all, (size_t)len, path, n, &loader_source, errors);
}

static int apply(struct server *server, const char *text)
{
    struct conf_errors errors = {0};
    struct config *config = parse(text, &errors);
    int result = config ? server_apply(server, config, &errors) : -1;
    for (size_t i = 0; i < errors.n; i++)
        printf("# %s\n", errors.line[i]);
    conf_errors_free(&errors);
    return result;
}

static void woken(void *ctx)
{
    server_woken(ctx);
}

static void clients_start(pthread_t *id, const char **wrong)
{
    stop = 0;
    for (int i = 0; i < CLIENTS; i++) {
        wrong[i] = NULL;
        check(pthread_create(&id[i], NULL, client, &wrong[i]) == 0, "pthread_create");
    }
}

static void clients_join(const pthread_t *id)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(id[i], NULL);
}

static bool is_drained;

static void drained(void *ctx)
{
    is_drained = true;
    loop_stop(ctx);
}

/* Waits until clients have been served `n` times more, so that each change meets real work. */
static void wait_served(uint32_t n)
{
    uint32_t before = __atomic_load_n(&served, __ATOMIC_RELAXED);
    int64_t until = clock_now_ns() + 20 * NS_PER_S;
    while (__atomic_load_n(&served, __ATOMIC_RELAXED) - before < n && clock_now_ns() < until)
        usleep(500);
}

static int n_cases;

static int result(bool ok, const char *what)
{
    printf("%sok %d - %s\n", ok ? "" : "not ", ++n_cases, what);
    return !ok;
}

/* The configuration changes while clients come and go; then all sessions end by themselves. */
static int case_reload(struct loop *loop)
{
    pthread_t id[CLIENTS];
    const char *wrong[CLIENTS];
    unsigned applied = 0;
    int failed = 0;
    struct conf_errors errors = {0};
    struct server *server = server_new(WORKERS, loop, &errors);
    check(server != NULL, "server_new");
    loop_on_wake(loop, woken, server);
    check(apply(server, configs[0]) == 0, "the first configuration");
    proxy = server_listen_addr(server, 0);
    clients_start(id, wrong);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        wait_served(3);
        applied += apply(server, configs[i % 4]) == 0;
        server_woken(server);
    }
    failed |= result(applied == ROUNDS, "the configuration is changed 200 times");
    failed |= result(apply(server, BAD) < 0, "a bad one is refused");
    wait_served(20);
    clients_join(id);
    bool all_well = true;
    for (int i = 0; i < CLIENTS; i++) {
        if (wrong[i])
            printf("# client %d: %s\n", i, wrong[i]);
        all_well &= !wrong[i];
    }
    failed |= result(all_well, "no connection has noticed");
    printf("# %u connections\n", served);

    server_drain(server, false, drained, loop);
    loop_run(loop);
    failed |= result(is_drained, "all sessions end, and the server says so");
    server_free(server);
    return failed;
}

/* Ended in the middle of everything: clients notice, and that is all. */
static int case_end(struct loop *loop)
{
    pthread_t id[CLIENTS];
    const char *wrong[CLIENTS];
    for (int i = 0; i < 10; i++) {
        struct conf_errors errors = {0};
        struct server *server = server_new(WORKERS, loop, &errors);
        check(server != NULL, "server_new");
        loop_on_wake(loop, woken, server);
        check(apply(server, configs[i % 4]) == 0, "the first configuration");
        proxy = server_listen_addr(server, 0);
        clients_start(id, wrong);
        wait_served(5);
        server_free(server);
        loop_on_wake(loop, NULL, NULL);
        clients_join(id);
    }
    return result(true, "ended at once under load, ten times");
}

int main(void)
{
    pthread_t id;
    int listener = listen_on(&echo);
    printf("1..5\n");
    log_set_level(LOG_ERROR);
    if (getenv("PLUGIN_DIR"))
        setenv("DISPATCH_PLUGIN_PATH", getenv("PLUGIN_DIR"), 1);
    check(pthread_create(&id, NULL, echo_all, &listener) == 0, "pthread_create");
    struct loop *loop = loop_new();
    check(loop != NULL, "loop_new");

    int failed = case_reload(loop) | case_end(loop);

    loop_free(loop);
    shutdown(listener, SHUT_RDWR);
    pthread_join(id, NULL);
    close(listener);
    return failed;
}
