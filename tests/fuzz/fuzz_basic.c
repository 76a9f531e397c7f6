/* SPDX-License-Identifier: MIT
 * fuzz_basic.c: a name and a password as HTTP has them. What has been read, encoded again, is
 * what was there; and any name and password, encoded, are read.
 */
#include "fuzz/target.h"
#include "proto/basic.h"

#include <string.h>
#include <strings.h>

#define TEXT_MAX (6 + (BASIC_MAX + 2) / 3 * 4)

/* "Basic " and base64, the plain way (RFC 4648, section 4). */
static uint32_t encode(const uint8_t *p, size_t len, char out[TEXT_MAX])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t n = 6;
    memcpy(out, "Basic ", 6);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t left = (uint32_t)(len - i), bits = (uint32_t)p[i] << 16;
        bits |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= left > 2 ? p[i + 2] : 0;
        out[n++] = digits[bits >> 18];
        out[n++] = digits[bits >> 12 & 63];
        out[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        out[n++] = left > 2 ? digits[bits & 63] : '=';
    }
    return n;
}

static void check_read(const uint8_t *data, size_t len)
{
    struct dp_str value = {(const char *)data, (uint32_t)len}, user, password;
    uint8_t out[BASIC_MAX];
    char text[TEXT_MAX];
    if (!basic_read(value, out, &user, &password))
        return;
    require(!memchr(user.p, ':', user.len) && user.p[user.len] == ':');
    require(user.p == (char *)out && password.p == user.p + user.len + 1);
    uint32_t n = encode(out, user.len + 1 + password.len, text), skip = 6;
    while (value.p[skip] == ' ')
        skip++;
    require(strncasecmp(value.p, "Basic ", 6) == 0 && value.len - skip == n - 6);
    require(memcmp(value.p + skip, text + 6, n - 6) == 0);
}

static void check_encoded(const uint8_t *data, size_t len)
{
    char text[TEXT_MAX];
    uint8_t out[BASIC_MAX];
    struct dp_str user, password, value = {text, encode(data, len, text)};
    require(basic_read(value, out, &user, &password) == !!memchr(data, ':', len));
    require(!memchr(data, ':', len) || memcmp(out, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_read(data, len);
    if (len > 0)
        check_encoded(data, len < BASIC_MAX ? len : BASIC_MAX);
    return 0;
}
