#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The module in Debian's danted: shares exact over all of its processes, for every policy."""

import os
import re
import shutil
import subprocess
import time

from lib import client, dante, peers, servers, tap, world
from lib.dante import ANCHOR, ANCHOR6, Balanced, Danted, config
from lib.host import Host, environment
from lib.tap import case, check, equal, table, wait_for, within
from lib.upstream import OK4, Upstream
from lib.world import TARGET, TARGET6, Service, World

NEEDS = ["danted"]
A3B1 = {"a": "interface: a0, weight: 3", "b": "interface: b0"}
EQUAL = {"a": "interface: a0", "b": "interface: b0"}


def tell_http(conn, name, _peer):
    """A web server that says by which link its client came."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += conn.recv(65536) or b"\r\n\r\n"
    conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n" + name.encode())


def curl(d, url, option="--socks5"):
    """What curl prints for a URL, or how it failed."""
    done = subprocess.run(["curl", "-q", "-sS", "--max-time", "20", "--noproxy", "", option,
                           "%s:%d" % d.addr, url], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode(errors="replace")


def shares(links):
    """How many connections by each link."""
    links = [str(x) for x in links]
    return {x: links.count(x) for x in sorted(set(links))}


def log_agrees(d, service):
    """Dante's log has each connection once, with the source that its server saw."""
    wait_for("all connections are in danted's log",
             lambda: len(d.connects()) == len(service.clients))
    equal(sorted(x.source for x in d.connects()), sorted(x[:2] for x in service.clients),
          "link sides in danted's log, sources that the servers saw")


# ---- weights ----

@table("weights 3:1 by curl: 4 are 3 and 1, 40 at once are 30:10",
       [("in the foreground", []), ("-D -N 2", ["-D", "-N", "2"])], needs=NEEDS + ["curl"])
def weights(t, args):
    w = World(t)
    web = w.serve(tell_http)
    d = Balanced(t, config(A3B1), args=args)
    url = "http://%s:%d/" % (TARGET, web.port)
    equal(shares(curl(d, url) for _ in range(4)), {"a": 3, "b": 1}, "4, one after the other")
    equal(shares(client.together(40, lambda _: curl(d, url))), {"a": 30, "b": 10}, "40 at once")
    equal((web.count("a"), web.count("b")), (33, 11), "connections the servers saw")
    log_agrees(d, web)
    d.wait_active(a=0, b=0)
    links = d.state().links
    equal((links["a"].picks, links["b"].picks), (33, 11), "picks in the state")
    equal({link.state for link in links.values()}, {"up"}, "states")


@table("round robin", [
    ("smooth 3:2", "", (3, 2), "ababa"), ("block 3:2", ", order: block", (3, 2), "aaabb"),
    ("equal", "", (1, 1), "ab"),
], needs=NEEDS)
def round_robin(t, order, weight, wanted):
    w = World(t)
    told = w.serve(servers.tell)
    links = {n: "interface: %s0, weight: %d" % (n, k) for n, k in zip("ab", weight)}
    d = Balanced(t, config(links, pool="balancer: rr" + order))
    equal(client.links_of(len(wanted) * 4, d.addr, TARGET, told.port), wanted * 4, "in order")


@case("the client is told the address of the link, and both ways carry data", needs=NEEDS)
def told_and_echoed(t):
    w = World(t)
    echo = w.serve(servers.tell_and_echo)
    d = Balanced(t, config(EQUAL))
    said = {}
    for wanted in ("10.0.1.1", "10.0.2.1"):
        with client.connect(d.addr, TARGET, echo.port) as c:
            line = c.line()
            link, addr, port = line.split()
            equal((addr, c.bound), (wanted, (addr, int(port))), "source, BND of the reply")
            block = os.urandom(300000)
            c.send(block)
            equal(c.take(len(block)), block, "echo")
            said[link] = (300000 + len(line) + 1, 300000)
    log_agrees(d, echo)
    d.wait_active(a=0, b=0)
    for name, x in d.state().links.items():  # the kernel counts a stream's begin and end as bytes
        more = (int(x.rx) - said[name][0], int(x.tx) - said[name][1])
        check(0 <= min(more) and max(more) <= 2, "bytes in the state", x, said[name])


@case("clients with ports below 1024 take their turns as others do", needs=NEEDS)
def reserved_ports(t):
    w = World(t)
    told = w.serve(servers.tell)
    d = Balanced(t, config(EQUAL))
    for n, wanted in enumerate("ababab"):
        with client.connect(d.addr, TARGET, told.port, source="127.0.0.1",
                            source_port=810 + n) as c:
            link, addr, port = c.line().split()
            equal((link, c.bound), (wanted, (addr, int(port))), "link, BND of the reply")
    log_agrees(d, told)


@case("danted's options are on the connection that takes the place of its own",
      needs=NEEDS + ["ss"])
