#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Links that fail under danted, processes of danted's that are killed: no client is to notice."""

import contextlib
import os
import signal
import threading
import time

from lib import client, dns, servers, tap
from lib.dante import Balanced, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.upstream import BROKEN, Upstream, answers
from lib.world import TARGET, Service, World

NEEDS = ["danted"]
EQUAL = {"a": "interface: a0", "b": "interface: b0"}
SILENT_S = 3.5  # timeouts.attempt, and what a busy machine adds
SOON_S = 0.5

REFUSING = "10.9.9.8"  # on the far side, and nobody listens


class Two:
    """danted over two links, or two upstreams behind them."""

    def __init__(self, t, upstreams=False, links=None, pool="balancer: rr", more="",
                 args=()):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.ups = []
        if upstreams:
            self.ups = [Upstream(link.ns) for link in self.world.links]
            self.services = [Service(t, up, [(link.name, link.ns, link.gw)])
                             for link, up in zip(self.world.links, self.ups)]
            links = {link.name: "dialer: socks, server: %s:%d" % (link.gw, service.port)
                     for link, service in zip(self.world.links, self.services)}
        self.danted = Balanced(t, config(links or EQUAL, pool=pool, more=more), args=args)

    def timed(self, count, parallel=1):
        """Connections; returns (link, seconds) of each. None may fail."""

        def one(_):
            started = time.monotonic()
            link = client.link_of(self.danted.addr, TARGET, self.told.port)
            return link, time.monotonic() - started

        got = client.together(count, one, parallel)
        equal([g for g in got if isinstance(g, Exception)], [], "clients that failed")
        return got

    def all_by_b(self, slow=0):
        """Everything goes by b; at most `slow` of the first requests wait for a timeout, none
        after that."""
        first = self.timed(20)
        equal({link for link, _s in first}, {"b"}, "links")
        waited = [s for _link, s in first if s > SOON_S]
        check(len(waited) <= slow and max(waited, default=0) < SILENT_S,
              "at most %d of 20 wait, for less than %.1f s" % (slow, SILENT_S), first)
        then = self.timed(40, parallel=20)
        equal({link for link, _s in then}, {"b"}, "links of 40 at once")
        check(max(s for _link, s in then) < 1.0, "each of 40 at once in under 1 s", then)


# ---- links ----

@case("the first upstream is killed: no request fails, none waits", needs=NEEDS)
def upstream_killed(t):
    two = Two(t, upstreams=True)
    equal({link for link, _s in two.timed(4)}, {"a", "b"}, "links before")
    two.services[0].close()
    two.all_by_b()


@case("a link down: no request fails, none waits; and up: it is used again", needs=NEEDS)
def link_down(t):
    two = Two(t)
    equal("".join(link for link, _s in two.timed(4)), "abab", "links before")
    two.world.a.down()
    two.all_by_b()
    two.world.a.up()
    wait_for("a is used again", lambda: "a" in [link for link, _s in two.timed(2)], 12)
    wait_for("in turn with b", lambda: "".join(x for x, _s in two.timed(4)) in ("abab", "baba"))


@case("a link's carrier lost: no request fails", needs=NEEDS)
def carrier(t):
    two = Two(t)
    two.world.a.carrier_off()
    two.all_by_b(slow=1)


@case("a silent link: after the first timeout the next are immediate, and it comes back",
      needs=NEEDS)
def silent(t):
    two = Two(t)
    equal("".join(link for link, _s in two.timed(4)), "abab", "links before")
    two.world.a.black_hole()
    two.all_by_b(slow=1)
    equal(two.danted.state().links["a"].state, "down", "the state of the silent link")
    two.world.a.rules_off()
    wait_for("a is used again", lambda: "a" in [link for link, _s in two.timed(2)], 12)
    wait_for("its state is up", lambda: two.danted.state().links["a"].state == "up")
    two.danted.wait_active(a=0, b=0)


@case("a silent link, 40 at once: each is served after one timeout at most", needs=NEEDS)
def silent_parallel(t):
    two = Two(t)
    two.world.a.black_hole()
    got = two.timed(40, parallel=40)
    equal({link for link, _s in got}, {"b"}, "links")
    check(max(s for _link, s in got) < SILENT_S + 1, "each after one timeout", got)
    two.danted.wait_active(a=0, b=0)


@table("an upstream that is broken: it", [(name, BROKEN[name]) for name in (
    "resets at once", "answers garbage", "replies 01", "hangs after the selection")], needs=NEEDS)
def broken(t, misbehave):
    two = Two(t, upstreams=True)
    two.ups[0].misbehave = misbehave
    two.all_by_b(slow=1 if "hang" in misbehave.__name__ else 0)
    check(two.services[0].order, "the broken one was tried")
    two.danted.wait_active(a=0, b=0)


