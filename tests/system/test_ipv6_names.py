#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""IPv6 and names: who is asked, by which link, in which order addresses are tried."""

import re
import threading
import time

from lib import client, dns, peers, servers, tap, world
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.world import TARGET, TARGET6, World

ZONE = {
    "v4.test": [TARGET], "v6.test": [TARGET6], "both.test": [TARGET6, TARGET],
    "dead6.test": ["fd99::dead", TARGET], "dead4.test": ["10.99.99.99", TARGET],
    "closed6.test": ["fd99::c105", TARGET], "many.test": ["10.99.99.%d" % i for i in range(1, 6)]
    + [TARGET],
}


class Place:
    """Two links, each with servers and a name server of its own behind it."""

    def __init__(self, t, zone=None, **keywords):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        for x in self.world.links:
            self.told.add(x.name, x.ns, TARGET6)
            # fd99::c105 is there and refuses; fd99::dead and 10.99.99.99 are silent.
            x.beyond("ip", "addr", "add", "fd99::c105/128", "dev", "lo", "nodad")
            x.beyond("ip", "addr", "add", "fd99::dead/128", "dev", "lo", "nodad")
            x.beyond("nft", "add table inet dead; add chain inet dead in { type filter hook "
                     "prerouting priority -300; }; add rule inet dead in ip6 daddr fd99::dead drop;"
                     " add rule inet dead in ip daddr 10.99.99.0/24 drop")
        self.names = dns.NameServer(t, [(x.name, x.ns, x.gw) for x in self.world.links],
                                    zone or ZONE, **keywords)
        self.port = self.told.port

    def links(self):
        return {x.name: "interface: %s, dns: [%s]" % (x.dev, x.gw) for x in self.world.links}


def line_of(host, dest, port):
    with client.connect(host.addr, dest, port) as c:
        return c.line().split()


# ---- IPv6 ----

@case("an IPv6 client, IPv6 destination, and a name with only AAAA")
def all_v6(t):
    p = Place(t)
    host = Host(t, config(p.links(), listen="[::1]:PORT"), listen="::1")
    for dest in (TARGET6, "v6.test", TARGET6.encode()):
        equal([line_of(host, dest, p.port)[1] for _ in range(2)], ["fd00:1::1", "fd00:2::1"],
              "source addresses for %r" % dest)
    equal(line_of(host, TARGET, p.port)[0], "a", "an IPv4 destination for an IPv6 client")


@case("an IPv6 client by curl, with names resolved by the proxy", needs=["curl", "nginx"])
def curl_v6(t):
    p = Place(t)
    t.file("www/hello.txt", "hello\n")
    port = peers.nginx(p.world, p.world.a.ns, TARGET6, t.dir + "/www")
    host = Host(t, config({"a": p.links()["a"]}, listen="[::1]:PORT"), listen="::1")
    for name in ("v6.test", "[%s]" % TARGET6):
        got = client.curl(t, "socks5h://[::1]:%d" % host.port,
                          "http://%s:%d/hello.txt" % (name, port))
        equal(got, b"hello\n", "what curl got")


@case("a link by its IPv6 address, and one of IPv4 only, each for its own family")
def by_family(t):
    p = Place(t)
    host = Host(t, args=["-lport", "PORT", "fd00:1::1@1", "10.0.2.1@1"])
    for _ in range(3):
        equal(line_of(host, TARGET6, p.port)[0], "a", "link for IPv6")
        equal(line_of(host, TARGET, p.port)[0], "b", "link for IPv4")


@case("a link that loses IPv6 is skipped for it, and still serves IPv4 in turn")
def no_v6(t):
    p = Place(t)
    world.run("ip", "-6", "addr", "flush", "dev", "a0")
    host = Host(t, config(p.links()))
    for _ in range(4):
        equal(line_of(host, TARGET6, p.port)[0], "b", "link for IPv6")
    equal(client.links_of(6, host.addr, TARGET, p.port).count("a"), 3, "connections by a of 6")
    equal(client.ask(host.addr, "v6.test", p.port), 0, "reply for a name with only AAAA")


# ---- who is asked ----

