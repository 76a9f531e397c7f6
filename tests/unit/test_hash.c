/* SPDX-License-Identifier: MIT
 * test_hash.c: balancer-hash: what is the same key, shares by weight, and that only the keys of a
 * link that goes move.
 */
#include "lib/plugin_fake.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENT, HOST, DOMAIN_, DESTINATION, USER };
enum { KEYS = 10000, LINKS = 5 };

struct conf {
    uint32_t hash_on;
};

static const struct dp_plugin *plugin(void)
{
    static const struct dp_plugin *loaded;
    return loaded ? loaded : (loaded = fake_load("balancer-hash.so"));
}

/* "host:port", "1.2.3.4:port" or "[::1]:port"; the name points into the text. */
static struct dp_addr addr_of(const char *text)
{
    struct dp_addr a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a.sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a.sa;
    char host[300] = "";
    const char *colon = strrchr(text, ':');
    size_t bracket = *text == '[';
    if (!*text)
        return a;
    a.port = (uint16_t)atoi(colon + 1);
    memcpy(host, text + bracket, (size_t)(colon - text) - 2 * bracket);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(a.port);
        a.salen = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(a.port);
        a.salen = sizeof *v6;
    } else {
        a.name = text;
        a.name_len = (uint16_t)(colon - text);
    }
    return a;
}

static uint32_t pick(struct fake_pool *p, const char *client, const char *dest)
{
    p->flow.client = addr_of(client);
    p->flow.dest = addr_of(dest);
    return fake_pool_pick(p);
}

