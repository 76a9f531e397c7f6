/* SPDX-License-Identifier: MIT
 * way.c: which of several ways out behind one interface: marks, rules and routes of a link.
 *
 * Sockets of a link are marked, and rules lead what is marked to a table. With a `gateway` both mark
 * and table are a number of this instance alone, so that no two instances, of this process or of any
 * other, have to agree on who takes away what. A number is held by the abstract address of a socket:
 * that is known in the whole network namespace, as rules are, and free again when the process has
 * ended, however it did. What is found of a number that nobody holds is a leftover.
 *
 * Nothing is made by create(), for that is called to check a configuration too, or before a fork; and
 * nothing is believed to be still there: an interface that goes down takes its routes along, and
 * systemd-networkd removes rules that it does not know. Each time a socket is made the kernel is asked
 * whether the way leads to the table, and if not, it is made again.
 */
#include "way.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

/* Marks, and tables of the same number. Those of others that are matched by bits (mwan3, Kubernetes,
 * Tailscale, Docker) have bits 8 to 23 set. */
#define NUMBER_BASE 0xd1000000u
#define NUMBERS 255

/* Says that a rule or route is ours, to us and to whoever reads `ip rule`. */
#define PROTOCOL 209

/* After the table of local addresses, before the main one (32766) and what others put before that. */
enum { RULE_NEAR = 701, RULE_TABLE, RULE_END };

/* Where the way is asked to lead: addresses that are nobody's (RFC 5737, RFC 3849), so only default
 * routes go there. */
#define ANYWHERE_IPV4 "192.0.2.1"
#define ANYWHERE_IPV6 "2001:db8::1"

#define MESSAGE_SIZE 512 /* of a request; the longest has eight attributes */

struct message {
    _Alignas(struct nlmsghdr) char bytes[MESSAGE_SIZE];
};

/* ---- talking to the kernel ---- */

/* Sends one request, and hands each message of its answer to `take`. Returns 0 or an errno. */
static int request(struct message *m, mnl_cb_t take, void *ctx)
{
    _Alignas(struct nlmsghdr) char answer[16384];
    struct nlmsghdr *head = (struct nlmsghdr *)m->bytes;
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl)
        return errno;
    head->nlmsg_flags |= NLM_F_REQUEST;
    int rc = mnl_socket_sendto(nl, head, head->nlmsg_len) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
    while (rc > MNL_CB_STOP) {
        ssize_t n = mnl_socket_recvfrom(nl, answer, sizeof answer);
        rc = n < 0 ? MNL_CB_ERROR : mnl_cb_run(answer, (size_t)n, 0, 0, take, ctx);
    }
    int err = rc < 0 ? errno : 0;
    mnl_socket_close(nl);
    return err;
}

static int command(struct message *m)
{
    ((struct nlmsghdr *)m->bytes)->nlmsg_flags |= NLM_F_ACK;
    return request(m, NULL, NULL);
}

static struct nlmsghdr *message_begin(struct message *m, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *head = mnl_nlmsg_put_header(m->bytes);
    head->nlmsg_type = type;
    head->nlmsg_flags = flags;
    return head;
}

/* ---- rules and routes ---- */

static struct nlmsghdr *rule_message(struct message *m, uint16_t type, uint16_t flags, int family,
                                     uint8_t action, uint32_t mark)
{
    struct nlmsghdr *head = message_begin(m, type, flags);
    struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(head, sizeof *rule);
    rule->family = (uint8_t)family;
    rule->action = action;
    mnl_attr_put_u32(head, FRA_FWMARK, mark);
    mnl_attr_put_u8(head, FRA_PROTOCOL, PROTOCOL);
    return head;
}

/* One that is there already is fine. table 0: the end of the way. */
static int rule_add(int family, uint32_t priority, uint32_t mark, uint32_t table)
{
    struct message m;
    struct nlmsghdr *head = rule_message(&m, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, family,
                                         table ? FR_ACT_TO_TBL : FR_ACT_UNREACHABLE, mark);
    mnl_attr_put_u32(head, FRA_PRIORITY, priority);
    if (table)
        mnl_attr_put_u32(head, FRA_TABLE, table);
    if (priority == RULE_NEAR)
        mnl_attr_put_u32(head, FRA_SUPPRESS_PREFIXLEN, 0); /* all but default routes */
    int err = command(&m);
    return err == EEXIST ? 0 : err;
}

static struct nlmsghdr *route_message(struct message *m, uint16_t type, uint16_t flags, int family,
                                      uint8_t scope, uint32_t table)
{
    struct nlmsghdr *head = message_begin(m, type, flags);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(head, sizeof *route);
    route->rtm_family = (uint8_t)family;
    route->rtm_protocol = PROTOCOL;
    route->rtm_scope = scope;
    mnl_attr_put_u32(head, RTA_TABLE, table);
    return head;
}

