/* SPDX-License-Identifier: MIT
 * netlink.c: what Linux says of its network interfaces, by rtnetlink.
 */
#include "route/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IFF_LOWER_UP of <linux/if.h>, which <net/if.h> does not go with. */
#define LOWER_UP 0x10000u

/* A default route, also where it is cut in parts: 0.0.0.0/1 and 128.0.0.0/1, 2000::/3. */
#define BROAD_BITS 3

/* What a dump is cut into; the kernel fills up to so much. */
#define BUFFER_SIZE 32768

/* Events taken in at a time. */
#define EVENTS_MAX 64

/* Something changed while it was read: then once more, so often. */
#define READ_TRIES 4

#define GROUPS                                                                   \
    (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | \
     RTMGRP_IPV6_ROUTE | 1u << (RTNLGRP_NEXTHOP - 1))

struct netlink {
    struct mnl_socket *events;
    uint32_t seq;
    _Alignas(struct nlmsghdr) char buffer[BUFFER_SIZE];
};

/* ---- messages ---- */

static int name_attribute(const struct nlattr *attr, void *device)
{
    if (mnl_attr_get_type(attr) == IFLA_IFNAME && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
        snprintf(((struct device *)device)->name, IF_NAMESIZE, "%s", mnl_attr_get_str(attr));
    return MNL_CB_OK;
}

static int add_device(struct devices *d, const struct nlmsghdr *message)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
    struct device device = {.index = (uint32_t)info->ifi_index,
                            .up = info->ifi_flags & IFF_UP,
                            .carrier = info->ifi_flags & IFF_RUNNING && info->ifi_flags & LOWER_UP,
                            .loopback = info->ifi_flags & IFF_LOOPBACK,
                            .direct = info->ifi_flags & (IFF_POINTOPOINT | IFF_NOARP)};
    mnl_attr_parse(message, sizeof *info, name_attribute, &device);
    return devices_add(d, &device);
}

struct address_attributes {
    const struct nlattr *address, *local; /* of a point-to-point device: the other end's, its own */
    uint32_t flags;
};

static int address_attribute(const struct nlattr *attr, void *ctx)
{
    struct address_attributes *found = ctx;
    switch (mnl_attr_get_type(attr)) {
    case IFA_ADDRESS:
        found->address = attr;
        break;
    case IFA_LOCAL:
        found->local = attr;
        break;
    case IFA_FLAGS:
        if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
            found->flags = mnl_attr_get_u32(attr);
        break;
    }
    return MNL_CB_OK;
}

/* Of IPv6 those that others may still turn out to have cannot be used yet. */
static bool is_settled(uint32_t flags)
{
    return !(flags & IFA_F_DADFAILED) && (!(flags & IFA_F_TENTATIVE) || flags & IFA_F_OPTIMISTIC);
}

static int add_address(struct devices *d, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *info = mnl_nlmsg_get_payload(message);
    struct address_attributes found = {.flags = info->ifa_flags};
    mnl_attr_parse(message, sizeof *info, address_attribute, &found);
    const struct nlattr *attr = found.local ? found.local : found.address;
    size_t len = info->ifa_family == AF_INET ? 4 : info->ifa_family == AF_INET6 ? 16 : 0;
    if (!attr || !len || mnl_attr_get_payload_len(attr) != len || !is_settled(found.flags))
        return 0;
    if (info->ifa_family == AF_INET6 && info->ifa_scope == RT_SCOPE_LINK)
        return 0;
    struct dp_addr addr;
    addr_from_ip(&addr, info->ifa_family, mnl_attr_get_payload(attr), 0);
    return devices_add_address(d, info->ifa_index, &addr);
}

/* The devices are known by now, but for one that has just come: of that there will be an event. */
static void add_way(struct devices *d, uint32_t index, int family, unsigned flags)
{
    struct device *device = devices_by_index(d, index);
    if (!device || flags & RTNH_F_DEAD)
        return;
    if (family == AF_INET)
        device->route_ipv4 = true;
    else
        device->route_ipv6 = true;
}

struct route {
    struct devices *devices;
    const struct rtmsg *info;
};

static int route_attribute(const struct nlattr *attr, void *ctx)
{
    const struct route *route = ctx;
    if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
        add_way(route->devices, mnl_attr_get_u32(attr), route->info->rtm_family,
                route->info->rtm_flags);
    if (mnl_attr_get_type(attr) != RTA_MULTIPATH)
        return MNL_CB_OK;
    int left = mnl_attr_get_payload_len(attr);
    const struct rtnexthop *hop = mnl_attr_get_payload(attr);
    while (left >= (int)sizeof *hop && RTNH_OK(hop, left)) {
        add_way(route->devices, (uint32_t)hop->rtnh_ifindex, route->info->rtm_family,
                hop->rtnh_flags);
        left -= RTNH_ALIGN(hop->rtnh_len);
        hop = RTNH_NEXT(hop);
    }
    return MNL_CB_OK;
}