@table("what the destination did is passed on, and no link is blamed: reply",
       [("03", 3), ("04", 4), ("05", 5)], needs=NEEDS)
def passed_on(t, rep):
    two = Two(t, upstreams=True)
    for up in two.ups:
        up.misbehave = answers(rep)
    for _ in range(4):
        equal(client.ask(two.danted.addr, TARGET, two.told.port), rep, "the reply")
    for up in two.ups:
        up.misbehave = None
    equal(sorted(link for link, _s in two.timed(4)), ["a", "a", "b", "b"], "links afterwards")


@case("a port that nobody has is refused at once, and both links stay in use", needs=NEEDS)
def refused(t):
    two = Two(t)
    for _ in range(6):
        equal(client.ask(two.danted.addr, TARGET, 7), 5, "reply")
    equal(sorted(link for link, _s in two.timed(4)), ["a", "a", "b", "b"], "links afterwards")
    equal({x.state for x in two.danted.state().links.values()}, {"up"}, "states")


@case("all links down is a failure, and over when they are up", needs=NEEDS)
def all_down(t):
    two = Two(t)
    for link in two.world.links:
        link.down()
    for _ in range(4):
        check(client.ask(two.danted.addr, TARGET, two.told.port) != 0, "a request fails")
    for link in two.world.links:
        link.up()
    client.until_served(two.danted.addr, TARGET, two.told.port)
    two.danted.wait_active(a=0, b=0)


@case("all links silent: the answer comes when timeouts.connect says", needs=NEEDS)
def all_silent(t):
    two = Two(t, more="timeouts: {connect: 2s, attempt: 1s}")
    for link in two.world.links:
        link.black_hole()
    started = time.monotonic()
    check(client.ask(two.danted.addr, TARGET, two.told.port) != 0, "a request fails")
    within(3, started, "the answer")
    two.danted.wait_active(a=0, b=0)


# ---- a name with two addresses ----

@case("a name of two addresses, the first refuses: the second is tried, by a link", needs=NEEDS)
def two_addresses(t):
    two = Two(t)
    for link in two.world.links:
        link.beyond("ip", "addr", "add", REFUSING + "/32", "dev", "lo")
    dns.NameServer(t, [("a", two.world.a.ns, two.world.a.gw)], {
        "first.test": [REFUSING, TARGET], "last.test": [TARGET, REFUSING],
        "none.test": [REFUSING]})
    addr, port = two.danted.addr, two.told.port
    equal(client.ask(addr, "none.test", port), 5, "reply for the address that refuses")
    for name in ("first.test", "last.test"):
        equal({client.link_of(addr, name, port) for _ in range(6)} - {"a", "b"}, set(), name)
    wait_for("all connections are in danted's log", lambda: len(two.danted.connects()) == 12)
    equal(sorted(x.source for x in two.danted.connects()),
          sorted(x[:2] for x in two.told.clients), "link sides in the log, sources seen")
    two.danted.wait_active(a=0, b=0)


# ---- processes that die ----

def serves_on(two, count=12):
    equal({link for link, _s in two.timed(count)} - {"a", "b"}, set(), "links")


@case("kill -9 of an io child: danted serves on, active returns to the truth in 5 s", needs=NEEDS)
def io_child(t):
    two = Two(t, pool="balancer: leastconn")
    clients, _links = client.held(t, 12, two.danted.addr, TARGET, two.told.port, parallel=1)
    equal(two.danted.active(), {"a": 6, "b": 6}, "active before")
    for pid in two.danted.pids("io-child"):
        os.kill(pid, signal.SIGKILL)
    for c in clients:
        check(c.ended(5)[0] != "open", "the sessions of a killed child end")
    two.danted.wait_active(a=0, b=0)
    _clients, links = client.held(t, 4, two.danted.addr, TARGET, two.told.port, parallel=1)
    equal(sorted(links), ["a", "a", "b", "b"], "four more, by least connections")
    equal(two.danted.active(), {"a": 2, "b": 2}, "active with them")


@case("kill -9 of the io child of some: the others live on, and are counted", needs=NEEDS)
def one_io_child(t):
    two = Two(t)
    clients, _links = client.held(t, 40, two.danted.addr, TARGET, two.told.port, parallel=1)
    io = two.danted.pids("io-child")
    check(len(io) >= 2, "two io children at least", io)
    os.kill(io[0], signal.SIGKILL)

    def living():
        alive = [c for c in clients if c.ended(0.01)[0] == "open"]
        return len(alive) < len(clients) and alive

    alive = wait_for("some have ended", living)
    wait_for("active is what is left",
             lambda: sum(two.danted.active().values()) == len(living()), 5)
    check(alive, "some live")
    serves_on(two)


