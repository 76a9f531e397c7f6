#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""--import-dante: what a danted.conf becomes, beside danted itself."""

import glob
import os
import random
import re
import socket
import struct
import subprocess

from lib import client, servers, tap, world
from lib.host import Host, command, environment, once, sanitized
from lib.tap import case, check, equal, matches, table
from lib.upstream import Upstream4
from lib.upstream_http import HttpUpstream
from lib.world import TARGET, World

EXAMPLES = "/usr/share/doc/dante-server/examples"
HEAD = "# What `dispatch-host --import-dante` has made of %s\n#\n"
OPEN = "socksmethod: none\nclient pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }\n"
NOBODY = "0.0.0.0/32"


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.other = self.world.serve(servers.tell)


place = tap.shared(Place)


def imported(t, conf, name="danted.conf"):
    """The YAML, which passes --check."""
    file = t.file(name, conf)
    status, out, err = once("--import-dante", file)
    equal((status, err), (0, ""), "exit status, standard error\n%s" % conf)
    checked(t, out)
    head = HEAD % "".join(c if " " <= c <= "~" else "".join("\\x%02X" % b for b in c.encode())
                          for c in file)
    check(out.startswith(head), "the first lines", out)
    return out[len(head):]


def checked(t, yaml):
    file = t.file("dispatch.yaml", yaml)
    status, out, err = once("--check", "-c", file)
    equal((status, out), (0, file + ": ok\n"), "--check says %s\n%s" % (err, yaml))


def body(yaml):
    """Without the notes at the beginning."""
    return yaml[yaml.index("listeners:"):]


