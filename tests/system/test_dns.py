#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Names for each link: whose answer counts, how long it is kept, who is asked how often."""

import os
import time

from lib import client, dns, peers, servers, tap, world
from lib.host import Host, config
from lib.tap import case, check, equal, wait_for, within
from lib.world import TARGET, World

OTHER = "10.9.9.8"
DEAD = "10.99.99.53"
FAMILIES = 2  # a name is asked for once in each


class Place:
    """Links, a server behind each that tells by which it was reached, and its name server."""

    def __init__(self, t, names="a", zone=None, **keywords):
        self.world = World(t, names)
        self.told = self.world.serve(servers.tell)
        self.port = self.told.port
        self.names = dns.NameServer(t, [(x.name, x.ns, x.gw) for x in self.world.links],
                                    zone or {"x.test": [TARGET]}, **keywords)

    def host(self, t, **keywords):
        return Host(t, config({x.name: "interface: %s, dns: [%s]" % (x.dev, x.gw)
                               for x in self.world.links}), **keywords)


def ask_all(host, count, name, port):
    """So many requests for a name at once; returns the replies. Each is sent before any is
    answered, as far as that is in our hand."""
    clients = [client.Client(host.addr, timeout=30) for _ in range(count)]
    try:
        for c in clients:
            c.send(b"\5\1\0" + client.request(name, port))
        replies = []
        for c in clients:
            c.selection()
            replies.append(c.reply().rep)
        return replies
    finally:
        for c in clients:
            c.close()


def bind(w, path, text):
    """The file at `path`, in this world, is one of the test's own; returns where to change it."""
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "wb"):
            pass
    mine = w.t.file(path.replace("/", "-"), text)
    world.run("mount", "--bind", mine, path)
    w.t.defer(world.run, "umount", path)
    return mine


# ---- whose answer ----

@case("each connection goes where its own link's server says")
def own_answer(t):
    w = World(t)
    w.b.beyond("ip", "addr", "add", OTHER + "/32", "dev", "lo")
    # Each serves at the address its own name server gives, and has no other; the name servers have
    # the same address, as those of two home routers do.
    told = world.Service(t, servers.tell, [("a", w.a.ns, TARGET)])
    told.add("b", w.b.ns, OTHER)
    for link, addr in (("a", TARGET), ("b", OTHER)):
        ns = w.by_name[link].ns
        w.by_name[link].beyond("ip", "addr", "add", "10.9.9.53/32", "dev", "lo")
        dns.NameServer(t, [(link, ns, "10.9.9.53")], {"where.test": [addr]})
    host = Host(t, config({x.name: "interface: %s, dns: [10.9.9.53]" % x.dev for x in w.links}))
    equal(client.links_of(8, host.addr, "where.test", told.port), "abababab", "links")


@case("a thousand parallel requests for a cold name are one query for each link and family",
      limit=120)
def single_flight(t):
    p = Place(t, "ab", delay={dns.A: 0.7, dns.AAAA: 0.7})
    host = p.host(t)
    replies = ask_all(host, 1000, "x.test", p.port)
    equal(replies.count(0), 1000, "requests served")
    for link in "ab":
        equal(p.names.count(link, "x.test"), FAMILIES, "queries by " + link)


@case("a reload keeps the answers of a link that stays as it is, and not of one that changes")
def reloaded(t):
    p = Place(t)
    host = p.host(t)
    equal(client.ask(host.addr, "x.test", p.port), 0, "reply")
    host.reload()
    equal(client.ask(host.addr, "x.test", p.port), 0, "reply after a reload")
    equal(p.names.count(), FAMILIES, "queries")
    host.reload(config({"a": "interface: a0, dns: ['%s:53', 10.0.1.2]" % p.world.a.gw}))
    equal(client.ask(host.addr, "x.test", p.port), 0, "reply with other servers")
    equal(p.names.count(), 2 * FAMILIES, "queries")


