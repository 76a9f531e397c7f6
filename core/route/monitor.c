/* SPDX-License-Identifier: MIT
 * monitor.c: links follow the kernel.
 */
#include "route/monitor.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/option.h"
#include "route/health.h"
#include "route/netlink.h"
#include "route/ramp.h"
#include "route/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Looking costs at most one part in so many of the time, however much happens, and however large
 * this machine's tables are. */
#define LOOK_SHARE 10

/* When it could not be looked: until it is tried again. */
#define RETRY_NS NS_PER_S

/* A link that comes and goes all the time is told of once in this time. So long, too, a link that
 * has come up may take to get its route. */
#define TELL_NS NS_PER_S

enum standing { UP, NO_ROUTE, DOWN };

struct watch {
    struct link *link; /* a reference */
    bool reset;        /* its connections end with the interface */
    bool seen;         /* in a picture */
    /* What it is named by, in the bottom dialer's options; each may be missing. */
    const struct dp_str *device;
    const struct dp_addr *address;
    uint32_t server; /* the ways (WAY_) to the first tunnel's server; 0: there is no tunnel */
    /* As it was seen last. */
    char named[IF_NAMESIZE]; /* the interface, or what it was; empty: not known */
    uint32_t index;          /* of the interface; 0: none that works */
    enum standing standing;
    int64_t since_ns;
    char why[64];
    /* As it was told last. */
    enum standing told;
    int64_t told_ns; /* when it was told that it is not up */
};

struct monitor {
    struct io *io;
    struct netlink *netlink; /* NULL: it is told */
    struct io_fd events;
    struct io_timer look, tell;
    int64_t next_look_ns;
    monitor_gone *gone;
    void *ctx;
    struct watch *watch;
    size_t n;
    struct devices picture;
};

/* ---- one link in a picture ---- */

struct outlook {
    uint32_t index, no_way, no_route;
    char why[64];
};

__attribute__((format(printf, 2, 3))) //
static struct outlook
hopeless(uint32_t index, const char *fmt, ...)
{
    struct outlook o = {.index = index, .no_way = WAY_ANY, .no_route = WAY_ANY};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(o.why, sizeof o.why, fmt, ap);
    va_end(ap);
    return o;
}

/* A link named by its address alone stays with the interface when that changes, as by DHCP. */
static const struct device *device_of(const struct watch *w, const struct devices *d)
{
    if (w->device)
        return devices_by_name(d, w->device->p);
    const struct device *has = devices_by_address(d, w->address);
    if (has)
        return has;
    const struct device *had = devices_by_name(d, w->named);
    return had && devices_has_family(d, had, addr_family(w->address)) ? had : NULL;
}

static bool has_family(const struct watch *w, const struct devices *d, const struct device *device,
                       int family)
{
    if (w->address && addr_family(w->address) != family)
        return false;
    if (w->address && w->device)
        return devices_has(d, device, w->address);
    return device->loopback || devices_has_family(d, device, family);
}

/* What there is to a server by either family is all there is to the link. */
static uint32_t by_server(const struct watch *w, uint32_t missing)
{
    if (!w->server)
        return missing;
    return (missing & w->server) == w->server ? WAY_ANY : 0;
}

static struct outlook outlook(const struct watch *w, const struct devices *d)
{
    char text[ADDR_TEXT];
    const struct device *device = device_of(w, d);
    if (!device)
        return w->device ? hopeless(0, "no interface %s", w->device->p)
                         : hopeless(0, "no interface has %s", addr_ip_text(w->address, text));
    if (!device->up)
        return hopeless(0, "%s is down", device->name);
    if (!device->carrier)
        return hopeless(0, "%s has no carrier", device->name);

    struct outlook o = {.index = device->index};
    if (!has_family(w, d, device, AF_INET))
        o.no_way |= WAY_IPV4;
    if (!has_family(w, d, device, AF_INET6))
        o.no_way |= WAY_IPV6;
    o.no_route = o.no_way;
    if (!device->loopback && !device->direct && !device->route_ipv4)
        o.no_route |= WAY_IPV4;
    if (!device->loopback && !device->route_ipv6)
        o.no_route |= WAY_IPV6;
    o.no_way = by_server(w, o.no_way);
    o.no_route = by_server(w, o.no_route);
    if (o.no_way == WAY_ANY)
        return hopeless(device->index, "%s has no address", device->name);
    return o;
}

/* ---- what is told ---- */

/* When the log is to be told how it stands; 0: it knows. That it has no route is perhaps only not
 * yet, or not any more. */
static int64_t tell_at(const struct watch *w)
{
    if (w->standing == w->told)
        return 0;
    if (w->standing == UP)
        return w->since_ns;
    int64_t again = w->told_ns ? w->told_ns + TELL_NS : w->since_ns;
    int64_t sure = w->since_ns + (w->standing == NO_ROUTE ? TELL_NS : 0);
    return again > sure ? again : sure;
}