@case("each link asks its own name server, and the connection leaves by the same link")
def right_server(t):
    p = Place(t, {"n%d.test" % i: [TARGET] for i in range(10)})
    host = Host(t, config(p.links()))
    for i in range(10):
        name = "n%d.test" % i
        link = client.link_of(host.addr, name, p.port)
        equal({place for place, asked, _type in p.names.asked if asked == name}, {link},
              "who was asked for " + name)
    for place_name in "ab":
        check(p.names.names_at(place_name), "each is asked", p.names.asked)


@case("the queries are seen by a real dnsmasq behind the link", needs=["dnsmasq"])
def real_dnsmasq(t):
    w = World(t)
    told = w.serve(servers.tell)
    told.add("a", w.a.ns, TARGET6)
    record = "--host-record=real.test,%s,%s" % (TARGET, TARGET6)
    masq = {x.name: peers.dnsmasq(w, x.ns, x.gw, record) for x in w.links}
    host = Host(t, config({"a": "interface: a0, dns: [10.0.1.2]"}))
    equal(client.link_of(host.addr, "real.test", told.port), "a", "link")
    wait_for("dnsmasq a was asked", lambda: "real.test from 10.0.1.1" in masq["a"].said())
    check("real.test" not in masq["b"].said(), "dnsmasq b was not", masq["b"].said())


@case("without `dns:` the system's name server is asked, through the link")
def system_server(t):
    p = Place(t)
    # One address that both sides have: only the device decides who is asked.
    dns_too = dns.NameServer(t, [(x.name, x.ns, TARGET) for x in p.world.links], ZONE)
    p.world.resolv_conf("nameserver %s\n" % TARGET)
    host = Host(t, config({x.name: "interface: " + x.dev for x in p.world.links}))
    for name in ("v4.test", "both.test"):
        link = client.link_of(host.addr, name, p.port)
        equal({where for where, asked, _type in dns_too.asked if asked == name}, {link},
              "who was asked for " + name)


@case("a system name server on loopback is asked from an unbound socket, and one line says so")
def loopback_server(t):
    p = Place(t)
    here = dns.NameServer(t, [("here", None, "127.0.0.53")], ZONE)
    p.world.resolv_conf("nameserver 127.0.0.53\n")
    host = Host(t, config({x.name: "interface: " + x.dev for x in p.world.links}))
    equal(client.links_of(4, host.addr, "v4.test", p.port), "abab", "links")
    check(here.names_at("here"), "it was asked", here.asked)
    lines = [x for x in host.log().splitlines() if re.search(r"^info .*name server", x)]
    equal(len(lines), 1, "lines that say so: %r" % lines)
    check("dns:" in lines[0], "the line names the cure", lines)


@case("a name server with a port, and a second one when the first is silent")
def second_server(t):
    p = Place(t)
    p.world.a.rule("drop", "ip daddr 10.99.99.53")
    host = Host(t, config({"a": 'interface: a0, dns: [10.99.99.53, "10.0.1.2:53"]'}))
    started = time.monotonic()
    equal(client.link_of(host.addr, "v4.test", p.port), "a", "link")
    within(8, started, "the answer")


@case("resolv.conf that changes while we run is read again")
def changed_server(t):
    p = Place(t)
    host = Host(t, config({"a": "interface: a0"}))
    equal(client.ask(host.addr, "v4.test", p.port), 0, "reply")
    other = dns.NameServer(t, [("other", p.world.a.ns, TARGET)], {"new.test": [TARGET]})
    p.world.resolv_conf("nameserver %s\n" % TARGET)
    host.reload()
    equal(client.ask(host.addr, "new.test", p.port), 0, "reply for a name of the new server")
    check(other.names_at("other"), "the new server was asked", other.asked)


# ---- which address ----

@table("a silent address in front costs 250 ms", [
    ("IPv6, one link", "a", "dead6.test"), ("IPv4, one link", "a", "dead4.test"),
    ("IPv6, two links", "ab", "dead6.test"), ("IPv4, two links", "ab", "dead4.test")])
def dead_in_front(t, names, dest):
    p = Place(t)
    host = Host(t, config({x: p.links()[x] for x in names}))
    for _ in range(6):
        started = time.monotonic()
        check(line_of(host, dest, p.port)[1] in ("10.0.1.1", "10.0.2.1"), "an IPv4 source")
        within(0.6, started, "one connection")
    equal(told_out(host), [], "links put out of use")
    if names == "a":
        equal(line_of(host, "both.test", p.port)[1], "fd00:1::1", "IPv6 first where it works")