def options(t):
    w = World(t)
    told = w.serve(servers.tell)
    text = "external.ip.ip_tos: 16\nexternal.tcp.tcp_nodelay: 1\n" + dante.conf()
    seen = {}
    for name, d in (("stock", Danted(t, text.replace(ANCHOR, "a0"))),
                    ("ours", Balanced(t, config({"a": "interface: a0"}), text))):
        with client.connect(d.addr, TARGET, told.port) as c:
            c.line()
            lines = world.run("ss", "-Htno", "--tos", "src", "10.0.1.1", "dst", TARGET)
            seen[name] = [re.sub(r"^.*%s:\d+|\d+min.*?\)|class_id:\S+" % TARGET, "", x).split()
                          for x in lines.splitlines() if "ESTAB" in x]
    check("tos:0x10" in seen["stock"][0] and "keepalive" in str(seen["stock"]), "of danted's", seen)
    equal(seen["ours"], seen["stock"], "options")


@case("IPv6 destinations by an IPv6 anchor", needs=NEEDS)
def ipv6(t):
    w = World(t)
    dante.anchor6_add(t)
    told = w.serve(servers.tell)
    for link in w.links:
        told.add(link.name, link.ns, TARGET6)
    d = Balanced(t, config(EQUAL, anchors=(ANCHOR, ANCHOR6)), dante.conf(ANCHOR, ANCHOR6))
    equal(client.links_of(4, d.addr, TARGET6, told.port), "abab", "links to the IPv6 address")
    equal(client.links_of(4, d.addr, TARGET, told.port), "abab", "links to the IPv4 address")
    equal([x[0] for x in told.clients], ["fd00:1::1", "fd00:2::1"] * 2 + ["10.0.1.1",
                                                                          "10.0.2.1"] * 2,
          "sources")
    log_agrees(d, told)


@case("200 at once are exact, too", needs=NEEDS)
def many(t):
    w = World(t)
    told = w.serve(servers.tell)
    d = Balanced(t, config(A3B1))
    got = client.together(200, lambda _: client.link_of(d.addr, TARGET, told.port, timeout=30))
    equal(shares(got), {"a": 150, "b": 50}, "connections by link")
    d.wait_active(a=0, b=0)


@case("clients that speak SOCKS4 are served as well", needs=NEEDS + ["curl"])
def socks4(t):
    w = World(t)
    web = w.serve(tell_http)
    d = Balanced(t, config(EQUAL))
    url = "http://%s:%d/" % (TARGET, web.port)
    equal("".join(curl(d, url, "--socks4") for _ in range(4)), "abab", "links in order")


@case("max-connections is exact over the processes", needs=NEEDS)
def limit(t):
    w = World(t)
    told = w.serve(servers.tell)
    d = Balanced(t, config({"a": "interface: a0, max-connections: 5", "b": "interface: b0"}))
    clients, links = client.held(t, 40, d.addr, TARGET, told.port)
    equal(shares(links), {"a": 5, "b": 35}, "connections by link")
    next(c for c in clients if c.bound[0] == "10.0.1.1").close()
    d.wait_active(a=4, b=35)
    _clients, links = client.held(t, 4, d.addr, TARGET, told.port, parallel=1)
    equal(shares(links), {"a": 1, "b": 3}, "four more")


# ---- chains ----

class Late(Upstream):
    """Answers the greeting after `late_s` seconds."""

    def __init__(self, out, late_s):
        super().__init__(out)
        self.late_s = late_s

    def serve(self, conn):
        time.sleep(self.late_s)
        return super().serve(conn)


def chain(w, upstreams):
    """A link by an upstream behind each link of the world; returns them, and their services."""
    services = [Service(w.t, up, [(link.name, link.ns, link.gw)])
                for link, up in zip(w.links, upstreams)]
    return {link.name: "dialer: socks, server: %s:%d" % (link.gw, service.port)
            for link, service in zip(w.links, services)}, services


@case("two SOCKS servers that answer after 1 s, 40 at once: 20:20 in 3 s, by 30 children",
      needs=NEEDS)
def late(t):
    w = World(t)
    told = w.serve(servers.tell)
    links, ups = chain(w, [Late(link.ns, 1.0) for link in w.links])
    d = Balanced(t, config(links))
    started = time.monotonic()
    got = client.together(40, lambda _: client.link_of(d.addr, TARGET, told.port))
    within(3, started, "40 connections")
    equal(shares(got), {"a": 20, "b": 20}, "connections by link")
    equal([len(up.order) for up in ups], [20, 20], "connections the upstreams saw")
    wait_for("all connections are in danted's log", lambda: len(d.connects()) == 40)
    children = len({x.pid for x in d.connects()})
    check(children >= 30, "request children that took part", children)
    d.wait_active(a=0, b=0)


@case("a server's first words together with the upstream's reply are not lost", needs=NEEDS)
def first_words(t):
    def glued(self, conn):
        self.read_greeting(conn)
        conn.sendall(b"\5\0")
        self.read_request(conn)
        conn.sendall(OK4 + b"hello\n")
        servers.echo(conn, None, None)

    w = World(t, "a")
    links, _ups = chain(w, [Upstream(None, misbehave=glued)])
    d = Balanced(t, config(links))
    for _ in range(8):
        with client.connect(d.addr, TARGET, 7, timeout=3) as c:
            equal(c.line(), "hello", "the first words")
            c.send(b"more")
            equal(c.take(4), b"more", "echo")


