/* SPDX-License-Identifier: MIT
 * test_hosts.c: the hosts file: its lines, its changes, and a long one.
 */
#include "base/hosts.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/dispatch-hosts-XXXXXX";

/* Written beside it and renamed, so that it is another file. */
static void put(const char *text)
{
    char fresh[sizeof path + 4];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *f = fopen(fresh, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    cr_assert(eq(int, rename(fresh, path), 0));
}

static void make(void)
{
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
}

static void drop(void)
{
    unlink(path);
}

static struct hosts hosts(void)
{
    return (struct hosts){.file = {.path = path, .max = 1 << 20}};
}

/* The addresses of a name, as one text. */
static const char *found(const struct hosts *h, const char *name)
{
    static char all[512];
    struct dp_addr addr[8];
    char text[ADDR_TEXT];
    size_t n = hosts_find(h, name, addr, 8), len = 0;
    all[0] = '\0';
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s ", addr_ip_text(&addr[i], text));
    return all;
}

TestSuite(hosts, .init = make, .fini = drop);

Test(hosts, lines)
{
    static const struct {
        const char *name, *addresses;
    } table[] = {
        {"one", "192.0.2.1 "},
        {"alias", "192.0.2.1 "},
        {"both", "192.0.2.2 2001:db8::2 "}, /* of two lines, in their order */
        {"upper.example", "192.0.2.3 "},
        {"last", "192.0.2.4 "}, /* without a line break */
        {"scoped", "fe80::1%lo "},
        {"comment", ""},
        {"after", ""},
        {"nothing", ""},
        {"wrong", ""},
        {"192.0.2.1", ""},
        {"", ""},
    };
    struct hosts h = hosts();
    put("192.0.2.1\tone alias # comment\r\n"
        "# 192.0.2.9 after\n\n   \n"
        "  192.0.2.2   both\n2001:db8::2 both\n"
        "192.0.2.3 UPPER.Example\n"
        "nowhere wrong\n192.0.2.300 wrong\n192.0.2.5\n"
        "fe80::1%lo scoped\n"
        "192.0.2.4 last");
    hosts_refresh(&h);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        cr_expect(eq(str, (char *)found(&h, table[i].name), (char *)table[i].addresses), "%s",
                  table[i].name);
    hosts_deinit(&h);
}

Test(hosts, changes)
{
    struct hosts h = hosts();
    put("192.0.2.1 old\n");
    hosts_refresh(&h);
    put("192.0.2.2 new\n");
    cr_expect(eq(str, (char *)found(&h, "old"), "192.0.2.1 "), "it has not looked yet");
    hosts_refresh(&h);
    cr_expect(eq(str, (char *)found(&h, "old"), ""));
    cr_expect(eq(str, (char *)found(&h, "new"), "192.0.2.2 "));
    const char *text = h.file.text;
    hosts_refresh(&h);
    cr_expect(h.file.text == text, "what has not changed is not read");
    unlink(path);
    hosts_refresh(&h);
    cr_expect(eq(str, (char *)found(&h, "new"), ""), "there is no file");
    put("");
    hosts_refresh(&h);
    cr_expect(eq(str, (char *)found(&h, "new"), ""), "there is nothing in it");
    put("192.0.2.3 again\n");
    hosts_refresh(&h);
    cr_expect(eq(str, (char *)found(&h, "again"), "192.0.2.3 "));
    hosts_deinit(&h);
}

Test(hosts, many_names)
{
    enum { LINES = 20000 };
    char *text = malloc(LINES * 32), name[32];
    size_t len = 0;
    for (int i = 0; i < LINES; i++)
        len += (size_t)sprintf(text + len, "10.0.%d.%d n%d\n", i / 256, i % 256, i);
    put(text);
    struct hosts h = hosts();
    hosts_refresh(&h);
    cr_expect(eq(sz, h.n, LINES));
    for (int i = 0; i < LINES; i += 97) {
        struct dp_addr addr[2];
        sprintf(name, "n%d", i);
        cr_expect(eq(sz, hosts_find(&h, name, addr, 2), 1), "%s", name);
    }
    h.file.max = len / 2; /* and no more is read */
    put(text);
    hosts_refresh(&h);
    cr_expect(h.n < LINES && h.n > LINES / 3);
    hosts_deinit(&h);
    free(text);
}

Test(hosts, as_many_as_asked_for)
{
    struct hosts h = hosts();
    struct dp_addr addr[3];
    put("192.0.2.1 x\n192.0.2.2 x\n192.0.2.3 x\n192.0.2.4 x\n");
    hosts_refresh(&h);
    cr_expect(eq(sz, hosts_find(&h, "x", addr, 3), 3));
    hosts_deinit(&h);
}
