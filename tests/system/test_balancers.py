#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""The policies that learn, or that keep to something: failover, hash, random, p2c, adaptive."""

import collections
import statistics
import threading
import time

from lib import client, dante, servers, tap
from lib.host import Host, config, once
from lib.tap import case, check, equal, matches, table, wait_for
from lib.upstream import Upstream
from lib.world import TARGET, Service, World

THREE = {n: "interface: %s0" % n for n in "abc"}


def told_everywhere(t, w):
    """A `tell` server behind each link for all of 10.8.0.0/16; its port."""
    for link in w.links:
        link.beyond("ip", "route", "add", "local", "10.8.0.0/16", "dev", "lo")
    return Service(t, servers.tell, [(link.name, link.ns, "0.0.0.0") for link in w.links]).port


# ---- failover ----

@case("failover: the first link alone, the next while it is down, back after the hold-down")
def failover(t):
    w = World(t, "abc")
    port = w.serve(servers.tell).port
    host = Host(t, config(THREE, pool="balancer: failover, hold-down: 3s"))

    def links(count):
        return client.links_of(count, host.addr, TARGET, port)

    equal(links(10), "a" * 10, "links before")
    w.a.down()
    equal(links(10), "b" * 10, "links while a is down")
    w.b.down()
    equal(links(10), "c" * 10, "links while a and b are down")
    w.a.up()
    wait_for("one tries a", lambda: links(1) == "a", 12, 0.05)
    back = time.monotonic()
    while time.monotonic() < back + 2.5:
        check("a" not in links(1), "a is held back")
    wait_for("a carries all", lambda: links(1) == "a", 3, 0.05)
    equal(links(20), "a" * 20, "links afterwards")


@case("failover: a link that comes and goes is not gone back to")
def flapping(t):
    w = World(t)
    port = w.serve(servers.tell).port
    links = {n: "interface: %s0" % n for n in "ab"}
    host = Host(t, config(links, pool="balancer: failover, hold-down: 1m"))
    equal(client.link_of(host.addr, TARGET, port), "a", "the link before")
    seen = ""
    for _ in range(3):
        w.a.down()
        seen += client.links_of(5, host.addr, TARGET, port)
        w.a.up()
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            seen += client.link_of(host.addr, TARGET, port)
    check(seen.count("a") <= 3, "a had at most one connection each time: its trial", seen)


@case("failover: what is above max-connections overflows to the next")
def overflow(t):
    w = World(t)
    port = w.serve(servers.tell_and_hold).port
    host = Host(t, config({"a": "interface: a0, max-connections: 4", "b": "interface: b0"},
                          pool="balancer: failover", more="workers: 4"))
    _clients, links = client.held(t, 20, host.addr, TARGET, port)
    equal(collections.Counter(links), {"a": 4, "b": 16}, "connections by link")


# ---- hash ----

def destinations(host, port, count=120):
    """The link of each of so many destinations."""
    got = client.together(
        count, lambda i: client.link_of(host.addr, "10.8.%d.%d" % divmod(i + 1, 250), port), 8)
    check(all(isinstance(link, str) for link in got), "all are served", got)
    return got


@case("hash-on host: a destination has its link; one link lost moves no other's; then all is back")
def hash_host(t):
    w = World(t, "abc")
    port = told_everywhere(t, w)
    host = Host(t, config(THREE, pool="balancer: hash, hash-on: host", more="workers: 2"))
    before = destinations(host, port)
    equal(destinations(host, port), before, "links of the same again")
    equal(set(before), set("abc"), "links in use")
    w.b.down()
    during = destinations(host, port)
    check("b" not in during, "nothing by the link that is down")
    moved = [i for i, link in enumerate(before) if link != during[i]]
    equal(moved, [i for i, link in enumerate(before) if link == "b"], "destinations that moved")
    w.b.up()
    wait_for("all as before", lambda: destinations(host, port) == before, 15, 0.1)


@case("hash-on host: of 10,000 destinations over five links losing one moves none of the others'",
      limit=240, long=True)
