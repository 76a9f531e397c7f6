/* SPDX-License-Identifier: MIT
 * test_sources.c: how many connections each client address has.
 */
#include "base/addr.h"
#include "traffic/sources.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static struct dp_addr client(const char *text)
{
    struct dp_addr a;
    cr_assert_eq(addr_parse_ip(&a, text, strlen(text)), 0, "%s", text);
    return a;
}

static bool take(struct sources *s, const char *listener, const char *from, uint32_t limit,
                 uint32_t *place)
{
    struct dp_addr a = client(from);
    return sources_take(s, listener, &a, limit, place);
}

Test(sources, up_to_the_limit_and_again_when_one_ends)
{
    struct sources *s = sources_new(100);
    uint32_t place[3], none;
    for (int i = 0; i < 3; i++) {
        cr_expect(take(s, "main", "10.0.0.1", 3, &place[i]));
        cr_expect_neq(place[i], 0);
    }
    cr_expect(not(take(s, "main", "10.0.0.1", 3, &none)));
    cr_expect_eq(none, 0);
    sources_give(s, place[1]);
    cr_expect(take(s, "main", "10.0.0.1", 3, &place[1]));
    cr_expect(not(take(s, "main", "10.0.0.1", 3, &none)));
    cr_expect(take(s, "main", "10.0.0.1", 4, &none), "the limit is the caller's, and may change");
    sources_free(s);
}

Test(sources, whose_a_connection_is)
{
    static const struct {
        const char *listener, *from;
        bool same; /* as 10.0.0.1 or 2001:db8:0:1::1 at `main` */
    } rows[] = {
        {"main", "10.0.0.1", true},
        {"main", "10.0.0.2", false},
        {"other", "10.0.0.1", false},
        {"main", "2001:db8:0:1::1", true},
        {"main", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
        {"main", "2001:db8:0:2::1", false},
        {"other", "2001:db8:0:1::1", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sources *s = sources_new(100);
        uint32_t place;
        cr_assert(take(s, "main", "10.0.0.1", 1, &place));
        cr_assert(take(s, "main", "2001:db8:0:1::1", 1, &place));
        cr_expect_neq(take(s, rows[i].listener, rows[i].from, 1, &place), rows[i].same, "%s %s",
                      rows[i].listener, rows[i].from);
        sources_free(s);
    }
}

/* Each has a place of its own, as long as there are no more connections than were said. */
Test(sources, many_clients_at_once)
{
    enum { MANY = 10000 };
    static uint32_t place[MANY];
    struct sources *s = sources_new(MANY);
    struct dp_addr a = client("10.0.0.0");
    uint32_t *ip = (uint32_t *)&((struct sockaddr_in *)&a.sa)->sin_addr.s_addr, none;
    for (int round = 0; round < 3; round++) {
        unsigned without = 0, second = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            *ip = htonl(0x0a000000 + i);
            cr_expect(sources_take(s, "main", &a, 1, &place[i]));
            without += place[i] == 0;
        }
        for (uint32_t i = 0; i < MANY; i++) {
            *ip = htonl(0x0a000000 + i);
            second += sources_take(s, "main", &a, 1, &none);
        }
        cr_expect(le(u32, without, 1), "hardly any is not counted");
        cr_expect(eq(u32, second, without), "no other is let in a second time");
        for (uint32_t i = 0; i < MANY; i++)
            sources_give(s, place[i]);
    }
    sources_free(s);
}

/* Full of others: let in, uncounted, and nothing is to be given back. */
Test(sources, no_room)
{
    struct sources *s = sources_new(1);
    struct dp_addr a = client("10.0.0.0");
    uint32_t *ip = (uint32_t *)&((struct sockaddr_in *)&a.sa)->sin_addr.s_addr;
    uint32_t place[16], more;
    for (uint32_t i = 0; i < 16; i++) {
        *ip = htonl(0x0a000000 + i);
        cr_expect(sources_take(s, "main", &a, 1, &place[i]));
        cr_expect_neq(place[i], 0);
    }
    for (uint32_t i = 16; i < 20; i++) {
        *ip = htonl(0x0a000000 + i);
        cr_expect(sources_take(s, "main", &a, 1, &more));
        cr_expect_eq(more, 0);
        sources_give(s, more);
    }
    for (uint32_t i = 0; i < 16; i++) {
        *ip = htonl(0x0a000000 + i);
        cr_expect(not(sources_take(s, "main", &a, 1, &more)));
        sources_give(s, place[i]);
    }
    for (uint32_t i = 16; i < 32; i++) {
        *ip = htonl(0x0a000000 + i);
        cr_expect(sources_take(s, "main", &a, 1, &more));
        cr_expect_neq(more, 0);
    }
    sources_free(s);
}
