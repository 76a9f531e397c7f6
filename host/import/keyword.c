/* SPDX-License-Identifier: MIT
 * keyword.c: the keywords of Dante 1.4 (sockd.conf(5)).
 */
#include "keyword.h"

#include <stdbool.h>
#include <string.h>

#define IN_ALL (IN_FILE | IN_RULE | IN_ROUTE | IN_MONITOR)
#define IN_BLOCKS (IN_RULE | IN_ROUTE | IN_MONITOR)

static const char no_alarms[] = "there are no alarms here";
static const char no_gssapi[] = "GSSAPI is not spoken here";
static const char no_limits[] = "there is no such limit here; max-connections-per-client of a "
                                "listener is the nearest";
static const char no_login[] = "logins are not translated: a listener has a `users-file` for them";
static const char no_options[] = "socket options cannot be set here";
static const char no_syslog[] = "the log goes to standard error";
static const char no_udp[] = "UDP is not served here";
static const char no_wrapper[] = "libwrap is not asked here";
static const char one_line[] = "each connection is one line of the log; -v logs its end too";
static const char own_user[] = "dispatch-host needs no privilege: start it as the user it is to be";

static const char commands[] = "bind connect udpassociate bindreply udpreply";
static const char families[] = "ipv4 ipv6";
static const char methods[] =
    "none username gssapi rfc931 pam pam.any pam.address pam.username bsdauth";
static const char protocols[] = "tcp udp";
static const char proxies[] = "socks_v4 socks_v5 http http_v1.0 upnp";