def hash_many(t):
    w = World(t, "abcde")
    port = told_everywhere(t, w)
    links = {link.name: "interface: " + link.dev for link in w.links}
    host = Host(t, config(links, pool="balancer: hash, hash-on: host"))
    before = destinations(host, port, 10000)
    shares = collections.Counter(before)
    check(all(abs(shares[name] - 2000) < 250 for name in links), "a fifth by each", shares)
    w.c.down()
    after = destinations(host, port, 10000)
    moved = [(x, y) for x, y in zip(before, after) if x != y]
    equal({x for x, _y in moved}, {"c"}, "links that have lost destinations")
    equal(len(moved), shares["c"], "destinations that moved")
    new = collections.Counter(y for _x, y in moved)
    equal(set(new), set("abde"), "links that have got them")


@case("hash-on client: each client has its link, over restarts and reloads")
def hash_client(t):
    w = World(t, "abc")
    port = told_everywhere(t, w)
    text = config(THREE, pool="balancer: hash, hash-on: client")

    def links(host):
        return "".join(client.link_of(host.addr, TARGET, port, source="127.0.0.%d" % (i + 2))
                       for i in range(40))

    host = Host(t, text)
    before = links(host)
    equal(set(before), set("abc"), "links in use")
    equal(links(host), before, "the same clients again, by other ports")
    host.reload(text.replace("interface: b0", "interface: b0, weight: 1"))
    equal(links(host), before, "after a reload")
    equal(links(Host(t, text)), before, "in another process")


@case("hash-on domain: names of one registered domain have one link")
def hash_domain(t):
    w = World(t, "abc")
    told = w.serve(servers.tell)
    sites = ["site-%d.co.uk" % i for i in range(30)]
    names = {sub + site: TARGET for site in sites for sub in ("", "www.", "img.cdn.")}
    ups = [Service(t, Upstream(link.ns, names=names), [(link.name, link.ns, link.gw)])
           for link in w.links]
    links = {link.name: "dialer: socks, server: %s:%d" % (link.gw, up.port)
             for link, up in zip(w.links, ups)}
    text = config(links, pool="balancer: hash, hash-on: domain")
    status, _out, err = once("--check", "-c", t.file("dispatch.yaml", text.replace("PORT", "1")))
    if status != 0:
        matches(r'pool "all": hash-on: domain needs libpsl', err, "why it is refused")
        raise tap.Skip("built without libpsl")
    host = Host(t, text)
    of = {name: client.link_of(host.addr, name.encode(), told.port) for name in names}
    for site in sites:
        equal({of["www." + site], of["img.cdn." + site]}, {of[site]}, "links of " + site)
    equal(set(of.values()), set("abc"), "links in use")


@case("hash-on: a choice that is not there is refused")
def hash_moon(t):
    file = t.file("dispatch.yaml", config(THREE, pool="balancer: hash, hash-on: moon"))
    status, _out, err = once("--check", "-c", file)
    equal(status, 78, "exit status")
    matches(r"hash-on: .*client", err, "the message")


# ---- random ----

@table("random: 600 connections by weight", [("1 worker", 1), ("4 workers", 4)])
def by_chance(t, workers):
    w = World(t)
    port = w.serve(servers.tell_and_hold).port
    host = Host(t, config({"a": "interface: a0, weight: 3", "b": "interface: b0"},
                          pool="balancer: random", more="workers: %d" % workers))
    _clients, links = client.held(t, 600, host.addr, TARGET, port)
    check(397 <= links.count("a") <= 503, "450 of 600 by a, give or take five deviations",
          links.count("a"))


# ---- p2c ----

class Late(Upstream):
    """Answers `late_s` seconds late."""

    def __init__(self, out, late_s):
        super().__init__(out)
        self.late_s = late_s

    def serve(self, conn):
        time.sleep(self.late_s)
        return super().serve(conn)


def proxies(t, w, *late_s):
    """A SOCKS server behind each link, so much late; the links to them."""
    ups = [Service(t, Late(link.ns, late), [(link.name, link.ns, link.gw)])
           for link, late in zip(w.links, late_s)]
    return {link.name: "dialer: socks, server: %s:%d" % (link.gw, up.port)
            for link, up in zip(w.links, ups)}