@case("a server that the link has no address for is asked only if there is no other")
def other_family(t):
    p = Place(t, "ab", zone={"x.test": [TARGET]})
    six = dns.NameServer(t, [("a6", p.world.a.ns, p.world.a.gw6)], p.names.zone)
    world.run("ip", "-6", "addr", "flush", "dev", "b0")
    links = "interface: b0, dns: ['%s'%s]"
    host = Host(t, config({"b": links % (p.world.a.gw6, ", " + p.world.b.gw)}))
    equal(client.link_of(host.addr, "x.test", p.port), "b", "link")
    equal((six.count(), p.names.count("b")), (0, FAMILIES), "queries outside, and by the link")
    host.reload(config({"b": links % (p.world.a.gw6, "")}))
    equal(client.link_of(host.addr, "x.test", p.port), "b", "link")
    equal((six.count(), p.names.count("b")), (FAMILIES, FAMILIES), "queries")
    tap.matches("b has no address to ask its IPv6 name server from", host.log(), "log")


# ---- how long ----

@case("an answer is kept as long as its TTL says, by a real dnsmasq", needs=["dnsmasq"])
def ttl(t):
    w = World(t, "a")
    told = w.serve(servers.tell)
    masq = peers.dnsmasq(w, w.a.ns, w.a.gw, "--host-record=long.test,%s,600" % TARGET,
                         "--host-record=short.test,%s,1" % TARGET)
    host = Host(t, config({"a": "interface: a0, dns: [%s]" % w.a.gw}))

    def queries(name):
        return masq.said().count("query[A] " + name)

    for name in ("long.test", "short.test"):
        started = time.monotonic()
        for _ in range(5):
            equal(client.ask(host.addr, name, told.port), 0, "reply for " + name)
        if time.monotonic() - started < 1:
            equal(queries(name), 1, "queries for " + name)
    time.sleep(1.1)  # the TTL of the one
    for name in ("long.test", "short.test"):
        equal(client.ask(host.addr, name, told.port), 0, "reply for " + name)
    wait_for("the short one is asked for again", lambda: queries("short.test") >= 2)
    equal(queries("long.test"), 1, "queries for the long one")


@case("a TTL of 0 is for those who wait, and for nobody after")
def ttl_none(t):
    p = Place(t, ttl=0, negative=0)
    host = p.host(t)
    for n in range(1, 4):
        equal(client.ask(host.addr, "x.test", p.port), 0, "reply")
        equal(p.names.count(), n * FAMILIES, "queries")


@case("a name that does not exist, or has no address, is not asked for again while that holds")
def negative(t):
    p = Place(t, zone={"x.test": [TARGET], "empty.test": []}, negative=1)
    host = p.host(t)
    for name in ("none.test", "empty.test"):
        started = time.monotonic()
        for _ in range(5):
            equal(client.ask(host.addr, name, p.port), 4, "reply for " + name)
        if time.monotonic() - started < 1:
            equal(p.names.count(name=name), FAMILIES, "queries for " + name)
    time.sleep(1.1)  # what the SOA record says
    equal(client.ask(host.addr, "none.test", p.port), 4, "reply")
    equal(p.names.count(name="none.test"), 2 * FAMILIES, "queries after its time")


@case("without a SOA record no answer is final, and it is asked for again")
def negative_unsigned(t):
    p = Place(t)
    host = p.host(t)
    for n in (1, 2):
        equal(client.ask(host.addr, "none.test", p.port), 4, "reply")
        equal(p.names.count(name="none.test"), n * FAMILIES, "queries")


@case("an answer too long for a datagram comes by TCP", needs=["dnsmasq"])
def truncated(t):
    w = World(t, "a")
    many = ["--host-record=many.test,10.9.%d.%d" % (i, i) for i in range(10, 90)]
    peers.dnsmasq(w, w.a.ns, w.a.gw, *many)
    for i in range(10, 90):
        w.a.beyond("ip", "addr", "add", "10.9.%d.%d/32" % (i, i), "dev", "lo")
    anywhere = world.Service(t, servers.tell, [("a", w.a.ns, "0.0.0.0")])
    host = Host(t, config({"a": "interface: a0, dns: [%s]" % w.a.gw}))
    equal(client.link_of(host.addr, "many.test", anywhere.port), "a", "link")


# ---- servers that fail ----