/* Wherever a user comes from and goes to; whoever is none goes by the client. */
Test(hash, user)
{
    static const struct conf conf = {.hash_on = USER};
    uint32_t weight[FAKE_MEMBERS], differ = 0;
    struct fake_pool p;
    char name[20];
    for (int i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = 1;
    fake_pool_open(&p, plugin(), &conf, weight, FAKE_MEMBERS);
    for (int i = 0; i < 20; i++) {
        int len = snprintf(name, sizeof name, "user%d", i);
        p.flow.user = (struct dp_str){.p = name, .len = (uint32_t)len};
        uint32_t link = pick(&p, "10.0.0.7:1", "a.test:80");
        cr_expect(eq(u32, pick(&p, "10.0.0.8:2", "b.test:443"), link), "%s", name);
        p.flow.user = (struct dp_str){.p = name, .len = (uint32_t)len - 1};
        differ += pick(&p, "10.0.0.7:1", "a.test:80") != link;
        p.flow.user = (struct dp_str){0};
        cr_expect(
            eq(u32, pick(&p, "10.0.0.7:3", "b.test:80"), pick(&p, "10.0.0.7:4", "a.test:80")));
    }
    cr_expect(gt(u32, differ, 10), "the whole name counts: %u", differ);
    fake_pool_close(&p);
}

/* With 64 links two keys share one in 1 of 64 cases by chance; 20 clients, ports or names in a row
 * that are to make no difference, or one, do so. */
Test(hash, same_key)
{
    static const struct {
        uint32_t on;
        const char *client, *dest, *client2, *dest2;
        bool same;
    } table[] = {
        {CLIENT, "10.0.0.7:1000", "a.test:80", "10.0.0.7:2000", "b.test:443", true},
        {CLIENT, "10.0.0.7:1000", "a.test:80", "10.0.0.8:1000", "a.test:80", false},
        {CLIENT, "10.0.0.7:1000", "a.test:80", "[::ffff:10.0.0.7]:9", "a.test:80", true},
        {CLIENT, "[fd00::1]:1000", "", "[fd00::1]:2000", "", true},
        {CLIENT, "[fd00::1]:1000", "", "[fd00::2]:1000", "", false},
        {HOST, "10.0.0.7:1000", "a.test:80", "10.0.0.9:2000", "a.test:443", true},
        {HOST, "10.0.0.7:1000", "a.test:80", "10.0.0.7:1000", "b.test:80", false},
        {HOST, "10.0.0.7:1000", "A.Test:80", "10.0.0.7:1000", "a.tesT.:80", true},
        {HOST, "10.0.0.7:1000", "192.0.2.1:80", "10.0.0.9:1000", "192.0.2.1:81", true},
        {HOST, "10.0.0.7:1000", "192.0.2.1:80", "10.0.0.7:1000", "192.0.2.2:80", false},
        {HOST, "10.0.0.7:1000", "192.0.2.1:80", "10.0.0.7:1000", "[::ffff:192.0.2.1]:80", true},
        {HOST, "10.0.0.7:1000", "[2001:db8::1]:80", "10.0.0.7:1000", "[2001:db8::2]:80", false},
        {HOST, "10.0.0.7:1000", "www.a.test:80", "10.0.0.7:1000", "a.test:80", false},
        {HOST, "10.0.0.7:1000", "", "10.0.0.7:2000", "", true}, /* not known: by client */
        {HOST, "10.0.0.7:1000", "", "10.0.0.8:1000", "", false},
        {DESTINATION, "10.0.0.7:1000", "a.test:80", "10.0.0.9:2000", "A.test:80", true},
        {DESTINATION, "10.0.0.7:1000", "a.test:80", "10.0.0.7:1000", "a.test:443", false},
        {DESTINATION, "10.0.0.7:1000", "192.0.2.1:80", "10.0.0.9:1", "192.0.2.1:80", true},
        {DESTINATION, "10.0.0.7:1000", "192.0.2.1:80", "10.0.0.7:1000", "192.0.2.1:81", false},
        {DESTINATION, "10.0.0.7:1000", "", "10.0.0.7:2000", "", true},
#ifdef HAVE_LIBPSL
        {DOMAIN_, "10.0.0.7:1", "www.example.com:80", "10.0.0.9:2", "img.cdn.Example.COM:443",
         true},
        {DOMAIN_, "10.0.0.7:1", "www.example.com:80", "10.0.0.7:1", "example.com.:80", true},
        {DOMAIN_, "10.0.0.7:1", "a.example.co.uk:80", "10.0.0.7:1", "b.example.co.uk:80", true},
        {DOMAIN_, "10.0.0.7:1", "a.one.co.uk:80", "10.0.0.7:1", "a.two.co.uk:80", false},
        {DOMAIN_, "10.0.0.7:1", "www.ck:80", "10.0.0.7:1", "a.www.ck:80", true}, /* !www.ck */
        {DOMAIN_, "10.0.0.7:1", "a.b.ck:80", "10.0.0.7:1", "a.c.ck:80", false},  /* *.ck */
        {DOMAIN_, "10.0.0.7:1", "one.github.io:80", "10.0.0.7:1", "two.github.io:80", false},
        {DOMAIN_, "10.0.0.7:1", "com:80", "10.0.0.7:1", "net:80", false}, /* suffixes */
        {DOMAIN_, "10.0.0.7:1", "printer:80", "10.0.0.7:1", "scanner:80", false},
        /* addresses have no domain, nor have they as names */
        {DOMAIN_, "10.0.0.7:1", "192.0.2.1:80", "10.0.0.7:1", "198.51.2.1:80", false},
        {DOMAIN_, "10.0.0.7:1", "999.0.2.1:80", "10.0.0.7:1", "998.0.2.1:80", false},
        {DOMAIN_, "10.0.0.7:1", "a\xc3\xa9.example.com:1", "10.0.0.7:1", "b\xc3\xa9.example.com:1",
         false},
        {DOMAIN_, "10.0.0.7:1", "", "10.0.0.7:2", "", true},
#endif
    };
    uint32_t weight[FAKE_MEMBERS];
    for (int i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = 1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_pool p;
        uint32_t seen = 0;
        fake_pool_open(&p, plugin(), &(struct conf){table[i].on}, weight, FAKE_MEMBERS);
        for (uint32_t round = 0; round < 20; round++) {
            for (int m = 0; m < FAKE_MEMBERS; m++) /* other links each time */
                p.member[m].id = round * FAKE_MEMBERS + (uint32_t)m;
            seen += pick(&p, table[i].client, table[i].dest) ==
                    pick(&p, table[i].client2, table[i].dest2);
        }
        if (table[i].same)
            cr_expect(eq(u32, seen, 20), "row %zu: the same", i);
        else
            cr_expect(lt(u32, seen, 5), "row %zu: not the same", i);
        fake_pool_close(&p);
    }
}

#ifdef HAVE_LIBPSL
/* What is known of names is no more than a short cut. */
Test(hash, more_names_than_are_known_at_a_time)
{
    struct fake_pool p;
    uint32_t weight[FAKE_MEMBERS], of_site[50], others = 0;
    for (int i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = 1;
    fake_pool_open(&p, plugin(), &(struct conf){DOMAIN_}, weight, FAKE_MEMBERS);
    for (unsigned i = 0; i < 10000; i++) {
        char name[64];
        snprintf(name, sizeof name, "w%u.site%u.co.uk:443", i % 5000, i % 50);
        uint32_t seen = pick(&p, "10.0.0.1:1", name), *site = &of_site[i % 50];
        cr_assert(i < 50 || seen == *site, "%s", name);
        *site = seen;
    }
    for (unsigned i = 1; i < 50; i++)
        others += of_site[i] != of_site[i - 1];
    cr_expect(gt(u32, others, 40));
    fake_pool_close(&p);
}
#endif

/* A name is bytes with a length: what comes after a NUL counts, what is behind its end does not. */
Test(hash, names_are_bytes)
{
    static const uint32_t on[] = {
        HOST,
#ifdef HAVE_LIBPSL
        DOMAIN_,
#endif
    };
    uint32_t weight[FAKE_MEMBERS];
    for (int i = 0; i < FAKE_MEMBERS; i++)
        weight[i] = 1;
    for (size_t k = 0; k < sizeof on / sizeof *on; k++) {
        struct fake_pool p;
        uint32_t same = 0, behind = 0;
        fake_pool_open(&p, plugin(), &(struct conf){on[k]}, weight, FAKE_MEMBERS);
        for (char c = 'a'; c <= 't'; c++) {
            char name[] = "a.test\0b.test";
            name[7] = c;
            p.flow.dest = (struct dp_addr){.name = name, .name_len = 13, .port = 80};
            uint32_t whole = fake_pool_pick(&p);
            p.flow.dest.name_len = 6;
            uint32_t cut = fake_pool_pick(&p);
            same += whole == cut;
            behind += cut == pick(&p, "10.0.0.1:1", "a.test:80");
        }
        cr_expect(lt(u32, same, 5), "choice %u", on[k]);
        cr_expect(eq(u32, behind, 20), "choice %u", on[k]);
        fake_pool_close(&p);
    }
}

/* Names of any length and any bytes are only looked at. */
Test(hash, odd_names)
{
    char name[2000];
    for (uint32_t on = CLIENT; on <= DESTINATION; on++) {
        struct fake_pool p;
#ifndef HAVE_LIBPSL
        if (on == DOMAIN_)
            continue;
#endif
        fake_pool_open(&p, plugin(), &(struct conf){on}, (uint32_t[]){1, 1}, 2);
        for (uint32_t len = 0; len < sizeof name; len += len < 300 ? 1 : 97)
            for (int byte = 0; byte < 256; byte += 5) {
                memset(name, byte, len);
                if (len > 4)
                    memcpy(name + len - 4, ".com", 4);
                p.flow.dest = (struct dp_addr){.name = name, .name_len = (uint16_t)len, .port = 1};
                cr_assert(lt(u32, fake_pool_pick(&p), 2));
            }
        fake_pool_close(&p);
    }
}

static void all_keys(struct fake_pool *p, uint32_t *link)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        char dest[64];
        snprintf(dest, sizeof dest, "host-%u.test:443", k);
        link[k] = pick(p, "10.0.0.1:1", dest);
    }
}

