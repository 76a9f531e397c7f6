#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Links that break in every way a link can: each client is served by the other, soon."""

import re
import threading
import time

from lib import client, dns, peers, servers, tap, world
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.world import TARGET, TARGET6, World

TWO = {"a": "interface: a0", "b": "interface: b0"}
SEEN_S, SILENT_S = 0.5, 1.0  # 0.25 s, and a margin for this machine
LOST_S = 4.0  # what is sent twice, by either link
TRIAL_S = 0.4  # what a client may lose to the trial of a link that is out of use


class Timed:
    """Clients one after the other; how long each took and by which link it went."""

    def __init__(self, host, port, count, parallel=1):
        def one(_):
            started = time.monotonic()
            link = client.link_of(host.addr, TARGET, port)
            return time.monotonic() - started, link

        self.got = client.together(count, one, parallel)
        self.failed = [g for g in self.got if isinstance(g, Exception)]
        good = [g for g in self.got if not isinstance(g, Exception)]
        self.times = [took for took, _link in good]
        self.links = "".join(link for _took, link in good)

    def check(self, limit_s, links):
        equal(self.failed, [], "clients that failed")
        equal(set(self.links), set(links), "links that served: %s" % self.links)
        check(max(self.times) < limit_s, "each is served in under %.1f s" % limit_s,
              ["%.3f" % x for x in self.times])


def told(host):
    """What the log says of links that are put out of use, and of those that are used again."""
    return re.findall(r"^\w+ link: (\w+: (?:not used for|in use again))", host.log(), re.M)


FAULTS = [
    ("down", lambda x: x.down(), SEEN_S),
    ("without carrier", lambda x: x.carrier_off(), SEEN_S),
    ("without address", lambda x: x.address_flush(), SEEN_S),
    ("rejected by its gateway, host unreachable",
     lambda x: x.rule("reject with icmp type host-unreachable"), SEEN_S),
    ("rejected by its gateway, net unreachable",
     lambda x: x.rule("reject with icmp type net-unreachable"), SEEN_S),
    ("rejected by its gateway, port unreachable",
     lambda x: x.rule("reject with icmp type port-unreachable"), SEEN_S),
    ("rejected by its gateway, prohibited",
     lambda x: x.rule("reject with icmp type admin-prohibited"), SEEN_S),
    ("black-holed", lambda x: x.black_hole(), SILENT_S),
    ("a gateway that is gone", lambda x: x.beyond("ip", "addr", "flush", "dev", x.peer), SILENT_S),
    ("taken away", lambda x: world.run("ip", "link", "del", x.dev), SEEN_S),
]


@table("from the start", FAULTS)
def from_the_start(t, fault, limit_s):
    w = World(t)
    port = w.serve(servers.tell).port
    fault(w.a)
    host = Host(t, config(TWO))
    Timed(host, port, 10).check(limit_s, "b")


@table("in the middle", FAULTS)
def in_the_middle(t, fault, limit_s):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    lives = [client.connect(host.addr, TARGET, port) for _ in "ab"]
    t.defer(lambda: [c.close() for c in lives])
    by_b = [c for c in lives if c.line().split()[0] == "b"]
    fault(w.a)
    Timed(host, port, 10).check(limit_s, "b")
    Timed(host, port, 20, parallel=5).check(limit_s, "b")
    for c in by_b:
        c.send(b"still here")
        equal(c.take(10), b"still here", "a tunnel by the other link")


@case("rr in block order, weights 3:2, the heavy one dead")
def heavy_dead(t):
    w = World(t)
    port = w.serve(servers.tell).port
    w.a.carrier_off()
    host = Host(t, args=["-lport", "PORT", "10.0.1.1@3", "10.0.2.1@2"])
    Timed(host, port, 20).check(SEEN_S, "b")


@case("leastconn: a dead link does not look empty")
def leastconn_dead(t):
    w = World(t)
    port = w.serve(servers.tell_and_hold).port
    w.a.black_hole()
    host = Host(t, config(TWO, pool="balancer: leastconn"))
    _clients, links = client.held(t, 20, host.addr, TARGET, port, parallel=4)
    equal(set(links), {"b"}, "links")