@case("a dead first server costs a moment once, and is left alone then")
def dead_first(t):
    p = Place(t, zone={"n%d.test" % i: [TARGET] for i in range(8)})
    p.world.a.rule("drop", "ip daddr " + DEAD)
    host = Host(t, config({"a": "interface: a0, dns: [%s, %s]" % (DEAD, p.world.a.gw)}))
    started = time.monotonic()
    equal(client.ask(host.addr, "n0.test", p.port), 0, "reply")
    within(0.7, started, "the first name")
    started = time.monotonic()
    for i in range(1, 6):
        equal(client.ask(host.addr, "n%d.test" % i, p.port), 0, "reply")
    within(0.25, started, "five more")
    check("does not answer" in host.log(), "the log says so", host.log())


@case("the first server is asked again when it is back")
def back_again(t):
    p = Place(t, zone={"n%d.test" % i: [TARGET] for i in range(200)})
    p.world.a.beyond("ip", "addr", "add", DEAD + "/32", "dev", "lo")
    first = dns.NameServer(t, [("first", p.world.a.ns, DEAD)], p.names.zone)
    p.world.a.rule("drop", "ip daddr " + DEAD)
    host = Host(t, config({"a": "interface: a0, dns: [%s, %s]" % (DEAD, p.world.a.gw)}))
    equal(client.ask(host.addr, "n0.test", p.port), 0, "reply")
    p.world.a.rules_off()
    names = iter(range(1, 200))

    def is_back():
        equal(client.ask(host.addr, "n%d.test" % next(names), p.port), 0, "reply")
        return first.count() > 0

    wait_for("it is asked", is_back, 6, 0.1)
    before = p.names.count()
    equal(client.ask(host.addr, "n199.test", p.port), 0, "reply")
    equal(p.names.count(), before, "queries to the second, while the first answers")


@case("a server that fails or refuses is followed by the next at once")
def failing_first(t):
    p = Place(t, zone={"x.test": [TARGET], "y.test": [TARGET]})
    p.world.a.beyond("ip", "addr", "add", DEAD + "/32", "dev", "lo")
    dns.NameServer(t, [("first", p.world.a.ns, DEAD)], {}, rcodes={"x.test": 2, "y.test": 5})
    host = Host(t, config({"a": "interface: a0, dns: [%s, %s]" % (DEAD, p.world.a.gw)}))
    started = time.monotonic()
    for name in ("x.test", "y.test"):
        equal(client.ask(host.addr, name, p.port), 0, "reply for " + name)
    within(0.25, started, "both")


@case("a lost question is asked again within a second")
def lost(t):
    p = Place(t)
    p.world.a.rule("drop", "udp dport 53")
    host = p.host(t)
    with client.Client(host.addr) as c:
        c.greet()
        c.send(client.request("x.test", p.port))
        time.sleep(0.3)  # for the question to be lost, however slow the machine
        p.world.a.rules_off()
        started = time.monotonic()
        equal(c.reply().rep, 0, "reply")
        within(1.5, started, "the answer after the loss")


@case("64 look-ups that hang delay no other, by the same link or another", limit=90)
def hung(t):
    p = Place(t, "ab", zone={"f%d.test" % i: [TARGET] for i in range(20)}, silent=["silent.test"])
    host = p.host(t)
    waiting = [client.Client(host.addr) for _ in range(64)]
    t.defer(lambda: [c.close() for c in waiting])
    for i, c in enumerate(waiting):
        c.send(b"\5\1\0" + client.request("s%d.silent.test" % i, p.port))
    wait_for("all are being asked for",
             lambda: len({n for _p, n, _t in p.names.asked if "silent" in n}) == 64)
    for i in range(20):
        started = time.monotonic()
        equal(client.ask(host.addr, "f%d.test" % i, p.port), 0, "reply")
        within(0.3, started, "one other")


# ---- what the system says ----

