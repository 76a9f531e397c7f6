#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Upstream servers that break at every point of their protocol, and such as are merely odd."""

import time

from lib import client, servers, tap
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.upstream import BROKEN, OK4, Upstream, answers
from lib.world import TARGET, TARGET6, Service, World, free_port

ODD_OK = {
    "dribbles a byte at a time": {"piece": 1, "pause": 0.005},
    "is slow": {"pause": 0.3},
    "has a name in BND": {"reply": b"\5\0\0\3\x0bbound.local\x12\x34"},
    "has a name of 255 bytes in BND": {"reply": b"\5\0\0\3\xff" + b"n" * 255 + b"\x12\x34"},
    "has an empty name in BND": {"reply": b"\5\0\0\3\0\x12\x34"},
    "has IPv6 in BND": {"reply": b"\5\0\0\4" + b"\xfd" + bytes(15) + b"\x12\x34"},
    "has zeros in BND": {"reply": b"\5\0\0\1\0\0\0\0\0\0"},
}


class Two:
    """The upstream under test and a good one, each behind a link, in one pool."""

    def __init__(self, t, upstream, more=""):
        self.world = World(t)
        self.told = self.world.serve(servers.tell_and_echo)
        self.odd = upstream(self.world.a.ns) if upstream else None
        if self.odd:
            self.odd_service = Service(t, self.odd, [("odd", self.world.a.ns, self.world.a.gw)])
            odd_port = self.odd_service.port
        else:
            odd_port = free_port(self.world.a.gw, self.world.a.ns)
        self.good = Upstream(self.world.b.ns)
        good_port = Service(t, self.good, [("good", self.world.b.ns, self.world.b.gw)]).port
        self.host = Host(t, config({
            "odd": "dialer: socks, server: 10.0.1.2:%d" % odd_port,
            "good": "dialer: socks, server: 10.0.2.2:%d" % good_port}, more=more))

    def ask(self, count, parallel=1):
        """Clients; returns (link, seconds) of each."""

        def one(_):
            started = time.monotonic()
            with client.connect(self.host.addr, TARGET, self.told.port) as c:
                link = c.line().split()[0]
                c.send(b"ping")
                equal(c.take(4), b"ping", "echo")
            return link, time.monotonic() - started

        got = client.together(count, one, parallel)
        equal([g for g in got if isinstance(g, Exception)], [], "clients that failed")
        return got


@table("12 of 12 by way of the other: it", [("refuses", None)] + list(BROKEN.items()))
def broken(t, misbehave):
    upstream = misbehave and (lambda ns: Upstream(ns, misbehave=misbehave))
    p = Two(t, upstream)
    limit_s = 4.0 if misbehave and "hang" in misbehave.__name__ else 0.5
    got = p.ask(12)
    equal({link for link, _took in got}, {"b"}, "links")
    check(max(took for _link, took in got) < limit_s, "each in under %.1f s" % limit_s,
          ["%.3f" % took for _link, took in got])
    slow = [took for _link, took in got if took > 0.5]
    check(len(slow) <= 1, "at most one had to wait", slow)
    if p.odd:
        check(p.odd_service.order, "the broken one was tried")
    got = p.ask(24, parallel=8)
    equal({link for link, _took in got}, {"b"}, "links of 24 at once")


@case("12 of 12 by way of the other: it is behind a black hole")
def black_hole(t):
    p = Two(t, Upstream)
    p.world.a.black_hole()
    got = p.ask(12)
    equal({link for link, _took in got}, {"b"}, "links")
    check(max(took for _link, took in got) < 4, "each in under 4 s", got)


@case("killed: no client fails, and none waits; started again: it serves")
def killed(t):
    p = Two(t, Upstream)
    equal("".join(link for link, _took in p.ask(4)), "abab", "links before")
    p.odd_service.close()
    got, end = [], time.monotonic() + 4  # long enough for two trials
    while time.monotonic() < end:
        got += p.ask(8, parallel=4)
        time.sleep(0.05)
    equal({link for link, _took in got}, {"b"}, "links of %d" % len(got))
    check(max(took for _link, took in got) < 0.5, "none waits", max(got))
    equal(p.host.log().count("link: odd: not used for"), 1, "told once")
    p.odd_service.add("odd", p.world.a.ns, p.world.a.gw)
    wait_for("it serves again", lambda: "a" in [link for link, _took in p.ask(2)], 12, 0.1)
    equal(p.host.log().count("link: odd: in use again"), 1, "told")


