#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Policies that change, and programs that take over, under 300 connections and 100 kept requests a
second, by all protocols: none fails or is reset, and memory does not grow."""

import json
import os
import shutil
import signal
import statistics
import threading
import time

from lib import client, http, load, peers, tap, world
from lib.host import Host, config, processes, program, sanitized
from lib.tap import case, check, equal, wait_for
from lib.world import World

NEEDS = ("ip", "sysctl", "cc", "microsocks")
LONG = bool(os.environ.get("DISPATCH_LONG"))
RATES = {"socks": 150, "connect": 100, "get": 50}  # connections a second
LOAD_S = 5
HUPS, TIMES = 50 if sanitized() else 100, 5 if LONG else 1

IFACES = {"a": "interface: a0", "b": "interface: b0"}
WEIGHTS = {"a": "interface: a0, weight: 3", "b": "interface: b0, max-connections: 500"}


class Keepers:
    """Clients that ask by plain HTTP, each ten times a second, by a connection that they keep until
    an answer says that it is the last."""

    def __init__(self, t, host, url, count):
        self.to, self.url = host.addr, url
        self.stop, self.answers, self.connections, self.failed = threading.Event(), 0, 0, []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        t.defer(self.stop.set)
        for thread in self.threads:
            thread.start()

    def _run(self):
        try:
            while not self.stop.is_set():
                with client.Client(self.to) as c:
                    self.connections += 1
                    self._keep(c)
        except Exception as error:  # pylint: disable=broad-except
            self.failed.append(error)

    def _keep(self, c):
        reader, last = http.Reader(c.sock), None
        while not last and not self.stop.wait(0.1):
            c.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % self.url.encode())
            answer = http.answer(reader)
            equal((answer.status, answer.body), (200, b"/kept"), "the answer")
            self.answers += 1
            last = http.value(answer.fields, "Connection") == "close"

    def end(self):
        """No request was in vain."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        equal(self.failed, [], "requests that failed")
        check(self.answers > 10 * len(self.threads), "they have asked", self.answers)
        print("# %d kept requests by %d connections" % (self.answers, self.connections))


