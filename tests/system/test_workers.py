#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Workers, and what they count together: sessions, descriptors, the connections of a client."""

import contextlib
import os
import re
import time

from lib import client, servers, tap
from lib.client import Client
from lib.host import Host, config
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, World, run

ONE = {"a": "interface: a0"}


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.held = self.world.serve(servers.tell_and_hold, threaded=False)
        self.echoed = self.world.serve(servers.tell_and_echo)


place = tap.shared(Place)


def few(t, text, number, **keywords):
    """A host with no more than so many descriptors, soft and hard."""
    return Host(t, text, prefix=[tap.tool("prlimit"), "--nofile=%d:%d" % (number, number)],
                **keywords)


def room(host):
    """How many connections it says it has room for."""
    return int(matches(r"^info host: room for (\d+) connections at once", host.log(),
                       "the room it has", re.M).group(1))


def waiting(t, p, host, count):
    """Clients that have asked for something and were not served yet."""
    clients = [Client(host.addr) for _ in range(count)]
    t.defer(lambda: [c.close() for c in clients])
    for c in clients:
        c.send(b"\5\1\0" + client.request(TARGET, p.echoed.port))
    return clients


def served(c):
    """Is the answer there now?"""
    c.sock.settimeout(0)
    try:
        return bool(c.sock.recv(2))
    except BlockingIOError:
        return False
    finally:
        c.sock.settimeout(20)


def loops(host):
    """How many descriptors each of its epoll instances waits on; those of workers come last."""
    counts = []
    folder = "/proc/%d/fd" % host.proc.pid
    for fd in sorted(os.listdir(folder), key=int):
        if os.readlink(os.path.join(folder, fd)) == "anon_inode:[eventpoll]":
            with open("/proc/%d/fdinfo/%s" % (host.proc.pid, fd), encoding="ascii") as f:
                counts.append(f.read().count("tfd:"))
    return counts


def threads(host):
    return len(os.listdir("/proc/%d/task" % host.proc.pid))


# ---- descriptors ----

@table("as many sessions as there is room for; the next is served when one ends",
       [("1 worker", 1), ("4 workers", 4)], needs=["prlimit"])
