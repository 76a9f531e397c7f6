/* SPDX-License-Identifier: MIT
 * test_system_names.c: what resolv.conf(5) says, also of systemd-resolved, and the names that come
 * of its domains.
 */
#include "base/clock.h"
#include "route/system_names.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/dispatch-names-XXXXXX";
static char path[3][64];
static struct system_names names;

static void put(const char *at, const char *text)
{
    char fresh[80];
    unlink(at);
    if (!text)
        return;
    snprintf(fresh, sizeof fresh, "%s.new", at);
    FILE *f = fopen(fresh, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    cr_assert(eq(int, rename(fresh, at), 0));
}

static void make(void)
{
    static const char *const file[] = {"hosts", "resolv.conf", "resolved"};
    cr_assert(mkdtemp(folder) != NULL);
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/%s", folder, file[i]);
    system_names_init(&names);
    names.hosts.file.path = path[0];
    names.resolv.path = path[1];
    names.resolved.path = path[2];
}

static void drop(void)
{
    system_names_deinit(&names);
    for (int i = 0; i < 3; i++)
        unlink(path[i]);
    rmdir(folder);
}

TestSuite(system_names, .init = make, .fini = drop);

static void read_now(const char *resolv, const char *resolved)
{
    static int64_t now = NS_PER_S;
    put(path[1], resolv);
    put(path[2], resolved);
    now += 2 * NS_PER_S;
    system_names_refresh(&names, now);
}

static const char *listed(void)
{
    static char all[512];
    char text[ADDR_TEXT];
    size_t len = 0;
    all[0] = '\0';
    for (size_t i = 0; i < names.n_servers; i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", i ? " " : "",
                                addr_ip_text(&names.server[i], text));
    return all;
}

Test(system_names, servers)
{
    static const struct {
        const char *resolv, *resolved, *servers;
    } table[] = {
        {"nameserver 192.0.2.1\nnameserver 2001:db8::1\n", NULL, "192.0.2.1 2001:db8::1"},
        {"nameserver\t192.0.2.1 # x\n#nameserver 192.0.2.2\n;nameserver 192.0.2.3", NULL,
         "192.0.2.1"},
        {"nameserver fe80::1%lo\n", NULL, "fe80::1%lo"},
        {"nameserver no.address\nnameserver\nnameservers 192.0.2.1\n", NULL, "127.0.0.1"},
        {"", NULL, "127.0.0.1"},
        {NULL, NULL, "127.0.0.1"},
        /* systemd-resolved's list counts where it is all that is asked */
        {"nameserver 127.0.0.53\n", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n",
         "192.0.2.1 192.0.2.2 127.0.0.53"},
        {"nameserver 127.0.0.53\n", NULL, "127.0.0.53"},
        {"nameserver 127.0.0.53\n", "# nothing\n", "127.0.0.53"},
        {"nameserver 127.0.0.1\n", "nameserver 192.0.2.1\n", "127.0.0.1"},
        {"nameserver 192.0.2.9\n", "nameserver 192.0.2.1\n", "192.0.2.9"},
        {"nameserver 127.0.0.53\nnameserver 192.0.2.9\n", "nameserver 192.0.2.1\n",
         "127.0.0.53 192.0.2.9"},
        {"nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\nnameserver 1.0.0.4\n"
         "nameserver 1.0.0.5\nnameserver 1.0.0.6\nnameserver 1.0.0.7\nnameserver 1.0.0.8\n"
         "nameserver 1.0.0.9\n",
         NULL, "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        read_now(table[i].resolv, table[i].resolved);
        cr_expect(eq(str, (char *)listed(), (char *)table[i].servers), "row %zu", i);
        cr_expect(eq(u16, names.server[0].port, 53), "row %zu", i);
    }
}

/* All forms of a name that are asked for. */
static const char *forms(const char *name)
{
    static char all[2048];
    char one[NAME_SIZE];
    size_t len = 0;
    all[0] = '\0';
    for (unsigned i = 0; system_names_candidate(&names, name, i, one); i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", i ? " " : "", one);
    return all;
}

Test(system_names, domains)
{
    static const struct {
        const char *resolv, *name, *forms;
    } table[] = {
        {"", "x", "x"},
        {"search a.test b.test\n", "x", "x.a.test x.b.test x"},
        {"search a.test\n", "x.y", "x.y"},
        {"search a.test\n", "x.", "x."},
        {"domain a.test\n", "x", "x.a.test x"},
        {"search a.test\ndomain b.test\n", "x", "x.b.test x"},
        {"search .\n", "x", "x"},
        {"search a.test\noptions edns0 ndots:2 rotate\n", "x.y", "x.y.a.test x.y"},
        {"search a.test\noptions ndots:2\n", "x.y.z", "x.y.z"},
        {"search a.test\noptions ndots:0\n", "x", "x"},
        {"search a.test\noptions ndots:99999999999999999999\n", "x.y", "x.y.a.test x.y"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        read_now(table[i].resolv, NULL);
        cr_expect(eq(str, (char *)forms(table[i].name), (char *)table[i].forms), "row %zu", i);
    }
}

Test(system_names, a_form_that_is_too_long_is_empty)
{
    char name[NAME_SIZE], one[NAME_SIZE];
    memset(name, 'x', 250);
    name[250] = '\0';
    read_now("search long.test\n", NULL);
    cr_expect(system_names_candidate(&names, name, 0, one));
    cr_expect(eq(str, one, ""));
    cr_expect(system_names_candidate(&names, name, 1, one));
    cr_expect(eq(str, one, name));
}

Test(system_names, the_files_are_looked_at_once_a_second)
{
    int64_t now = 100 * NS_PER_S;
    put(path[1], "nameserver 192.0.2.1\n");
    system_names_refresh(&names, now);
    uint64_t hash = names.hash;
    put(path[1], "nameserver 192.0.2.2\n");
    system_names_refresh(&names, now + NS_PER_S - 1);
    cr_expect(eq(str, (char *)listed(), "192.0.2.1"));
    cr_expect(eq(u64, names.hash, hash));
    system_names_refresh(&names, now + NS_PER_S);
    cr_expect(eq(str, (char *)listed(), "192.0.2.2"));
    cr_expect(ne(u64, names.hash, hash), "answers of the old one are not used any more");
}
