/* SPDX-License-Identifier: MIT
 * test_iface.c: dialer-iface against interfaces of a network namespace of its own.
 *
 * Each row runs in a forked child, for a thread cannot enter a user namespace: the child makes its
 * world with ip(8), prepares one socket, and tells by its output what is wrong.
 */
#include "lib/plugin_fake.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIP = 77 }; /* exit status of a child that cannot have a namespace */

struct conf {
    struct dp_str interface;
    struct dp_addr address;
    uint32_t mark, table;
    struct dp_list gateway;
};

static const struct dp_plugin *iface(void)
{
    static const struct dp_plugin *plugin;
    return plugin ? plugin : (plugin = fake_load("dialer-iface.so"));
}

static void set_conf(struct conf *conf, const char *device, const char *address)
{
    memset(conf, 0, sizeof *conf);
    if (device)
        conf->interface = (struct dp_str){device, (uint32_t)strlen(device)};
    if (!address)
        return;
    struct sockaddr_in sin = {.sin_family = AF_INET};
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, address, &sin.sin_addr) == 1) {
        memcpy(&conf->address.sa, &sin, sizeof sin);
        conf->address.salen = sizeof sin;
    } else {
        inet_pton(AF_INET6, address, &sin6.sin6_addr);
        memcpy(&conf->address.sa, &sin6, sizeof sin6);
        conf->address.salen = sizeof sin6;
    }
}

/* ---- create() ---- */

Test(iface, create_checks)
{
    static const struct {
        const char *device, *address, *option, *message;
    } table[] = {
        {NULL, NULL, "", "an interface or an address is needed"},
        {"abcdefghijklmnop", NULL, "interface", "longer than the name of an interface can be"},
    };
    const struct dp_dialer_ops *ops = iface()->ops;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_host host;
        struct conf conf;
        void *self = NULL;
        fake_host_init(&host);
        set_conf(&conf, table[i].device, table[i].address);
        cr_expect(eq(int, ops->create(&host.host, &conf, &self), FAKE_FAIL));
        cr_expect(eq(str, host.option, (char *)table[i].option));
        cr_expect(eq(str, host.message, (char *)table[i].message));
    }
}

/* NULL ends the list. */
static struct dp_list list_of(const char *const text[3], struct dp_str item[3])
{
    uint32_t n = 0;
    for (; n < 3 && text[n]; n++)
        item[n] = (struct dp_str){text[n], (uint32_t)strlen(text[n])};
    return (struct dp_list){n, item};
}

Test(iface, create_checks_the_way)
{
    static const char not [] = "not an address of a gateway, or of two: one IPv4, one IPv6";
    static const char one[] = "one of mark, table and gateway is all that a link can have";
    static const struct {
        uint32_t mark, table;
        const char *gateway[3], *option, *message;
    } table[] = {
        {0, 0, {"router"}, "gateway", not },
        {0, 0, {"10.0.0.1/24"}, "gateway", not },
        {0, 0, {"fe80::1%eth0"}, "gateway", not },
        {0, 0, {"10.0.0.1", "10.0.0.2"}, "gateway", not },
        {0, 0, {"fe80::1", "fe80::2"}, "gateway", not },
        {1, 1, {NULL}, "", one},
        {1, 0, {"10.0.0.1"}, "", one},
        {0, 1, {"10.0.0.1"}, "", one},
    };
    const struct dp_dialer_ops *ops = iface()->ops;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_host host;
        struct dp_str item[3];
        struct conf conf;
        void *self = NULL;
        fake_host_init(&host);
        set_conf(&conf, "lo", NULL);
        conf.mark = table[i].mark;
        conf.table = table[i].table;
        conf.gateway = list_of(table[i].gateway, item);
        cr_expect(eq(int, ops->create(&host.host, &conf, &self), FAKE_FAIL), "row %zu", i);
        cr_expect(eq(str, host.option, (char *)table[i].option));
        cr_expect(eq(str, host.message, (char *)table[i].message));
    }
}

Test(iface, create_only_warns_of_absence)
{
    static const struct {
        const char *device, *address, *message;
    } table[] = {
        {"nosuch0", NULL, "no interface nosuch0 yet"},
        {NULL, "192.0.2.1", "this machine has no address 192.0.2.1 yet"},
        {"lo", "192.0.2.1", "lo has no address 192.0.2.1 yet"},
        {NULL, "2001:db8::1", "this machine has no address 2001:db8::1 yet"},
        {"lo", NULL, NULL},
        {NULL, "127.0.0.9", NULL},
        {NULL, "::1", NULL},
    };
    const struct dp_dialer_ops *ops = iface()->ops;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fake_host host;
        struct conf conf;
        void *self = NULL;
        fake_host_init(&host);
        set_conf(&conf, table[i].device, table[i].address);
        cr_assert(eq(int, ops->create(&host.host, &conf, &self), 0));
        cr_expect(eq(u32, host.n_logs, table[i].message != NULL), "row %zu", i);
        cr_expect(eq(str, host.log, table[i].message ? (char *)table[i].message : ""));
        ops->destroy(self);
    }
}

