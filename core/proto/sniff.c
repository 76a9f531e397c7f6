/* SPDX-License-Identifier: MIT
 * sniff.c: which protocol a client speaks, and what to say to a wrong one.
 */
#include "proto/sniff.h"

#include <stdbool.h>

/* Of a method, or of an empty line before the request (RFC 9112, section 2.2). */
static bool is_of_http(uint8_t first)
{
    bool letter = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
    return letter || first == '\r' || first == '\n';
}

enum sniff sniff_first_byte(uint8_t first)
{
    if (first == 5)
        return SNIFF_SOCKS5;
    if (first == 4)
        return SNIFF_SOCKS4;
    if (first == 0x16)
        return SNIFF_TLS;
    return is_of_http(first) ? SNIFF_HTTP : SNIFF_UNKNOWN;
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

/* 501: the method is not supported by this server (RFC 9110, section 15.6.2). The last two answers
 * are a SOCKS4 rejection (91) and SOCKS5's "no acceptable methods". */
const char *sniff_refusal(enum sniff kind, size_t *len)
{
    static const char http[] =
        "HTTP/1.1 501 Not Implemented\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Length: 114\r\n"
        "Connection: close\r\n"
        "\r\n"
        "This port is a proxy that does not speak HTTP.\n"
        "Set it as a SOCKS5 proxy (socks5h://ADDRESS:PORT) in your program.\n";
    static const char socks4[] = "\0\x5b\0\0\0\0\0\0";
    static const char socks5[] = "\x05\xff";

    switch (kind) {
    case SNIFF_HTTP:
        *len = sizeof http - 1;
        return http;
    case SNIFF_SOCKS4:
        *len = 8;
        return socks4;
    case SNIFF_SOCKS5:
    case SNIFF_UNKNOWN:
        *len = 2;
        return socks5;
    default:
        *len = 0;
        return "";
    }
}