def told_out(host):
    return re.findall(r"^\w+ link: \w+: not used for.*", host.log(), re.M)


@case("both families are asked for at once; an AAAA that comes a moment after the A is used")
def late_aaaa(t):
    p = Place(t, delay={dns.AAAA: 0.02})
    host = Host(t, config({"a": p.links()["a"]}))
    equal(line_of(host, "both.test", p.port)[1], "fd00:1::1", "source address")
    equal(sorted(kind for _where, name, kind in p.names.asked if name == "both.test"),
          [dns.A, dns.AAAA], "what was asked for")


@case("a link with IPv6 addresses, but no way by them: IPv4 at once")
def v6_leads_nowhere(t):
    p = Place(t)
    world.run("ip", "-6", "route", "del", "default", "dev", "a0")
    host = Host(t, config({"a": p.links()["a"]}))
    for dest in ("dead6.test", "both.test"):
        started = time.monotonic()
        equal(line_of(host, dest, p.port)[1], "10.0.1.1", "source address")
        within(0.2, started, "one connection")


@case("the next address after one that refuses, at once")
def refusing_v6(t):
    p = Place(t)
    host = Host(t, config(p.links()))
    for _ in range(4):
        started = time.monotonic()
        check(":" not in line_of(host, "closed6.test", p.port)[1], "IPv4 serves")
        within(1, started, "one connection")


@case("a name whose AAAA answer never comes")
def no_aaaa(t):
    p = Place(t, delay={dns.AAAA: 30})
    host = Host(t, config(p.links()))
    started = time.monotonic()
    equal(line_of(host, "v4.test", p.port)[0] in "ab", True, "served")
    within(8, started, "one connection")


@case("a client that closes its write side while its name is asked for is served to the end")
def half_closed_early(t):
    p = Place(t, delay={dns.A: 0.5, dns.AAAA: 0.5})
    port = p.world.serve(servers.echo).port
    host = Host(t, config(p.links()))
    with client.Client(host.addr) as c:
        c.send(b"\5\1\0" + client.request("v4.test", port) + b"payload")
        c.finish()
        c.selection()
        equal(c.reply().rep, 0, "reply")
        equal(c.take_all(), b"payload", "what came back until the end")


# ---- waiting ----

@case("64 look-ups that wait delay nobody")
def pending(t):
    zone = dict(ZONE, **{"fast%d.test" % i: [TARGET] for i in range(10)})
    p = Place(t, zone, silent=["silent.test"])
    host = Host(t, config(p.links()))
    results = []

    def wait_long():
        results.extend(client.together(
            64, lambda i: client.ask(host.addr, "s%d.silent.test" % i, p.port)))

    waiter = threading.Thread(target=wait_long, daemon=True)
    started = time.monotonic()
    waiter.start()
    wait_for("64 names are being asked for",
             lambda: len({n for _p, n, _t in p.names.asked if "silent" in n}) == 64)
    others = time.monotonic()
    for i in range(10):
        client.link_of(host.addr, "fast%d.test" % i, p.port)
        client.link_of(host.addr, TARGET, p.port)
    within(2, others, "20 others")
    waiter.join(20)
    check(len(results) == 64 and set(results) <= {1, 4}, "replies", results)
    within(9, started, "the answers")


@case("clients that leave while their names are asked for leave nothing behind")
def left_while_asking(t):
    p = Place(t, silent=["silent.test"])
    host = Host(t, config(p.links()))
    clients = []
    for i in range(30):
        c = client.Client(host.addr)
        c.greet()
        c.send(client.request("s%d.silent.test" % i, p.port))
        clients.append(c)
    wait_for("the names are asked for",
             lambda: len({n for _p, n, _t in p.names.asked if "silent" in n}) == 30)
    for c in clients:
        c.reset()
    wait_for("all descriptors are back", lambda: host.fds() <= host.fds_ready + 4, 12)
    equal(client.ask(host.addr, "v4.test", p.port), 0, "reply for the next")


if __name__ == "__main__":
    tap.main()