@case("names of the hosts file are asked of nobody, and it is read again when it changes")
def hosts_file(t):
    p = Place(t, zone={"x.test": [TARGET]})
    mine = bind(p.world, "/etc/hosts",
                "127.0.0.1 localhost\n%s\tMine.test  alias # x.test\n" % TARGET)
    host = p.host(t)
    for name in ("mine.test", "MINE.test", "alias", "mine.test."):
        equal(client.link_of(host.addr, name, p.port), "a", "link for " + name)
    equal(p.names.count(), 0, "queries")
    equal(client.ask(host.addr, "x.test", p.port), 0, "reply for what is a comment there")
    equal(p.names.count(), FAMILIES, "queries")
    with open(mine, "w", encoding="ascii") as f:
        f.write("%s new.test\n" % TARGET)
    wait_for("the new name is known", lambda: client.ask(host.addr, "new.test", p.port) == 0, 5)
    equal(client.ask(host.addr, "alias", p.port), 4, "reply for what is gone")


@case("domains of resolv.conf are for names without a dot")
def domains(t):
    p = Place(t, zone={"short.corp.test": [TARGET]})
    p.world.resolv_conf("search none.test corp.test\n")
    host = p.host(t)
    equal(client.link_of(host.addr, "short", p.port), "a", "link")
    equal(p.names.names_at("a")[::FAMILIES], ["short.none.test", "short.corp.test"], "asked")
    before = p.names.count()
    equal(client.ask(host.addr, "other.name", p.port), 4, "reply for one with a dot")
    equal(p.names.count() - before, FAMILIES, "queries for it")


@case("of systemd-resolved's servers each link finds its own")
def resolved(t):
    p = Place(t, "ab", zone={"n%d.test" % i: [TARGET] for i in range(12)})
    here = dns.NameServer(t, [("here", None, "127.0.0.53")], p.names.zone)
    p.world.resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
    for x in p.world.links:  # the other's server is silent there
        x.rule("drop", "ip daddr 10.0.0.0/16 ip daddr != %s udp dport 53" % x.gw)
    bind(p.world, "/run/systemd/resolve/resolv.conf",
         "# Do not edit.\n" + "".join("nameserver %s\n" % x.gw for x in p.world.links))
    host = Host(t, config({x.name: "interface: " + x.dev for x in p.world.links}))
    started = time.monotonic()
    for i in range(12):
        link = client.link_of(host.addr, "n%d.test" % i, p.port)
        equal({place for place, n, _t in p.names.asked if n == "n%d.test" % i}, {link}, "asked")
    within(2.5, started, "12 names")
    equal(here.count(), 0, "questions to systemd-resolved itself")


@case("systemd-resolved is asked itself where none of its servers answers")
def resolved_only(t):
    p = Place(t, zone={"x.test": ["10.0.0.1"]})
    here = dns.NameServer(t, [("here", None, "127.0.0.53")], {"x.test": [TARGET]})
    p.world.resolv_conf("nameserver 127.0.0.53\n")
    p.world.a.rule("drop", "ip daddr " + DEAD)
    bind(p.world, "/run/systemd/resolve/resolv.conf", "nameserver %s\n" % DEAD)
    host = Host(t, config({"a": "interface: a0"}))
    equal(client.link_of(host.addr, "x.test", p.port), "a", "link")
    equal(here.count(), FAMILIES, "questions to it")


# ---- what it costs ----

@case("a name that is known costs no system call", needs=["strace"])
def no_calls(t):
    p = Place(t)
    host = p.host(t)
    equal(client.ask(host.addr, "x.test", p.port), 0, "reply")
    counts = {}
    for dest in (TARGET, "x.test"):
        out = os.path.join(t.dir, "strace-" + dest)
        tracer = p.world.popen(None, ["strace", "-f", "-qq", "-o", out, "-p", str(host.proc.pid)])
        wait_for("it is traced", lambda: host.status("TracerPid")[0] != "0")
        for _ in range(50):
            client.link_of(host.addr, dest, p.port)
        tracer.terminate()
        tracer.wait()
        with open(out, encoding="ascii", errors="replace") as f:
            counts[dest] = sum("stat" not in line for line in f)  # one a second looks at files
    equal(p.names.count(), FAMILIES, "queries")
    check(counts["x.test"] <= counts[TARGET] * 1.05, "system calls", counts)


if __name__ == "__main__":
    tap.main()