@case("io children die under load, with sockets on their way to them: all is counted off",
      needs=NEEDS)
def on_their_way(t):
    two = Two(t)
    ends = time.monotonic() + 1.5

    def work(_):
        while time.monotonic() < ends:
            with contextlib.suppress(OSError, EOFError, client.Refused):
                client.link_of(two.danted.addr, TARGET, two.told.port, timeout=2)

    load = threading.Thread(target=client.together, args=(8, work))
    load.start()
    for _ in range(4):
        time.sleep(0.25)  # some load between them; danted makes no children after many deaths
        for pid in two.danted.pids("io-child")[:1]:
            os.kill(pid, signal.SIGKILL)
    load.join()

    def clean():
        serves_on(two, 1)  # what is lost on its way is looked for when a connection comes
        return two.danted.active() == {"a": 0, "b": 0}

    wait_for("nothing is counted any more", clean, 10, 0.2)


@case("kill -9 of the second mother: sessions live on and are counted, danted serves on",
      needs=NEEDS)
def second_mother(t):
    two = Two(t, args=["-N", "2"])
    clients, _links = client.held(t, 12, two.danted.addr, TARGET, two.told.port, parallel=4)
    second = [pid for pid in two.danted.pids("mother") if pid != two.danted.pid]
    equal(len(second), 1, "mothers beside the first")
    os.kill(second[0], signal.SIGKILL)
    serves_on(two)
    check(all(c.ended(0.01)[0] == "open" for c in clients), "sessions live on")
    two.danted.wait_active(a=6, b=6)
    for c in clients:
        c.close()
    two.danted.wait_active(a=0, b=0)


@case("kill -9 of request children that dial: nothing stays counted as dialing", needs=NEEDS)
def request_child(t):
    two = Two(t, upstreams=True)
    for up in two.ups:
        up.misbehave = BROKEN["hangs at once"]
    waiting = [client.Client(two.danted.addr) for _ in range(2)]
    t.defer(lambda: [c.close() for c in waiting])
    for c in waiting:
        c.greet()
        c.send(client.request(TARGET, two.told.port))
    wait_for("two are dialing", lambda: sum(
        x.dialing for x in two.danted.state().links.values()) == 2)
    busy = two.danted.pids("request-child: 1/1")
    equal(len(busy), 2, "request children that have a request")
    for pid in busy:
        os.kill(pid, signal.SIGKILL)
    wait_for("none is dialing", lambda: sum(
        x.dialing for x in two.danted.state().links.values()) == 0, 5)
    two.danted.wait_active(a=0, b=0)
    for up in two.ups:
        up.misbehave = None
    wait_for("danted serves on",
             lambda: client.ask(two.danted.addr, TARGET, two.told.port) == 0)
    serves_on(two)


@case("clients that leave while their upstream hangs leave nothing counted", needs=NEEDS)
def leave(t):
    two = Two(t, upstreams=True, more="timeouts: {connect: 2s, attempt: 1s}")
    for up in two.ups:
        up.misbehave = BROKEN["hangs after the selection"]
    for _ in range(12):
        with client.Client(two.danted.addr) as c:
            c.greet()
            c.send(client.request(TARGET, two.told.port))
    wait_for("the upstreams were asked", lambda: two.services[0].order)
    two.danted.wait_active(a=0, b=0)
    for up in two.ups:
        up.misbehave = None
    serves_on(two)


@case("clients that reset, in the middle of it and at its end, leave nothing counted",
      needs=NEEDS)
def resets(t):
    two = Two(t)
    for _ in range(10):
        client.connect(two.danted.addr, TARGET, two.told.port).reset()
        c = client.Client(two.danted.addr)
        c.greet()
        c.send(client.request(TARGET, two.told.port))
        c.reset()
    two.danted.wait_active(a=0, b=0)


@case("danted is stopped with sessions held: they live on, and the next one counts from zero",
      needs=NEEDS)
def stopped(t):
    two = Two(t)
    clients, _links = client.held(t, 6, two.danted.addr, TARGET, two.told.port, parallel=1)
    os.kill(two.danted.pid, signal.SIGTERM)
    wait_for("its io children alone are left",
             lambda: two.danted.pids() == two.danted.pids("io-child"), 5)
    check(all(c.ended(0.01)[0] == "open" for c in clients), "sessions live on")
    new = Balanced(t, config(EQUAL))
    equal(client.link_of(new.addr, TARGET, two.told.port), "a", "link by the new one")
    new.wait_active(a=0, b=0)
    for c in clients:
        c.close()
    wait_for("all of the old one's processes have ended", lambda: not two.danted.pids(), 5)
    new.wait_active(a=0, b=0)


if __name__ == "__main__":
    tap.main()
