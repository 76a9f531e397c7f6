#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What saves a round trip: fast open to upstream proxies, and replies before there is success."""

import time

from lib import client, peers, servers, tap
from lib.client import Client, request
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.upstream import Upstream
from lib.world import TARGET, Service, World, free_port, run

FAST = "dialer: socks, server: 10.0.1.2:%d, fast-open: yes"


def counted(ns, name):
    """A counter of the kernel's, in that namespace."""
    lines = run("ip", "netns", "exec", ns, "cat", "/proc/net/netstat").splitlines()
    for keys, values in zip(lines[::2], lines[1::2]):
        if name in keys.split():
            return int(values.split()[keys.split().index(name)])
    raise AssertionError("the kernel does not count " + name)


def fast_world(t, server):
    """A world whose kernels open fast: the clients' always, the servers' if `server`."""
    w = World(t)
    run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1")
    w.a.beyond("sysctl", "-qw", "net.ipv4.tcp_fastopen=%d" % (0x603 if server else 0))
    return w


def upstream(t, w, link, **keywords):
    return Service(t, Upstream(link.ns, **keywords), [(link.name, link.ns, link.gw)]).port


@case("fast open: the greeting goes with the first segment")
def fast_open(t):
    w = fast_world(t, server=True)
    told = w.serve(servers.tell_and_echo)
    host = Host(t, config({"a": FAST % upstream(t, w, w.a)}))
    for i in range(8):
        with client.connect(host.addr, TARGET, told.port) as c:
            check(c.line().startswith("a "), "link")
            c.send(b"x" * 5000)
            equal(c.take(5000), b"x" * 5000, "echo %d" % i)
    opened = counted(w.a.ns, "TCPFastOpenPassive")
    check(opened >= 7, "connections opened fast, of 8", opened)


@case("fast open: not without being asked for")
def not_asked(t):
    w = fast_world(t, server=True)
    told = w.serve(servers.tell)
    host = Host(t, config({"a": "dialer: socks, server: 10.0.1.2:%d" % upstream(t, w, w.a)}))
    equal(client.links_of(4, host.addr, TARGET, told.port), "aaaa", "links")
    equal(counted(w.a.ns, "TCPFastOpenPassive"), 0, "connections opened fast")


@case("fast open: a real server that does not know it (microsocks)", needs=["microsocks"])
def unknown(t):
    w = fast_world(t, server=False)
    told = w.serve(servers.tell)
    port = peers.microsocks(w, w.a.ns, w.a.gw)
    host = Host(t, config({"a": FAST % port}))
    equal(client.links_of(6, host.addr, TARGET, told.port), "aaaaaa", "links")


@table("fast open: the server, once known, then", [
    ("refuses", "reject with tcp reset"), ("is silent", "drop")])
def dies(t, verdict):
    w = fast_world(t, server=True)
    told = w.serve(servers.tell)
    port = upstream(t, w, w.a)
    other = upstream(t, w, w.b)
    host = Host(t, config({"a": FAST % port, "b": "dialer: socks, server: 10.0.2.2:%d" % other}))
    equal(sorted(client.links_of(4, host.addr, TARGET, told.port)), list("aabb"), "links")
    w.a.rule(verdict, "tcp dport %d" % port)
    started = time.monotonic()
    equal(client.links_of(6, host.addr, TARGET, told.port), "bbbbbb", "links while it is gone")
    within(10 if verdict == "drop" else 3, started, "six connections")


@case("fast open: bytes of a raw listener")
def fast_raw(t):
    w = fast_world(t, server=True)
    told = w.serve(servers.tell_and_echo)
    port = upstream(t, w, w.a)
    host = Host(t, config({"a": FAST % port}, listener=", protocols: [raw]"))
    for _ in range(4):
        with client.connect(host.addr, TARGET, told.port) as c:
            check(c.line().startswith("a "), "link")
            c.send(b"through")
            equal(c.take(7), b"through", "echo")
    opened = counted(w.a.ns, "TCPFastOpenPassive")
    check(opened >= 3, "connections opened fast, of 4", opened)


@case("early reply: success is told at once, payload waits and arrives")
def early(t):
    w = World(t)
    told = w.serve(servers.tell_and_echo)
    port = upstream(t, w, w.a, pause=0.4)
    host = Host(t, config({"a": "dialer: socks, server: 10.0.1.2:%d" % port},
                          listener=", early-reply: yes"))
    started = time.monotonic()
    with client.connect(host.addr, TARGET, told.port) as c:
        within(0.3, started, "the reply")
        equal(c.bound, ("0.0.0.0", 0), "BND, which nobody knows yet")
        sent = bytes(range(256)) * 400
        c.send(sent)
        check(c.line().startswith("a "), "link")
        equal(c.take(len(sent)), sent, "payload that was sent before there was a way")


@case("early reply: what fails later is reset")
def early_failure(t):
    w = World(t)
    host = Host(t, config({"a": "address: " + w.a.addr}, listener=", early-reply: yes"))
    with Client(host.addr) as c:
        equal(c.ask(TARGET, free_port(TARGET, w.a.ns)).rep, 0, "the reply")
        equal(c.ended(5)[0], "rst", "the end")
    wait_for("nothing is left over", lambda: host.fds() <= host.fds_ready)


@case("early reply: greeting, request, payload and end in one segment")
def early_all(t):
    w = World(t)
    told = w.serve(servers.tell_and_echo)
    host = Host(t, config({"a": "address: " + w.a.addr}, listener=", early-reply: yes"))
    with Client(host.addr) as c:
        c.send(b"\5\1\0" + request(TARGET, told.port) + b"all there is")
        c.finish()
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")
        check(c.line().startswith("a "), "link")
        equal(c.take_all(), b"all there is", "echo")


if __name__ == "__main__":
    tap.main()