static void tell(struct watch *w, int64_t now_ns)
{
    const char *name = w->link->name;
    if (w->standing == UP)
        log_line(LOG_INFO, "link", "%s: up", name);
    else if (w->standing == DOWN)
        log_line(LOG_WARN, "link", "%s: down: %s", name, w->why);
    else
        log_line(LOG_WARN, "link", "%s: no route: used only where there is no other", name);
    if (w->standing != UP)
        w->told_ns = now_ns;
    w->told = w->standing;
}

static void tell_all(struct monitor *m, int64_t now_ns)
{
    int64_t next = 0;
    for (struct watch *w = m->watch; w < m->watch + m->n; w++) {
        int64_t at = tell_at(w);
        if (at && at <= now_ns)
            tell(w, now_ns);
        else if (at && (!next || at < next))
            next = at;
    }
    if (m->io)
        io_timer(m->io, &m->tell, next);
}

static void tell_fire(struct io_timer *t)
{
    struct monitor *m = (struct monitor *)((char *)t - offsetof(struct monitor, tell));
    tell_all(m, io_now(m->io));
}

/* ---- from one picture to the next ---- */

/* Connections from addresses that the interface has no more lead nowhere. */
static void addresses_gone(const struct monitor *m, const struct watch *w, const struct devices *d)
{
    const struct device *device = devices_by_index(d, w->index);
    for (size_t i = 0; i < m->picture.n_addresses; i++) {
        const struct device_address *had = &m->picture.address[i];
        if (had->index == w->index && !devices_has(d, device, &had->addr))
            m->gone(m->ctx, w->link, &had->addr);
    }
}

static bool addresses_new(const struct monitor *m, const struct watch *w, const struct devices *d)
{
    const struct device *device = devices_by_index(&m->picture, w->index);
    for (size_t i = 0; device && i < d->n_addresses; i++)
        if (d->address[i].index == w->index &&
            !devices_has(&m->picture, device, &d->address[i].addr))
            return true;
    return false;
}

static void connections_end(const struct monitor *m, const struct watch *w, const struct outlook *o,
                            const struct devices *d)
{
    if (!w->reset || !w->index)
        return;
    if (o->index != w->index)
        m->gone(m->ctx, w->link, NULL);
    else
        addresses_gone(m, w, d);
}

static bool is_better(const struct monitor *m, const struct watch *w, const struct outlook *o,
                      const struct devices *d)
{
    const struct link_shared *s = w->link->shared;
    if (!w->seen || !o->index)
        return false;
    return o->index != w->index || dp_load(&s->no_way) & ~o->no_way ||
           dp_load(&s->no_route) & ~o->no_route || addresses_new(m, w, d);
}

/* A dialer may see to a route of its own, but does so when a socket is prepared, and a link without a
 * route is not asked for any. So one is prepared here, to no other end; what comes of it is an event. */