/* ---- prepare() ---- */

struct row {
    const char *setup;            /* shell commands in the new world, lo already up */
    const char *device, *address; /* the options */
    const char *later;            /* commands after create() and a first prepare(); NULL: none */
    int family, expect;
    const char *bound; /* the device the socket must be bound to */
    const char *log;   /* a part of the line that must be logged */
};

/* The two ends of a cable: v0 is ours, up, with carrier as long as v1 is up. */
#define CABLE "ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up && "
#define V4 CABLE "ip addr add 10.1.0.2/24 dev v0"
#define V6 CABLE "ip addr add fd00:1::2/64 dev v0 nodad"

static const struct row rows[] = {
    /* by name */
    {V4, "v0", NULL, NULL, AF_INET, DP_OK, "v0", NULL},
    {V6, "v0", NULL, NULL, AF_INET6, DP_OK, "v0", NULL},
    {"true", "lo", NULL, NULL, AF_INET, DP_OK, "lo", NULL},
    {"true", "lo", NULL, NULL, AF_INET6, DP_OK, "lo", NULL},
    /* an address with a label of its own, which the quick call does not see */
    {CABLE "ip addr add 10.1.0.2/24 dev v0 label v0:1", "v0", NULL, NULL, AF_INET, DP_OK, "v0",
     NULL},
    /* no address of the family: skipped, nothing logged; link-local alone does not count */
    {CABLE "true", "v0", NULL, NULL, AF_INET, DP_ERR_FAMILY, "", NULL},
    {V4, "v0", NULL, NULL, AF_INET6, DP_ERR_FAMILY, "", NULL},
    {CABLE "ip addr add fe80::77/64 dev v0 nodad", "v0", NULL, NULL, AF_INET6, DP_ERR_FAMILY, "",
     NULL},
    {V6, "v0", NULL, NULL, AF_INET, DP_ERR_FAMILY, "", NULL},
    /* another device whose name only begins alike */
    {V4 " && ip link add v00 type veth peer name w00 && ip link set w00 up && ip link set v00 up",
     "v00", NULL, NULL, AF_INET, DP_ERR_FAMILY, "", NULL},
    /* broken */
    {"true", "v0", NULL, NULL, AF_INET, DP_ERR_LINK, "", "no interface v0"},
    {V4 " && ip link set v0 down", "v0", NULL, NULL, AF_INET, DP_ERR_LINK, "", "v0 is down"},
    {V4 " && ip link set v1 down", "v0", NULL, NULL, AF_INET, DP_ERR_LINK, "", "v0 has no carrier"},
    {V6 " && ip link set v1 down", "v0", NULL, NULL, AF_INET6, DP_ERR_LINK, "", "no carrier"},

    /* by address */
    {V4, NULL, "10.1.0.2", NULL, AF_INET, DP_OK, "v0", NULL},
    {V4 " && ip addr add 10.1.0.3/24 dev v0", NULL, "10.1.0.3", NULL, AF_INET, DP_OK, "v0", NULL},
    {V4 " && ip addr add 10.1.0.3/24 dev v0 label v0:1", NULL, "10.1.0.3", NULL, AF_INET, DP_OK,
     "v0", NULL},
    {V6, NULL, "fd00:1::2", NULL, AF_INET6, DP_OK, "v0", NULL},
    {"true", NULL, "127.0.0.2", NULL, AF_INET, DP_OK, "lo", NULL},
    {"true", NULL, "::1", NULL, AF_INET6, DP_OK, "lo", NULL},
    {V4, NULL, "10.1.0.2", NULL, AF_INET6, DP_ERR_FAMILY, "", NULL},
    {V6, NULL, "fd00:1::2", NULL, AF_INET, DP_ERR_FAMILY, "", NULL},
    {V4, NULL, "10.1.0.9", NULL, AF_INET, DP_ERR_LINK, "", "no interface has 10.1.0.9"},
    {V6, NULL, "fd00:1::9", NULL, AF_INET6, DP_ERR_LINK, "", "no interface has fd00:1::9"},
    {V4 " && ip link set v0 down", NULL, "10.1.0.2", NULL, AF_INET, DP_ERR_LINK, "", "v0 is down"},

    /* by both */
    {V4, "v0", "10.1.0.2", NULL, AF_INET, DP_OK, "v0", NULL},
    {V6, "v0", "fd00:1::2", NULL, AF_INET6, DP_OK, "v0", NULL},
    {"true", "lo", "127.0.0.7", NULL, AF_INET, DP_OK, "lo", NULL},
    {V4, "v1", "10.1.0.2", NULL, AF_INET, DP_ERR_LINK, "", "10.1.0.2 is not an address of v1"},
    {V4, "v0", "127.0.0.7", NULL, AF_INET, DP_ERR_LINK, "", "127.0.0.7 is not an address of v0"},
    {V4, "v0", "10.1.0.9", NULL, AF_INET, DP_ERR_LINK, "", "10.1.0.9 is not an address of v0"},

    /* changes while running */
    {V4, "v0", NULL, "ip link del v0", AF_INET, DP_ERR_LINK, "", "no interface v0"},
    {V4, "v0", NULL, "ip addr flush dev v0", AF_INET, DP_ERR_FAMILY, "", NULL},
    {V4, NULL, "10.1.0.2", "ip addr flush dev v0", AF_INET, DP_ERR_LINK, "", "no interface has"},
    {V4, NULL, "10.1.0.2", "ip addr flush dev v0 && ip addr add 10.1.0.2/24 dev v1", AF_INET, DP_OK,
     "v1", NULL},
    {V4, NULL, "10.1.0.2",
     "ip addr flush dev v0 && ip addr add 10.1.0.2/24 dev v1 && ip addr add 10.1.0.7/24 dev v0",
     AF_INET, DP_OK, "v1", NULL},
    {V4, NULL, "10.1.0.2", "ip link set v0 down && ip link set v0 name wan0 && ip link set wan0 up",
     AF_INET, DP_OK, "wan0", NULL},
    {CABLE "true", NULL, "10.1.0.2", "ip addr add 10.1.0.2/24 dev v0", AF_INET, DP_OK, "v0",
     "no interface has 10.1.0.2"},

    /* another address of the same interface, or of another that has taken its name and place */
    {V4, NULL, "10.1.0.2", "ip addr flush dev v0 && ip addr add 10.1.0.7/24 dev v0", AF_INET, DP_OK,
     "v0", "10.1.0.2 has changed: v0 is used"},
    {V6, NULL, "fd00:1::2",
     "ip addr flush dev v0 scope global && ip addr add fd00:1::7/64 dev v0 nodad", AF_INET6, DP_OK,
     "v0", "fd00:1::2 has changed: v0 is used"},
    {V4, NULL, "10.1.0.2", "ip link del v0 && " CABLE "ip addr add 10.1.0.7/24 dev v0", AF_INET,
     DP_OK, "v0", "10.1.0.2 has changed: v0 is used"},
    {V4, NULL, "10.1.0.2",
     "ip addr flush dev v0 && ip addr add 10.1.0.7/24 dev v0 && ip link set v0 down", AF_INET,
     DP_ERR_LINK, "", "v0 is down"},
    {V4, NULL, "10.1.0.2",
     "ip addr flush dev v0 && ip addr add 10.1.0.7/24 dev v0 && ip addr add 10.1.0.2/24 dev v1",
     AF_INET, DP_OK, "v1", NULL},
    {V4, NULL, "10.1.0.2", "ip addr flush dev v0 && ip addr add fd00:1::7/64 dev v0 nodad", AF_INET,
     DP_ERR_LINK, "", "no interface has 10.1.0.2"},
    {V4, NULL, "10.1.0.2", "ip addr flush dev v0 && ip addr add 10.1.0.7/24 dev v1", AF_INET,
     DP_ERR_LINK, "", "no interface has 10.1.0.2"},
    /* but not if it is named by both */
    {V4, "v0", "10.1.0.2", "ip addr flush dev v0 && ip addr add 10.1.0.7/24 dev v0", AF_INET,
     DP_ERR_LINK, "", "10.1.0.2 is not an address of v0"},
};

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

