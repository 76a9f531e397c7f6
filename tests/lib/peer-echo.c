/* SPDX-License-Identifier: MIT
 * peer-echo.c: a web server whose only page is the address its client came from.
 *
 * For the demonstration in ./quickstart and for tests. Listens on a free port of 127.0.0.1, prints
 * the port, and serves one client after another until it is killed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Reads until the blank line that ends a request's head. Returns 0 or -1. */
static int head_read(int fd)
{
    char head[4096];
    size_t len = 0;
    while (len < sizeof head - 1) {
        ssize_t n = recv(fd, head + len, sizeof head - 1 - len, 0);
        if (n <= 0)
            return -1;
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return 0;
    }
    return -1;
}

static void client_serve(int fd, const struct sockaddr_in *peer)
{
    struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (head_read(fd) != 0)
        return;
    char ip[INET_ADDRSTRLEN], page[256];
    inet_ntop(AF_INET, &peer->sin_addr, ip, sizeof ip);
    int len = snprintf(page, sizeof page,
                       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s\n",
                       strlen(ip) + 1, ip);
    send(fd, page, (size_t)len, MSG_NOSIGNAL);
}

int main(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t addr_len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &addr_len) != 0) {
        perror("peer-echo");
        return 1;
    }
    printf("%u\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t peer_len = sizeof peer;
        int fd = accept(listener, (struct sockaddr *)&peer, &peer_len);
        if (fd < 0)
            continue;
        client_serve(fd, &peer);
        close(fd);
    }
}