static int route_put(int family, uint32_t table, const void *gateway, size_t len, uint32_t index)
{
    struct message m;
    struct nlmsghdr *head = route_message(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, family,
                                          RT_SCOPE_UNIVERSE, table);
    ((struct rtmsg *)mnl_nlmsg_get_payload(head))->rtm_type = RTN_UNICAST;
    mnl_attr_put(head, RTA_GATEWAY, len, gateway);
    mnl_attr_put_u32(head, RTA_OIF, index);
    return command(&m);
}

/* All that there is under a number. */
static void number_clear(uint32_t number)
{
    static const int family[] = {AF_INET, AF_INET6};
    struct message m;
    for (size_t i = 0; i < 2; i++) {
        do
            rule_message(&m, RTM_DELRULE, 0, family[i], FR_ACT_UNSPEC, number);
        while (command(&m) == 0);
        do
            route_message(&m, RTM_DELROUTE, 0, family[i], RT_SCOPE_NOWHERE, number);
        while (command(&m) == 0);
    }
}

/* ---- whose number ---- */

/* A descriptor that holds the number until it is closed; -1, and errno: EADDRINUSE, it is held. */
static int number_hold(uint32_t number)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int len = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "dispatch-iface/%u",
                       (unsigned)number);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    if (bind(fd, (const struct sockaddr *)&addr, size) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

struct ours {
    uint32_t mark;
    bool protocol;
};

static int rule_attribute(const struct nlattr *attr, void *ctx)
{
    struct ours *ours = ctx;
    if (mnl_attr_get_type(attr) == FRA_FWMARK && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
        ours->mark = mnl_attr_get_u32(attr);
    if (mnl_attr_get_type(attr) == FRA_PROTOCOL && mnl_attr_validate(attr, MNL_TYPE_U8) >= 0)
        ours->protocol = mnl_attr_get_u8(attr) == PROTOCOL;
    return MNL_CB_OK;
}

static int rule_note(const struct nlmsghdr *head, void *ctx)
{
    bool *found = ctx;
    struct ours ours = {0};
    mnl_attr_parse(head, sizeof(struct fib_rule_hdr), rule_attribute, &ours);
    if (ours.protocol && ours.mark > NUMBER_BASE && ours.mark - NUMBER_BASE <= NUMBERS)
        found[ours.mark - NUMBER_BASE] = true;
    return MNL_CB_OK;
}

/* Of processes that could not clear up. */
static void leftovers_clear(void)
{
    struct message m;
    bool found[NUMBERS + 1] = {false};
    struct nlmsghdr *head = message_begin(&m, RTM_GETRULE, NLM_F_DUMP);
    mnl_nlmsg_put_extra_header(head, sizeof(struct fib_rule_hdr));
    request(&m, rule_note, found); /* what it has found before an error is right */
    for (uint32_t n = 1; n <= NUMBERS; n++) {
        int held = found[n] ? number_hold(NUMBER_BASE + n) : -1;
        if (held < 0)
            continue;
        number_clear(NUMBER_BASE + n);
        close(held);
    }
}

static int number_take(struct way *way)
{
    for (uint32_t n = 1; n <= NUMBERS; n++) {
        int held = number_hold(NUMBER_BASE + n);
        if (held < 0 && errno != EADDRINUSE)
            return errno;
        if (held < 0)
            continue;
        way->lock = held;
        number_clear(NUMBER_BASE + n);
        dp_store(&way->mark, NUMBER_BASE + n);
        leftovers_clear();
        return 0;
    }
    return EADDRINUSE;
}

/* ---- the way ---- */

static uint32_t way_table(const struct way *way, uint32_t mark)
{
    return way->table ? way->table : mark;
}

static int way_make(struct way *way, int family, uint32_t index)
{
    int err = dp_load(&way->mark) ? 0 : number_take(way);
    if (err)
        return err;
    uint32_t mark = dp_load(&way->mark), table = way_table(way, mark);
    if (!way->table)
        err = family == AF_INET ? route_put(family, table, &way->ipv4, sizeof way->ipv4, index)
                                : route_put(family, table, &way->ipv6, sizeof way->ipv6, index);
    if (!err)
        err = rule_add(family, RULE_END, mark, 0);
    if (!err)
        err = rule_add(family, RULE_TABLE, mark, table);
    if (!err && !way->table)
        err = rule_add(family, RULE_NEAR, mark, RT_TABLE_MAIN);
    return err;
}

static int table_attribute(const struct nlattr *attr, void *ctx)
{
    if (mnl_attr_get_type(attr) == RTA_TABLE && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
        *(uint32_t *)ctx = mnl_attr_get_u32(attr);
    return MNL_CB_OK;
}

static int route_table(const struct nlmsghdr *head, void *ctx)
{
    mnl_attr_parse(head, sizeof(struct rtmsg), table_attribute, ctx);
    return MNL_CB_STOP;
}

/* Would a socket with this mark go by the table? */
static bool way_leads(const struct way *way, uint32_t mark, int family, uint32_t index)
{
    struct message m;
    struct in6_addr to;
    uint32_t found = RT_TABLE_UNSPEC;
    size_t len = family == AF_INET ? sizeof(struct in_addr) : sizeof to;
    inet_pton(family, family == AF_INET ? ANYWHERE_IPV4 : ANYWHERE_IPV6, &to);
    struct nlmsghdr *head = message_begin(&m, RTM_GETROUTE, 0);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(head, sizeof *route);
    route->rtm_family = (uint8_t)family;
    route->rtm_dst_len = (uint8_t)(8 * len);
    route->rtm_flags = RTM_F_LOOKUP_TABLE;
    mnl_attr_put(head, RTA_DST, len, &to);
    mnl_attr_put_u32(head, RTA_OIF, index);
    mnl_attr_put_u32(head, RTA_MARK, mark);
    return request(&m, route_table, &found) == 0 && found == way_table(way, mark);
}

static int socket_mark(int fd, uint32_t mark)
{
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) ? errno : 0;
}

static bool has_family(const struct way *way, int family)
{
    return way->table || (family == AF_INET ? way->has_ipv4 : way->has_ipv6);
}

int way_take(struct way *way, int fd, int family, const char *device)
{
    if (!way->table && !way->has_ipv4 && !way->has_ipv6)
        return way->mark ? socket_mark(fd, way->mark) : 0;
    if (!has_family(way, family))
        return EAFNOSUPPORT;
    struct ifreq req = {0};
    strncat(req.ifr_name, device, IF_NAMESIZE - 1);
    if (ioctl(fd, SIOCGIFINDEX, &req))
        return errno;
    uint32_t mark = dp_load(&way->mark), index = (uint32_t)req.ifr_ifindex;
    if (mark && way_leads(way, mark, family, index))
        return socket_mark(fd, mark);
    pthread_mutex_lock(&way->making);
    int err = way_make(way, family, index);
    pthread_mutex_unlock(&way->making);
    if (err)
        return err;
    mark = dp_load(&way->mark);
    if (way->table && !way_leads(way, mark, family, index))
        return EAFNOSUPPORT; /* somebody else's table may have nothing for it */
    return socket_mark(fd, mark);
}

/* ---- the instance ---- */

static int gateway_parse(struct way *way, const char *text)
{
    if (!way->has_ipv4 && inet_pton(AF_INET, text, &way->ipv4) == 1)
        way->has_ipv4 = 1;
    else if (!way->has_ipv6 && inet_pton(AF_INET6, text, &way->ipv6) == 1)
        way->has_ipv6 = 1;
    else
        return -1;
    return 0;
}

/* May this process change rules? Linux looks at that first, and a rule of no family is none. */
static int rules_allowed(void)
{
    struct message m;
    rule_message(&m, RTM_DELRULE, 0, AF_UNSPEC, FR_ACT_UNSPEC, NUMBER_BASE);
    return command(&m) != EPERM;
}

static bool marks_allowed(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* not said here */
    int err = socket_mark(fd, NUMBER_BASE);
    close(fd);
    return err != EPERM;
}

static int privilege_check(const struct way_conf *conf, const struct dp_host *host)
{
    const char *option = conf->mark ? "mark" : conf->table ? "table" : "gateway";
    if (conf->mark ? marks_allowed() : rules_allowed())
        return 0;
    return host->fail(host, option,
                      "needs the capability CAP_NET_ADMIN: give it to the service "
                      "(AmbientCapabilities=CAP_NET_ADMIN) or to the program (setcap "
                      "cap_net_admin=ep); dispatch-dialer-iface(7) says how to do without");
}

int way_init(struct way *way, const struct way_conf *conf, const struct dp_host *host)
{
    *way = (struct way){.mark = conf->mark, .table = conf->table, .lock = -1};
    pthread_mutex_init(&way->making, NULL);
    if (!!conf->mark + !!conf->table + !!conf->gateway.n > 1)
        return host->fail(host, NULL, "one of mark, table and gateway is all that a link can have");
    for (uint32_t i = 0; i < conf->gateway.n; i++)
        if (gateway_parse(way, conf->gateway.item[i].p))
            return host->fail(host, "gateway",
                              "not an address of a gateway, or of two: one IPv4, one IPv6");
    if (conf->mark || conf->table || conf->gateway.n)
        return privilege_check(conf, host);
    return 0;
}

void way_end(struct way *way)
{
    if (way->lock >= 0) {
        number_clear(way->mark);
        close(way->lock);
    }
    pthread_mutex_destroy(&way->making);
}