/* Has the kernel told each device of the state of its cable? It does so a little later. */
static int settled(void)
{
    enum { LOWER_UP = 1 << 16 }; /* IFF_LOWER_UP of <linux/if.h>: the cable itself, at once */
    struct ifaddrs *all;
    int ok = 1;
    if (getifaddrs(&all))
        return 0;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (i->ifa_flags & IFF_UP && !(i->ifa_flags & IFF_RUNNING) == !!(i->ifa_flags & LOWER_UP))
            ok = 0;
    freeifaddrs(all);
    return ok;
}

/* Runs the commands and waits until their work is done. */
static int shell(const char *commands)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    int failed = system(commands); // NOLINT: the commands are the table's
    for (int i = 0; i < 1000 && !failed && !settled(); i++)
        nanosleep(&moment, NULL);
    return failed;
}

/* A network of our own, as root or as a user. */
static void new_world(void)
{
    char map[64];
    snprintf(map, sizeof map, "0 %u 1", (unsigned)geteuid());
    if (unshare(CLONE_NEWNET) &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNET) || write_file("/proc/self/uid_map", map)))
        _exit(SKIP);
    write_file("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    if (shell("ip link set lo up"))
        _exit(SKIP);
}

static int complain(const char *what, const char *got)
{
    fprintf(stderr, "%s: %s\n", what, got);
    return 1;
}

