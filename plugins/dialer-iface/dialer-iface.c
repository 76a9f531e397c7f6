/* SPDX-License-Identifier: MIT
 * dialer-iface: out by a network interface, named by itself, by an address it has, or by both.
 *
 * prepare() looks at the interface, then binds the socket to it: first what the link is, next that
 * it is up, has carrier, has an address of the family asked for. Whatever is missing ends the
 * attempt, for an unbound socket would leave by the default route. All that asks the system is in
 * the functions named device_*, and in way.c: by which of several routers behind the interface.
 */
#include "way.h"
#include <dispatch-plugin.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define LOG_EVERY_NS INT64_C(10000000000) /* a dead link fails each attempt: say so now and then */
#define LOOPBACK "lo"

_Static_assert(IF_NAMESIZE == 2 * sizeof(uint64_t), "a name is two numbers");

struct conf {
    struct dp_str interface;
    struct dp_addr address;
    struct way_conf way;
};

struct instance {
    const struct dp_host *host;
    const struct dp_addr *address; /* NULL: any the device has */
    char device[IF_NAMESIZE];      /* empty: whichever has the address */
    char text[64];                 /* the address in print */
    struct way way;

    /* Written by prepare() from any thread or process that has this copy. */
    uint64_t seen[2]; /* the name of the device that had the address last; empty: not known */
    uint32_t follows; /* that device, though it has the address no more */
    uint32_t omitted; /* lines not logged since the last that was */
    int64_t next_log;
};

/* ---- what the system knows ---- */

/* The flags of a device, or -1 with errno (ENODEV: there is none of this name). */
static int device_flags(int fd, const char *device)
{
    struct ifreq req = {0};
    memcpy(req.ifr_name, device, IF_NAMESIZE);
    return ioctl(fd, SIOCGIFFLAGS, &req) ? -1 : (unsigned short)req.ifr_flags;
}

/* Has it this IPv4 address (NULL: any)? Needs an AF_INET socket. An address with a label of its own
 * (eth0:1) is not seen: device_find() sees it. */
static bool device_has_ipv4(int fd, const char *device, const struct sockaddr_in *address)
{
    struct ifreq req = {0};
    struct sockaddr_in sin = {.sin_family = address ? AF_INET : AF_UNSPEC};
    if (address)
        sin.sin_addr = address->sin_addr; /* asks for this one, be it the first or not */
    memcpy(req.ifr_name, device, IF_NAMESIZE);
    memcpy(&req.ifr_addr, &sin, sizeof sin);
    if (ioctl(fd, SIOCGIFADDR, &req))
        return false;
    memcpy(&sin, &req.ifr_addr, sizeof sin);
    return !address || sin.sin_addr.s_addr == address->sin_addr.s_addr;
}

/* No privilege is needed since Linux 5.7, once for each socket. */
static int device_bind(int fd, const char *device)
{
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device));
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return IN6_ARE_ADDR_EQUAL(&x->sin6_addr, &y->sin6_addr) &&
           (!y->sin6_scope_id || x->sin6_scope_id == y->sin6_scope_id);
}

/* Can connections beyond the link leave from it? */
static bool reaches_far(const struct sockaddr *a)
{
    return a->sa_family != AF_INET6 ||
           !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Finds an address of this family, and just `address` unless that is NULL, on `device`, or on any
 * device if that is empty: then its name is filled in. Returns 1, 0, or DP_ERR_LOCAL. */
static int device_find(char device[IF_NAMESIZE], int family, const struct sockaddr *address)
{
    struct ifaddrs *all;
    if (getifaddrs(&all))
        return DP_ERR_LOCAL;

    int found = 0;
    for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
        size_t len = strcspn(i->ifa_name, ":"); /* a label: eth0:1 */
        if (!i->ifa_addr || i->ifa_addr->sa_family != family || len >= IF_NAMESIZE)
            continue;
        if (*device && (strncmp(device, i->ifa_name, len) != 0 || device[len]))
            continue;
        if (address ? !same_address(i->ifa_addr, address) : !reaches_far(i->ifa_addr))
            continue;
        memcpy(device, i->ifa_name, len);
        device[len] = '\0';
        found = 1;
    }
    freeifaddrs(all);
    return found;
}

