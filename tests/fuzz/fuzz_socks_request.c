/* SPDX-License-Identifier: MIT
 * fuzz_socks_request.c: what clients say to a SOCKS server: greeting, login and request of
 * SOCKS5, the request of SOCKS4, by every cut.
 */
#include "base/addr.h"
#include "fuzz/cuts.h"
#include "proto/socks4.h"
#include "proto/socks5.h"

#define MESSAGE_MAX 600

/* A name that may be looked up, which lies in what was read. */
static void check_name(const struct dp_addr *to, const uint8_t *p, size_t len)
{
    const char *from = (const char *)p;
    require(to->name_len >= 1 && to->name_len <= 255);
    require(to->name >= from && to->name + to->name_len <= from + len);
    for (size_t i = 0; i < to->name_len; i++)
        require((unsigned char)to->name[i] > ' ' && to->name[i] != 0x7f);
}

static int greeting(const uint8_t *p, size_t len)
{
    bool offered = false;
    int n = socks5_greeting(p, len, SOCKS5_LOGIN, &offered);
    int found = 0;
    for (int i = 2; i < n; i++)
        found |= p[i] == SOCKS5_LOGIN;
    require(n <= 0 || (n == 2 + p[1] && offered == found));
    return n;
}

static int login(const uint8_t *p, size_t len)
{
    struct dp_str user, password;
    int n = socks5_login(p, len, &user, &password);
    require(n <= 0 || (user.p == (const char *)p + 2 && user.len == p[1] &&
                       password.p == user.p + user.len + 1 && password.len == p[2 + user.len] &&
                       n == (int)(3 + user.len + password.len)));
    return n;
}

/* What was understood, written again, is what was said. */
static int request5(const uint8_t *p, size_t len)
{
    struct dp_addr to;
    int n = socks5_request(p, len, &to);
    require(n >= -SOCKS5_BAD_ADDRESS);
    if (n <= 0)
        return n;
    require(p[0] == 5 && p[1] == SOCKS5_CONNECT && p[2] == 0);
    require(to.port == (p[n - 2] << 8 | p[n - 1]));
    if (to.salen)
        return n;
    check_name(&to, p, (size_t)n);
    require(p[3] == 3 && p[4] == to.name_len && n == 7 + (int)to.name_len);
    require(to.name == (const char *)p + 5);
    return n;
}

static int request4(const uint8_t *p, size_t len)
{
    struct socks4_request r;
    int n = socks4_request(p, len, &r);
    require(n >= SOCKS4_BAD_NAME);
    if (n <= 0)
        return n;
    require(p[n - 1] == 0 && r.to.port == (p[2] << 8 | p[3]));
    require(r.user.p == (const char *)p + 8 && !memchr(r.user.p, 0, r.user.len));
    require(n <= SOCKS4_REQUEST_MAX && (r.named || r.to.salen));
    require(r.named || addr_family(&r.to) == AF_INET);
    if (!r.to.salen)
        check_name(&r.to, p, (size_t)n);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static message_read *const readers[] = {greeting, login, request5, request4};
    if (len > MESSAGE_MAX)
        len = MESSAGE_MAX;
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        require_no_cut_matters(readers[i], data, len);
    return 0;
}
