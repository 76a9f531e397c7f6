#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Links follow the kernel: one that has no way out is known before a client comes, and used again
as soon as it has; its connections end with it, or stay."""

import platform
import re
import signal
import sys
import time

from lib import client, servers, tap, world
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.upstream import Upstream
from lib.world import TARGET, TARGET6, World

TWO = {"a": "interface: a0", "b": "interface: b0"}
AT_ONCE_S = 0.5  # what is done in a few milliseconds, on a noisy machine


def told(host):
    """What the log says of links, without what follows the first colon."""
    return re.findall(r"^\w+ link: (\w+: [a-z ]+)", host.log(), re.M)


def until_told(host, text, limit_s=3.0):
    wait_for("the log says " + text, lambda: text in host.log(), limit_s, 0.002)


CHANGES = [
    ("down", lambda x: x.down(), lambda x: x.up(), "down: a0 is down"),
    ("carrier lost", lambda x: x.carrier_off(), lambda x: x.carrier_on(),
     "down: a0 has no carrier"),
    ("address gone", lambda x: x.address_flush(), lambda x: x.address_back(),
     "down: a0 has no address"),
    ("taken away", lambda x: x.unplug(), lambda x: x.replug(), "down: no interface a0"),
]


@table("known before a client comes, and used again at once", CHANGES)
def known(t, fault, cure, says):
    w = World(t)
    service = w.serve(servers.tell)
    host = Host(t, config(TWO))
    equal(client.links_of(4, host.addr, TARGET, service.port), "abab", "links before")
    started = time.monotonic()
    fault(w.a)
    until_told(host, "warn link: a: %s\n" % says)
    within(AT_ONCE_S, started, "the fault, and that it is known")
    equal(client.links_of(20, host.addr, TARGET, service.port), "b" * 20, "links meanwhile")
    cure(w.a)
    started = time.monotonic()
    until_told(host, "info link: a: up\n")
    within(AT_ONCE_S, started, "that it is up")
    links = client.links_of(20, host.addr, TARGET, service.port)
    equal(links.count("a"), 10, "connections by a of 20: " + links)
    equal(told(host), ["a: down", "a: up"], "told")
    check("warn a:" not in host.log(), "the dialer was never asked in vain")


@case("its default route is gone: others come first, but it is better than none")
def no_route(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    w.a.route_off()
    wait_for("it is passed over",
             lambda: client.links_of(4, host.addr, TARGET, port) == "bbbb", AT_ONCE_S)
    until_told(host, "warn link: a: no route")
    w.b.down()
    until_told(host, "warn link: b: down")
    own = world.Service(t, servers.tell, [("a", w.a.ns, w.a.gw)])
    equal(client.link_of(host.addr, w.a.gw, own.port), "a", "link to a's own network")
    w.a.up()
    until_told(host, "info link: a: up")
    equal(client.link_of(host.addr, TARGET, port), "a", "link")


@case("all links are down: 03 at once; the first that is up serves at once")
def all_down(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    for link in w.links:
        link.down()
    for name in "ab":
        until_told(host, "link: %s: down" % name)
    for dest in (TARGET, TARGET6, "name.test"):
        started = time.monotonic()
        equal(client.ask(host.addr, dest, port), 3, "reply for " + dest)
        within(AT_ONCE_S, started, "the answer")
    w.b.up()
    until_told(host, "link: b: up")
    equal(client.link_of(host.addr, TARGET, port), "b", "link")
    check(not re.search(r"^warn [ab]:", host.log(), re.M), "no dialer was asked in vain")


@case("a family that a link has no address of: the other serves, none is blamed")
def family(t):
    w = World(t)
    port = world.Service(t, servers.tell, [(x.name, x.ns, TARGET6) for x in w.links]).port
    host = Host(t, config(TWO))
    equal(client.links_of(4, host.addr, TARGET6, port), "abab", "links before")
    world.run("ip", "-6", "addr", "flush", "dev", "a0", "scope", "global")
    wait_for("a is passed over",
             lambda: client.links_of(4, host.addr, TARGET6, port) == "bbbb", AT_ONCE_S)
    world.run("ip", "-6", "addr", "flush", "dev", "b0", "scope", "global")
    wait_for("no link has it", lambda: client.ask(host.addr, TARGET6, port) == 8, AT_ONCE_S)
    equal(told(host), [], "told")


@case("an interface that does not exist yet is used as soon as it does")
def hotplug(t):
    w = World(t)
    port = w.serve(servers.tell).port
    w.a.unplug()
    host = Host(t, config(TWO))
    until_told(host, "warn link: a: down: no interface a0\n")
    equal(client.links_of(6, host.addr, TARGET, port), "b" * 6, "links before")
    w.a.replug()
    until_told(host, "info link: a: up\n")
    # Of a new interface the first packets may get lost, and then the other link is faster.
    wait_for("a has its share", lambda: client.links_of(6, host.addr, TARGET, port).count("a") == 3,
             3)


@case("a tunnel goes by a link that is down: so is the tunnel")
def tunnel(t):
    w = World(t)
    target = w.serve(servers.tell)
    proxy = world.Service(t, Upstream(w.a.ns), [("a", w.a.ns, w.a.gw)])
    host = Host(t, config({**TWO, "far": "dialer: socks, server: %s:%d, via: a"
                           % (w.a.gw, proxy.port)}))
    links = client.links_of(6, host.addr, TARGET, target.port)
    equal(sorted(links), sorted("aaaabb"), "where the servers saw clients: " + links)
    w.a.carrier_off()
    until_told(host, "link: far: down: a0 has no carrier")
    equal(client.links_of(6, host.addr, TARGET, target.port), "b" * 6, "links")
    w.a.carrier_on()
    until_told(host, "link: far: up")
    equal(client.links_of(6, host.addr, TARGET, target.port).count("b"), 2, "by b of 6")


# What a sandbox does that knows no AF_NETLINK: socket() of that family fails.
NO_NETLINK = """
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 3, NUMBER), (0x20, 0, 0, 16), (0x15, 0, 1, 16),
         (0x06, 0, 0, 0x00050061), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit("prctl: %s" % os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
SOCKET = {"x86_64": "41", "aarch64": "198", "riscv64": "198"}


@case("where the kernel may not be asked: a warning, and connections find out for themselves")
def sandboxed(t):
    number = SOCKET.get(platform.machine())
    if not number:
        raise tap.Skip("the number of socket() is not known for " + platform.machine())
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO), prefix=[sys.executable, "-c",
                                        NO_NETLINK.replace("NUMBER", number)])
    tap.matches(r"^warn link: links are not watched: Address family not supported", host.log(),
                "the warning")
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    w.a.down()
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")
    tap.matches(r"^warn a: a0 is down$", host.log(), "what the dialer says")