static void route_ask(const struct watch *w, const struct outlook *o)
{
    static const struct {
        uint32_t way;
        int family;
    } ways[] = {{WAY_IPV4, AF_INET}, {WAY_IPV6, AF_INET6}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways && !w->server; i++) {
        struct dp_addr local;
        if (!(o->no_route & ~o->no_way & ways[i].way))
            continue;
        int fd = socket(ways[i].family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        socket_dress(fd, w->link->chain[0], ways[i].family, SOCK_DGRAM, &local);
        close(fd);
    }
}

static void follow(struct monitor *m, struct watch *w, const struct devices *d, int64_t now_ns)
{
    struct outlook o = outlook(w, d);
    struct link_shared *s = w->link->shared;
    bool better = is_better(m, w, &o, d), gone = !link_has_way(w->link, WAY_ANY);
    dp_store(&s->no_way, o.no_way);
    dp_store(&s->no_route, o.no_route);
    if (better)
        link_renew(w->link, now_ns);
    if (gone && link_has_way(w->link, WAY_ANY))
        ramp_begin(w->link, now_ns);
    connections_end(m, w, &o, d);
    const struct device *device = device_of(w, d);
    if (device)
        memcpy(w->named, device->name, sizeof w->named);
    w->seen = true;
    w->index = o.index;
    enum standing standing = o.no_way == WAY_ANY ? DOWN : o.no_route == WAY_ANY ? NO_ROUTE : UP;
    if (standing != w->standing)
        w->since_ns = now_ns;
    w->standing = standing;
    memcpy(w->why, o.why, sizeof w->why);
    route_ask(w, &o);
}

void monitor_look(struct monitor *m, struct devices *picture, int64_t now_ns)
{
    for (size_t i = 0; i < m->n; i++)
        follow(m, &m->watch[i], picture, now_ns);
    devices_free(&m->picture);
    m->picture = *picture;
    *picture = (struct devices){0};
    tell_all(m, now_ns);
}

/* ---- following the kernel ---- */

/* Waits for an event; or until then (not 0) for none, as the look that is due then will see all there
 * is. -1: out of memory. */
static int await(struct monitor *m, int64_t until_ns)
{
    io_timer(m->io, &m->look, until_ns);
    return io_watch(m->io, &m->events, until_ns ? 0 : POLLIN);
}

static void look(struct monitor *m)
{
    struct devices picture = {0};
    int64_t began = clock_now_ns();
    int failed = netlink_read(m->netlink, &picture);
    int64_t now = clock_now_ns();
    m->next_look_ns = now + (LOOK_SHARE - 1) * (now - began);
    if (failed) {
        static struct log_rate rate;
        log_rated(&rate, 10 * NS_PER_S, LOG_WARN, "link", "cannot look after the links: %s",
                  strerror(errno));
        devices_free(&picture);
        await(m, now + RETRY_NS);
        return;
    }
    monitor_look(m, &picture, now);
    if (await(m, 0) < 0)
        await(m, now + RETRY_NS);
}

static void look_fire(struct io_timer *t)
{
    struct monitor *m = (struct monitor *)((char *)t - offsetof(struct monitor, look));
    netlink_changed(m->netlink); /* events of before say nothing new */
    look(m);
}

static void events_ready(struct io_fd *io, short revents)
{
    struct monitor *m = (struct monitor *)((char *)io - offsetof(struct monitor, events));
    (void)revents;
    if (!netlink_changed(m->netlink))
        return;
    if (clock_now_ns() >= m->next_look_ns)
        look(m);
    else
        await(m, m->next_look_ns);
}

/* ---- which links ---- */

static void named_by(struct watch *w, const struct instance *dialer)
{
    const struct option_table table = option_table_of(dialer->conf.plugin);
    for (uint32_t i = 0; i < table.n; i++) {
        struct dp_opt opt = option_at(&table, i);
        const void *value = (const char *)dialer->conf.conf + opt.offset;
        if (opt.type == DP_DEVICE && !w->device && ((const struct dp_str *)value)->len)
            w->device = value;
        if (opt.type == DP_ADDRESS && !w->address && ((const struct dp_addr *)value)->salen)
            w->address = value;
    }
}

static uint32_t ways_to_server(const struct link *tunnel)
{
    struct dp_addr server = {0};
    int err = instance_dialer(tunnel->dialer)->hop(tunnel->dialer->self, &server);
    int family = err == DP_OK ? addr_family(&server) : AF_UNSPEC;
    return family == AF_INET ? WAY_IPV4 : family == AF_INET6 ? WAY_IPV6 : WAY_ANY;
}

/* False: it is bound to nothing here. */
static bool watch_init(struct watch *w, struct link *link)
{
    const struct link *bottom = link->chain[0];
    *w = (struct watch){.link = link};
    if (!instance_dialer(bottom->dialer)->prepare)
        return false;
    named_by(w, bottom->dialer);
    if (link->depth > 1)
        w->server = ways_to_server(link->chain[1]);
    return w->device || w->address;
}

static const struct watch *watch_find(const struct monitor *m, const struct link *link)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->watch[i].link == link)
            return &m->watch[i];
    return NULL;
}

static void watches_free(struct watch *watch, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ref_drop(&watch[i].link->ref);
    free(watch);
}

int monitor_watch(struct monitor *m, const struct router *router)
{
    struct watch *watch = calloc(router->config->n_links + 1, sizeof *watch);
    size_t n = 0;
    if (!watch)
        return -1;
    for (size_t i = 0; i < router->config->n_links; i++) {
        struct link *link = router->link[i];
        const struct watch *before = watch_find(m, link);
        struct watch *w = &watch[n];
        if (before)
            *w = *before;
        else if (!watch_init(w, link))
            continue;
        w->reset = !router->config->link[i].keep;
        ref_get(&link->ref);
        n++;
    }
    watches_free(m->watch, m->n);
    m->watch = watch;
    m->n = n;
    if (m->netlink)
        look(m);
    return 0;
}

/* ---- life ---- */

struct monitor *monitor_new(struct io *io, monitor_gone *gone, void *ctx)
{
    struct monitor *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->io = io;
    m->gone = gone;
    m->ctx = ctx;
    m->look.fire = look_fire;
    m->tell.fire = tell_fire;
    m->events.ready = events_ready;
    if (!io)
        return m;
    m->netlink = netlink_open();
    if (m->netlink) {
        m->events.fd = netlink_fd(m->netlink);
        if (io_watch(io, &m->events, POLLIN) == 0)
            return m;
        errno = ENOMEM;
    }
    int err = errno;
    monitor_free(m);
    errno = err;
    return NULL;
}

void monitor_free(struct monitor *m)
{
    if (!m)
        return;
    if (m->io) {
        io_watch(m->io, &m->events, 0);
        io_timer(m->io, &m->look, 0);
        io_timer(m->io, &m->tell, 0);
    }
    netlink_close(m->netlink);
    watches_free(m->watch, m->n);
    devices_free(&m->picture);
    free(m);
}