@table("odd but legal: it", list(ODD_OK.items()))
def odd(t, keywords):
    p = Two(t, lambda ns: Upstream(ns, **keywords))
    got = p.ask(12)
    equal("".join(link for link, _took in got), "ab" * 6, "links in order")


@case("a reply and the first payload in one segment")
def glued(t):
    def misbehave(self, conn):
        self.read_greeting(conn)
        conn.sendall(b"\5\0")
        self.read_request(conn)
        conn.sendall(OK4.replace(b"\x12\x34", b"\x43\x21") + b"b 0 0\nhello")
        servers.echo(conn, None, None)

    p = Two(t, lambda ns: Upstream(ns, misbehave=misbehave))
    hellos = 0
    for _ in range(6):
        with client.connect(p.host.addr, TARGET, p.told.port) as c:
            if c.bound == ("10.9.9.9", 0x4321):
                equal(c.take(11), b"b 0 0\nhello", "payload glued to the reply")
                c.send(b"more")
                equal(c.take(4), b"more", "echo")
                hellos += 1
    check(hellos >= 3, "connections by that upstream", hellos)


@case("an upstream that closes after the request is asked again: it is not ejected for it")
def not_ejected(t):
    p = Two(t, lambda ns: Upstream(ns, misbehave=BROKEN["closes after the request"]))
    p.ask(12)
    check(len(p.odd.requests) >= 5, "requests it got of 12", len(p.odd.requests))


@case("both close after the request: 01, after one of each was tried")
def both_close(t):
    p = Two(t, lambda ns: Upstream(ns, misbehave=BROKEN["closes after the request"]))
    p.good.misbehave = BROKEN["closes after the request"]
    started = time.monotonic()
    equal(client.ask(p.host.addr, TARGET, p.told.port), 1, "reply")
    within(1, started, "the answer")
    equal((len(p.odd.requests), len(p.good.requests)), (1, 1), "requests they got")


@table("what the target did is passed on: reply", [
    ("02", 2, (2,)), ("03", 3, (3,)), ("04", 4, (4,)), ("05", 5, (5,)), ("06", 6, (4, 6)),
])
def passed_on(t, rep, wanted):
    p = Two(t, lambda ns: Upstream(ns, misbehave=answers(rep)))
    p.good.misbehave = answers(rep)
    started = time.monotonic()
    got = client.ask(p.host.addr, TARGET, p.told.port)
    check(got in wanted, "the reply", got)
    within(1, started, "the answer")
    p.good.misbehave = p.odd.misbehave = None  # and nobody was blamed
    links = "".join(link for link, _took in p.ask(10))
    equal(links.count("a"), 5, "connections by a of 10: " + links)
    check("not used" not in p.host.log(), "no link was put out of use")


@case("an upstream that can do no IPv6 is skipped for it, not blamed")
def no_family(t):
    p = Two(t, lambda ns: Upstream(ns, misbehave=answers(8)))
    p.told.add("b", p.world.b.ns, TARGET6)
    for _ in range(4):
        equal(client.link_of(p.host.addr, TARGET6, p.told.port), "b", "link")
    check(len(p.odd.requests) >= 2, "it was asked again", p.odd.requests)


@case("an upstream that hangs costs no descriptor once its clients have gone")
def hang_leaks_nothing(t):
    p = Two(t, lambda ns: Upstream(ns, misbehave=BROKEN["hangs after the selection"]))
    p.ask(20, parallel=20)
    wait_for("all descriptors are back", lambda: p.host.fds() <= p.host.fds_ready, 10)


@case("a wrong login at one upstream: the other serves")
def wrong_login(t):
    p = Two(t, lambda ns: Upstream(ns, user=b"me", password=b"secret"))
    got = p.ask(12)
    equal({link for link, _took in got}, {"b"}, "links")


if __name__ == "__main__":
    tap.main()
