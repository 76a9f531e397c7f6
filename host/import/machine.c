/* SPDX-License-Identifier: MIT
 * machine.c: the addresses of this machine's interfaces.
 */
#include "machine.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

static bool is_ip(const struct sockaddr *sa)
{
    return sa && (sa->sa_family == AF_INET || sa->sa_family == AF_INET6);
}

static struct dp_addr ip_of(const struct sockaddr *sa)
{
    struct dp_addr addr;
    addr_from_sockaddr(&addr, sa,
                       sa->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                : sizeof(struct sockaddr_in6));
    return addr;
}

static unsigned mask_bits(const struct sockaddr *mask, int family)
{
    const unsigned char *byte = family == AF_INET
                                    ? (const void *)&((const struct sockaddr_in *)mask)->sin_addr
                                    : (const void *)&((const struct sockaddr_in6 *)mask)->sin6_addr;
    unsigned bits = 0, max = family == AF_INET ? 32 : 128;
    while (bits < max && byte[bits / 8] & 0x80 >> bits % 8)
        bits++;
    return bits;
}

bool machine_interface(struct conf_memory *memory, const char *name, struct nets *out)
{
    struct ifaddrs *all;
    if (!if_nametoindex(name))
        return false;
    if (getifaddrs(&all) < 0)
        return true;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (strcmp(i->ifa_name, name) != 0 || !is_ip(i->ifa_addr) || !i->ifa_netmask)
            continue;
        struct addr_net net = {ip_of(i->ifa_addr),
                               mask_bits(i->ifa_netmask, i->ifa_addr->sa_family)};
        nets_add(memory, out, &net);
    }
    freeifaddrs(all);
    return true;
}

bool machine_has(const struct dp_addr *addr)
{
    struct ifaddrs *all;
    bool found = addr_is_loopback(addr);
    if (found || getifaddrs(&all) < 0)
        return found;
    for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
        if (!is_ip(i->ifa_addr))
            continue;
        struct dp_addr own = ip_of(i->ifa_addr);
        found = addr_same_ip(&own, addr);
    }
    freeifaddrs(all);
    return found;
}