/* The socket is bound to the device, and has the source address if there is one; or to nothing. */
static int check_socket(int fd, const struct row *row, const struct dp_addr *local)
{
    char device[IF_NAMESIZE] = "";
    socklen_t len = sizeof device;
    getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len);
    if (strcmp(device, row->bound) != 0)
        return complain("bound to the device", device);
    bool changed = row->log && strstr(row->log, "has changed");
    if ((local->salen > 0) != (row->expect == DP_OK && row->address && !changed))
        return complain("local address", local->salen ? "set" : "not set");
    if (local->salen && bind(fd, (const struct sockaddr *)&local->sa, local->salen))
        return complain("bind", strerror(errno));
    return 0;
}

static int prepare(const struct row *row, const struct dp_dialer_ops *ops, void *self, int check)
{
    struct dp_addr local = {0};
    int fd = socket(row->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = ops->prepare(self, fd, row->family, SOCK_STREAM, &local), bad = 0;
    if (check && rc != row->expect) {
        fprintf(stderr, "returned %d, not %d\n", rc, row->expect);
        bad = 1;
    }
    if (check && !bad)
        bad = check_socket(fd, row, &local);
    close(fd);
    return bad;
}

static int child(const struct row *row)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct fake_host host;
    struct conf conf;
    void *self = NULL;
    new_world();
    if (shell(row->setup))
        return SKIP;
    fake_host_init(&host);
    set_conf(&conf, row->device, row->address);
    if (ops->create(&host.host, &conf, &self))
        return complain("create", host.message);
    host.log[0] = '\0';
    int bad = 0;
    if (row->later)
        bad = prepare(row, ops, self, 0) || shell(row->later);
    bad = bad || prepare(row, ops, self, 1);
    if (row->log ? !strstr(host.log, row->log) : host.log[0])
        bad = complain("logged", host.log);
    ops->destroy(self);
    return bad;
}

static int run(int (*work)(const struct row *), const struct row *row)
{
    int status;
    iface();
    pid_t pid = fork();
    if (pid == 0)
        _exit(work(row));
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

Test(iface, prepare)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = run(child, &rows[i]);
        if (status == SKIP && i == 0)
            cr_skip_test("no network namespace, or no ip(8)");
        cr_expect(eq(int, status, 0), "row %zu: %s; %s %s; %s", i, rows[i].setup,
                  rows[i].device ? rows[i].device : "", rows[i].address ? rows[i].address : "",
                  rows[i].later ? rows[i].later : "");
    }
}

/* ---- marks, rules and routes ---- */

static uint32_t mark_of(void *self, int expect)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct dp_addr local = {0};
    uint32_t mark = 0;
    socklen_t len = sizeof mark;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = ops->prepare(self, fd, AF_INET, SOCK_STREAM, &local);
    getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len);
    close(fd);
    return rc == expect ? mark : UINT32_MAX;
}

static void *instance(struct fake_host *host, const struct conf *conf)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    void *self = NULL;
    fake_host_init(host);
    if (ops->create(&host->host, conf, &self)) {
        complain("create", host->message);
        exit(1);
    }
    return self;
}

#define LEFT "ip rule | grep -q 'proto 209' || ip route show table all proto 209 | grep -q default"