class Scene:
    """A server that is reached by both links, and the host under load: connections that come, ten
    sessions, begun with the first of the files, that stay, and ten clients that ask by plain HTTP."""

    def __init__(self, t):
        self.t, self.w = t, World(t)
        self._join()
        self.again = world.free_port()
        self.path = shutil.copy(program(), os.path.join(t.dir, "dispatch-host"))
        os.chmod(t.dir, 0o755)
        self.texts = self._texts(peers.microsocks(self.w, self.w.a.ns, self.w.a.gw))
        self.host = Host(t, self.texts[0], path=self.path)
        t.defer(self._kill)
        self.rss = []
        self.keepers = Keepers(t, self.host, http.Origin(self.w, name="a").url("/kept"), 10)
        self._load()

    def _join(self):
        """The server lies behind a; from beyond b a wire leads there."""
        a, b = self.w.a, self.w.b
        b.beyond("ip", "addr", "del", world.TARGET + "/32", "dev", "lo")
        b.beyond("ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns",
                 a.ns)
        for link, dev, addr, dest, gw in ((a, "wire1", "10.5.0.1", b.addr, "10.5.0.2"),
                                          (b, "wire0", "10.5.0.2", world.TARGET, "10.5.0.1")):
            link.beyond("ip", "addr", "add", addr + "/24", "dev", dev)
            link.beyond("ip", "link", "set", dev, "up")
            link.beyond("ip", "route", "add", dest, "via", gw)

    def _texts(self, socks):
        """Files that differ in balancer, dialer, stickiness, weights and what there is of links. The
        host is its own upstream proxy, too, by a listener with a pool of its own."""
        self.w.b.beyond("ip", "route", "add", self.w.a.gw, "via", "10.5.0.1")
        far = dict(IFACES, far="dialer: socks, server: %s:%d, via: b" % (self.w.a.gw, socks))
        four = dict(IFACES, c="dialer: socks, version: 4, server: 127.0.0.1:%d" % self.again)
        http = dict(IFACES, c="dialer: http, server: 127.0.0.1:%d" % self.again)
        return [self._text(links, pool) for links, pool in (
            (IFACES, "balancer: rr"), (WEIGHTS, "balancer: rr, order: block"),
            (IFACES, "balancer: leastconn"), (far, "balancer: random"),
            (four, "balancer: rr"), (http, "balancer: rr"),
            (IFACES, "balancer: hash, hash-on: client"), (far, "balancer: adaptive"),
            (IFACES, "balancer: rr, sticky: {by: [client, host], ttl: 1m}"),
            (WEIGHTS, "balancer: p2c, sticky: {by: client}"), (far, "balancer: leastconn"),
            (IFACES, "balancer: failover, hold-down: 1s"), ({"b": "interface: b0"}, "balancer: rr"),
        )]

    def _text(self, links, pool):
        return config(links, pool=pool, more="  plain: {links: [b]}\nworkers: 2").replace(
            "links:\n", "  again: {listen: 127.0.0.1:%d, pool: plain}\nlinks:\n" % self.again, 1)

    def _kill(self):
        for pid in processes(self.path):
            os.kill(pid, signal.SIGKILL)

    def _load(self):
        ns = self.w.a.ns
        self.connections = {speak: load.Load(self.t, self.host, "conn", ns, speak, streams=rate // 2,
                                             rate=rate, count=rate * LOAD_S)
                            for speak, rate in RATES.items()}
        self.messages = load.Load(self.t, self.host, "msg", ns, streams=10, rate=200, seconds=LOAD_S)
        self.runs = [*self.connections.values(), self.messages]

    def go_on(self):
        """Nothing has been wrong so far, and the load goes on."""
        if not all(run.runs() for run in self.runs):
            self._end()
            self.reload(0)
            self._load()

    def _end(self):
        for speak, run in self.connections.items():
            seen = run.figures()
            check(seen["count"] > 0.8 * RATES[speak] * seen["seconds"], "connections a second", seen)
            print("# %s: %d connections in %.1f s, p99 %.1f ms, slowest %.0f"
                  % (speak, seen["count"], seen["seconds"], seen["p99_us"] / 1e3,
                     seen["max_us"] / 1e3))
        seen = self.messages.figures()
        print("# %d messages, slowest %.0f ms" % (seen["count"], seen["max_us"] / 1e3))

    def reload(self, i):
        """HUP to the newest."""
        self.host.write(self.texts[i % len(self.texts)])
        self._order(signal.SIGHUP, "info config: reloaded")

    def _order(self, number, says):
        """Returns when a host has said that it has done so: all write one log."""
        said = self.host.log().count(says)
        os.kill(processes(self.path)[-1], number)
        wait_for(says, lambda: self.host.log().count(says) > said, 30)

    def hup(self, count):
        """So many reloads, each another policy; then the first again."""
        for i in range(count):
            self.reload(i)
            self.go_on()
        self.reload(0)
        self.rss.append(self.host.rss_kib())

    def upgrade(self):
        """USR2 to the newest; returns when its successor serves."""
        self._order(signal.SIGUSR2, "serves from now on")

    def end(self):
        """Every connection was served, every message answered, and both links were used."""
        self._end()
        self.keepers.end()
        for dev in ("a0", "b0"):
            check(sent(dev) > 1000, "packets by " + dev, sent(dev))


def sent(dev):
    """How many packets have left by a device."""
    (told,) = json.loads(world.run("ip", "-s", "-j", "link", "show", dev))
    return told["stats64"]["tx"]["packets"]


@case("HUPs that alternate policies: none fails, none is reset, memory is flat", needs=NEEDS,
      limit=180)
def hups(t):
    s = Scene(t)
    s.hup(HUPS // 2)  # from then on all has been there once
    began = time.monotonic()
    for _ in range(TIMES):
        s.hup(HUPS)
    print("# %.0f reloads a second; resident memory, KiB: %s"
          % (HUPS * TIMES / (time.monotonic() - began), s.rss))
    s.end()
    wait_for("no descriptor is left over", lambda: s.host.fds() <= s.host.fds_ready + 2)
    # A burst of connections leaves it larger once, a leak each time.
    grown = statistics.median(b - a for a, b in zip(s.rss, s.rss[1:]))
    check(grown < 1024 / TIMES, "memory grew by less than 1 MiB in all", s.rss)


@case("USR2 five times: none fails, none is reset, the last one alone is left", needs=NEEDS,
      limit=180)
def upgrades(t):
    s = Scene(t)
    for _ in range(5):
        s.upgrade()
        time.sleep(3 if LONG else 0.3)
        s.go_on()
    s.end()
    wait_for("those before have served out their sessions", lambda: len(processes(s.path)) == 1)
    equal(s.host.log().count("serves from now on"), 5, "upgrades")


if __name__ == "__main__":
    tap.main()