def danted_takes(conf_path):
    """Does danted find it without mistakes?"""
    done = subprocess.run([tap.tool("danted"), "-V", "-f", conf_path], check=False, timeout=20,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0, done.stdout.decode(errors="replace")


# ---- whole files ----

WHOLE = [
    ("two external interfaces", """
logoutput: stderr
internal: 127.0.0.1 port = 1080
external: a0
external: b0
socksmethod: none
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 log: error }
socks block { from: 0/0 to: lo log: connect }
socks pass { from: 127.0.0.0/8 to: 0/0 }
""", """# line 2: not translated: logoutput: stderr
#     the log goes to standard error
# line 7: not translated: log: error
#     each connection is one line of the log; -v logs its end too
# line 8: socks block { from: 0/0 to: lo log: connect }
#     no connection leads to this machine's loopback here
listeners:
  main: {listen: 127.0.0.1:1080, pool: all, allow: [127.0.0.0/8]}  # line 3
links:
  a0: {interface: a0}  # line 4
  b0: {interface: b0}  # line 5
pools:
  # Dante uses the first of them that it can; here they take turns.
  all: {balancer: rr, links: [a0, b0]}
"""),
    ("an interface to listen on, a hole in a network, time limits", """
internal: a0 port: 1085
internal : 127.0.0.1
external: 10.0.2.1
clientmethod: none
socksmethod: username
socksmethod: username none
timeout.negotiate: 20
timeout.connect: 15
timeout.io: 600
timeout.io.tcp: 0
client block { from: 10.0.1.128/26 to: 0/0 }
client pass {
    from: 10.0.1.0/24 port 1 - 65535 to: 10.0.1.0/24 port = 1085
}
client pass { from: 127.0.0.1/32 to: lo }
socks pass { from: 0/0 to: 0.0.0.0/0 protocol: tcp udp }
""", """# line 6: not translated: socksmethod: username
#     line 7 overrules it
# line 7: socksmethod: username none
#     clients come in without a login, as they may there; no other is offered
# line 10: not translated: timeout.io: 600
#     line 11 overrules it
listeners:
  main: {listen: 10.0.1.1:1085, pool: all, allow: [10.0.1.0/25, 10.0.1.192/26]}  # line 2
  main-2: {listen: 127.0.0.1:1080, pool: all, allow: [127.0.0.1/32]}  # line 3
links:
  10.0.2.1: {address: 10.0.2.1}  # line 4
pools:
  all: {balancer: rr, links: [10.0.2.1]}
timeouts:
  handshake: 20s  # line 8
  connect: 15s  # line 9
  attempt: 15s
  idle: 0s  # line 11
"""),
    ("upstream servers, one of them on this machine", """
internal: 127.0.0.1 port = 1080
external: a0
external.rotation: none
route.maxfail: 2
socksmethod: none
client pass { from: 127.0.0.0/8 to: 0/0 }
socks block { from: 0/0 to: 127.0.0.0/8 }
socks pass { from: 0/0 to: 0/0 }
route { from: 0/0 to: 0/0 via: proxy.example.net port = 1080
        proxyprotocol: socks_v4
        proxyprotocol: socks_v5
        method: username }
route { from: 0.0.0.0/0 to: . via: proxy.example.net port = 1080 }
route { from: 0/0 to: 0/0 via: fd00:2::9 port = 1081 command: connect method: none }
route { from: 0/0 to: 0/0 via: 127.0.0.1 port = 9050 proxyprotocol: socks_v5 }
route { from: 0/0 to: 0/0 via: 192.0.2.1 port = 1 command: bind }
route { from: 0/0 to: 0/0 via: 127.0.0.1 port = 9050 proxyprotocol: socks_v4 }
route { from: 0/0 to: 0/0 via: 10.0.2.9 port = 3128 proxyprotocol: http_v1.0 }
""", """# line 5: not translated: route.maxfail: 2
#     a link that failed is tried again by itself
# line 8: socks block { from: 0/0 to: 127.0.0.0/8 }
#     no connection leads to this machine's loopback here
# line 13: not translated: method: username
#     Dante passes each client's own login on; give the link one of its own: username, \
password-file
# line 17: not translated: route { from: 0/0 to: 0/0 via: 192.0.2.1 port = 1 command: bind }
#     only CONNECT is served here
listeners:
  main: {listen: 127.0.0.1:1080, pool: all, allow: [127.0.0.0/8]}  # line 2
links:
  a0: {interface: a0}  # line 3
  proxy.example.net: {dialer: socks, server: proxy.example.net:1080, via: a0, \
resolve: local}  # line 10
  fd00-2--9: {dialer: socks, server: "[fd00:2::9]:1081", via: a0, resolve: local}  # line 15
  127.0.0.1: {dialer: socks, server: 127.0.0.1:9050, resolve: local}  # line 16
  127.0.0.1-2: {dialer: socks, server: 127.0.0.1:9050, version: 4, resolve: local}  # line 18
  10.0.2.9: {dialer: http, server: 10.0.2.9:3128, via: a0, resolve: local}  # line 19
pools:
  # Dante uses the first of them that it can; here they take turns.
  all: {balancer: rr, links: [proxy.example.net, fd00-2--9, 127.0.0.1, 127.0.0.1-2, 10.0.2.9]}
"""),
    ("logins, and the networks they are asked in", """
internal: 10.0.1.1 port = 1080
external: b0
socksmethod: username
client pass { from: 10.0.0.0/8 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
""", """# line 4: not translated: socksmethod: username
#     logins are not translated: a listener has a `users-file` for them; so rules that leave it \
at this let nobody in
# line 6: not translated: socks pass { from: 0/0 to: 0/0 }
#     logins are not translated: a listener has a `users-file` for them; so it lets nobody in here
listeners:
  # Nobody is served: by the rules that can be kept here nobody may connect to
  # everything.
  # If that is not needed, this is what the client rules alone say:
  #   allow: [10.0.0.0/8]
  main: {listen: 10.0.1.1:1080, pool: all, allow: [0.0.0.0/32]}  # line 2
links:
  b0: {interface: b0}  # line 3
pools:
  all: {balancer: rr, links: [b0]}
"""),
]


@table("a whole file", WHOLE)
def whole(t, conf, yaml):
    place(t)
    equal(imported(t, conf), yaml, "what is printed")


@table("danted takes it", [row[:2] for row in WHOLE if "proxy.example.net" not in row[1]],
       needs=["danted"])
def whole_danted(t, conf):
    place(t)
    fine, said = danted_takes(t.file("danted.conf", conf))
    check(fine, "danted has nothing against it", said)


def examples():
    """Debian's, as they are and with the settings in them that are commented out."""
    for path in ["/etc/danted.conf"] + sorted(glob.glob(EXAMPLES + "/*.conf")):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        yield path, text
        yield path + ", uncommented", re.sub(
            r"^#+(?=(?:internal|external|route|socks|client|clientmethod|socksmethod|timeout\S*|"
            r"srchost|compatibility|extension|logoutput)\b ?[:{\w]|"
            r"[ \t]+(?:from|log|clientmethod|libwrap|command|protocol):|\})",
            "", text, flags=re.M)


def settings(conf):
    """The numbers of the lines with something on them."""
    return {n for n, line in enumerate(conf.split("\n"), 1)
            if re.sub(r"#.*", "", line).strip(" \t}{")}


@case("Debian's examples", needs=["danted"])
def debian(t):
    place(t)
    seen = 0
    for name, conf in examples():
        conf = re.sub(r"\b(de|fxp)(\d)", lambda x: "ab"[int(x.group(2))] + "0", conf)
        if not re.search(r"^(external|route)\b", conf, re.M):
            file = t.file("danted.conf", conf)
            status, out, err = once("--import-dante", file)
            equal((status, out), (1, ""), "exit status, standard output of " + name)
            matches(r"^%s: no external address and no route" % file, err, name)
            continue
        seen += 1
        out = imported(t, conf)
        lines = {int(n) for n in re.findall(r"# line (\d+)", out)}
        check(lines and lines <= settings(conf), "lines that are there, " + name, lines)
    check(seen >= 3, "examples with a way out", seen)


@case("each line is in the result, or a comment with its number")
def accounted(t):
    place(t)
    conf = ["logoutput: stderr", "errorlog: syslog", "internal: 127.0.0.1 port = 1080",
            "external: a0", "socksmethod: username", "clientmethod: pam.address", "debug: 1",
            "user.privileged: root", "compatibility: sameport", "extension: bind",
            "timeout.io.udp: 3", "timeout.tcp_fin_wait: 3", "srchost: nodnsunknown",
            "libwrap.hosts_access: yes", "resolveprotocol: fake", "udp.connectdst: no",
            "cpu.mask.io: 0 1", "internal.tcp.so_keepalive: 1", "child.maxrequests: 10",
            "external.log.info.error: EHOSTUNREACH", "route.badexpire: 30",
            "client pass { from: 127.0.0.0/8 to: 0/0 bandwidth: 10000 session.max: 3 }",
            "hostid block { from: 10.0.0.0/8 to: 0/0 }",
            "socks pass { from: 0/0 to: 0/0 user: joe udp.portrange: 40000-45000 }",
            "socks pass { from: 0/0 to: 0/0 redirect to: 10.1.1.1 port = 3 }",
            "monitor { from: 0/0 to: 0/0 protocol: tcp internal.alarm.data.recv: 0 in 10"
            " alarm.mtu-error }",
            "route { from: 0/0 to: 0/0 via: 10.0.2.9 port = 3128 proxyprotocol: upnp }"]
    out = imported(t, "\n".join(conf) + "\n")
    for number, line in enumerate(conf, 1):
        if number not in (3, 4):
            matches(r"^# line %d: not translated: %s$" % (number, re.escape(line)), out, line)
    check(NOBODY in out, "nobody is served", out)


# ---- who is kept out ----

RULES = {
    "nothing": ("", "[%s]" % NOBODY),
    "no socks rule": ("socksmethod: none\nclient pass { from: 10.0.0.0/8 to: 0/0 }", None),
    "no client rule": ("socksmethod: none\nsocks pass { from: 0/0 to: 0/0 }", None),
    "no method": ("client pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }", None),
    "everybody": (OPEN, "[0.0.0.0/0]"),
    "a client by name": (OPEN.replace("from: 0/0", "from: .example.com", 1), None),
    "a block by name": ("client block { from: .example.com to: 0/0 }\n" + OPEN, None),
    "a pass by port": (OPEN.replace("from: 0/0", "from: 0/0 port gt 1023", 1), None),
    "a block by port": ("client block { from: 10.0.0.0/9 port lt 1024 to: 0/0 }\n"
                        + OPEN.replace("from: 0/0", "from: 10.0.0.0/8", 1), "[10.128.0.0/9]"),
    "a block after the pass": (OPEN + "client block { from: 10.0.0.0/8 to: 0/0 }", "[0.0.0.0/0]"),
    "a block of another listener": ("client block { from: 0/0 to: 10.0.2.1/32 }\n" + OPEN,
                                    "[0.0.0.0/0]"),
    "a block of this port": ("client block { from: 0/0 to: 0/0 port = 1080 }\n" + OPEN, None),
    "both kinds of rules": (
        "socksmethod: none\nclient pass { from: 10.0.0.0/8 to: 0/0 }\n"
        "socks pass { from: 10.1.0.0/16 to: 0/0 }\nsocks pass { from: 192.0.2.0/24 to: 0/0 }",
        "[10.1.0.0/16]"),
    "some destinations": (OPEN.replace("to: 0/0 }\n", "to: 10.0.0.0/8 }\n")
                          .replace("to: 10.0.0.0/8", "to: 0/0", 1), None),
    "some ports": ("socks block { from: 10.0.0.0/8 to: 0/0 port = 25 }\n" + OPEN,
                   "[0.0.0.0/5, 8.0.0.0/7, 11.0.0.0/8, 12.0.0.0/6, 16.0.0.0/4, 32.0.0.0/3, "
                   "64.0.0.0/2, 128.0.0.0/1]"),
    "a command that is not served": (
        "socks block { from: 0/0 to: 0/0 command: bind udpassociate }\n" + OPEN, "[0.0.0.0/0]"),
    "a protocol that is not served": (
        "socks block { from: 0/0 to: 0/0 protocol: udp }\n" + OPEN, "[0.0.0.0/0]"),
    "a block of SOCKS4": ("socks block { from: 0/0 to: 0/0 proxyprotocol: socks_v4 }\n" + OPEN,
                          "[0.0.0.0/0]", "[socks5]"),
    "SOCKS5 alone": (OPEN[:-2] + "proxyprotocol: socks_v5 }\n", "[0.0.0.0/0]", "[socks5]"),
    "SOCKS4 alone": (OPEN[:-2] + "proxyprotocol: socks_v4 }\n", None, "[socks5]"),
    "both by name": (OPEN[:-2] + "proxyprotocol: socks_v4 socks_v5 }\n", "[0.0.0.0/0]",
                     "[socks4, socks5]"),
    "both by name, and a block of SOCKS5": (
        "socks block { from: 10.0.0.0/9 to: 0/0 proxyprotocol: socks_v5 }\n"
        + OPEN[:-2].replace("0/0", "10.0.0.0/8", 1) + "proxyprotocol: socks_v4 socks_v5 }\n",
        "[10.128.0.0/9]", "[socks5]"),
    "connect as well": ("socks block { from: 0/0 to: 10.0.0.0/8 command: bind connect }\n" + OPEN,
                        None),
    "names of clients": ("srchost: nodnsmismatch\n" + OPEN, None),
    "replies only": ("srchost: checkreplyauth\n" + OPEN, "[0.0.0.0/0]"),
    "libwrap": ("libwrap.hosts_access: yes\n" + OPEN, None),
    "no libwrap": ("libwrap.hosts_access: no\n" + OPEN, "[0.0.0.0/0]"),
    "a method of clients": ("clientmethod: rfc931\n" + OPEN, None),
    "a rule's own method": (OPEN.replace("socksmethod: none", "socksmethod: username none")
                            .replace("to: 0/0 }\nsocks", "to: 0/0 }\nsocks", 1)
                            [:-2] + " socksmethod: username }", None),
    "a client rule's methods of SOCKS": (
        OPEN.replace("to: 0/0 }", "to: 0/0 socksmethod: username }", 1)
        .replace("socksmethod: none", "socksmethod: username none"), None),
    "host ids": (OPEN + "hostid pass { from: 0/0 to: 0/0 }", None),
    "a route for some": (OPEN + "route { from: 0/0 to: 10.0.0.0/8 via: 192.0.2.1 port = 1080 }",
                         None),
    "a route by HTTP": (OPEN + "route { from: 0/0 to: 0/0 via: 192.0.2.1 port = 3128\n"
                        "proxyprotocol: http }", "[0.0.0.0/0]"),
    "a route of UPnP": (OPEN + "route { from: 0/0 to: 0/0 via: http://192.0.2.1:5000/igd.xml\n"
                        "proxyprotocol: upnp }", None),
    "a direct route for some": (
        OPEN + "route { from: 0/0 to: 10.0.0.0/8 via: direct }\n"
        "route { from: 0/0 to: 0/0 via: 192.0.2.1 port = 1080 }", None),
    "a direct route and no other": (OPEN + "route { from: 0/0 to: 10.0.0.0/8 via: direct }",
                                    "[0.0.0.0/0]"),
    "the old keywords": (OPEN.replace("socksmethod", "method").replace("socks pass", "pass"),
                         "[0.0.0.0/0]"),
}


@table("allow", [(name, *RULES[name]) for name in RULES])
def allow(t, rules, nets, speaks=None):
    place(t)
    conf = "internal: 10.0.1.1 port = 1080\nexternal: b0\n"
    # Settings come before rules.
    lines = rules.split("\n")
    conf += "\n".join(sorted(lines, key=lambda x: " {" in x or x.startswith("proxyprotocol")))
    out = imported(t, conf + "\n")
    found = matches(r"listen: 10.0.1.1:1080(?:, protocols: (\[.*\]))?, pool: all, "
                    r"allow: (\[.*\])\}", out, "listener")
    equal(found.groups(), (speaks, nets or "[%s]" % NOBODY), "protocols, networks\n" + out)


@table("ports of a listener at 1080", [(x, x, fits) for x, fits in [
    ("= 1080", True), ("= socks", True), ("eq 1081", False), ("!= 1080", False), ("ne 1081", True),
    ("gt 1080", False), ("> 1079", True), ("ge 1080", True), (">= 1081", False), ("lt 1080", False),
    ("< 1081", True), ("le 1080", True), ("<= 1079", False), ("1080-1081", True),
    ("1 - 1079", False), ("gt 65535", False), ("lt 0", False)]])
def listener_ports(t, port, fits):
    place(t)
    out = imported(t, "internal: 127.0.0.1 port = 1080\nexternal: a0\n"
                   + OPEN.replace("to: 0/0", "to: 0/0 port " + port, 1))
    check(("allow: [0.0.0.0/0]}" in out) == fits, "the rule is about it", out)


@case("bytes that are no text are escaped")
def escaped(t):
    place(t)
    out = imported(t, b"external: a0\nlogoutput: /var/log/\x1b[2J\xff\xc3\xa9\x7f\n" + OPEN.encode(),
                   name="d\n\xe9.conf")
    matches(r"^# line 2: not translated: logoutput: /var/log/\\x1B\[2J\\xFF\\xC3\\xA9\\x7F$", out,
            "the note")


@case("a loopback link keeps no one from the loopback")
def loopback(t):
    place(t)
    rule = "socks block { from: 0/0 to: lo }\n"
    for external, nets in ((("127.0.0.2"), NOBODY), ("lo", NOBODY), ("a0", "127.0.0.0/8")):
        conf = "internal: 127.0.0.1 port = 1080\nexternal: %s\nsocksmethod: none\n" % external
        conf += "client pass { from: 127.0.0.0/8 to: 0/0 }\n" + rule
        out = imported(t, conf + "socks pass { from: 0/0 to: 0/0 }\n")
        matches(r"allow: \[%s\]\}" % re.escape(nets), out, external)


@case("an address that could not be translated does not open the default one")
def no_listener(t):
    place(t)
    for line in ("", "internal: nic7 port = 1080\n", "internal: 10.0.1.1 port gt 80\n",
                 "internal: 10.0.1.0/24 port = 1080\n"):
        out = imported(t, line + "external: a0\n")
        matches(r"^  main: \{listen: 127.0.0.1:1080, pool: all, allow: \[%s\]\}$"
                % re.escape(NOBODY), out, "the listener")
        check(out.startswith("# line 1: not translated: internal") == bool(line), "told", out)


# ---- ways out ----

WAYS = [
    ("rotation by route", "external: a0\nexternal: b0\nexternal.rotation: route\n",
     "Dante leaves it to the routing table which of them is used", "[a0, b0]"),
    ("rotation same-same", "external: a0\nexternal: 10.0.2.1\nexternal.rotation: same-same\n",
     "Dante leaves from the address that the client came to", '[a0, 10.0.2.1]'),
    ("the same twice", "external: a0\nexternal: b0\nexternal: a0\n",
     "Dante uses the first of them that it can", "[a0, b0]"),
]


@table("ways out", WAYS)
def ways(t, lines, text, links):
    place(t)
    out = imported(t, "internal: 127.0.0.1\n" + lines + OPEN)
    matches(r"^  # %s; here they take turns\.\n  all: \{balancer: rr, links: %s\}$"
            % (text, re.escape(links)), out, "the pool")


@case("an interface of another machine, a host name, an address of none")
def elsewhere(t):
    place(t)
    out = imported(t, "external: nic7\nexternal: gw.example.net\nexternal: 0.0.0.0\n" + OPEN)
    matches(r"^# line 1: external: nic7\n#     this machine has no such interface just now\n"
            r"# line 2: not translated: external: gw.example.net\n#     .*\n"
            r"# line 3: not translated: external: 0.0.0.0\n", out, "the notes")
    matches(r"^links:\n  nic7: \{interface: nic7\}  # line 1\npools:", out, "the links")


@case("the result serves, by turns")
def serves(t):
    p = place(t)
    port = world.free_port()
    out = imported(t, "internal: 127.0.0.1 port = %d\nexternal: a0\nexternal: b0\n%s" % (port, OPEN))
    host = Host(t, yaml=out, port=port)
    equal(client.links_of(4, host.addr, TARGET, p.told.port), "abab", "links")


@case("routes to servers of SOCKS4 and HTTP serve")
def routes_serve(t):
    p = place(t)
    out = p.world.a.ns
    four, http = Upstream4(out), HttpUpstream(out)
    port = world.free_port()
    conf = "internal: 127.0.0.1 port = %d\nexternal: a0\n%s" % (port, OPEN)
    for handler, word in ((four, "socks_v4"), (http, "http_v1.0")):
        at = world.Service(t, handler, [("server", out, TARGET)])
        conf += "route { from: 0/0 to: 0/0 via: %s port = %d proxyprotocol: %s }\n" % (
            TARGET, at.port, word)
    host = Host(t, yaml=imported(t, conf), port=port)
    equal(client.links_of(4, host.addr, TARGET, p.told.port), "aaaa", "links")
    equal((len(four.requests), len(http.requests)), (2, 2), "requests to the one and the other")


# ---- mistakes ----

MISTAKES = [
    ("a keyword that is none", "external: a0\nlogouput: stderr\n", '2: unknown keyword "logouput"'),
    ("no colon", "external a0\n", "1: a keyword and a colon are expected, or a block: "
     "`client pass {`, `client block {`, `socks pass {`, `socks block {`, `route {`"),
    ("no value", "external: a0\nsocksmethod: # none\n", "2: socksmethod has no value"),
    ("a verdict that is none", "external: a0\n\nclient allow { from: 0/0 to: 0/0 }\n",
     "3: a keyword and a colon are expected, or a block: `client pass {`, `client block {`, "
     "`socks pass {`, `socks block {`, `route {`"),
    ("a block without end", "external: a0\nclient pass {\n from: 0/0 to: 0/0\n",
     "2: this block is not closed"),
    ("an end without block", "external: a0 }\n", "1: a keyword and a colon are expected, or a "
     "block: `client pass {`, `client block {`, `socks pass {`, `socks block {`, `route {`"),
    ("a block in a block", "client pass { from: 0/0 to: 0/0\nsocks pass { } }\n",
     "2: a keyword and a colon are expected"),
    ("no to", "client pass {\n from: 0/0\n}\n", "1: a rule needs `from:` and `to:`, once each"),
    ("two from", "\nsocks pass { from: 0/0 from: 0/0 to: 0/0 }\n",
     "2: a rule needs `from:` and `to:`, once each"),
    ("no via", "route { from: 0/0 to: 0/0 }\n",
     "1: a route needs `from:`, `to:` and `via:`, once each"),
    ("a netmask too long", "client pass {\n from: 10.0.0.0/33 to: 0/0 }\n",
     "2: an address is expected, as 10.0.0.0/8, with or without `port = NUMBER`"),
    ("two addresses", "external: a0 b0\n",
     "1: an address is expected, as 10.0.0.0/8, with or without `port = NUMBER`"),
    ("a port too large", "internal: 127.0.0.1 port = 65536\n",
     "1: a port is expected, as `port = 1080`, `port 1-1023` or `port gt 1023`"),
    ("a range the wrong way", "client pass { from: 0/0 port 9-8 to: 0/0 }\n",
     "1: a port is expected, as `port = 1080`, `port 1-1023` or `port gt 1023`"),
    ("a keyword of rules", "command: connect\n", "1: command does not belong here"),
    ("a setting in a rule", "client pass { from: 0/0 to: 0/0\n external: a0 }\n",
     "2: external does not belong here"),
    ("a command that is none", "socks block { from: 0/0 to: 0/0 command: conect }\n",
     '1: command: "conect" is none of bind connect udpassociate bindreply udpreply'),
    ("a protocol that is none", "socks block { from: 0/0 to: 0/0\nprotocol: tcp icmp }\n",
     '2: protocol: "icmp" is none of tcp udp'),
    ("a method that is none", "socksmethod: none nobody\n", '1: socksmethod: "nobody" is none of '
     "none username gssapi rfc931 pam pam.any pam.address pam.username bsdauth"),
    ("a zero byte", "external: a0\0\n", "1: this is no text: it has a zero byte"),
    ("a terminal's command", "external: a0\n\x1b[2Jx: 1\n", "2: a keyword and a colon are "
     "expected, or a block: `client pass {`, `client block {`, `socks pass {`, `socks block {`, "
     "`route {`"),
]


@table("a mistake", MISTAKES)
def mistake(t, conf, text):
    file = t.file("danted.conf", conf)
    equal(once("--import-dante", file), (1, "", "%s:%s\n" % (file, text)),
          "exit status, standard output and error")


@table("danted does not take it either", [row[:2] for row in MISTAKES if "\0" not in row[1]],
       needs=["danted"])
def mistake_danted(t, conf):
    place(t)
    fine, said = danted_takes(t.file("danted.conf", conf))
    check(not fine, "danted finds a mistake", said)


@table("a file that cannot be read", [
    ("missing", lambda t: t.dir + "/nothing", "No such file or directory"),
    ("a folder", lambda t: t.dir, "not a regular file"),
    ("too large", lambda t: t.file("large", "#" * (1 << 20) + "\n"), "larger than 1024 KiB")])
def unreadable(t, make, why):
    path = make(t)
    equal(once("--import-dante", path), (1, "", "%s: %s\n" % (path, why)), "status, output, error")


@case("no file is named")
def unnamed(t):
    del t
    status, out, err = once("--import-dante")
    equal((status, out), (2, ""), "exit status, standard output")
    matches("import-dante", err, "the message")


# ---- never more than danted ----

NETS = ["127.0.0.0/8", "127.1.0.0/16", "127.1.2.0/24", "127.1.2.3/32", "127.2.0.0/15", "0/0",
        "0.0.0.0/0"]
ROUNDS = 25  # some 60 ms each
CLIENTS = ["127.1.2.3", "127.1.2.4", "127.1.9.9", "127.2.0.1", "127.3.0.1", "127.9.0.1"]


def client_rule(dice, plain):
    to = ["0/0", "0.0.0.0/0", "lo", "127.0.0.1/32"]
    port = [""] if plain else ["", "", " port 1-65535", " port gt 40000"]
    to += [] if plain else ["10.0.0.0/8", "0/0 port = 1", "0/0 port ne 1"]
    return "client %s { from: %s%s to: %s }" % (dice.choice(["pass", "pass", "block"]),
                                              dice.choice(NETS), dice.choice(port), dice.choice(to))


def socks_rule(dice, plain, ports):
    more = ["", " protocol: tcp udp"]
    to = ["0/0", "0.0.0.0/0"]
    if not plain:
        more += [" command: connect", " command: bind", " protocol: udp", " socksmethod: none",
                 " proxyprotocol: socks_v5", " proxyprotocol: socks_v4"]
        to += ["lo", TARGET + "/32", "10.8.0.0/16", "0/0 port = %d" % ports[0],
               "0/0 port ne %d" % ports[1], "0/0 port lt 3"]
    return "socks %s { from: %s to: %s%s }" % (dice.choice(["pass", "pass", "block"]),
                                             dice.choice(NETS), dice.choice(to), dice.choice(more))


def is_served(addr, source, port):
    try:
        client.connect(addr, TARGET, port, source=source).close()
        return True
    except (client.Refused, EOFError, ConnectionError):
        return False


def is_served_4(addr, source, port):
    """By SOCKS4."""
    with client.Client(addr, source=source) as c:
        try:
            c.send(b"\4\1" + struct.pack(">H", port) + socket.inet_aton(TARGET) + b"\0")
            return c.take(8)[1] == 90
        except (EOFError, ConnectionError):
            return False


def served(addr, ports, by=is_served):
    """For each client the ports of the target that it reaches."""
    return {c: {p for p in ports if by(addr, c, p)} for c in CLIENTS}


def random_conf(dice, plain, ports, port):
    lines = ["logoutput: stderr", "internal: 127.0.0.1 port = %d" % port, "external: a0",
             dice.choice(["socksmethod: none", "socksmethod: username none"])]
    lines += [client_rule(dice, plain) for _ in range(dice.randint(1, 4))]
    lines += [socks_rule(dice, plain, ports) for _ in range(dice.randint(1, 4))]
    return "\n".join(lines) + "\n"


def compare(t, conf, plain, ports, port):
    """Returns how many clients the result serves, and how many by SOCKS4."""
    out = imported(t, conf)
    danted = place(t).world.popen(None, ["danted", "-f", t.file("danted.conf", conf)],
                                            env=dict(os.environ, TMPDIR=t.dir))
    tap.wait_for("danted listens", lambda: world.accepts("127.0.0.1", port), 20)
    theirs = served(("127.0.0.1", port), ports)
    theirs4 = served(("127.0.0.1", port), ports[:1], is_served_4)
    danted.terminate()
    danted.wait()
    tap.wait_for("its children have gone", lambda: not world.accepts("127.0.0.1", port), 20)
    host = Host(t, yaml=out, port=port)
    ours = served(host.addr, ports)
    ours4 = served(host.addr, ports[:1], is_served_4)
    host.kill()
    whole_ones = {c for c in CLIENTS if theirs[c] == set(ports)}
    told = "%s\n%s" % (conf, out)
    for c in CLIENTS:
        check(ours[c] <= theirs[c], "%s reaches no more than with Dante\n%s" % (c, told), ours,
              theirs)
        check(ours4[c] <= theirs4[c], "%s reaches no more by SOCKS4\n%s" % (c, told), ours4,
              theirs4)
    if plain:
        equal({c for c in CLIENTS if ours[c]}, whole_ones, "who is served\n" + told)
    return (sum(bool(ours[c]) for c in CLIENTS), sum(bool(ours4[c]) for c in CLIENTS))


@table("clients of random rules", [("by networks alone", True), ("with conditions", False)],
       needs=["danted"], limit=180)
def random_rules(t, plain):
    p = place(t)
    ports = [p.told.port, p.other.port]
    dice = random.Random(17 if plain else 24)
    seen = [0, 0]
    for _ in range(ROUNDS):
        port = world.free_port()
        served_now = compare(t, random_conf(dice, plain, ports, port), plain, ports, port)
        seen = [a + b for a, b in zip(seen, served_now)]
    for n in seen if plain else seen[:1]:
        check(0 < n < ROUNDS * len(CLIENTS), "some are served and some are not", seen)


# ---- whatever is in the file ----

def broken(dice, text):
    """The text with a few bytes changed, lost, doubled or put elsewhere."""
    data = bytearray(text.encode())
    for _ in range(dice.randint(1, 2)):
        at, n = dice.randrange(len(data)), dice.randint(1, 12)
        what = dice.randrange(4)
        if what == 0:
            data[at] = dice.choice(b"\0\t\n\r\"'#%/:={}\\\x7f\x80\xff-0a ")
        elif what == 1 and len(data) > 50:
            del data[at:at + n]
        else:
            where = dice.randrange(len(data)) if what == 2 else at
            data[where:where] = data[at:at + n]
    return bytes(data)


@case("a broken file is a mistake, or makes one that passes --check", limit=180)
def fuzz(t):
    place(t)
    dice = random.Random(5)
    passed = 0
    for _ in range(200):
        conf = broken(dice, dice.choice(WHOLE)[1])
        file = t.file("danted.conf", conf)
        status, out, err = once("--import-dante", file)
        if status == 0:
            passed += 1
            checked(t, out)
            check(out.isascii(), "nothing but ASCII", out)
        else:
            equal((status, out), (1, ""), "exit status, standard output\n%r" % conf)
            lines = err.splitlines()
            check(lines[-1].startswith(file + ":"), "the message\n%r" % conf, err)
    check(5 < passed < 190, "some pass and some do not", passed)


@case("a large file takes no long time, and lets nobody in whom it cannot tell apart", limit=30)
def large(t):
    place(t)
    rule = "client block { from: 10.%d.%d.1/32 to: 0/0 }\n"
    head = "internal: 127.0.0.1\nexternal: a0\nsocksmethod: none\n"
    for count, whole_net in ((50, False), (15000, True)):
        rules = "".join(rule % (n // 256, n % 256) for n in range(count))
        out = imported(t, head + rules + OPEN.split("\n", 1)[1])
        nets = re.findall(r"[\d.]+/\d+", matches(r"allow: \[(.*)\]", out, "networks").group(1))
        equal("too many networks come of it; so nobody after it is let in" in out, whole_net, "told")
        equal(nets == [NOBODY], whole_net, "nobody")
        check(whole_net or len(nets) > 50, "networks with holes", nets)


@case("many links, many listeners", limit=30)
def many(t):
    place(t)
    head = "external: a0\n" + "".join("internal: 127.0.%d.%d\n" % (n // 250, n % 250 + 1)
                                      for n in range(2000))
    routes = "".join("route { from: 0/0 to: 0/0 via: proxy.example.net port = %d }\n" % n
                     for n in range(1, 6000))
    out = imported(t, head + OPEN)
    equal((len(re.findall(r"^  main", out, re.M)), out.count("too many listeners")), (64, 1936),
          "listeners that are there and are not")
    check("allow: [0.0.0.0/0]}" in out, "somebody is served", out[-2000:])
    out = imported(t, "internal: 127.0.0.1\nexternal: a0\n" + OPEN + routes)
    equal((out.count("dialer: socks"), out.count("too many links")), (255, 5744),
          "links that are there and are not")
    check(NOBODY in out and "[0.0.0.0/0]}" not in out, "then nobody is served")


def within_memory(kib, *args):
    """Runs the host with so much address space."""
    done = subprocess.run([tap.tool("prlimit"), "--as=%d" % (kib << 10), *command(*args)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=20, env=environment(), check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@case("without memory: the whole, or nothing", needs=["prlimit"])
def no_memory(t):
    if sanitized():
        raise tap.Skip("a sanitizer needs all address space there is")
    rules = "".join("client block { from: 10.0.%d.1/32 to: 0/0 }\n" % n for n in range(256)) * 8
    file = t.file("danted.conf", "external: a0\nsocksmethod: none\n" + rules)
    wanted = once("--import-dante", file)
    equal(wanted[0], 0, "exit status with enough")
    seen = set()
    for kib in range(6000, 40000, 1000):
        if within_memory(kib, "--version")[0] != 0:
            continue
        got = within_memory(kib, "--import-dante", file)
        seen.add(got[0])
        if got != wanted:
            equal(got[:2], (1, ""), "exit status, standard output with %d KiB" % kib)
            matches("memory", got[2].lower(), "the message")
    equal(seen, {0, 1}, "it was too little, and enough")


if __name__ == "__main__":
    tap.main()