/* Each instance has a way of its own, which comes with the first socket and goes with the instance. */
static int gateways(const struct row *row)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct dp_str near = {"10.1.0.1", 8}, far = {"10.9.0.1", 8};
    struct fake_host host[3];
    struct conf conf;
    new_world();
    if (shell(row->setup))
        return SKIP;
    set_conf(&conf, "v0", NULL);
    conf.gateway = (struct dp_list){1, &near};
    void *a = instance(&host[0], &conf), *b = instance(&host[1], &conf);
    conf.gateway.item = &far;
    void *c = instance(&host[2], &conf);
    if (shell("! { " LEFT "; }"))
        return complain("create()", "has made something");
    uint32_t of_a = mark_of(a, DP_OK), of_b = mark_of(b, DP_OK);
    if (of_a == of_b || !of_a || of_a == UINT32_MAX || mark_of(a, DP_OK) != of_a)
        return complain("marks", "not of each its own");
    if (mark_of(c, DP_ERR_LINK) || !strstr(host[2].log, "no way out by v0: Network is unreachable"))
        return complain("a router on another network", host[2].log);
    ops->destroy(a);
    if (mark_of(b, DP_OK) != of_b || shell(LEFT))
        return complain("the second", "has gone with the first");
    if (shell("ip link set v0 down && ip link set v0 up") || mark_of(b, DP_OK) != of_b ||
        shell(LEFT))
        return complain("the second", "has not come back with the interface");
    ops->destroy(b);
    ops->destroy(c);
    return shell("! { " LEFT "; }") ? complain("destroy()", "has left something") : 0;
}

/* What the administrator has given is used as it is, and no rule made for a mark. */
static int marks(const struct row *row)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct fake_host host;
    struct conf conf;
    new_world();
    if (shell(row->setup))
        return SKIP;
    set_conf(&conf, "v0", NULL);
    conf.mark = UINT32_MAX - 1;
    void *self = instance(&host, &conf);
    if (mark_of(self, DP_OK) != UINT32_MAX - 1 || shell("! { " LEFT "; }"))
        return complain("mark", "another, or a rule");
    ops->destroy(self);
    conf.mark = 0;
    conf.table = 77;
    self = instance(&host, &conf);
    if (mark_of(self, DP_ERR_FAMILY) || host.log[0])
        return complain("an empty table", host.log);
    if (shell("ip route add default via 10.1.0.1 dev v0 table 77") || !mark_of(self, DP_OK) ||
        shell("ip rule | grep -q 'lookup 77 proto 209'"))
        return complain("a table", "no rule leads there");
    ops->destroy(self);
    return shell("! { " LEFT "; } && ip route show table 77 | grep -q default");
}

Test(iface, ways)
{
    static const struct row row = {.setup = V4};
    int (*const work[])(const struct row *) = {gateways, marks};
    for (size_t i = 0; i < sizeof work / sizeof *work; i++) {
        int status = run(work[i], &row);
        if (status == SKIP)
            cr_skip_test("no network namespace, or no ip(8)");
        cr_expect(eq(int, status, 0), "row %zu", i);
    }
}

/* A dead link fails each attempt but is not talked about each time. */
static int many_failures(const struct row *row)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct fake_host host;
    struct conf conf;
    void *self = NULL;
    fake_host_init(&host);
    set_conf(&conf, row->device, NULL);
    ops->create(&host.host, &conf, &self);
    for (int i = 0; i < 1000; i++)
        if (prepare(row, ops, self, 1))
            return 1;
    ops->destroy(self);
    return host.n_logs != 2; /* create()'s, and one */
}

Test(iface, log_is_rate_limited)
{
    static const struct row row = {
        .device = "nosuch0", .family = AF_INET, .expect = DP_ERR_LINK, .bound = ""};
    cr_expect(eq(int, run(many_failures, &row), 0));
}

/* A socket that is bound already cannot be bound again without privilege: never left as it was. */
static int bound_before(const struct row *row)
{
    const struct dp_dialer_ops *ops = iface()->ops;
    struct fake_host host;
    struct conf conf;
    struct dp_addr local = {0};
    void *self = NULL;
    if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
        return SKIP;
    fake_host_init(&host);
    set_conf(&conf, row->device, NULL);
    ops->create(&host.host, &conf, &self);
    int fd = socket(row->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int first = ops->prepare(self, fd, row->family, SOCK_STREAM, &local);
    int second = ops->prepare(self, fd, row->family, SOCK_STREAM, &local);
    close(fd);
    ops->destroy(self);
    if (first != DP_OK || second != DP_ERR_LINK || !strstr(host.log, "CAP_NET_RAW"))
        return complain("bound twice", host.log);
    return 0;
}

Test(iface, unprivileged_and_fails_closed)
{
    static const struct row row = {.device = "lo", .family = AF_INET};
    int status = run(bound_before, &row);
    if (status == SKIP)
        cr_skip_test("cannot become an ordinary user");
    cr_expect(eq(int, status, 0));
}
