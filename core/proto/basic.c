/* SPDX-License-Identifier: MIT
 * basic.c: a name and a password as HTTP has them.
 */
#include "proto/basic.h"

#include <string.h>
#include <strings.h>

/* Six bits, or -1. */
static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The bytes of four digits, the last of which may be padding: 1 to 3, or -1. */
static int group_read(const char *p, bool last, uint8_t out[3])
{
    int pad = !last || p[3] != '=' ? 0 : p[2] != '=' ? 1 : 2;
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++) {
        int d = i < 4 - pad ? digit(p[i]) : 0;
        if (d < 0)
            return -1;
        bits = bits << 6 | (uint32_t)d;
    }
    if (pad && bits & (pad == 1 ? 0xff : 0xffff)) /* what is cut off is 0 */
        return -1;
    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    return 3 - pad;
}

/* Returns the number of bytes, or -1. */
static int base64_read(struct dp_str text, uint8_t out[BASIC_MAX])
{
    int len = 0;
    if (text.len == 0 || text.len % 4 || text.len / 4 * 3 > BASIC_MAX + 2)
        return -1;
    for (uint32_t i = 0; i < text.len; i += 4) {
        uint8_t bytes[3];
        int n = group_read(text.p + i, i + 4 == text.len, bytes);
        if (n < 0 || len + n > BASIC_MAX)
            return -1;
        memcpy(out + len, bytes, (size_t)n);
        len += n;
    }
    return len;
}

bool basic_read(struct dp_str value, uint8_t out[BASIC_MAX], struct dp_str *user,
                struct dp_str *password)
{
    static const char scheme[] = "Basic ";
    uint32_t skip = sizeof scheme - 1;
    if (value.len < skip || strncasecmp(value.p, scheme, skip) != 0)
        return false;
    while (skip < value.len && value.p[skip] == ' ')
        skip++;
    int len = base64_read((struct dp_str){value.p + skip, value.len - skip}, out);
    const uint8_t *colon = len > 0 ? memchr(out, ':', (size_t)len) : NULL;
    if (!colon)
        return false;
    *user = (struct dp_str){(const char *)out, (uint32_t)(colon - out)};
    *password = (struct dp_str){(const char *)colon + 1, (uint32_t)len - user->len - 1};
    return true;
}