def full(t, workers):
    p = place(t)
    host = few(t, config(ONE, more="workers: %d" % workers), 400)
    n = room(host)
    check(130 <= n <= 155, "room for about 140", n)
    open_, _links = client.held(t, n, host.addr, TARGET, p.echoed.port)
    late = waiting(t, p, host, 10)
    wait_for("it says so", lambda: "there are descriptors for no more" in host.log())
    cpu = host.cpu_s()
    time.sleep(5)  # the measurement itself
    check(host.cpu_s() - cpu <= 0.05, "at most 5 ticks in 5 s", host.cpu_s() - cpu)
    equal([served(c) for c in late], [False] * 10, "served beyond the limit")
    check(host.fds() <= host.fds_ready + 2 * n, "two descriptors each", host.fds())
    for c in open_:
        c.send(b"still")
        equal(c.take(5), b"still", "a session from before")
    for i, c in enumerate(late):
        open_[i * n // 10].close()
        started = time.monotonic()
        equal(c.selection(), 0, "method of the next")
        equal(c.reply().rep, 0, "reply to the next")
        within(0.5, started, "until the next was served")
    equal(host.log().count("there are descriptors for no more"), 1, "lines about it")
    equal(re.findall(r"^(?!info).*failed.*", host.log(), re.M), [], "failures")


@case("room that comes all at once: nobody waits in vain", needs=["prlimit"])
def freed_together(t):
    p = place(t)
    host = few(t, config(ONE, more="workers: 4"), 100)
    n = room(host)
    open_, _links = client.held(t, n, host.addr, TARGET, p.echoed.port)
    late = waiting(t, p, host, n)
    wait_for("it says so", lambda: "there are descriptors for no more" in host.log())
    started = time.monotonic()
    for c in open_:
        c.close()
    for c in late:
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")
    within(2, started, "until all were served")


@case("more clients than room, again and again: all are served in turn", needs=["prlimit"])
def churn(t):
    p = place(t)
    host = few(t, config(ONE, more="workers: 4"), 64)
    check(12 <= room(host) <= 19, "room for a few", room(host))
    got = client.together(1000, lambda _: client.ask(host.addr, TARGET, p.told.port), 60)
    equal([g for g in got if g != 0], [], "not served")
    said = host.log().count("there are descriptors for no more")
    check(1 <= said <= 3, "one line in 10 s", said)
    wait_for("nothing is left over", lambda: host.fds() <= host.fds_ready)


@case("too few descriptors for the workers, or for a single session: an error that says so",
      needs=["prlimit"])
def too_few(t):
    p = place(t)
    said = ""
    for number, workers in [(60, 64)] + [(n, 1) for n in range(7, 14)]:
        host = few(t, config(ONE, more="workers: %d" % workers), number, wait=False)
        wait_for("it is ready or gone", lambda: "listening on" in host.log() or not host.alive())
        if host.alive():
            equal(client.until_served(host.addr, TARGET, p.told.port), "a", "link")
            continue
        equal(host.wait(), 1, "exit status")
        matches(r"raise the limit of open files \(ulimit -n, LimitNOFILE=\)", host.log(), "the cure")
        said += host.log()
    check("cannot start 64 workers: Too many open files" in said, "too few for workers", said)
    check("files leave no room for connections" in said, "too few for a session", said)


# ---- clients ----

@table("max-connections-per-client: never more, whoever accepts them",
       [("1 worker", 1), ("4 workers", 4)])
def per_client(t, workers):
    p = place(t)
    host = Host(t, config(ONE, listener=", max-connections-per-client: 7",
                          more="workers: %d" % workers))
    clients = []
    t.defer(lambda: [c.close() for c in clients])

    def one(_):
        c = Client(host.addr)
        clients.append(c)
        try:
            return c.ask(TARGET, p.held.port).rep
        except (EOFError, ConnectionError):
            return "closed"

    got = client.together(60, one, 30)
    equal((got.count(0), got.count("closed")), (7, 53), "served and closed")
    matches(r"^warn listener: main: client=127\.0\.0\.1:\d+ has 7 connections, its "
            r"max-connections-per-client: closed", host.log(), "the reason", re.M)
    check(host.log().count("its max-connections-per-client") <= 2, "one line in 10 s", host.log())
    equal(client.ask(host.addr, TARGET, p.told.port, source="127.0.0.2"), 0, "another client")
    for c in clients:
        c.close()
    wait_for("all are gone", lambda: host.fds() <= host.fds_ready)
    del clients[:]
    equal(client.together(40, one, 40).count(0), 7, "served afterwards")


@case("max-connections-per-client: a place is free again however a connection ends")
def per_client_given_back(t):
    p = place(t)
    host = Host(t, config(ONE, listener=", max-connections-per-client: 2", more="workers: 2"))
    whole = b"\5\1\0" + client.request(TARGET, p.echoed.port) + b"payload"
    for cut in range(0, len(whole) + 1, 3):
        for leave in (Client.close, Client.reset, Client.finish):
            c = Client(host.addr)
            with contextlib.suppress(OSError):  # where it has no place it is reset meanwhile
                c.send(whole[:cut])
                leave(c)
            c.close()
    # Whoever is served now was accepted after all of them.
    equal(client.until_served(host.addr, TARGET, p.told.port), "a", "link")
    wait_for("all are gone", lambda: host.fds() <= host.fds_ready)
    for port in (p.told.port, 1):  # 1 refuses
        for _ in range(5):
            with Client(host.addr) as c:
                c.ask(TARGET, port)
            wait_for("it is gone", lambda: host.fds() <= host.fds_ready)
    held, _links = client.held(t, 2, host.addr, TARGET, p.held.port)
    equal(len(held), 2, "served")


@case("max-connections-per-client: a /64 of IPv6 is one client")
def per_client_ipv6(t):
    p = place(t)
    for addr in ("fd77:0:0:1::1", "fd77:0:0:1::2", "fd77:0:0:2::1"):
        run("ip", "addr", "add", addr + "/128", "dev", "lo", "nodad")
        t.defer(run, "ip", "addr", "del", addr + "/128", "dev", "lo")
    host = Host(t, config(ONE, listen="[::1]:PORT",
                          listener=", max-connections-per-client: 1"), listen="::1")
    first = client.connect(host.addr, TARGET, p.told.port, source="fd77:0:0:1::1")
    t.defer(first.close)
    with Client(host.addr, source="fd77:0:0:1::2") as c:
        c.send(b"\5\1\0")
        check(c.ended()[0] != "open", "a neighbour is closed")
    equal(client.ask(host.addr, TARGET, p.told.port, source="fd77:0:0:2::1"), 0, "another /64")


@case("max-connections-per-client: a reload changes it, and forgets nobody")
def per_client_reload(t):
    p = place(t)
    host = Host(t, config(ONE, listener=", max-connections-per-client: 2", more="workers: 2"))
    client.held(t, 2, host.addr, TARGET, p.held.port)

    def closed():
        with Client(host.addr) as c:
            c.send(b"\5\1\0")
            return c.ended()[0] != "open"

    check(closed(), "a third one")
    host.reload(config(ONE, listener=", max-connections-per-client: 3", more="workers: 2"))
    client.held(t, 1, host.addr, TARGET, p.held.port)
    check(closed(), "a fourth one")
    host.reload(config(ONE, more="workers: 2"))
    client.held(t, 5, host.addr, TARGET, p.held.port)
    host.reload(config(ONE, listener=", max-connections-per-client: 4", more="workers: 2"))
    client.held(t, 1, host.addr, TARGET, p.held.port)
    check(closed(), "a fifth one of those that are counted")


# ---- workers ----

@case("sessions go to the worker with the fewest")
def fewest(t):
    p = place(t)
    host = Host(t, config(ONE, more="workers: 4"))
    before = loops(host)
    client.held(t, 40, host.addr, TARGET, p.held.port)
    wait_for("each worker has ten of forty, at two descriptors each",
             lambda: [n - b for n, b in zip(loops(host), before)].count(20) == 4)


@case("workers: auto is one for each processor")
def auto(t):
    p = place(t)
    one = Host(t, config(ONE), name="one.yaml")
    host = Host(t, config(ONE, more="workers: auto"))
    online = min(os.sysconf("SC_NPROCESSORS_ONLN"), 64)
    equal(threads(host) - threads(one), online - 1, "threads more than with one worker")
    equal(client.links_of(5, host.addr, TARGET, p.told.port), "aaaaa", "links")


@case("64 workers serve")
def many(t):
    p = place(t)
    host = Host(t, config(ONE, more="workers: 64"))
    got = client.together(300, lambda _: client.ask(host.addr, TARGET, p.told.port), 30)
    equal([g for g in got if g != 0], [], "not served")


if __name__ == "__main__":
    tap.main()
