#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""One allocation in so many fails: a connection may be refused or closed for it, but what it
carries is right as far as it goes, nothing hangs, and the host lives."""

import contextlib
import os
import signal
import threading
import time

from lib import client, peers, servers, tap
from lib.client import Client, Refused
from lib.host import Host
from lib.shim import FailMalloc
from lib.tap import case, check, equal, table, wait_for
from lib.world import TARGET, World, free_port

LIMIT_S = 12  # handshake, look-up, two dials: more than their limits together
TOTAL = 1 << 20


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.echoed = self.world.serve(servers.echo)
        self.counted = self.world.serve(servers.answer_after_end(TOTAL))
        self.closed = free_port(TARGET, self.world.a.ns)
        for link in self.world.links:
            peers.dnsmasq(self.world, link.ns, link.gw, "--host-record=name.test," + TARGET)
        self.up = peers.microsocks(self.world, self.world.b.ns, self.world.b.gw,
                                   resolv="nameserver %s\n" % self.world.b.gw)


place = tap.shared(Place)


def text(p, far, workers, balancer="rr"):
    return "\n".join([
        "workers: %d" % workers, "listeners:",
        "  main: {listen: 127.0.0.1:PORT, pool: all}",
        "  far: {listen: 127.0.0.1:%d, pool: up}" % far,
        "links:",
        "  a: {interface: a0, dns: [%s]}" % p.world.a.gw,
        "  b: {interface: b0, dns: [%s]}" % p.world.b.gw,
        "  up: {dialer: socks, server: %s:%d, via: b}" % (p.world.b.gw, p.up),
        "  local: {dialer: socks, resolve: local, server: %s:%d}" % (p.world.b.gw, p.up),
        "pools:", "  all: {balancer: %s, links: [a, b]}" % balancer,
        "  up: {balancer: leastconn, links: [up, local]}",
        "timeouts: {handshake: 3s, connect: 6s, attempt: 2s}", ""])


class Cut(Exception):
    """The connection ended early, which is allowed where memory fails."""


def take(c, wanted):
    """Reads what is wanted; less is a Cut, anything else is wrong."""
    got = bytearray()
    try:
        while len(got) < len(wanted):
            some = c.sock.recv(1 << 18)
            if not some:
                raise Cut
            got += some
            check(wanted.startswith(got), "the bytes are right", len(got), len(wanted))
    except (ConnectionResetError, BrokenPipeError):
        raise Cut from None


def echo(to, p, host):
    """Both ways."""
    word = bytes(servers.Pattern.BLOCK[:50000])
    with client.connect(to, host, p.echoed.port, timeout=LIMIT_S) as c:
        try:
            c.send(word)
        except OSError as error:
            check(not isinstance(error, TimeoutError), "it takes what is sent in time")
            raise Cut from None
        take(c, word)


def download(to, p, host):
    """A request, its end, a long answer, its end."""
    with client.connect(to, host, p.counted.port, timeout=LIMIT_S) as c:
        try:
            c.send(b"request")
            c.finish()
        except OSError as error:
            check(not isinstance(error, TimeoutError), "it takes what is sent in time")
            raise Cut from None
        said = b"7 " + servers.hashlib.blake2b(b"request").hexdigest().encode() + b"\n"
        take(c, said + b"".join(servers.Pattern.pieces(TOTAL)))
        equal(c.ended(LIMIT_S)[0], "fin", "how it ends")


def fails(rep):
    """A dial that is refused, with this reply."""

    def one(to, p, host):
        try:
            client.connect(to, host, p.closed, timeout=LIMIT_S).close()
        except Refused as refused:
            if refused.rep != rep:
                raise
            return
        tap.fail("connected to nobody")

    one.__name__ = "a dial that fails"
    return one


# What is done, whether by way of the upstream proxy (which ends both directions with one), and the
# destination.
WORK = [(echo, False, TARGET), (echo, False, b"name.test"), (echo, True, TARGET),
        (echo, True, b"name.test"), (download, False, TARGET), (download, False, b"name.test"),
        (fails(5), False, TARGET), (fails(4), False, b"unknown.test")]


def sockets(host):
    """How many it has, but for that by which it follows the kernel."""
    with open("/proc/%d/net/netlink" % host.proc.pid, encoding="ascii") as f:
        netlink = {"socket:[%s]" % line.split()[-1] for line in f.readlines()[1:]}
    count, folder = 0, "/proc/%d/fd/" % host.proc.pid
    for fd in os.listdir(folder):
        with contextlib.suppress(OSError):
            name = os.readlink(folder + fd)
            count += name.startswith("socket:") and name not in netlink
    return count


class Load:
    """The host, and what is asked of it."""

    def __init__(self, t, workers):
        self.p = place(t)
        self.shim = FailMalloc(t)
        self.far = free_port()
        self.text = [text(self.p, self.far, workers, x) for x in ("rr", "leastconn")]
        self.host = Host(t, self.text[0], env=self.shim.env)

    def one(self, i):
        """"ok", "refused" or "cut"; anything else is raised."""
        func, far, host = WORK[i % len(WORK)]
        to = ("127.0.0.1", self.far) if far else self.host.addr
        try:
            func(to, self.p, host)
            return "ok"
        except Refused as refused:
            return "refused %02x" % refused.rep
        except (Cut, EOFError, ConnectionResetError, BrokenPipeError):
            return "cut"

    def run_one(self, i):
        got = self.one(i)
        check(self.host.alive(), "the host lives")
        return got

    def run(self, count):
        """The outcomes of so many."""
        got = client.together(count, self.one, 12)
        wrong = [(WORK[i % len(WORK)], g) for i, g in enumerate(got) if isinstance(g, Exception)]
        check(not wrong, "no connection hangs or gets wrong bytes", len(wrong), wrong[:3])
        check(self.host.alive(), "the host lives")
        return got

    def all_well(self):
        got = self.run(4 * len(WORK))
        equal([g for g in got if g != "ok"], [], "what does not work")

    def reload(self, turn):
        self.host.reload(self.text[turn], says=r"(?m)^info config: reloaded")

    def all_well_by_both(self):
        for turn in (1, 0):
            self.reload(turn)
            self.all_well()

    def at_rest(self):
        """The bytes in use when everything is closed. A reload drops the workers' c-ares channels:
        which worker has which is chance."""
        self.reload(0)
        wait_for("only listeners are left", lambda: sockets(self.host) == 2, 20)
        return self.shim.used()

    def leaves_nothing(self, before):
        """No more is used than before. A channel whose question has got lost, as nothing could wait
        for the answer, goes when c-ares gives up: after 5.6 s."""
        self.at_rest()
        wait_for("the memory in use is that of before, %d bytes" % before,
                 lambda: self.shim.used() < before + (16 << 10), 15)


@table("1 in", [("%d, %s" % (n, "1 worker" if w == 1 else "%d workers" % w), n, w)
                for n in (20, 100, 1000) for w in (1, 4)], needs=["dnsmasq", "microsocks"],
       limit=120, long=("20, 4 workers", "100, 1 worker", "1000, 1 worker"))
def one_in(t, every, workers):
    load = Load(t, workers)
    host = load.host
    load.all_well_by_both()
    before = load.at_rest()

    stop = threading.Event()

    def reloads():
        turn = 0
        while not stop.wait(0.2):
            host.write(load.text[turn % 2])
            host.proc.send_signal(signal.SIGHUP)
            turn += 1

    reloader = threading.Thread(target=reloads)
    load.shim.fail(every)
    reloader.start()
    t.defer(stop.set)
    try:
        got = load.run(400)
    finally:
        stop.set()
        reloader.join()
    check(load.shim.failed() > 0, "there were failures", load.shim.failed())
    check(got.count("ok") > (20 if every < 100 else 200), "many work all the same",
          {g: got.count(g) for g in set(got)})

    load.shim.fail(0)
    load.all_well()
    load.all_well_by_both()
    load.leaves_nothing(before)
    check("crashed" not in host.log() and "hung" not in host.log(), "no trial crashed")
    host.term()
    equal(host.wait(8), 0, "exit status")


@case("1 in 3, with nothing but connections", needs=["dnsmasq", "microsocks"], limit=120)
def one_in_three(t):
    load = Load(t, 2)
    load.all_well_by_both()
    before = load.at_rest()
    started = time.monotonic()
    load.shim.fail(3)
    load.run(160)
    load.shim.fail(0)
    load.all_well()
    tap.within(90, started, "all of it")
    load.leaves_nothing(before)


@case("clients that come and go at every point")
def come_and_go(t):
    load = Load(t, 2)
    load.all_well_by_both()
    before = load.at_rest()
    load.shim.fail(10)
    whole = b"\5\1\0" + client.request(TARGET, load.p.echoed.port) + b"payload"
    for cut in range(len(whole) + 1):
        for leave in (Client.close, Client.reset, Client.finish):
            c = Client(load.host.addr)
            t.defer(c.close)
            with contextlib.suppress(OSError):  # the host may have been first
                c.send(whole[:cut])
                leave(c)
    load.shim.fail(0)
    load.all_well()
    load.leaves_nothing(before)


@table("each allocation fails once in a reload", [("1 worker", 1)],
       needs=["dnsmasq", "microsocks"], limit=300)
@table("each allocation fails once in a reload", [("4 workers", 4)],
       needs=["dnsmasq", "microsocks"], limit=300, long=True)
def reload_each(t, workers):
    """A reload: it is told, and what is served is well, by the old configuration or the new."""
    load = Load(t, workers)
    load.all_well_by_both()
    before = load.at_rest()
    reloaded = number = 0
    while True:
        number += 1
        load.shim.fail_only(number)
        said = load.host.reload(load.text[number % 2])
        reloaded += "config: reloaded" in said
        check("config: reloaded" in said or said.count("error config: ") > 1, "it says why", said)
        over = load.shim.failed() == 0
        load.shim.fail_only(0)
        check("crashed" not in said and "hung" not in said, "no trial crashes", said)
        got = load.run(workers)
        equal([g for g in got if g != "ok"], [], "what does not work after number %d" % number)
        if over:
            break
    check(number > 100, "there were many", number)
    check(reloaded < number, "some made it fail", reloaded, number)
    load.leaves_nothing(before)


@table("each allocation fails once in a connection", [(
    "%s%s%s" % (func.__name__, " by the upstream proxy" if far else "",
                ", by name" if host != TARGET else ""), i) for i, (func, far, host) in
    enumerate(WORK)], needs=["dnsmasq", "microsocks"], limit=300,
       long=["%s, by name" % func.__name__ for func, _far, _host in WORK])
def connection_each(t, kind):
    load = Load(t, 1)
    load.all_well_by_both()
    before = load.at_rest()
    number = 0
    while True:
        number += 1
        load.reload(number % 2)  # channels are made anew
        load.shim.fail_only(number)
        load.run_one(kind)
        over = load.shim.failed() == 0
        load.shim.fail_only(0)
        equal(load.run_one(kind), "ok", "the next one, after number %d" % number)
        if over:
            break
    load.leaves_nothing(before)


if __name__ == "__main__":
    tap.main()