def dials(host, port, count, parallel):
    """How long each of so many dials took, in ms, and their links."""
    def one(_):
        started = time.monotonic()
        with client.connect(host.addr, TARGET, port) as c:
            took = time.monotonic() - started
            return took * 1000, c.line().split()[0]

    got = client.together(count, one, parallel)
    failed = [x for x in got if isinstance(x, Exception)]
    equal(failed, [], "dials that failed")
    return [took for took, _link in got], "".join(link for _took, link in got)


@table("p2c: one server answers 80 ms late: the median dial is that of the other alone",
       [("one after the other", 1), ("16 at once", 16)])
def p2c(t, parallel):
    w = World(t)
    port = w.serve(servers.tell).port
    links = proxies(t, w, 0, 0.08)
    alone, _links = dials(Host(t, config({"a": links["a"]})), port, 100, parallel)
    both, seen = dials(Host(t, config(links, pool="balancer: p2c")), port, 500, parallel)
    fast, median = statistics.median(alone), statistics.median(both)
    print("# median of the fast link alone %.1f ms, of both by p2c %.1f ms, %d of 500 by the slow"
          % (fast, median, seen.count("b")))
    check(median <= fast + 10, "the median dial", fast, median)
    check(1 <= seen.count("b") <= 75, "the slow one is measured, and little more", seen.count("b"))


@case("p2c: the slow server gets fast: it has its share again", long=True)
def p2c_changes(t):
    w = World(t)
    port = w.serve(servers.tell).port
    slow = Late(w.b.ns, 0.08)
    links = proxies(t, w, 0.005)
    up = Service(t, slow, [("b", w.b.ns, w.b.gw)])
    links["b"] = "dialer: socks, server: %s:%d" % (w.b.gw, up.port)
    host = Host(t, config(links, pool="balancer: p2c, decay: 1s"))
    check(dials(host, port, 100, 1)[1].count("b") <= 5, "few by the slow one")
    slow.late_s = 0
    wait_for("most by what is the faster one now",
             lambda: dials(host, port, 20, 1)[1].count("b") >= 15, 30)


# ---- adaptive ----

FETCH = 500000


def give(conn, _name, _peer):
    conn.sendall(bytes(FETCH))


def shape(w, **mbit):
    """What each link carries towards the host from now on."""
    for name, rate in mbit.items():
        link = w.by_name[name]
        link.beyond("tc", "qdisc", "replace", "dev", link.peer, "root", "tbf", "rate",
                    "%dmbit" % rate, "burst", "15000", "latency", "200ms")


