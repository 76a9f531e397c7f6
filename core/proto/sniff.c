/* SPDX-License-Identifier: MIT
 * sniff.c: which protocol a client speaks, and what to say to a wrong one.
 */
#include "proto/sniff.h"

#include <stdbool.h>

/* A method, or the empty line that may come before it (RFC 9112, section 2.2); or what somebody has
 * typed who shall read the answer. */
static bool is_text(uint8_t c)
{
    return (c >= ' ' && c <= '~') || c == '\r' || c == '\n';
}

enum sniff sniff_first_byte(uint8_t first)
{
    if (first == 5)
        return SNIFF_SOCKS5;
    if (first == 4)
        return SNIFF_SOCKS4;
    if (first == 0x16)
        return SNIFF_TLS;
    if (is_text(first))
        return SNIFF_HTTP;
    return SNIFF_UNKNOWN;
}

const char *sniff_mistake(enum sniff kind)
{
    static const char *const texts[] = {
        "speaks SOCKS5, which this listener does not",
        "speaks SOCKS4, which this listener does not",
        "speaks HTTP, which this listener does not",
        "speaks TLS: a proxy is talked to in the clear (http://, not https://)",
        "speaks an unknown protocol",
    };
    return texts[kind];
}

/* 501: the method is not supported by this server (RFC 9110, section 15.6.2). An answer of HTTP is
 * what TLS clients call a "wrong version number": people know it for https:// where http:// is
 * meant. The last two answers are a SOCKS4 rejection (91) and SOCKS5's "no acceptable methods". */
const char *sniff_refusal(enum sniff kind, size_t *len)
{
    static const char http[] =
        "HTTP/1.1 501 Not Implemented\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Length: 127\r\n"
        "Connection: close\r\n"
        "\r\n"
        "This port is a proxy that does not speak HTTP.\n"
        "Set it as a SOCKS proxy in your program: socks5h://ADDRESS:PORT, or socks4a://.\n";
    static const char tls[] =
        "HTTP/1.1 400 Bad Request\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Length: 132\r\n"
        "Connection: close\r\n"
        "\r\n"
        "This port is a proxy that is talked to in the clear.\n"
        "In your program, write http:// or socks5h:// before its address, not https://.\n";
    static const char socks4[] = "\0\x5b\0\0\0\0\0\0";
    static const char socks5[] = "\x05\xff";

    switch (kind) {
    case SNIFF_HTTP:
        *len = sizeof http - 1;
        return http;
    case SNIFF_SOCKS4:
        *len = 8;
        return socks4;
    case SNIFF_TLS:
        *len = sizeof tls - 1;
        return tls;
    default:
        *len = 2;
        return socks5;
    }
}
