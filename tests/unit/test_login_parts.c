/* SPDX-License-Identifier: MIT
 * test_login_parts.c: what logins are made of: Basic credentials, the keyed hash, verdicts that are
 * kept, and the waiting of addresses that fail, under a clock of the test's own.
 */
#include "base/addr.h"
#include "base/clock.h"
#include "proto/basic.h"
#include "traffic/throttle.h"
#include "traffic/verdicts.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* ---- Basic ---- */

Test(basic, credentials)
{
    static const struct {
        const char *in;
        const char *user, *password; /* NULL: refused */
        size_t password_len;         /* 0: that of the text */
    } table[] = {
        {"Basic dTpw", "u", "p", 0},
        {"basic dTpw", "u", "p", 0},
        {"BASIC   dTpw", "u", "p", 0},
        {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame", 0}, /* RFC 7617 */
        {"Basic dTo=", "u", "", 0},
        {"Basic Og==", "", "", 0},
        {"Basic OnA=", "", "p", 0},
        {"Basic dTpwOnE=", "u", "p:q", 0},
        {"Basic dTpwAHE=", "u", "p\0q", 3},
        {"Basic dTrDqQ==", "u", "\303\251", 0},
        {"Basic +/8g", NULL, NULL, 0}, /* no colon */
        {"Basic", NULL, NULL, 0},
        {"Basic ", NULL, NULL, 0},
        {"Basic dTp", NULL, NULL, 0},
        {"Basic dTo", NULL, NULL, 0},
        {"Basic dTpw=", NULL, NULL, 0},
        {"Basic dTp=", NULL, NULL, 0}, /* bits that are cut off */
        {"Basic Oh==", NULL, NULL, 0}, /* the same */
        {"Basic dT=w", NULL, NULL, 0},
        {"Basic =Tpw", NULL, NULL, 0},
        {"Basic ====", NULL, NULL, 0},
        {"Basic dTo=dTo=", NULL, NULL, 0},
        {"Basic dTpw dTpw", NULL, NULL, 0},
        {"Basic dTpw ", NULL, NULL, 0},
        {"Basic dT\tw", NULL, NULL, 0},
        {"Basic dT-_", NULL, NULL, 0},
        {"BasicdTpw", NULL, NULL, 0},
        {"Digest dTpw", NULL, NULL, 0},
        {"", NULL, NULL, 0},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        uint8_t out[BASIC_MAX];
        struct dp_str user, password;
        bool sound =
            basic_read((struct dp_str){table[i].in, strlen(table[i].in)}, out, &user, &password);
        cr_assert_eq(sound, table[i].user != NULL, "%s", table[i].in);
        if (!sound)
            continue;
        size_t len = table[i].password_len ? table[i].password_len : strlen(table[i].password);
        cr_expect(user.len == strlen(table[i].user) && !memcmp(user.p, table[i].user, user.len),
                  "%s", table[i].in);
        cr_expect(password.len == len && !memcmp(password.p, table[i].password, len), "%s",
                  table[i].in);
    }
}

/* Of `n` bytes "uuu...", with a colon in the middle. */
static bool long_credentials(size_t n)
{
    char text[1500] = "Basic ";
    uint8_t out[BASIC_MAX];
    struct dp_str user, password;
    size_t len = strlen(text);
    cr_assert_eq(n % 3, 1);
    for (size_t i = 0; i + 1 < n; i += 3, len += 4)
        memcpy(text + len, i == 255 ? "Ojo6" : "dXV1", 4); /* ":::" */
    memcpy(text + len, "dQ==", 4);
    return basic_read((struct dp_str){text, (uint32_t)len + 4}, out, &user, &password) &&
           user.len == 255 && password.len == n - 256;
}

Test(basic, lengths)
{
    cr_expect(long_credentials(511), "255, a colon, 255");
    cr_expect(not(long_credentials(514)));
    cr_expect(not(long_credentials(1000)));
}

/* ---- the keyed hash ---- */

/* RFC 4231, sections 4.2 and 4.3; shorter keys are as if they ended in zeros. */
Test(mac, vectors)
{
    static const struct {
        const char *key, *data, *mac;
    } table[] = {
        {"\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b",
         "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"Jefe", "what do ya want for nothing?",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    };
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct mac_key key = {{0}};
        struct mac mac;
        char text[2 * MAC_LEN + 1];
        memcpy(key.bytes, table[i].key, strlen(table[i].key));
        size_t len = strlen(table[i].data);
        const struct mac_part part[] = {
            {table[i].data, 3}, {NULL, 0}, {table[i].data + 3, len - 3}};
        mac_make(&key, part, 3, &mac);
        for (size_t k = 0; k < MAC_LEN; k++)
            sprintf(text + 2 * k, "%02x", mac.bytes[k]);
        cr_expect_str_eq(text, table[i].mac);
    }
}

Test(mac, each_key_is_another)
{
    struct mac_key *a = mac_key_new(), *b = mac_key_new();
    cr_assert(a && b);
    cr_expect(not(mac_same(a, b, sizeof *a)));
    cr_expect(mac_same(a, a, sizeof *a));
    mac_key_free(a);
    mac_key_free(b);
}

Test(mac, same)
{
    uint8_t a[40] = {0}, b[40] = {0};
    for (size_t i = 0; i < sizeof a; i++)
        for (int bit = 0; bit < 8; bit++) {
            b[i] = (uint8_t)(1 << bit);
            cr_expect(not(mac_same(a, b, sizeof a)));
            cr_expect(mac_same(a, b, i));
            b[i] = 0;
        }
    cr_expect(mac_same(a, b, sizeof a));
}

/* ---- verdicts ---- */

static struct mac mac_number(uint32_t i)
{
    struct mac mac = {{0}};
    uint32_t mixed = i * 2654435761u; /* as a hash is: spread */
    memcpy(mac.bytes, &mixed, sizeof mixed);
    memcpy(mac.bytes + 8, &i, sizeof i);
    return mac;
}

Test(verdicts, kept_until_then)
{
    struct verdicts *v = calloc(1, sizeof *v);
    struct mac a = mac_number(1), b = mac_number(2), none = {{0}};
    cr_expect(not(verdicts_know(v, &none, 0)), "an empty place is no verdict");
    verdicts_keep(v, &a, 100);
    cr_expect(verdicts_know(v, &a, 0));
    cr_expect(verdicts_know(v, &a, 99));
    cr_expect(not(verdicts_know(v, &a, 100)));
    cr_expect(not(verdicts_know(v, &b, 0)));
    verdicts_keep(v, &a, 200);
    cr_expect(verdicts_know(v, &a, 150));
    a.bytes[MAC_LEN - 1] ^= 1;
    cr_expect(not(verdicts_know(v, &a, 150)), "the last bit counts");
    free(v);
}

/* The oldest make room: of those kept last hardly any is lost. */
Test(verdicts, bounded)
{
    struct verdicts *v = calloc(1, sizeof *v);
    unsigned known = 0;
    for (uint32_t i = 0; i < 20 * VERDICTS; i++) {
        struct mac mac = mac_number(i);
        verdicts_keep(v, &mac, 1000 + i);
        cr_expect(verdicts_know(v, &mac, 0));
    }
    for (uint32_t i = 19 * VERDICTS + VERDICTS / 2; i < 20 * VERDICTS; i++) {
        struct mac mac = mac_number(i);
        known += verdicts_know(v, &mac, 0);
    }
    cr_expect(ge(u32, known, VERDICTS / 2 * 9 / 10));
    free(v);
}

/* ---- waiting ---- */

#define START (1000 * NS_PER_S)
#define LATE (START * 1000)

static uint64_t source(const struct throttle *t, const char *text)
{
    struct dp_addr a;
    cr_assert_eq(addr_parse_ip(&a, text, strlen(text)), 0, "%s", text);
    return throttle_source(t, &a);
}

/* How long it has to wait now, in seconds; -1: beyond `latest`. */
static int waits(struct throttle *t, uint64_t who, int64_t now_ns, int64_t latest_ns)
{
    int64_t at;
    if (!throttle_admit(t, who, now_ns, latest_ns, &at))
        return -1;
    cr_assert(at >= now_ns);
    return (int)((at - now_ns + NS_PER_S / 2) / NS_PER_S);
}

static void fail(struct throttle *t, uint64_t who, int n, int64_t now_ns)
{
    while (n-- > 0)
        throttle_told(t, who, false, now_ns);
}

Test(throttle, one_try_after_the_other)
{
    static const int wait[] = {0, 0, 0, 0, 0, 1, 2, 4, 8, 8, 8};
    struct throttle *t = throttle_new(START);
    uint64_t a = source(t, "10.0.0.1"), b = source(t, "10.0.0.2");
    int64_t now = START;
    for (size_t i = 0; i < LENGTH(wait); i++) {
        int s = waits(t, a, now, LATE);
        cr_expect_eq(s, wait[i], "%zu: %d", i, s);
        now += s * NS_PER_S;
        throttle_told(t, a, false, now);
        cr_expect_eq(waits(t, b, now, LATE), 0, "another address does not wait");
    }
    now += waits(t, a, now, LATE) * NS_PER_S;
    throttle_told(t, a, true, now);
    cr_expect_eq(waits(t, a, now, LATE), 0, "one that was right makes all forgotten");
    fail(t, a, 4, now);
    cr_expect_eq(waits(t, a, now, LATE), 0);
    throttle_free(t);
}

/* Tries at the same time wait for each other, so that many are no way to make more. */
Test(throttle, tries_at_once)
{
    struct throttle *t = throttle_new(START);
    uint64_t a = source(t, "10.0.0.1");
    fail(t, a, 5, START);
    for (int i = 1; i <= 9; i++)
        cr_expect_eq(waits(t, a, START, START + 10 * NS_PER_S), i);
    fail(t, a, 9, START);
    cr_expect_eq(waits(t, a, START, START + 10 * NS_PER_S), 10);
    for (int i = 0; i < 100; i++)
        cr_expect_eq(waits(t, a, START, START + 10 * NS_PER_S), -1);
    cr_expect_eq(waits(t, a, START + 18 * NS_PER_S, LATE), 0, "those refused cost nothing");
    throttle_free(t);
}

Test(throttle, forgotten)
{
    struct throttle *t = throttle_new(START);
    uint64_t a = source(t, "10.0.0.1");
    fail(t, a, 20, START);
    cr_expect_eq(waits(t, a, START + 60 * NS_PER_S, LATE), 0);
    cr_expect_eq(waits(t, a, START + 60 * NS_PER_S, LATE), 8, "it is remembered still");
    int64_t later = START + 60 * NS_PER_S + 16 * NS_PER_S + 601 * NS_PER_S;
    for (int i = 0; i < 10; i++)
        cr_expect_eq(waits(t, a, later, LATE), 0);
    throttle_free(t);
}

Test(throttle, whose_a_failure_is)
{
    static const struct {
        const char *from;
        bool same; /* as 10.0.0.1 or 2001:db8:0:1::1 */
    } rows[] = {
        {"10.0.0.1", true},         {"10.0.1.0", false},
        {"2001:db8:0:1::1", true},  {"2001:db8:0:1:ffff:ffff:ffff:ffff", true},
        {"2001:db8:0:2::1", false},
    };
    struct throttle *t = throttle_new(START);
    fail(t, source(t, "10.0.0.1"), 5, START);
    fail(t, source(t, "2001:db8:0:1::1"), 5, START);
    for (size_t i = 0; i < LENGTH(rows); i++) {
        int s = waits(t, source(t, rows[i].from), START, LATE);
        cr_expect_eq(s > 0, rows[i].same, "%s: %d", rows[i].from, s);
    }
    throttle_free(t);
}

/* A flood of addresses makes it forget some, and never holds up one that has not failed. */
Test(throttle, bounded)
{
    struct throttle *t = throttle_new(START);
    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t who = i * UINT64_C(0x9e3779b97f4a7c15);
        fail(t, who, 5, START + i * 1000000);
        cr_expect(waits(t, who, START + i * 1000000, LATE) > 0);
    }
    cr_expect_eq(waits(t, source(t, "10.0.0.1"), START + 200 * NS_PER_S, LATE), 0);
    throttle_free(t);
}