class Fetching:
    """So many clients, each of which fetches a file of 500 kB again and again, until stop()."""

    def __init__(self, t, host, port, clients=24):
        self.to, self.port = host.addr, port
        self.got, self.times, self.failed = 0, [], []
        self.lock = threading.Lock()
        self.stopped = False
        t.defer(self._end)
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _fetch(self):
        started = time.monotonic()
        with client.connect(self.to, TARGET, self.port, timeout=60) as c:
            while not self.stopped:
                some = len(c.sock.recv(65536))
                with self.lock:
                    self.got += some
                if not some:
                    self.times.append(time.monotonic() - started)
                    return

    def _work(self):
        while not self.stopped:
            try:
                self._fetch()
            except (OSError, EOFError, client.Refused) as error:
                self.failed.append(error)
                return

    def mbit(self, time_s):
        """What all of them get in the time that follows, in Mbit/s."""
        before, started = self.got, time.monotonic()
        time.sleep(time_s)
        return (self.got - before) * 8e-6 / (time.monotonic() - started)

    def _end(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()

    def stop(self):
        """Ends them; fails if a fetch has failed."""
        self._end()
        equal(self.failed, [], "fetches that failed")


def sustained(some):
    """What is fetched after 30 s of learning: over 20 s, the median of three."""
    some.mbit(30)
    return statistics.median(some.mbit(20) for _ in range(3))


@case("adaptive: 20, 10 and 5 Mbit/s, 24 clients: 85 % of the sum, and again when two are swapped",
      limit=360, needs=["tc"], long=True)
def adaptive(t):
    w = World(t, "abc")
    port = w.serve(give).port
    shape(w, a=20, b=10, c=5)
    alone = []
    for name in "abc":
        some = Fetching(t, Host(t, config({name: THREE[name]})), port)
        some.mbit(1)
        alone.append(some.mbit(5))
        some.stop()
    some = Fetching(t, Host(t, config(THREE, pool="balancer: rr")), port)
    some.mbit(5)
    rates = {"rr": some.mbit(20)}
    some.stop()
    some = Fetching(t, Host(t, config(THREE, pool="balancer: adaptive")), port)
    rates["adaptive"] = sustained(some)
    shape(w, a=5, c=20)
    rates["swapped"] = sustained(some)
    some.stop()
    print("# Mbit/s: alone %.1f %.1f %.1f, by rr %.1f, by adaptive %.1f, swapped %.1f"
          % (*alone, rates["rr"], rates["adaptive"], rates["swapped"]))
    for way in ("adaptive", "swapped"):
        check(rates[way] >= 0.85 * sum(alone), way + ": Mbit/s", rates, alone)


@case("adaptive: one client alone has the fastest link, but for what measures the others",
      needs=["tc"])
def adaptive_alone(t):
    w = World(t, "abc")
    service = w.serve(give)
    shape(w, a=10, b=50, c=10)
    some = Fetching(t, Host(t, config(THREE, pool="balancer: adaptive")), service.port, clients=1)
    wait_for("50 fetches", lambda: len(some.times) >= 50, 30)
    some.stop()
    check(service.count("b") >= 40, "fetches by the fastest", collections.Counter(service.order))


# ---- in Dante's forked processes ----

@case("in danted: failover, and back after the hold-down", needs=["danted"])
def dante_failover(t):
    w = World(t)
    told = w.serve(servers.tell)
    links = {n: THREE[n] for n in "ab"}
    d = dante.Balanced(t, dante.config(links, pool="balancer: failover, hold-down: 2s"))

    def order(count):
        return client.links_of(count, d.addr, TARGET, told.port)

    equal(order(20), "a" * 20, "links before")
    w.a.down()
    equal(order(20), "b" * 20, "links while a is down")
    w.a.up()
    wait_for("one tries a", lambda: order(1) == "a", 12, 0.05)
    back = time.monotonic()
    while time.monotonic() < back + 1.5:
        equal(order(1), "b", "the link while a is held back")
    wait_for("a carries all", lambda: order(1) == "a", 3, 0.05)
    equal(order(20), "a" * 20, "links afterwards")


@case("in danted: hash-on host, the same link from every process", needs=["danted"])
def dante_hash(t):
    w = World(t, "abc")
    port = told_everywhere(t, w)
    d = dante.Balanced(t, dante.config(THREE, pool="balancer: hash, hash-on: host"))
    before = destinations(d, port, 40)
    equal(set(before), set("abc"), "links in use")
    equal(destinations(d, port, 40), before, "links of the same again")
    host = Host(t, config(THREE, pool="balancer: hash, hash-on: host"))
    equal(destinations(host, port, 40), before, "links by dispatch-host")


@table("in danted, 16 at once: the slow one of two servers is found out", [
    ("p2c", "p2c"), ("adaptive", "adaptive"),
], needs=["danted"])
def dante_slow(t, balancer):
    w = World(t)
    service = w.serve(give)
    links = proxies(t, w, 0, 0.3)
    d = dante.Balanced(t, dante.config(links, pool="balancer: " + balancer))
    some = Fetching(t, d, service.port, clients=16)
    wait_for("600 fetches", lambda: len(some.times) >= 600, 40)
    some.stop()
    print("# %s: %d of %d by the slow one" % (balancer, service.count("b"), len(service.order)))
    check(service.count("b") <= 0.4 * len(service.order), "fetches by the slow one",
          service.count("b"))
    d.wait_active(a=0, b=0)


if __name__ == "__main__":
    tap.main()