@case("a family without a route puts no link out of use for the other")
def other_family(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    for link in w.links:
        world.run("ip", "-6", "route", "del", "default", "dev", link.dev)
    for _ in range(3):
        equal(client.ask(host.addr, TARGET6, port), 3, "reply for IPv6")
        equal(client.links_of(4, host.addr, TARGET, port).count("a"), 2, "of 4 by IPv4")
    equal(told(host), [], "told")


@table("black-holed: one client waits, then nobody does, and it comes back",
       [("rr", "balancer: rr"), ("leastconn", "balancer: leastconn")], long=("leastconn",))
def black_hole_learned(t, pool):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO, pool=pool))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    w.a.black_hole()
    Timed(host, port, 2).check(SILENT_S, "b")
    Timed(host, port, 40).check(TRIAL_S, "b")
    end = time.monotonic() + 4  # long enough for two trials
    while time.monotonic() < end:
        Timed(host, port, 4).check(TRIAL_S, "b")
        time.sleep(0.05)
    equal(told(host), ["a: not used for"], "told once")
    w.a.rules_off()
    wait_for("it serves again", lambda: "a" in client.links_of(2, host.addr, TARGET, port), 12, 0.1)
    equal(told(host), ["a: not used for", "a: in use again"], "told")
    links = client.links_of(10, host.addr, TARGET, port)
    equal(links.count("a"), 5, "connections by a of 10: " + links)


@case("no retries: one client fails, nobody else does, not even for a trial")
def no_retries(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config({"a": "dialer: socks, server: %s:1" % w.a.gw, "b": TWO["b"]},
                          pool="retries: 0"))
    equal(client.ask(host.addr, TARGET, port), 1, "reply to the first")
    end = time.monotonic() + 4
    while time.monotonic() < end:
        Timed(host, port, 4).check(TRIAL_S, "b")
        time.sleep(0.05)
    equal(told(host), ["a: not used for"], "told once")


@case("black-holed: 40 clients at once, all served; those after them do not wait")
def black_hole_many(t):
    w = World(t)
    port = w.serve(servers.tell).port
    w.a.black_hole()
    host = Host(t, config(TWO, more="workers: 2"))
    Timed(host, port, 40, parallel=40).check(SILENT_S + 0.5, "b")
    equal(told(host), ["a: not used for"], "told once")
    Timed(host, port, 40, parallel=10).check(TRIAL_S, "b")