/* Whole names before those that end with a dot. */
static const struct keyword keywords[] = {
    {"clientmethod", KEY_CLIENTMETHOD, IN_FILE | IN_RULE, NULL, methods},
    {"command", KEY_COMMAND, IN_BLOCKS, NULL, commands},
    {"external", KEY_EXTERNAL, IN_FILE, NULL, NULL},
    {"external.protocol", KEY_EXTERNAL_PROTOCOL, IN_FILE,
     "a link named by an interface uses all families it has; name its address instead", families},
    {"external.rotation", KEY_ROTATION, IN_FILE, NULL, "none route same-same"},
    {"from", KEY_FROM, IN_BLOCKS, NULL, NULL},
    {"internal", KEY_INTERNAL, IN_FILE, NULL, NULL},
    {"internal.protocol", KEY_INTERNAL_PROTOCOL, IN_FILE, NULL, families},
    {"libwrap.hosts_access", KEY_HOSTS_ACCESS, IN_FILE, no_wrapper, "yes no"},
    {"method", KEY_METHOD, IN_FILE | IN_RULE | IN_ROUTE, NULL, methods},
    {"protocol", KEY_PROTOCOL, IN_BLOCKS, NULL, protocols},
    {"proxyprotocol", KEY_PROXYPROTOCOL, IN_RULE | IN_ROUTE, NULL, proxies},
    {"socksmethod", KEY_SOCKSMETHOD, IN_FILE | IN_RULE, NULL, methods},
    {"srchost", KEY_SRCHOST, IN_FILE, "the names of clients are not looked up here",
     "nodnsmismatch nodnsunknown checkreplyauth"},
    {"connecttimeout", KEY_TIMEOUT_CONNECT, IN_FILE | IN_RULE, NULL, NULL},
    {"timeout.connect", KEY_TIMEOUT_CONNECT, IN_FILE | IN_RULE, NULL, NULL},
    {"iotimeout", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL, NULL},
    {"timeout.io", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL, NULL},
    {"timeout.io.tcp", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL, NULL},
    {"timeout.negotiate", KEY_TIMEOUT_NEGOTIATE, IN_FILE | IN_RULE, NULL, NULL},
    {"to", KEY_TO, IN_BLOCKS, NULL, NULL},
    {"via", KEY_VIA, IN_ROUTE, NULL, NULL},

    {"bounce to", KEY_CONDITION, IN_RULE, "there is no bouncing here", NULL},
    {"group", KEY_CONDITION, IN_RULE, no_login, NULL},
    {"hostid", KEY_CONDITION, IN_RULE | IN_MONITOR, "host ids are not read here", NULL},
    {"hostindex", KEY_CONDITION, IN_RULE | IN_MONITOR, "host ids are not read here", NULL},
    {"libwrap", KEY_CONDITION, IN_RULE, no_wrapper, NULL},
    {"redirect from", KEY_CONDITION, IN_RULE | IN_ROUTE, "nothing is redirected here", NULL},
    {"redirect to", KEY_CONDITION, IN_RULE, "nothing is redirected here", NULL},
    {"user", KEY_CONDITION, IN_RULE, no_login, NULL},

    {"bandwidth", KEY_LOST, IN_RULE, "there are no limits of bandwidth here", NULL},
    {"bsdauth.stylename", KEY_LOST, IN_RULE, no_login, NULL},
    {"child.maxidle", KEY_LOST, IN_FILE, "there are no child processes here", NULL},
    {"child.maxrequests", KEY_LOST, IN_FILE, "there are no child processes here", NULL},
    {"clientcompatibility", KEY_LOST, IN_RULE | IN_ROUTE, no_gssapi, NULL},
    {"compatibility", KEY_LOST, IN_FILE, "source ports are the system's choice here", NULL},
    {"debug", KEY_LOST, IN_FILE, "-v logs more", NULL},
    {"errorlog", KEY_LOST, IN_FILE, no_syslog, NULL},
    {"extension", KEY_LOST, IN_FILE | IN_ROUTE, "BIND is not served here", NULL},
    {"libwrap.allow", KEY_LOST, IN_FILE, no_wrapper, NULL},
    {"libwrap.deny", KEY_LOST, IN_FILE, no_wrapper, NULL},
    {"localdomain", KEY_LOST, IN_FILE, "host names are whole names here", NULL},
    {"log", KEY_LOST, IN_RULE, one_line, NULL},
    {"logoutput", KEY_LOST, IN_FILE, no_syslog, NULL},
    {"pam.servicename", KEY_LOST, IN_RULE, no_login, NULL},
    {"pamservicename", KEY_LOST, IN_RULE, no_login, NULL},
    {"realm", KEY_LOST, IN_FILE, no_login, NULL},
    {"resolveprotocol", KEY_LOST, IN_FILE, "names are looked up through the link that is used",
     NULL},
    {"route.badexpire", KEY_LOST, IN_FILE, "a link that failed is tried again by itself", NULL},
    {"route.maxfail", KEY_LOST, IN_FILE, "a link that failed is tried again by itself", NULL},
    {"timeout.io.udp", KEY_LOST, IN_FILE | IN_RULE, no_udp, NULL},
    {"timeout.tcp_fin_wait", KEY_LOST, IN_FILE | IN_RULE,
     "a connection half closed is idle like any other: timeouts: idle", NULL},
    {"udp.connectdst", KEY_LOST, IN_FILE, no_udp, NULL},
    {"udp.portrange", KEY_LOST, IN_RULE, no_udp, NULL},
    {"user.libwrap", KEY_LOST, IN_FILE, no_wrapper, NULL},
    {"user.notprivileged", KEY_LOST, IN_FILE, own_user, NULL},
    {"user.privileged", KEY_LOST, IN_FILE, own_user, NULL},
    {"user.unprivileged", KEY_LOST, IN_FILE, own_user, NULL},

    {"alarm.", KEY_LOST, IN_MONITOR, no_alarms, NULL},
    {"cpu.", KEY_LOST, IN_FILE, "processors are the system's choice here", NULL},
    {"external.alarm.", KEY_LOST, IN_MONITOR, no_alarms, NULL},
    {"external.ip.", KEY_LOST, IN_ALL, no_options, NULL},
    {"external.log.", KEY_LOST, IN_FILE | IN_RULE, one_line, NULL},
    {"external.socket.", KEY_LOST, IN_ALL, no_options, NULL},
    {"external.tcp.", KEY_LOST, IN_ALL, no_options, NULL},
    {"external.udp.", KEY_LOST, IN_ALL, no_udp, NULL},
    {"gssapi.", KEY_LOST, IN_RULE | IN_ROUTE, no_gssapi, NULL},
    {"internal.alarm.", KEY_LOST, IN_MONITOR, no_alarms, NULL},
    {"internal.ip.", KEY_LOST, IN_ALL, no_options, NULL},
    {"internal.log.", KEY_LOST, IN_FILE | IN_RULE, one_line, NULL},
    {"internal.socket.", KEY_LOST, IN_ALL, no_options, NULL},
    {"internal.tcp.", KEY_LOST, IN_ALL, no_options, NULL},
    {"internal.udp.", KEY_LOST, IN_ALL, no_udp, NULL},
    {"ldap.", KEY_CONDITION, IN_RULE, no_login, NULL},
    {"session.", KEY_LOST, IN_RULE, no_limits, NULL},
};

const struct keyword *keyword_find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        const char *known = keywords[i].name;
        size_t known_len = strlen(known);
        bool family = known[known_len - 1] == '.';
        if ((family ? len > known_len : len == known_len) && memcmp(name, known, known_len) == 0)
            return &keywords[i];
    }
    return NULL;
}
