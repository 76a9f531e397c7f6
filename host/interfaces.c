/* SPDX-License-Identifier: MIT
 * interfaces.c: this machine's network interfaces. Linux: routes are asked of rtnetlink.
 */
#include "interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* IFF_LOWER_UP of <linux/if.h>, which <net/if.h> does not go with: carrier, as it is just now.
 * IFF_RUNNING may lag behind by a second. */
#define LOWER_UP 0x10000u

/* ---- -list ---- */

static bool is_usable_ipv4(const struct ifaddrs *i)
{
    if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
        return false;
    if (!(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK)
        return false;
    uint32_t ip = ntohl(((const struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr);
    return ip >> 24 != 127;
}

int interfaces_list(FILE *out)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return -1;
    fputs("--- Listing the available adresses for dispatching\n", out);
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        char ip[INET_ADDRSTRLEN];
        if (is_usable_ipv4(i) &&
            inet_ntop(AF_INET, &((const struct sockaddr_in *)i->ifa_addr)->sin_addr, ip, sizeof ip))
            fprintf(out, "[+] %s, IPv4:%s\n", i->ifa_name, ip);
    }
    freeifaddrs(all);
    return 0;
}

/* ---- default routes ---- */

#define ROUTES_MAX 256

struct routes {
    unsigned device[ROUTES_MAX]; /* by which a default route leaves */
    unsigned n;
};

static void route_add(struct routes *routes, unsigned device)
{
    if (device && routes->n < ROUTES_MAX)
        routes->device[routes->n++] = device;
}

static void route_multipath(struct routes *routes, const struct nlattr *attr)
{
    int left = mnl_attr_get_payload_len(attr);
    const struct rtnexthop *hop = mnl_attr_get_payload(attr);
    while (left >= (int)sizeof *hop && RTNH_OK(hop, left)) {
        route_add(routes, (unsigned)hop->rtnh_ifindex);
        left -= RTNH_ALIGN(hop->rtnh_len);
        hop = RTNH_NEXT(hop);
    }
}

static int route_attribute(const struct nlattr *attr, void *ctx)
{
    if (mnl_attr_get_type(attr) == RTA_OIF)
        route_add(ctx, mnl_attr_get_u32(attr));
    else if (mnl_attr_get_type(attr) == RTA_MULTIPATH)
        route_multipath(ctx, attr);
    return MNL_CB_OK;
}

static int route_message(const struct nlmsghdr *header, void *ctx)
{
    const struct rtmsg *message = mnl_nlmsg_get_payload(header);
    if (message->rtm_dst_len != 0 || message->rtm_type != RTN_UNICAST)
        return MNL_CB_OK;
    return mnl_attr_parse(header, sizeof *message, route_attribute, ctx);
}

/* Adds the default routes of one family, from all tables. */
static int routes_dump(struct mnl_socket *nl, unsigned char family, struct routes *routes)
{
    char buf[32768];
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);
    header->nlmsg_type = RTM_GETROUTE;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = family;
    struct rtmsg *message = mnl_nlmsg_put_extra_header(header, sizeof *message);
    message->rtm_family = family;
    if (mnl_socket_sendto(nl, header, header->nlmsg_len) < 0)
        return -1;
    int more = MNL_CB_OK;
    while (more == MNL_CB_OK) {
        ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof buf);
        if (n < 0)
            return -1;
        more = mnl_cb_run(buf, (size_t)n, family, mnl_socket_get_portid(nl), route_message, routes);
    }
    return more < 0 ? -1 : 0;
}

static int routes_read(struct routes *routes)
{
    struct mnl_socket *nl = mnl_socket_open(NETLINK_ROUTE);
    routes->n = 0;
    if (!nl)
        return -1;
    int failed = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
                 routes_dump(nl, AF_INET, routes) < 0 || routes_dump(nl, AF_INET6, routes) < 0;
    mnl_socket_close(nl);
    return failed ? -1 : 0;
}

static bool routes_have(const struct routes *routes, unsigned device)
{
    for (unsigned i = 0; i < routes->n; i++)
        if (routes->device[i] == device)
            return true;
    return false;
}

/* ---- --auto ---- */

static bool is_global(const struct sockaddr *sa)
{
    if (sa && sa->sa_family == AF_INET) {
        uint32_t ip = ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr);
        return ip >> 24 != 127 && ip >> 16 != 0xa9fe; /* 169.254/16 is link-local */
    }
    if (sa && sa->sa_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)sa)->sin6_addr;
        return !IN6_IS_ADDR_LINKLOCAL(ip) && !IN6_IS_ADDR_LOOPBACK(ip);
    }
    return false;
}

static bool has_global_address(const struct ifaddrs *all, const char *name)
{
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (strcmp(i->ifa_name, name) == 0 && is_global(i->ifa_addr))
            return true;
    return false;
}

/* Why this interface is no link; NULL if it is one. */
static const char *objection(const struct if_nameindex *device, const struct ifaddrs *all,
                             unsigned flags, const struct routes *routes)
{
    if (flags & IFF_LOOPBACK)
        return "it is the loopback";
    if (!(flags & IFF_UP))
        return "it is down";
    if (!(flags & LOWER_UP))
        return "it has no carrier";
    if (!has_global_address(all, device->if_name))
        return "it has no address to reach the internet from";
    if (!routes_have(routes, device->if_index))
        return "no default route leaves by it";
    return NULL;
}

static unsigned device_flags(const struct ifaddrs *all, const char *name)
{
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if (strcmp(i->ifa_name, name) == 0)
            return i->ifa_flags;
    return 0;
}

/* One block: the pointers, then the names. */
static int devices_choose(const struct if_nameindex *devices, const struct ifaddrs *all,
                          const struct routes *routes, const char *const **names, FILE *why)
{
    size_t total = 0;
    while (devices[total].if_index)
        total++;
    const char **list = malloc((total + 1) * (sizeof *list + IF_NAMESIZE));
    if (!list)
        return -1;
    char *text = (char *)(list + total + 1);
    int n = 0;
    for (const struct if_nameindex *d = devices; d->if_index; d++) {
        const char *reason = objection(d, all, device_flags(all, d->if_name), routes);
        if (reason) {
            fprintf(why, "%s is passed over: %s\n", d->if_name, reason);
            continue;
        }
        snprintf(text, IF_NAMESIZE, "%s", d->if_name);
        list[n++] = text;
        text += IF_NAMESIZE;
    }
    *names = list;
    return n;
}

int interfaces_auto(const char *const **names, FILE *why)
{
    struct routes routes;
    struct ifaddrs *all;
    if (routes_read(&routes) < 0 || getifaddrs(&all) < 0)
        return -1;
    struct if_nameindex *devices = if_nameindex();
    int n = devices ? devices_choose(devices, all, &routes, names, why) : -1;
    if (devices)
        if_freenameindex(devices);
    freeifaddrs(all);
    return n;
}