# ---- connections ----

def two_lives(t, host, port):
    """A connection by each link, be one just back; where it came from is its .source."""
    lives = {}
    while len(lives) < 2:
        c = client.connect(host.addr, TARGET, port)
        t.defer(c.close)
        link, c.source = c.line().split()[:2]
        lives[link] = c
    return lives


def check_alive(c, what):
    c.send(b"alive")
    equal(c.take(5), b"alive", what)


@table("connections end with it, and the other link's do not", CHANGES)
def reset(t, fault, _cure, says):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO, more="workers: 2"))
    lives = two_lives(t, host, port)
    started = time.monotonic()
    fault(w.a)
    equal(lives["a"].ended(5)[0], "rst", "the connection by a")
    within(AT_ONCE_S, started, "the end")
    until_told(host, says)
    check_alive(lives["b"], "the connection by b")


@table("on-down: keep, connections outlive it", [CHANGES[0], CHANGES[1]])
def keep(t, fault, cure, says):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config({"a": "interface: a0, on-down: keep", "b": TWO["b"]}))
    lives = two_lives(t, host, port)
    fault(w.a)
    until_told(host, says)
    cure(w.a)
    until_told(host, "link: a: up")
    check_alive(lives["a"], "the connection by a")
    check_alive(lives["b"], "the connection by b")