@case("black-holed in the middle of 50 connections a second: nobody waits long, soon nobody does")
def black_hole_in_turn(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    client.links_of(4, host.addr, TARGET, port)
    started, took = time.monotonic(), []

    def one(i):
        time.sleep(max(0, started + i * 0.02 - time.monotonic()))
        at = time.monotonic()
        link = client.link_of(host.addr, TARGET, port)
        took.append((at - started, time.monotonic() - at))
        return link

    fault = threading.Timer(0.5, w.a.black_hole)
    fault.start()
    links = client.together(100, one)
    fault.join()
    check(set(links) == set("ab"), "links", links)
    check(max(s for _at, s in took) < SILENT_S, "none waits for long", took)
    check(len([s for _at, s in took if s > 0.15]) >= 5, "some wait", took)
    after = sorted(s for at, s in took if at > 1.2)
    check(after[len(after) // 2] < 0.1, "those who come later do not", after)
    equal(told(host), ["a: not used for"], "told once")


@case("three links, weights 3:2:1, the first silent: the others keep their shares")
def shares_kept(t):
    w = World(t, "abc")
    port = w.serve(servers.tell).port
    links = {n: "interface: %s0, weight: %d" % (n, x) for n, x in zip("abc", (3, 2, 1))}
    host = Host(t, config(links))
    w.a.black_hole()
    client.link_of(host.addr, TARGET, port)
    served = client.links_of(60, host.addr, TARGET, port)
    equal(set(served), set("bc"), "links: " + served)
    check(abs(served.count("b") - 40) <= 2, "two thirds by b", served)  # a trial may shift one


def lossy(t, link):
    """Every 19th packet is lost, in each direction: each of a connection's has its turn."""
    drop = "numgen inc mod 19 0"
    link.rule("drop", drop)
    world.run("nft", "add table inet loss-%s; add chain inet loss-%s in { type filter hook "
              "prerouting priority -300; }; add rule inet loss-%s in iifname %s %s drop"
              % (link.name, link.name, link.name, link.dev, drop))
    t.defer(world.run, "nft", "delete table inet loss-" + link.name)


@case("5 % loss: nobody fails, no link is put out of use", long=True)
def loss(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    for link in w.links:
        lossy(t, link)
    timed = Timed(host, port, 40)
    timed.check(LOST_S, "ab")
    # One of ten is lost and goes by the other link, which has its own turn all the same.
    check(12 <= timed.links.count("a") <= 28, "about half of 40 by a", timed.links)
    check(max(timed.times) > 0.1, "something was lost", timed.times)
    equal(told(host), [], "told")


@case("black-holed: a tunnel with data under way ends within 60 s", limit=100, long=True)
def black_hole_ends(t):
    w = World(t, "a")
    port = w.serve(servers.echo).port
    host = Host(t, config({"a": "interface: a0"}))
    with client.connect(host.addr, TARGET, port) as c:
        c.send(b"x")
        equal(c.take(1), b"x", "echo")
        w.a.black_hole()
        started = time.monotonic()
        c.send(b"into the void")
        how, _got = c.ended(65)
        check(how != "open", "the client sees the end", how)
        within(60, started, "the end")


@case("keepalive guards a connection that lasts", needs=["ss"])
def kept_alive(t):
    w = World(t, "a")
    port = w.serve(servers.echo).port
    host = Host(t, config({"a": "interface: a0"}))

    def timers():
        return world.run("ss", "-tnoH", "state", "established", "dport", "= :%d" % port)

    with client.connect(host.addr, TARGET, port) as c:
        wait_for("keepalive", lambda: "timer:(keepalive," in timers(), 10)
        c.send(b"x")
        equal(c.take(1), b"x", "echo")


@case("black-holed: an idle tunnel ends within 95 s, as keepalive says", limit=130, long=True)
def black_hole_ends_idle(t):
    w = World(t, "a")
    port = w.serve(servers.echo).port
    host = Host(t, config({"a": "interface: a0"}))
    with client.connect(host.addr, TARGET, port) as c:
        c.send(b"x")
        equal(c.take(1), b"x", "echo")
        time.sleep(5)  # it is to have proved more than a short one
        w.a.black_hole()
        started = time.monotonic()
        how, _got = c.ended(100)
        check(how != "open", "the client sees the end", how)
        within(95, started, "the end")


@case("a server that reads nothing for 75 s is there all the same", limit=130, long=True)
def paused_server(t):
    w = World(t, "a")
    size = 64 << 20  # more than lies in any buffer on the way

    def read_late(conn, _name, _peer):
        time.sleep(75)
        conn.sendall(("%d %s\n" % servers.drain(conn)).encode())

    port = w.serve(read_late).port
    host = Host(t, config({"a": "interface: a0"}))
    with client.connect(host.addr, TARGET, port, timeout=120) as c:
        servers.pour(c.sock, size)
        c.finish()
        equal(int(c.line().split()[0]), size, "bytes that arrived")


BACK = [
    ("down", lambda x: x.down(), lambda x: x.up(), 10),
    ("carrier", lambda x: x.carrier_off(), lambda x: x.carrier_on(), 10),
    ("address", lambda x: x.address_flush(), lambda x: (x.address_add(), x.up()), 8),
    ("rejected", lambda x: x.rule("reject with icmp type host-unreachable"),
     lambda x: x.rules_off(), 10),
    ("black hole", lambda x: x.black_hole(), lambda x: x.rules_off(), 12),
]


@table("used again after", BACK)
def back(t, fault, cure, limit_s):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    fault(w.a)
    Timed(host, port, 4).check(SILENT_S, "b")
    cure(w.a)
    # A margin for this machine; what counts is that no client fails until then.
    wait_for("the first link serves again",
             lambda: "a" in client.links_of(2, host.addr, TARGET, port), limit_s + 3, 0.2)


@case("another address of the same interface serves after the first has changed")
def address_changed(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    equal(client.links_of(2, host.addr, TARGET, port), "ab", "links before")
    w.a.address_flush()
    world.run("ip", "addr", "add", "10.0.1.77/24", "dev", "a0")
    w.a.up()
    wait_for("the first link serves from its new address",
             lambda: ("10.0.1.77" in told_by(host, port)), 10, 0.1)


def told_by(host, port):
    with client.connect(host.addr, TARGET, port) as c:
        return c.line().split()[1]


@case("flapping six times: no client fails, the other link's tunnel lives", long=True)
def flapping(t):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO))
    lives = [client.connect(host.addr, TARGET, port) for _ in "ab"]
    t.defer(lambda: [c.close() for c in lives])
    by_b = [c for c in lives if c.line().split()[0] == "b"]
    stop, results = threading.Event(), []

    def stream():
        while not stop.is_set():
            try:
                results.append(client.ask(host.addr, TARGET, port))
            except (OSError, EOFError) as error:
                results.append(repr(error))

    thread = threading.Thread(target=stream, daemon=True)
    thread.start()
    for _ in range(6):
        for change in (w.a.carrier_off, w.a.carrier_on):
            change()
            at = len(results)
            wait_for("ten more clients", lambda at=at: len(results) >= at + 10, 20)
    stop.set()
    thread.join()
    equal([r for r in results if r != 0], [], "failures of %d" % len(results))
    for c in by_b:
        c.send(b"x")
        equal(c.take(1), b"x", "the tunnel by the other link")


# ---- a link that is not there, or is the only one ----

@case("an interface that does not exist is passed over, and taken once it appears")
def not_there_yet(t):
    w = World(t)
    port = w.serve(servers.tell).port
    world.run("ip", "link", "set", "a0", "down")
    world.run("ip", "link", "set", "a0", "name", "later0")
    w.a.dev = "later0"
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}))
    Timed(host, port, 6).check(SEEN_S, "b")
    world.run("ip", "link", "set", "later0", "name", "a0")
    w.a.dev = "a0"
    w.a.up()
    wait_for("it is used", lambda: "a" in client.links_of(2, host.addr, TARGET, port), 12, 0.2)