@case("microsocks with a password that only root can read, by way of a link",
      needs=NEEDS + ["microsocks"])
def microsocks(t):
    w = World(t)
    told = w.serve(servers.tell)
    ports = {link.name: peers.microsocks(w, link.ns, link.gw, "-u", "me", "-P", "p:w@x")
             for link in w.links}
    secret = t.file("secret", "p:w@x\n", 0o600)
    links = {"a0": "interface: a0", "b0": "interface: b0"}
    for link in w.links:
        links[link.name] = ("dialer: socks, server: %s:%d, username: me, password-file: %s, "
                            "via: %s0" % (link.gw, ports[link.name], secret, link.name))
    yaml = config(links).replace("links: [a0, b0, a, b]", "links: [a, b]")
    d = Balanced(t, yaml)
    equal(client.links_of(4, d.addr, TARGET, told.port), "abab", "links in order")
    check("p:w@x" not in d.log() + d.said() + d.state_text(), "the password is shown nowhere")


@case("danted's own route {}: the proxy it names is reached by the links in turn", needs=NEEDS)
def own_route(t):
    w = World(t)
    echo = w.serve(servers.tell_and_echo)
    ups = {link.name: Upstream(link.ns) for link in w.links}
    proxy = w.serve(lambda conn, name, peer: ups[name](conn, name, peer))
    text = dante.conf() + ("route {\n    from: 0/0 to: 0/0 via: %s port = %d\n    proxyprotocol: "
                           "socks_v5\n    command: connect\n}\n" % (TARGET, proxy.port))
    d = Balanced(t, config(EQUAL), "route.maxfail: 0\n" + text)
    for _ in range(4):
        with client.connect(d.addr, TARGET, echo.port) as c:
            c.send(b"ping")
            check(c.take(4), "an answer")
    equal(("".join(proxy.order), "".join(echo.order)), ("abab", "abab"), "links in order")


# ---- least connections ----

@case("least connections 3:1: 12 held are 9:3, after them 0:0; 3 times 60 at once leave 0:0",
      needs=NEEDS)
def leastconn(t):
    w = World(t)
    told = w.serve(servers.tell)
    d = Balanced(t, config(A3B1, pool="balancer: leastconn"))
    clients, links = client.held(t, 12, d.addr, TARGET, told.port, parallel=1)
    equal(shares(links), {"a": 9, "b": 3}, "12 held")
    equal(d.active(), {"a": 9, "b": 3}, "active while they are")
    for c in clients:
        c.close()
    d.wait_active(a=0, b=0)
    for _ in range(3):
        got = client.together(60, lambda _: client.link_of(d.addr, TARGET, told.port))
        equal([g for g in got if g not in ("a", "b")], [], "failed")
        d.wait_active(a=0, b=0)


@case("least connections: the emptier link first, as connections end", needs=NEEDS)
def emptier(t):
    w = World(t)
    told = w.serve(servers.tell)
    d = Balanced(t, config(EQUAL, pool="balancer: leastconn"))
    clients, links = client.held(t, 10, d.addr, TARGET, told.port, parallel=1)
    equal(shares(links), {"a": 5, "b": 5}, "ten on empty links")
    for c, link in zip(clients, links):
        if link == "a":
            c.close()
    d.wait_active(a=0, b=5)
    _clients, links = client.held(t, 5, d.addr, TARGET, told.port, parallel=1)
    equal(shares(links), {"a": 5}, "the next five, while b has five")


# ---- one set of plugins ----

def plugins_of(pid, folder):
    """(name, inode) of what a process has mapped of a folder."""
    with open("/proc/%d/maps" % pid, encoding="utf-8") as f:
        rows = [line.split() for line in f if folder + "/" in line]
    return {(os.path.basename(row[5]), row[4]) for row in rows}


@case("the same file and the same installed plugins in dispatch-host and in danted", needs=NEEDS)
def same_plugins(t):
    w = World(t)
    told = w.serve(servers.tell)
    folder = os.path.join(t.dir, "installed")
    os.mkdir(folder)
    built = environment()["DISPATCH_PLUGIN_PATH"].split(":")[0]
    for name in ("balancer-rr.so", "dialer-iface.so"):
        shutil.copy(os.path.join(built, name), folder)
    yaml = config(A3B1, more="plugin-path: [%s]\nlisteners: {main: {listen: \"127.0.0.1:PORT\"}}"
                  % folder)
    d = Balanced(t, yaml.replace("PORT", str(world.free_port())))
    host = Host(t, yaml.replace("STATE", os.path.join(t.dir, "unused")))
    for proxy in (d, host):
        equal(shares(client.links_of(20, proxy.addr, TARGET, told.port)), {"a": 15, "b": 5},
              "connections by link")
    used = plugins_of(d.pid, folder)
    equal({name for name, _inode in used}, {"balancer-rr.so", "dialer-iface.so"}, "in danted")
    equal(plugins_of(host.proc.pid, folder), used, "in dispatch-host")


if __name__ == "__main__":
    tap.main()
