#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Pools with links behind their links: `backup`; `when-all-down`; and `slow-start`, by which a link
that is back gets its share little by little."""

import re
import time

from lib import client, dante, servers, tap, world
from lib.host import Host, link_lines
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.upstream import Upstream
from lib.world import TARGET, World

NEEDS = ("ip", "nft", "sysctl")
BACK_S = 2.0     # until a link is used again
AT_ONCE_S = 0.5  # what is done in a few milliseconds, on a noisy machine
SLOW_S = 5.0


def yaml(links, pools, pool="all"):
    """Links and pools as {name: keys}."""
    lines = ["listeners:", '  main: {listen: "127.0.0.1:PORT", pool: %s}' % pool, "links:"]
    lines += link_lines(links)
    lines += ["pools:"] + ["  %s: {%s}" % item for item in pools.items()]
    return "\n".join(lines) + "\n"


def interfaces(names, more=""):
    return {name: "interface: %s0%s" % (name, more) for name in names}


class Rig:
    """Links with a web server behind each, and the host."""

    def __init__(self, t, names, pools, more=""):
        self.w = World(t, names)
        self.port = self.w.serve(servers.tell).port
        self.host = Host(t, yaml(interfaces(names, more), pools))

    def links(self, count):
        return client.links_of(count, self.host.addr, TARGET, self.port)

    def until_told(self, text):
        wait_for("the log says " + text, lambda: text in self.host.log(), 5.0, 0.01)


FAULTS = [
    ("down", lambda x: x.down(), lambda x: x.up()),
    ("address gone", lambda x: x.address_flush(), lambda x: (x.address_add(), x.up())),
    ("rejected", lambda x: x.rule("reject with icmpx type admin-prohibited"),
     lambda x: x.rules_off()),
    ("black hole", lambda x: x.black_hole(), lambda x: x.rules_off()),
]


@table("behind: used only while none of the first can be had", FAULTS, needs=NEEDS)
def behind(t, fault, cure):
    r = Rig(t, "abc", {"all": "links: [a, b], backup: [c]"})
    equal(r.links(8), "abababab", "before")
    fault(r.w.a)
    seen = r.links(8)
    equal(seen.strip("b"), "", "one of the first is left: " + seen)
    fault(r.w.b)
    seen = r.links(12)
    equal(set(seen), {"c"}, "what is behind serves: " + seen)
    cure(r.w.b)
    started = time.monotonic()
    wait_for("b is back", lambda: r.links(1) == "b", 12.0)
    if fault in (FAULTS[0][1], FAULTS[1][1]):  # what the kernel tells of
        within(BACK_S, started, "b, to be used again")
    seen = r.links(8)
    check("c" not in seen, "nothing goes to what is behind any more", seen)


@case("behind: a connection that has failed by the first goes there", needs=NEEDS)
def retried(t):
    w = World(t, "ab")
    service = w.serve(servers.tell_and_hold)
    links = {"t": "dialer: socks, server: 127.0.0.1:%d" % world.free_port(), "b": "interface: b0"}
    host = Host(t, yaml(links, {"all": "links: [t], backup: [b]"}))
    _clients, seen = client.held(t, 6, host.addr, TARGET, service.port)
    equal("".join(seen), "bbbbbb", "links")
    matches(r"^warn link: t: not used for", host.log(), "the tunnel's failure")


@case("behind: the first are full", needs=NEEDS)
def full(t):
    w = World(t, "ab")
    service = w.serve(servers.tell_and_hold)
    links = {"a": "interface: a0, max-connections: 3", "b": "interface: b0"}
    host = Host(t, yaml(links, {"all": "links: [a], backup: [b]"}))
    _clients, links = client.held(t, 8, host.addr, TARGET, service.port)
    equal((links.count("a"), links.count("b")), (3, 5), "held by each")


@case("behind: comes and goes with a reload, and no connection is lost", needs=NEEDS)
def reload(t):
    r = Rig(t, "ab", {"all": "links: [a], backup: [b]"})
    equal(r.links(2), "aa", "links")
    r.w.a.down()
    r.until_told("a: down")
    equal(r.links(2), "bb", "what is behind")
    r.host.reload(yaml(interfaces("ab"), {"all": "links: [a]"}))
    equal(client.ask(r.host.addr, TARGET, r.port), 3, "reply without it")
    r.host.reload(yaml(interfaces("ab"), {"all": "backup: [b]"}))
    equal(r.links(2), "bb", "all links but those behind")


@table("when all are down they are", [("tried", "try"), ("refused", "refuse")], needs=NEEDS)
def all_down(t, policy):
    w = World(t, "a")
    port = w.serve(servers.tell).port
    ports = [world.free_port(), world.free_port()]
    links = {"t%d" % n: "dialer: socks, server: 127.0.0.1:%d" % p for n, p in enumerate(ports)}
    host = Host(t, yaml(links, {"all": "when-all-down: " + policy}))
    for _ in range(40):
        started = time.monotonic()
        equal(client.ask(host.addr, TARGET, port), 1, "reply")
        within(AT_ONCE_S, started, "the answer")
        time.sleep(0.05)
    undialled = len(re.findall(r"link=none", host.log()))
    if policy == "refuse":
        check(undialled >= 30, "refused without a dial, of 40", undialled)
    else:
        equal(undialled, 0, "refused without a dial")
    for p in ports:
        world.Service(t, Upstream("beyond-a"), [("up", None, "127.0.0.1")], port=p)
    equal(client.until_served(host.addr, TARGET, port, 12.0), "a", "served again by")
    if policy == "try":
        equal(client.links_of(4, host.addr, TARGET, port), "aaaa", "and all of them")


@case("slow start: a link that is back has a share that grows, and all of it after 5 s",
      needs=NEEDS, limit=60)
def ramp(t):
    r = Rig(t, "ab", {"all": ""}, more=", slow-start: 5s")
    equal(r.links(20).count("a"), 10, "of 20 at the start, when nothing is slow")
    r.w.a.down()
    r.until_told("a: down")
    equal(r.links(4), "bbbb", "meanwhile")
    r.w.a.up()
    r.until_told("info link: a: up")
    started = time.monotonic()
    seen = []
    while time.monotonic() - started < SLOW_S + 1:
        at = time.monotonic() - started
        seen.append((at, r.links(1)))
        time.sleep(0.005)
    shares = [share(seen, second) for second in range(6)]
    check(0.08 <= shares[0] <= 0.27, "its share in the first second", shares)
    check(0.38 <= shares[4] <= 0.52, "in the last of the five", shares)
    check(0.47 <= shares[5] <= 0.53, "then", shares)
    seen = r.links(20)
    equal(seen.count("a"), 10, "of the next 20: " + seen)


def share(seen, second):
    links = [link for at, link in seen if second <= at < second + 1]
    check(len(links) >= 20, "enough connections in second %d to count" % second, len(links))
    return links.count("a") / len(links)


@case("slow start: alone it has all, also where others are behind it", needs=NEEDS)
def ramp_alone(t):
    r = Rig(t, "ab", {"all": "links: [a], backup: [b]"}, more=", slow-start: 1h")
    for _ in range(2):
        r.w.a.down()
        r.until_told("a: down")
        equal(r.links(4), "bbbb", "what is behind")
        r.w.a.up()
        r.until_told("info link: a: up")
        started = time.monotonic()
        equal(r.links(20), "a" * 20, "all by the link that is back")
        within(BACK_S, started, "20 connections")


# Connections one after the other by pools in pools: inner pools, what the outer has, the links.
NESTED = [
    ("2x2", {"x": "links: [a, b]", "y": "links: [c, d]"}, "links: [x, y]", "acbd" * 6),
    ("weighed", {"x": "links: [a, b], weight: 3", "y": "links: [c, d]"}, "links: [x, y]",
     {"a": 9, "b": 9, "c": 3, "d": 3}),
    ("a pool beside a link", {"x": "links: [a, b]"}, "links: [x, c]", "acbc" * 6),
    ("three deep", {"x": "links: [a, b]", "z": "links: [x, c]"}, "links: [z, d]", "adcdbdcd" * 3),
    ("by least connections", {"x": "links: [a, b]", "y": "links: [c, d]"},
     "balancer: leastconn, links: [x, y]", "acbd" * 6),
]


@table("pools in pools", NESTED, needs=NEEDS)
def nested(t, inner, outer, shares):
    r = Rig(t, "abcd", {**inner, "all": outer})
    seen = r.links(24)
    if isinstance(shares, str):
        equal(seen, shares, "links in order")
    else:
        equal({link: seen.count(link) for link in sorted(set(seen))}, shares, "shares of " + seen)


@case("pools in pools: one is passed over while none of its links can be had", needs=NEEDS)
def nested_down(t):
    r = Rig(t, "abcd", {"x": "links: [a, b]", "y": "links: [c], backup: [d]",
                        "all": "links: [x, y]"})
    equal(r.links(8), "acbcacbc", "before")
    r.w.a.down()
    r.until_told("a: down")
    equal(r.links(8), "bcbcbcbc", "without a")
    r.w.b.down()
    r.until_told("b: down")
    equal(r.links(4), "cccc", "without b")
    r.w.c.down()
    r.until_told("c: down")
    equal(r.links(4), "dddd", "without c")
    r.w.a.up()
    r.until_told("a: up")
    equal(r.links(4), "adad", "with a")
    for link in r.w.a, r.w.d:
        link.down()
    r.until_told("d: down")
    wait_for("nobody is left", lambda: client.ask(r.host.addr, TARGET, r.port) == 3, BACK_S)


@case("pools in pools: 60 at once are shared exactly, and given back", needs=NEEDS)
def nested_held(t):
    w = World(t, "abcd")
    service = w.serve(servers.tell_and_hold)
    least = "balancer: leastconn, links: [%s]"
    pools = {"x": least % "a, b" + ", weight: 2", "y": least % "c, d", "all": least % "x, y"}
    host = Host(t, yaml(interfaces("abcd"), pools))
    for _ in range(2):
        clients, seen = client.held(t, 60, host.addr, TARGET, service.port)
        equal({link: seen.count(link) for link in "abcd"}, {"a": 20, "b": 20, "c": 10, "d": 10},
              "held by each link")
        for c in clients:
            c.reset()
        wait_for("all are over", lambda: host.fds() <= host.fds_ready + 2)


@case("pools in pools: they change places at reloads, and no connection fails", needs=NEEDS)
def nested_reload(t):
    r = Rig(t, "ab", {"x": "links: [a, b]", "all": "links: [x]"})
    shapes = [{"x": "links: [all]", "all": "links: [a, b]"}, {"all": "links: [a], backup: [b]"},
              {"x": "links: [a]", "y": "links: [b]", "all": "links: [x], backup: [y]"},
              {"x": "links: [a, b]", "all": "links: [x]"}]
    for n in range(12):
        r.host.reload(yaml(interfaces("ab"), shapes[n % len(shapes)]))
        seen = r.links(6)
        equal(len(seen), 6, "connections served")


@case("limits by destination: the rest goes by the next link, then nobody", needs=NEEDS)
def destinations(t):
    w = World(t, "ab")
    services = [w.serve(servers.tell_and_hold) for _ in range(2)]
    links = {"a": "interface: a0, max-per-destination: 4",
             "b": "interface: b0, max-per-destination: 6"}
    host = Host(t, yaml(links, {"all": ""}))
    for _ in range(2):
        opened = []
        for service in services:
            clients, seen = client.held(t, 10, host.addr, TARGET, service.port)
            opened += clients
            equal((seen.count("a"), seen.count("b")), (4, 6), "held by each link")
            equal(client.ask(host.addr, TARGET, service.port), 1, "reply for one more")
        for c in opened:
            c.reset()
        wait_for("all are over", lambda: host.fds() <= host.fds_ready + 2)


DANTE = """links:
  a: {interface: a0, max-per-destination: 10}
  b: {interface: b0}
  c: {interface: c0}
pools:
  x: {links: [a, b]}
  all: {balancer: leastconn, links: [x], backup: [c]}
dante: {anchors: [%s], pool: all, state: STATE}
""" % dante.ANCHOR


@case("in danted: pools in pools, and what is behind them", needs=NEEDS + ("danted",))
def in_danted(t):
    w = World(t, "abc")
    service = w.serve(servers.tell_and_hold)
    d = dante.Balanced(t, DANTE)
    clients, seen = client.held(t, 20, d.addr, TARGET, service.port)
    equal({link: seen.count(link) for link in "abc"}, {"a": 10, "b": 10, "c": 0}, "held by each")
    d.wait_active(a=10, b=10, c=0)
    for link in w.a, w.b:
        link.down()
    more, seen = client.held(t, 6, d.addr, TARGET, service.port)
    equal("".join(seen), "cccccc", "what is behind")
    for link in w.a, w.b:
        link.up()
    wait_for("the first are back",
             lambda: client.link_of(d.addr, TARGET, service.port) in "ab", 12.0, 0.2)
    for c in clients + more:
        c.reset()
    service.close()
    d.wait_active(a=0, b=0, c=0)


tap.main()