static void shares_are(const uint32_t *link, const uint32_t *weight, const char *what)
{
    uint32_t of[LINKS] = {0}, total = 0;
    for (int m = 0; m < LINKS; m++)
        total += weight[m];
    for (uint32_t k = 0; k < KEYS; k++)
        of[link[k]]++;
    for (int m = 0; m < LINKS; m++) { /* 250: five standard deviations at most */
        cr_expect(le(u32, of[m], KEYS * weight[m] / total + 250), "%s: %d", what, m);
        cr_expect(ge(u32, of[m] + 250, KEYS * weight[m] / total), "%s: %d", what, m);
    }
}

Test(hash, only_the_keys_of_a_lost_link_move)
{
    static const uint32_t weights[][LINKS] = {{1, 1, 1, 1, 1}, {5, 4, 3, 2, 1}};
    static uint32_t before[KEYS], after[KEYS];
    for (size_t w = 0; w < 2; w++) {
        struct fake_pool p;
        fake_pool_open(&p, plugin(), &(struct conf){HOST}, weights[w], LINKS);
        all_keys(&p, before);
        shares_are(before, weights[w], "all five");
        for (uint32_t lost = 0; lost < LINKS; lost++) {
            uint32_t rest[LINKS], moved = 0;
            memcpy(rest, weights[w], sizeof rest);
            rest[lost] = 0;
            p.tried = UINT64_C(1) << lost;
            all_keys(&p, after);
            shares_are(after, rest, "without one");
            for (uint32_t k = 0; k < KEYS; k++)
                moved += before[k] != after[k] && before[k] != lost;
            cr_expect(eq(u32, moved, 0), "keys of others, when %u is lost", lost);
        }
        fake_pool_close(&p);
    }
}