@case("an address that no interface has, on the Go command line")
def foreign_address(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, args=["-lport", "PORT", "10.77.0.1@3", "10.0.2.1@1"])
    Timed(host, port, 6).check(SEEN_S, "b")


@case("a dead link never leaves by another's route: it fails closed")
def fails_closed(t):
    w = World(t)
    service = w.serve(servers.tell)
    host = Host(t, config({"a": "interface: a0"}))
    for fault in (w.a.carrier_off, w.a.down, w.a.address_flush):
        fault()
        started = time.monotonic()
        rep = client.ask(host.addr, TARGET, service.port)
        check(rep in (1, 3, 4), "a reply of failure", rep)
        within(2, started, "the answer")
    equal(service.order, [], "clients the servers have seen")


@case("all links dead, then one comes back: never given up")
def all_dead(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    w.a.black_hole()
    w.b.carrier_off()
    rep = client.ask(host.addr, TARGET, port)
    check(rep in (1, 3, 4), "a reply of failure", rep)
    w.b.carrier_on()
    started = time.monotonic()
    client.until_served(host.addr, TARGET, port, 12)
    within(12, started, "until served")


@case("the only link fails, and is well again: it is never withheld")
def only_link(t):
    w = World(t, "a")
    port = w.serve(servers.tell).port
    host = Host(t, config({"a": "interface: a0"}))
    for _ in range(3):
        w.a.down()
        check(client.ask(host.addr, TARGET, port) in (1, 3, 4), "a reply of failure")
        w.a.up()
        started = time.monotonic()
        client.until_served(host.addr, TARGET, port, SEEN_S)  # as soon as it is known to be up
        within(SEEN_S, started, "until the next is served")


# ---- not the link's fault ----

@case("a target that refuses: 05 at once, no link is blamed")
def refused(t):
    w = World(t)
    port = w.serve(servers.tell).port
    closed = [p for p in (world.free_port(TARGET, w.a.ns) for _ in range(20)) if p != port][0]
    host = Host(t, config(TWO))
    for _ in range(20):
        started = time.monotonic()
        equal(client.ask(host.addr, TARGET, closed), 5, "reply")
        within(SEEN_S, started, "the answer")
    equal(client.links_of(10, host.addr, TARGET, port).count("a"), 5, "connections by a of 10")
    equal(told(host), [], "told")


@case("a target that is silent by every link: 04, no link is blamed for long")
def silent_target(t):
    w = World(t)
    port = w.serve(servers.tell).port
    for link in w.links:
        link.rule("drop", "tcp dport 4444")
    host = Host(t, config(TWO))
    started = time.monotonic()
    got = client.together(8, lambda _: client.ask(host.addr, TARGET, 4444), 8)
    check(all(g in (1, 4) for g in got), "replies", got)
    within(11.5, started, "the answers")
    equal(told(host), [], "told")
    equal(client.links_of(10, host.addr, TARGET, port).count("a"), 5, "connections by a of 10")


@case("a name server that is silent: an answer within 8 s, and nobody else waits")
def silent_name_server(t):
    w = World(t)
    port = w.serve(servers.tell).port
    dns.NameServer(t, [(x.name, x.ns, x.gw) for x in w.links], {"fast.test": [TARGET]},
                   silent=["silent.test"])
    host = Host(t, config({x.name: "interface: %s, dns: [%s]" % (x.dev, x.gw) for x in w.links}))
    answers = []

    def ask():
        started = time.monotonic()
        answers.append((client.ask(host.addr, "silent.test", port), time.monotonic() - started))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    started = time.monotonic()
    for dest in (TARGET, "fast.test") * 5:
        client.link_of(host.addr, dest, port)
    within(2, started, "ten others")
    thread.join(15)
    check(answers and answers[0][0] in (1, 4) and answers[0][1] <= 8, "the answer", answers)
    equal(client.links_of(10, host.addr, TARGET, port).count("a"), 5, "connections by a of 10")


@case("one link's name server is silent: the other's answers, in time")
def one_silent_name_server(t):
    w = World(t)
    port = w.serve(servers.tell).port
    dns.NameServer(t, [("b", w.b.ns, w.b.gw)], {"name.test": [TARGET]})
    w.a.rule("drop", "udp dport 53")
    host = Host(t, config({x.name: "interface: %s, dns: [%s]" % (x.dev, x.gw) for x in w.links}))
    for _ in range(4):
        started = time.monotonic()
        client.link_of(host.addr, "name.test", port)
        within(8, started, "the answer")


if __name__ == "__main__":
    tap.main()
