#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""BIND and UDP ASSOCIATE through danted and the module: by links that are interfaces, in turn."""

import socket

from lib import client, dante, servers, tap
from lib.bind_udp import Bind, Udp, UdpTell
from lib.dante import ANCHOR, ANCHOR6, Balanced, config
from lib.tap import case, check, equal, table, wait_for
from lib.upstream import Upstream
from lib.world import TARGET, TARGET6, Service, World, inside

NEEDS = ["danted"]
EQUAL = {"a": "interface: a0", "b": "interface: b0"}
ADDRS = {"10.0.1.1": "a", "10.0.2.1": "b"}


def come(w, bound):
    """A peer that connects to the bound address from beyond the link it belongs to."""
    ns = w.by_name[ADDRS[bound[0]]].ns
    with inside(ns):
        s = socket.socket()
    s.settimeout(10)
    s.bind((TARGET, 0))
    s.connect(bound)
    return s


# ---- UDP ASSOCIATE ----

@case("UDP ASSOCIATE four times: the links in turn, data both ways", needs=NEEDS)
def udp_in_turn(t):
    w = World(t)
    tell = UdpTell(t, w)
    d = Balanced(t, config(EQUAL))
    seen, held = [], []
    for i in range(4):
        udp = Udp(d.addr)
        t.defer(udp.close)
        held.append(udp)
        link, addr, _port, data = udp.ask(b"ping%d" % i, TARGET, tell.port).decode().split()
        equal((ADDRS[addr], data), (link, "ping%d" % i), "source and data")
        seen.append(link)
    equal("".join(seen), "abab", "links in order")
    d.wait_active(a=2, b=2)
    for udp, link in zip(held, seen):  # each stays with its link
        equal(udp.ask(b"again", TARGET, tell.port).split()[0].decode(), link, "the same link")
    for udp in held:
        udp.close()
    d.wait_active(a=0, b=0)


@case("UDP: weights 3:1 are exact, with 20 at once", needs=NEEDS)
def udp_weights(t):
    w = World(t)
    tell = UdpTell(t, w)
    d = Balanced(t, config({"a": "interface: a0, weight: 3", "b": "interface: b0"}))

    def one(_):
        udp = Udp(d.addr)
        t.defer(udp.close)
        return udp.ask(b"x", TARGET, tell.port).split()[0].decode()

    got = client.together(20, one)
    equal(({x for x in got if x not in ("a", "b")}, got.count("a"), got.count("b")),
          (set(), 15, 5), "associations by link")


@case("UDP: datagrams of every size, to several servers, by one association", needs=NEEDS)
def udp_sizes(t):
    w = World(t)
    servers_ = [UdpTell(t, w) for _ in range(3)]
    d = Balanced(t, config(EQUAL))
    udp = Udp(d.addr)
    t.defer(udp.close)
    for size in (0, 1, 512, 1400, 9000):
        for tell in servers_:
            answer = udp.ask(b"d" * size, TARGET, tell.port)
            equal(answer.split(b" ", 3)[3], b"d" * size, "what came back")
    equal({x for tell in servers_ for x in tell.asked}, {"a"}, "links")


@case("UDP: IPv6 destinations by the IPv6 anchor", needs=NEEDS)
def udp_ipv6(t):
    w = World(t)
    dante.anchor6_add(t)
    tell = UdpTell(t, w, TARGET6)
    d = Balanced(t, config(EQUAL, anchors=(ANCHOR, ANCHOR6)), dante.conf(ANCHOR, ANCHOR6))
    udp = Udp(d.addr)
    t.defer(udp.close)
    link, addr, _port, _data = udp.ask(b"six", TARGET6, tell.port).decode().split()
    equal(addr, "fd00:%d::1" % ("ab".index(link) + 1), "source")


@case("UDP: with a link down the other is used", needs=NEEDS)
def udp_down(t):
    w = World(t)
    tell = UdpTell(t, w)
    d = Balanced(t, config(EQUAL))
    w.a.down()
    w.a.address_flush()
    for _ in range(4):
        udp = Udp(d.addr)
        t.defer(udp.close)
        equal(udp.ask(b"x", TARGET, tell.port).split()[0], b"b", "link")


# ---- BIND ----