static bool is_broad(const struct nlmsghdr *message)
{
    const struct rtmsg *info = mnl_nlmsg_get_payload(message);
    return (info->rtm_family == AF_INET || info->rtm_family == AF_INET6) &&
           info->rtm_dst_len <= BROAD_BITS && info->rtm_type == RTN_UNICAST &&
           !(info->rtm_flags & RTM_F_CLONED);
}

static size_t head_len(uint16_t type)
{
    switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return sizeof(struct ifinfomsg);
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return sizeof(struct ifaddrmsg);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return sizeof(struct rtmsg);
    default:
        return 0;
    }
}

static bool is_whole(const struct nlmsghdr *message)
{
    return message->nlmsg_len >= MNL_NLMSG_HDRLEN + head_len(message->nlmsg_type);
}

int netlink_add(struct devices *d, const struct nlmsghdr *message)
{
    if (!is_whole(message))
        return 0;
    if (message->nlmsg_type == RTM_NEWLINK)
        return add_device(d, message);
    if (message->nlmsg_type == RTM_NEWADDR)
        return add_address(d, message);
    if (message->nlmsg_type == RTM_NEWROUTE && is_broad(message)) {
        struct route route = {.devices = d, .info = mnl_nlmsg_get_payload(message)};
        mnl_attr_parse(message, sizeof *route.info, route_attribute, &route);
    }
    return 0;
}

/* What is no route, as a next hop that is gone, may have taken some along. */
bool netlink_matters(const struct nlmsghdr *message)
{
    bool route = message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE;
    return is_whole(message) && (!route || is_broad(message));
}

/* ---- sockets ---- */

int netlink_fd(const struct netlink *nl)
{
    return mnl_socket_get_fd(nl->events);
}

static int event(const struct nlmsghdr *message, void *changed)
{
    *(bool *)changed |= netlink_matters(message);
    return MNL_CB_OK;
}

bool netlink_changed(struct netlink *nl)
{
    bool changed = false;
    for (int i = 0; i < EVENTS_MAX; i++) {
        ssize_t n = mnl_socket_recvfrom(nl->events, nl->buffer, sizeof nl->buffer);
        if (n < 0)
            return changed || errno != EAGAIN; /* ENOBUFS: there were more than it can hold */
        mnl_cb_run(nl->buffer, (size_t)n, 0, 0, event, &changed);
    }
    return changed;
}

static int add(const struct nlmsghdr *message, void *devices)
{
    if (netlink_add(devices, message) == 0)
        return MNL_CB_OK;
    errno = ENOMEM;
    return MNL_CB_ERROR;
}

/* Asks for all there is of one kind. */
static int ask(struct netlink *nl, struct mnl_socket *socket, uint16_t type)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(nl->buffer);
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = ++nl->seq;
    mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg)); /* zero: of all families */
    if (type == RTM_GETLINK)
        mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return mnl_socket_sendto(socket, message, message->nlmsg_len) < 0 ? -1 : 0;
}

/* The answer lies ready when it is asked for: nothing here waits. */
static int dump(struct netlink *nl, struct mnl_socket *socket, uint16_t type, struct devices *d)
{
    int more = MNL_CB_OK;
    if (ask(nl, socket, type) < 0)
        return -1;
    while (more == MNL_CB_OK) {
        ssize_t n = mnl_socket_recvfrom(socket, nl->buffer, sizeof nl->buffer);
        if (n < 0)
            return -1;
        more = mnl_cb_run(nl->buffer, (size_t)n, nl->seq, 0, add, d);
    }
    return more;
}

/* By a socket of its own, so that an answer that is cut short does not spoil the next. Devices
 * first: the rest belongs to them. */
static int dump_all(struct netlink *nl, struct devices *d)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket)
        return -1;
    int failed = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
                 dump(nl, socket, RTM_GETLINK, d) < 0 || dump(nl, socket, RTM_GETADDR, d) < 0 ||
                 dump(nl, socket, RTM_GETROUTE, d) < 0;
    int err = errno;
    mnl_socket_close(socket);
    errno = err;
    return failed ? -1 : 0;
}

int netlink_read(struct netlink *nl, struct devices *d)
{
    int failed = dump_all(nl, d);
    for (int i = 1; i < READ_TRIES && failed && errno == EINTR; i++) {
        devices_free(d);
        failed = dump_all(nl, d);
    }
    return failed;
}

struct netlink *netlink_open(void)
{
    struct netlink *nl = calloc(1, sizeof *nl);
    if (!nl)
        return NULL;
    nl->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (nl->events && mnl_socket_bind(nl->events, GROUPS, MNL_SOCKET_AUTOPID) == 0)
        return nl;
    int err = errno;
    netlink_close(nl);
    errno = err;
    return NULL;
}

void netlink_close(struct netlink *nl)
{
    if (!nl)
        return;
    if (nl->events)
        mnl_socket_close(nl->events);
    free(nl);
}