/* ---- one attempt ---- */

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Says why the link cannot be used, at most one line in LOG_EVERY_NS. */
__attribute__((format(printf, 2, 3))) static int broken(struct instance *in, const char *fmt, ...)
{
    int64_t now = now_ns(), next = dp_load(&in->next_log);
    if (now < next || !__atomic_compare_exchange_n(&in->next_log, &next, now + LOG_EVERY_NS, 0,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        dp_add(&in->omitted, 1);
        return DP_ERR_LINK;
    }
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    uint32_t omitted = __atomic_exchange_n(&in->omitted, 0, __ATOMIC_RELAXED);
    if (omitted)
        dp_logf(in->host, DP_LOG_WARN, "%s (%u more since the last line)", why, omitted);
    else
        in->host->log(in->host, DP_LOG_WARN, why);
    return DP_ERR_LINK;
}

static bool is_loopback(const struct dp_addr *a)
{
    if (a->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
    return ntohl(((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Written in two parts, of which the first is all of most names: a name that is put together from two
 * is none, or has not got the address. */
static void seen_put(struct instance *in, const char device[IF_NAMESIZE])
{
    uint64_t part[2];
    memcpy(part, device, sizeof part);
    dp_store(&in->seen[0], part[0]);
    dp_store(&in->seen[1], part[1]);
}

static void seen_get(const struct instance *in, char device[IF_NAMESIZE])
{
    const uint64_t part[2] = {dp_load(&in->seen[0]), dp_load(&in->seen[1])};
    memcpy(device, part, sizeof part);
}

/* An IPv4 address that is where it was last costs one call, anything else a walk over all. */
static bool still_there(const struct instance *in, int fd, char device[IF_NAMESIZE])
{
    if (in->address->sa.ss_family != AF_INET)
        return false;
    if (!*device)
        seen_get(in, device);
    return *device && device_has_ipv4(fd, device, (const struct sockaddr_in *)&in->address->sa);
}

static int check_family(int fd, int family, char device[IF_NAMESIZE]);

/* The address is gone, and perhaps it is just the interface's that has changed, as by DHCP: then the
 * link goes on by that, from whichever address it has. */
static int follow(struct instance *in, int fd, char device[IF_NAMESIZE])
{
    seen_get(in, device);
    int rc = *device ? check_family(fd, in->address->sa.ss_family, device) : DP_ERR_FAMILY;
    if (rc == DP_ERR_FAMILY)
        return broken(in, "no interface has %s", in->text);
    if (rc == DP_OK && !__atomic_exchange_n(&in->follows, 1, __ATOMIC_RELAXED))
        dp_logf(in->host, DP_LOG_INFO, "%s has changed: %s is used with the address it has now",
                in->text, device);
    return rc;
}

/* The device that has the address now, *has then, or had it last. All of 127/8 and ::1 is the
 * loopback device's, also what is not listed on it. */
static int find_by_address(struct instance *in, int fd, char device[IF_NAMESIZE], bool *has)
{
    *has = true;
    const struct sockaddr *sa = (const struct sockaddr *)&in->address->sa;
    if (is_loopback(in->address)) {
        if (*device && strcmp(device, LOOPBACK) != 0)
            return broken(in, "%s is not an address of %s", in->text, device);
        memcpy(device, LOOPBACK, sizeof LOOPBACK);
        return DP_OK;
    }
    if (still_there(in, fd, device))
        return DP_OK;
    memcpy(device, in->device, IF_NAMESIZE);
    int found = device_find(device, sa->sa_family, sa);
    if (found < 0)
        return found;
    if (!found && *device)
        return broken(in, "%s is not an address of %s", in->text, device);
    if (!found) {
        *has = false;
        return follow(in, fd, device);
    }
    seen_put(in, device);
    if (dp_load(&in->follows))
        dp_store(&in->follows, 0);
    return DP_OK;
}

static int check_up(struct instance *in, int fd, const char *device)
{
    int flags = device_flags(fd, device);
    if (flags < 0 && errno == ENODEV)
        return broken(in, "no interface %s", device);
    if (flags < 0)
        return broken(in, "%s: %s", device, strerror(errno));
    if (!(flags & IFF_UP))
        return broken(in, "%s is down", device);
    if (!(flags & IFF_RUNNING))
        return broken(in, "%s has no carrier", device);
    return DP_OK;
}

static int bind_to(struct instance *in, int fd, const char *device)
{
    if (device_bind(fd, device) == 0)
        return DP_OK;
    return broken(in, "cannot bind to %s: %s%s", device, strerror(errno),
                  errno == EPERM ? " (Linux before 5.7 asks for CAP_NET_RAW)" : "");
}

/* By name only: without an address of the family the link is no way, which is nobody's fault. */
static int check_family(int fd, int family, char device[IF_NAMESIZE])
{
    if (family == AF_INET && device_has_ipv4(fd, device, NULL))
        return DP_OK;
    int found = device_find(device, family, NULL);
    return found < 0 ? found : found ? DP_OK : DP_ERR_FAMILY;
}

static int go_by(struct instance *in, int fd, int family, const char *device)
{
    int err = way_take(&in->way, fd, family, device);
    if (err == EAFNOSUPPORT)
        return DP_ERR_FAMILY;
    return err ? broken(in, "no way out by %s: %s", device, strerror(err)) : DP_OK;
}

static int prepare(const void *self, int fd, int family, int type, struct dp_addr *local)
{
    (void)type;
    struct instance *in = (struct instance *)self; /* only its atomic fields are written */
    if (in->address && in->address->sa.ss_family != family)
        return DP_ERR_FAMILY;

    char device[IF_NAMESIZE]; /* found out anew each time: addresses move */
    bool from_address = false;
    memcpy(device, in->device, sizeof device);
    int rc = in->address ? find_by_address(in, fd, device, &from_address) : DP_OK;
    if (rc == DP_OK)
        rc = check_up(in, fd, device);
    if (rc == DP_OK && !in->address)
        rc = check_family(fd, family, device);
    if (rc == DP_OK)
        rc = bind_to(in, fd, device);
    if (rc == DP_OK)
        rc = go_by(in, fd, family, device);
    if (rc == DP_OK && from_address)
        *local = *in->address;
    return rc;
}

/* ---- the instance ---- */

/* Not an error at the start: it may be plugged in, or get its address, later. */
static void note_absence(struct instance *in)
{
    char device[IF_NAMESIZE];
    memcpy(device, in->device, sizeof device);
    if (*device && !if_nametoindex(device)) {
        dp_logf(in->host, DP_LOG_WARN, "no interface %s yet", device);
    } else if (in->address && !is_loopback(in->address)) {
        int family = in->address->sa.ss_family;
        if (device_find(device, family, (const struct sockaddr *)&in->address->sa) > 0)
            seen_put(in, device);
        else
            dp_logf(in->host, DP_LOG_WARN, "%s has no address %s yet",
                    *device ? device : "this machine", in->text);
    }
}

static void destroy(void *self)
{
    struct instance *in = self;
    way_end(&in->way);
    free(in);
}

static int create(const struct dp_host *host, const void *conf_, void **self)
{
    const struct conf *conf = conf_;
    if (!conf->interface.len && !conf->address.salen)
        return host->fail(host, NULL, "an interface or an address is needed");
    if (conf->interface.len >= IF_NAMESIZE)
        return host->fail(host, "interface", "longer than the name of an interface can be");

    struct instance *in = calloc(1, sizeof *in);
    if (!in)
        return DP_ERR_LOCAL;
    in->host = host;
    if (conf->interface.len)
        memcpy(in->device, conf->interface.p, conf->interface.len);
    if (conf->address.salen) {
        in->address = &conf->address;
        getnameinfo((const struct sockaddr *)&conf->address.sa, conf->address.salen, in->text,
                    sizeof in->text, NULL, 0, NI_NUMERICHOST);
    }
    int err = way_init(&in->way, &conf->way, host);
    if (err) {
        destroy(in);
        return err;
    }
    note_absence(in);
    *self = in;
    return 0;
}

static const struct dp_dialer_ops ops = {
    .create = create,
    .destroy = destroy,
    .prepare = prepare,
};

static const struct dp_opt opts[] = {
    {.name = "interface",
     .type = DP_DEVICE,
     .offset = offsetof(struct conf, interface),
     .help = "leave by this network interface"},
    {.name = "address",
     .type = DP_ADDRESS,
     .offset = offsetof(struct conf, address),
     .help = "leave from this address, by the interface that has it"},
    {.name = "gateway",
     .type = DP_LIST,
     .offset = offsetof(struct conf, way.gateway),
     .min = 1,
     .max = 2,
     .help = "leave by this router of several behind the interface"},
    {.name = "table",
     .type = DP_U32,
     .offset = offsetof(struct conf, way.table),
     .min = 1,
     .max = UINT32_MAX,
     .help = "leave by this routing table"},
    {.name = "mark",
     .type = DP_U32,
     .offset = offsetof(struct conf, way.mark),
     .min = 1,
     .max = UINT32_MAX,
     .help = "mark packets with this number"},
};

const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin,
    .abi = DP_ABI,
    .kind = DP_DIALER,
    .ops_size = sizeof ops,
    .name = "iface",
    .version = "1",
    .summary = "out by a network interface",
    .ops = &ops,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .opt_size = sizeof *opts,
    .conf_size = sizeof(struct conf),
};
