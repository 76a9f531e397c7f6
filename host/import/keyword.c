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
static const char no_login[] = "clients cannot log in here";
static const char no_options[] = "socket options cannot be set here";
static const char no_syslog[] = "the log goes to standard error";
static const char no_udp[] = "UDP is not served here";
static const char no_wrapper[] = "libwrap is not asked here";
static const char one_line[] = "each connection is one line of the log; -v logs its end too";
static const char own_user[] = "dispatch-host needs no privilege: start it as the user it is to be";

/* Whole names before those that end with a dot. */
static const struct keyword keywords[] = {
    {"clientmethod", KEY_CLIENTMETHOD, IN_FILE | IN_RULE, NULL},
    {"command", KEY_COMMAND, IN_BLOCKS, NULL},
    {"external", KEY_EXTERNAL, IN_FILE, NULL},
    {"external.protocol", KEY_EXTERNAL_PROTOCOL, IN_FILE,
     "a link named by its interface uses all families that has; name its address instead"},
    {"external.rotation", KEY_ROTATION, IN_FILE, NULL},
    {"from", KEY_FROM, IN_BLOCKS, NULL},
    {"internal", KEY_INTERNAL, IN_FILE, NULL},
    {"internal.protocol", KEY_INTERNAL_PROTOCOL, IN_FILE, NULL},
    {"libwrap.hosts_access", KEY_HOSTS_ACCESS, IN_FILE, no_wrapper},
    {"method", KEY_METHOD, IN_FILE | IN_RULE | IN_ROUTE, NULL},
    {"protocol", KEY_PROTOCOL, IN_BLOCKS, NULL},
    {"proxyprotocol", KEY_PROXYPROTOCOL, IN_RULE | IN_ROUTE, NULL},
    {"socksmethod", KEY_SOCKSMETHOD, IN_FILE | IN_RULE, NULL},
    {"srchost", KEY_SRCHOST, IN_FILE, "the names of clients are not looked up here"},
    {"connecttimeout", KEY_TIMEOUT_CONNECT, IN_FILE | IN_RULE, NULL},
    {"timeout.connect", KEY_TIMEOUT_CONNECT, IN_FILE | IN_RULE, NULL},
    {"iotimeout", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL},
    {"timeout.io", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL},
    {"timeout.io.tcp", KEY_TIMEOUT_IO, IN_FILE | IN_RULE, NULL},
    {"timeout.negotiate", KEY_TIMEOUT_NEGOTIATE, IN_FILE | IN_RULE, NULL},
    {"to", KEY_TO, IN_BLOCKS, NULL},
    {"via", KEY_VIA, IN_ROUTE, NULL},

    {"bounce to", KEY_CONDITION, IN_RULE, "there is no bouncing here"},
    {"group", KEY_CONDITION, IN_RULE, no_login},
    {"hostid", KEY_CONDITION, IN_RULE | IN_MONITOR, "host ids are not read here"},
    {"hostindex", KEY_CONDITION, IN_RULE | IN_MONITOR, "host ids are not read here"},
    {"libwrap", KEY_CONDITION, IN_RULE, no_wrapper},
    {"redirect from", KEY_CONDITION, IN_RULE | IN_ROUTE, "nothing is redirected here"},
    {"redirect to", KEY_CONDITION, IN_RULE, "nothing is redirected here"},
    {"user", KEY_CONDITION, IN_RULE, no_login},

    {"bandwidth", KEY_LOST, IN_RULE, "there are no limits of bandwidth here"},
    {"bsdauth.stylename", KEY_LOST, IN_RULE, no_login},
    {"child.maxidle", KEY_LOST, IN_FILE, "there are no child processes here"},
    {"child.maxrequests", KEY_LOST, IN_FILE, "there are no child processes here"},
    {"clientcompatibility", KEY_LOST, IN_RULE | IN_ROUTE, no_gssapi},
    {"compatibility", KEY_LOST, IN_FILE, "source ports are the system's choice here"},
    {"debug", KEY_LOST, IN_FILE, "-v logs more"},
    {"errorlog", KEY_LOST, IN_FILE, no_syslog},
    {"extension", KEY_LOST, IN_FILE | IN_ROUTE, "BIND is not served here"},
    {"libwrap.allow", KEY_LOST, IN_FILE, no_wrapper},
    {"libwrap.deny", KEY_LOST, IN_FILE, no_wrapper},
    {"localdomain", KEY_LOST, IN_FILE, "host names are whole names here"},
    {"log", KEY_LOST, IN_RULE, one_line},
    {"logoutput", KEY_LOST, IN_FILE, no_syslog},
    {"pam.servicename", KEY_LOST, IN_RULE, no_login},
    {"pamservicename", KEY_LOST, IN_RULE, no_login},
    {"realm", KEY_LOST, IN_FILE, no_login},
    {"resolveprotocol", KEY_LOST, IN_FILE, "names are looked up through the link that is used"},
    {"route.badexpire", KEY_LOST, IN_FILE, "a link that failed is tried again by itself"},
    {"route.maxfail", KEY_LOST, IN_FILE, "a link that failed is tried again by itself"},
    {"timeout.io.udp", KEY_LOST, IN_FILE | IN_RULE, no_udp},
    {"timeout.tcp_fin_wait", KEY_LOST, IN_FILE | IN_RULE,
     "a connection half closed is idle like any other: timeouts: idle"},
    {"udp.connectdst", KEY_LOST, IN_FILE, no_udp},
    {"udp.portrange", KEY_LOST, IN_RULE, no_udp},
    {"user.libwrap", KEY_LOST, IN_FILE, no_wrapper},
    {"user.notprivileged", KEY_LOST, IN_FILE, own_user},
    {"user.privileged", KEY_LOST, IN_FILE, own_user},
    {"user.unprivileged", KEY_LOST, IN_FILE, own_user},

    {"alarm.", KEY_LOST, IN_MONITOR, no_alarms},
    {"cpu.", KEY_LOST, IN_FILE, "processors are the system's choice here"},
    {"external.alarm.", KEY_LOST, IN_MONITOR, no_alarms},
    {"external.ip.", KEY_LOST, IN_ALL, no_options},
    {"external.log.", KEY_LOST, IN_FILE | IN_RULE, one_line},
    {"external.socket.", KEY_LOST, IN_ALL, no_options},
    {"external.tcp.", KEY_LOST, IN_ALL, no_options},
    {"external.udp.", KEY_LOST, IN_ALL, no_udp},
    {"gssapi.", KEY_LOST, IN_RULE | IN_ROUTE, no_gssapi},
    {"internal.alarm.", KEY_LOST, IN_MONITOR, no_alarms},
    {"internal.ip.", KEY_LOST, IN_ALL, no_options},
    {"internal.log.", KEY_LOST, IN_FILE | IN_RULE, one_line},
    {"internal.socket.", KEY_LOST, IN_ALL, no_options},
    {"internal.tcp.", KEY_LOST, IN_ALL, no_options},
    {"internal.udp.", KEY_LOST, IN_ALL, no_udp},
    {"ldap.", KEY_CONDITION, IN_RULE, no_login},
    {"session.", KEY_LOST, IN_RULE, no_limits},
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