@case("BIND twice: the links in turn, data both ways", needs=NEEDS)
def bind_in_turn(t):
    w = World(t)
    d = Balanced(t, config(EQUAL))
    seen = ""
    for _ in range(2):
        b = Bind(d.addr, TARGET)
        t.defer(b.close)
        check(b.bound[0] in ADDRS, "bound to the address of a link", b.bound)
        seen += ADDRS[b.bound[0]]
        peer = come(w, b.bound)
        t.defer(peer.close)
        equal(b.peer(), peer.getsockname(), "the peer in the second reply")
        peer.sendall(b"from the peer")
        equal(b.client.take(13), b"from the peer", "to the client")
        b.client.send(b"from the client")
        equal(peer.recv(64), b"from the client", "to the peer")
    equal(seen, "ab", "links in order")
    d.wait_active(a=1, b=1)


@case("BIND whose peer never comes, and one whose client leaves, leave nothing counted",
      needs=NEEDS)
def bind_left(t):
    w = World(t)
    d = Balanced(t, config(EQUAL))
    waiting = Bind(d.addr, TARGET)
    d.wait_active(a=1, b=0)
    waiting.close()
    d.wait_active(a=0, b=0)
    b = Bind(d.addr, TARGET)
    peer = come(w, b.bound)
    b.peer()
    b.close()
    equal(peer.recv(1), b"", "the peer sees the end")
    peer.close()
    d.wait_active(a=0, b=0)


@case("BIND, UDP and CONNECT take turns with each other", needs=NEEDS)
def mixed(t):
    w = World(t)
    tell, told = UdpTell(t, w), w.serve(servers.tell)
    d = Balanced(t, config(EQUAL))
    seen = ""
    for _ in range(2):
        seen += client.link_of(d.addr, TARGET, told.port)
        udp = Udp(d.addr)
        t.defer(udp.close)
        seen += udp.ask(b"x", TARGET, tell.port).split()[0].decode()
        b = Bind(d.addr, TARGET)
        t.defer(b.close)
        seen += ADDRS[b.bound[0]]
    equal(seen, "ababab", "links in order")


# ---- what cannot be done fails closed ----

def refused(d, tell):
    """Both commands, as this danted answers them."""
    try:
        b = Bind(d.addr, TARGET)
    except client.Refused:
        pass
    else:
        b.close()
        raise AssertionError("BIND is bound to %s" % (b.bound,))
    try:
        udp = Udp(d.addr)
    except client.Refused:
        return
    udp.silent(TARGET, tell.port)
    udp.close()


@table("a pool of tunnels only: BIND and UDP are refused, nothing leaves", [
    ("upstreams", "", ["up"]), ("a chain over an interface", ", via: a", ["up"]),
], needs=NEEDS)
def tunnels(t, via, members):
    w = World(t)
    tell, told = UdpTell(t, w), w.serve(servers.tell)
    up = Service(t, Upstream(w.a.ns), [("a", w.a.ns, w.a.gw)])
    links = {"a": "interface: a0", "up": "dialer: socks, server: %s:%d%s" % (w.a.gw, up.port, via)}
    yaml = config(links).replace("links: [a, up]", "links: [%s]" % ", ".join(members))
    d = Balanced(t, yaml)
    refused(d, tell)
    equal(tell.asked, [], "datagrams the servers saw")
    equal(client.link_of(d.addr, TARGET, told.port), "a", "CONNECT goes by the tunnel")


@case("a pool of tunnels and an interface: BIND and UDP go by the interface", needs=NEEDS)
def some_tunnels(t):
    w = World(t)
    tell = UdpTell(t, w)
    up = Service(t, Upstream(w.a.ns), [("a", w.a.ns, w.a.gw)])
    d = Balanced(t, config({"up": "dialer: socks, server: %s:%d" % (w.a.gw, up.port),
                            "b": "interface: b0"}))
    for _ in range(3):
        udp = Udp(d.addr)
        t.defer(udp.close)
        equal(udp.ask(b"x", TARGET, tell.port).split()[0], b"b", "link")
        b = Bind(d.addr, TARGET)
        t.defer(b.close)
        equal(ADDRS[b.bound[0]], "b", "bound")
    equal(up.order, [], "connections the upstream saw")


@case("no module: BIND and UDP at the anchor reach nobody", needs=NEEDS)
def no_module(t):
    w = World(t)
    tell = UdpTell(t, w)
    d = dante.Danted(t, dante.conf())
    udp = Udp(d.addr)
    t.defer(udp.close)
    udp.silent(TARGET, tell.port)
    wait_for("it was tried", lambda: "udp" in d.log())
    equal(tell.asked, [], "datagrams the servers saw")


if __name__ == "__main__":
    tap.main()