@case("its address changes: connections from the old one end, new ones leave from the new one")
def readdressed(t):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO))
    world.run("ip", "addr", "add", "10.0.1.77/24", "dev", "a0")
    lives = two_lives(t, host, port)
    equal(lives["a"].source, w.a.addr, "where the first left from")
    world.run("sysctl", "-qw", "net.ipv4.conf.a0.promote_secondaries=1")
    world.run("ip", "addr", "del", w.a.addr + "/24", "dev", "a0")
    equal(lives["a"].ended(5)[0], "rst", "the connection from the old address")
    w.a.up()
    check_alive(lives["b"], "the connection by b")
    lives = two_lives(t, host, port)
    equal(lives["a"].source, "10.0.1.77", "where the next left from")
    world.run("ip", "addr", "add", "10.0.1.78/24", "dev", "a0")
    world.run("ip", "addr", "del", "10.0.1.78/24", "dev", "a0")
    check_alive(lives["a"], "a connection from an address that stays")
    equal(told(host), [], "told")


@case("links by address, as on the Go command line: their interfaces' new addresses serve", limit=30)
def by_address(t):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, args=["-lport", "PORT", w.a.addr, w.b.addr])
    lives = two_lives(t, host, port)
    w.a.readdress("10.0.1.77")  # gone, then another: DHCP
    equal(lives["a"].ended(5)[0], "rst", "the connection from the old address")
    until_told(host, "%s: up" % w.a.addr)
    equal(two_lives(t, host, port)["a"].source, "10.0.1.77", "where the next left from")
    w.a.unplug()  # and another interface of the same name: PPPoE
    until_told(host, "%s: down: no interface has %s" % (w.a.addr, w.a.addr))
    w.a.addr = "10.0.1.99"
    w.a.replug()
    wait_for("it serves", lambda: "a" in client.links_of(2, host.addr, TARGET, port), 2)
    equal(two_lives(t, host, port)["a"].source, "10.0.1.99", "where the next left from")
    check_alive(lives["b"], "the connection by b")
    equal(host.log().count("has changed"), 1, "lines of the dialer's")


@case("on-down may change at a reload, and a link that is down stays so, told once")
def reload(t):
    w = World(t)
    port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO))
    w.b.down()
    until_told(host, "link: b: down")
    with client.connect(host.addr, TARGET, port) as c:
        equal(c.line().split()[0], "a", "link")
        host.reload(config({"a": "interface: a0, on-down: keep", "b": TWO["b"],
                            "c": "interface: c0"}))
        until_told(host, "link: c: down: no interface c0")
        w.a.carrier_off()
        until_told(host, "link: a: down")
        equal(client.ask(host.addr, TARGET, port), 3, "reply")
        w.a.carrier_on()
        until_told(host, "link: a: up")
        check_alive(c, "the connection by a")
    equal(told(host), ["b: down", "c: down", "a: down", "a: up"], "told")


# ---- many events ----

@case("more events than can be held: what counts is how things are in the end")
def overflow(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    lines = []
    for i in range(3000):
        address = "10.200.%d.%d/32" % (i // 250, i % 250 + 1)
        lines += ["addr add %s dev lo" % address, "addr del %s dev lo" % address]
    batch = t.file("batch", "\n".join(lines) + "\n")
    host.proc.send_signal(signal.SIGSTOP)
    world.run("ip", "-batch", batch)
    w.a.down()
    host.proc.send_signal(signal.SIGCONT)
    until_told(host, "link: a: down")
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")
    w.a.up()
    until_told(host, "link: a: up")


@case("much that happens elsewhere costs little")
def elsewhere(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    client.link_of(host.addr, TARGET, port)
    lines = ["addr %s 10.200.0.1/32 dev lo" % verb for _ in range(20000) for verb in ("add", "del")]
    batch = t.file("batch", "\n".join(lines) + "\n")
    before, started = host.cpu_s(), time.monotonic()
    world.run("ip", "-batch", batch)
    took, used = time.monotonic() - started, host.cpu_s() - before
    print("# 40000 events in %.2f s: %.2f s of CPU time" % (took, used))
    check(used < 0.5 * took + 0.1, "CPU time", used, took)
    w.a.down()
    until_told(host, "link: a: down")


if __name__ == "__main__":
    tap.main()