/* A link that gets heavier takes keys, and gives none away; so does one that comes. */
Test(hash, only_to_a_heavier_link)
{
    static uint32_t before[KEYS], after[KEYS];
    struct fake_pool p;
    fake_pool_open(&p, plugin(), &(struct conf){HOST}, (uint32_t[]){1, 1, 1, 1, 1}, LINKS);
    all_keys(&p, before);
    p.member[3].weight = 4;
    fake_pool_publish(&p);
    all_keys(&p, after);
    shares_are(after, (uint32_t[]){1, 1, 1, 4, 1}, "one is heavier");
    for (uint32_t k = 0; k < KEYS; k++)
        cr_assert(before[k] == after[k] || after[k] == 3, "key %u", k);
    fake_pool_close(&p);
}

/* Neither the order of the links nor their slots matter, only their names. */
Test(hash, places_do_not_matter)
{
    static uint32_t before[KEYS], after[KEYS];
    struct fake_pool p;
    fake_pool_open(&p, plugin(), &(struct conf){HOST}, (uint32_t[]){1, 2, 3, 4, 5}, LINKS);
    all_keys(&p, before);
    for (uint32_t m = 0; m < LINKS; m++) {
        p.list[m] = &p.member[LINKS - 1 - m];
        p.member[m].slot = (m + 2) % LINKS;
    }
    fake_pool_publish(&p);
    all_keys(&p, after);
    for (uint32_t k = 0; k < KEYS; k++)
        cr_assert(eq(u32, before[k], LINKS - 1 - after[k]), "key %u", k);
    fake_pool_close(&p);
}

Test(hash, none)
{
    struct fake_pool p;
    fake_pool_open(&p, plugin(), &(struct conf){CLIENT}, (uint32_t[]){1, 1}, 2);
    p.tried = 1;
    p.member[1].usable = 0;
    cr_expect(eq(u32, pick(&p, "10.0.0.1:1", "a.test:80"), DP_NONE));
    fake_pool_close(&p);
}

Test(hash, domain_needs_its_library)
{
    struct fake_host h;
    void *self = NULL;
    fake_host_init(&h);
    const struct dp_balancer_ops *ops = plugin()->ops;
    int rc = ops->create(&h.host, &(struct conf){DOMAIN_}, &self);
#ifdef HAVE_LIBPSL
    cr_assert(eq(int, rc, 0));
    ops->destroy(self);
#else
    cr_assert(eq(int, rc, FAKE_FAIL));
    cr_expect(eq(str, h.option, "hash-on"));
    cr_expect(eq(str, h.message, "domain needs libpsl, which this was built without"));
#endif
}

Test(hash, describes_itself)
{
    const struct dp_plugin *p = plugin();
    cr_assert(eq(u32, p->n_opts, 1));
    cr_expect(eq(str, (char *)p->opts->name, "hash-on"));
    cr_expect(eq(str, (char *)p->opts->dflt, "client"));
    cr_expect(eq(str, (char *)p->opts->choices, "client|host|domain|destination|user"));
    cr_expect(eq(u32, p->conf_size, sizeof(struct conf)));
}
