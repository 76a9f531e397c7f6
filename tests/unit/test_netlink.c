/* SPDX-License-Identifier: MIT
 * test_netlink.c: pictures of interfaces from messages that Linux has sent, and from broken ones.
 */
#include "lib/netlink_messages.h"
#include "route/netlink.h"
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(table) (sizeof(table) / sizeof *(table))

/* The bytes of a message, to be freed. */
static struct nlmsghdr *message(const char *hex)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = malloc(len);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    struct nlmsghdr *m = (struct nlmsghdr *)bytes;
    cr_assert(eq(u32, m->nlmsg_len, (uint32_t)len));
    return m;
}

static void add(struct devices *d, const char *hex)
{
    struct nlmsghdr *m = message(hex);
    cr_expect(eq(int, netlink_add(d, m), 0));
    free(m);
}

/* `wan0 7 up carrier ipv4: 192.0.2.10` and so on, a line for each device. */
static const char *text(const struct devices *d)
{
    static char buf[2000];
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < d->n_devices; i++) {
        const struct device *x = &d->device[i];
        len += (size_t)snprintf(buf + len, sizeof buf - len, "%s %u%s%s%s%s%s%s:", x->name,
                                x->index, x->up ? " up" : "", x->carrier ? " carrier" : "",
                                x->loopback ? " loopback" : "", x->direct ? " direct" : "",
                                x->route_ipv4 ? " ipv4" : "", x->route_ipv6 ? " ipv6" : "");
        for (size_t j = 0; j < d->n_addresses; j++) {
            char ip[ADDR_TEXT];
            if (d->address[j].index == x->index)
                len += (size_t)snprintf(buf + len, sizeof buf - len, " %s",
                                        addr_ip_text(&d->address[j].addr, ip));
        }
        len += (size_t)snprintf(buf + len, sizeof buf - len, "\n");
    }
    return buf;
}

static void expect(const char *const *hex, const char *wanted)
{
    struct devices d = {0};
    for (; *hex; hex++)
        add(&d, *hex);
    cr_expect(strcmp(text(&d), wanted) == 0, "seen:\n%swanted:\n%s", text(&d), wanted);
    devices_free(&d);
}

#define EXPECT(wanted, ...) expect((const char *const[]){__VA_ARGS__, NULL}, wanted)

Test(netlink, devices)
{
    EXPECT("lo 1 up carrier loopback:\n", link_lo);
    EXPECT("wan0 7 up:\n", link_no_carrier);
    EXPECT("far0 8:\n", link_down);
    EXPECT("wan0 7 up carrier:\n", link_up);
    EXPECT("tun0 2 up direct:\n", link_point_to_point);
}

Test(netlink, addresses)
{
    EXPECT("wan0 7 up carrier: 192.0.2.10 2001:db8::10\n", link_up, addr_ipv4, addr_ipv6);
    EXPECT("wan0 7 up carrier:\n", link_up, addr_tentative);
    EXPECT("wan0 7 up carrier:\n", link_up, addr_link_local);
    EXPECT("tun0 2 up direct: 10.64.0.5\n", link_point_to_point, addr_peer);
}

Test(netlink, routes)
{
    EXPECT("wan0 7 up carrier:\n", link_up, route_connected, route_far, route_unreachable);
    EXPECT("wan0 7 up carrier ipv4:\n", link_up, route_default);
    EXPECT("wan0 7 up carrier ipv4:\n", link_up, route_half);
    EXPECT("wan0 7 up carrier ipv4:\n", link_up, route_table);
    EXPECT("wan0 7 up carrier ipv6:\n", link_up, route_ipv6);
    EXPECT("wan0 7 up carrier ipv4:\nfar0 8 ipv4:\nlo 1 up carrier loopback:\n", link_up, link_down,
           link_lo, route_multipath);
    EXPECT("lo 1 up carrier loopback:\n", link_lo, route_default); /* wan0 is not known yet */
}

/* One whose next hop is dead leads nowhere. */
Test(netlink, dead_routes)
{
    struct devices d = {0};
    struct nlmsghdr *m = message(route_default);
    add(&d, link_up);
    ((struct rtmsg *)NLMSG_DATA(m))->rtm_flags |= RTNH_F_DEAD;
    netlink_add(&d, m);
    cr_expect(not(d.device[0].route_ipv4));
    ((struct rtmsg *)NLMSG_DATA(m))->rtm_flags = RTM_F_CLONED;
    netlink_add(&d, m);
    cr_expect(not(d.device[0].route_ipv4));
    free(m);
    devices_free(&d);
}

Test(netlink, what_matters)
{
    static const struct {
        const char *hex;
        bool matters;
    } table[] = {{link_up, true},
                 {link_down, true},
                 {addr_ipv4, true},
                 {addr_tentative, true},
                 {route_default, true},
                 {route_ipv6, true},
                 {event_default_gone, true},
                 {event_next_hop_gone, true},
                 {route_connected, false},
                 {route_far, false},
                 {event_far_gone, false}};
    for (size_t i = 0; i < LENGTH(table); i++) {
        struct nlmsghdr *m = message(table[i].hex);
        cr_expect(eq(int, netlink_matters(m), table[i].matters), "row %zu", i);
        free(m);
    }
}

/* Cut anywhere, with any byte changed: nothing is read that is not there (the sanitizers watch). */
Test(netlink, broken_messages)
{
    static const char *const all[] = {link_up,       addr_ipv4,       addr_ipv6,
                                      route_default, route_multipath, route_ipv6};
    for (size_t i = 0; i < LENGTH(all); i++) {
        struct nlmsghdr *whole = message(all[i]);
        uint32_t len = whole->nlmsg_len;
        for (uint32_t at = sizeof *whole; at < len; at++) {
            struct devices d = {0};
            struct nlmsghdr *m = calloc(1, NLMSG_ALIGN(at)); /* as it lies in a buffer */
            memcpy(m, whole, at);
            m->nlmsg_len = at;
            add(&d, link_lo);
            netlink_add(&d, m);
            netlink_matters(m);
            m = realloc(m, len);
            memcpy(m, whole, len);
            ((uint8_t *)m)[at] ^= 0xff;
            netlink_add(&d, m);
            netlink_matters(m);
            cr_assert(le(sz, d.n_devices, 3));
            free(m);
            devices_free(&d);
        }
        free(whole);
    }
}

/* The real one of this machine has a loopback, and does not change while nothing happens. */
Test(netlink, this_machine)
{
    struct netlink *nl = netlink_open();
    struct devices d = {0};
    cr_assert(nl != NULL, "%s", strerror(errno));
    cr_assert(eq(int, netlink_read(nl, &d), 0), "%s", strerror(errno));
    const struct device *lo = devices_by_name(&d, "lo");
    cr_expect(lo && lo->loopback && lo->index == if_nametoindex("lo"));
    devices_free(&d);
    netlink_close(nl);
}
