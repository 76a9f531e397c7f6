#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Connections that keep to the link of those before: `sticky`, around any balancer."""

import time

from lib import client, servers, tap
from lib.host import Host, config
from lib.tap import case, check, equal, table
from lib.world import TARGET, World

NEEDS = ("ip", "sysctl")
LINKS = {"a": "interface: a0", "b": "interface: b0"}


class Sticky:
    def __init__(self, t, sticky, balancer="rr", workers=1):
        self.w = World(t)
        self.told = self.w.serve(servers.tell)
        self.text = config(LINKS, pool="balancer: %s, sticky: {%s}" % (balancer, sticky),
                           more="workers: %d" % workers)
        self.host = Host(t, self.text)

    def link(self, source="127.0.0.1", host=TARGET):
        return client.link_of(self.host.addr, host, self.told.port, source=source)

    def links(self, count, **keywords):
        return "".join(self.link(**keywords) for _ in range(count))


@table("each client has its link", [
    ("rr", "rr", 1), ("leastconn", "leastconn", 1), ("rr, 4 workers", "rr", 4),
    ("random", "random", 1),
], needs=NEEDS)
def by_client(t, balancer, workers):
    s = Sticky(t, "by: [client]", balancer, workers)
    sources = ["127.0.0.%d" % n for n in range(1, 21)]
    first = {source: s.link(source) for source in sources}
    if balancer == "rr":
        equal("".join(first.values()), "ab" * 10, "new clients take turns")
    for _ in range(3):
        equal({source: s.link(source) for source in sources}, first, "the same again")


@case("by client and host: another host is another turn", needs=NEEDS)
def by_both(t):
    s = Sticky(t, "by: [client, host]")
    equal(s.links(4), "aaaa", "one host")
    equal(s.links(4, source="127.0.0.2"), "bbbb", "another client")
    equal(s.links(3), "aaa", "the first again")


@case("forgotten after its time without a connection", needs=NEEDS)
def ttl(t):
    s = Sticky(t, "by: client, ttl: 1s")
    for _ in range(4):
        equal(s.link(), "a", "in time")
        time.sleep(0.4)
    time.sleep(0.8)
    equal(s.link(), "b", "a new turn")
    equal(s.link(), "b", "and kept")


@case("moved when its link fails, and stays where it has come to", needs=NEEDS)
def moved(t):
    s = Sticky(t, "by: client")
    equal(s.links(3), "aaa", "before")
    s.w.by_name["a"].down()
    equal(s.links(3), "bbb", "its link is down")
    s.w.by_name["a"].up()
    time.sleep(1.2)
    equal(s.links(3), "bbb", "its link is up again")


@case("a reload keeps what is remembered; without the key it is not asked", needs=NEEDS)
def reload(t):
    s = Sticky(t, "by: client")
    equal(s.links(2), "aa", "before")
    s.host.reload(s.text + "\n")
    equal(s.links(2, source="127.0.0.2"), "bb", "another client")
    equal(s.links(2), "aa", "after a reload")
    s.host.reload(s.text.replace(", sticky: {by: client}", ""))
    check({"a", "b"} == set(s.links(4)), "not sticky any more")
    s.host.reload(s.text)
    equal(s.links(2), "aa", "sticky again, and still known")


@case("a reload to another balancer keeps what is remembered", needs=NEEDS)
def another_balancer(t):
    s = Sticky(t, "by: client")
    equal(s.links(2), "aa", "before")
    equal(s.links(2, source="127.0.0.2"), "bb", "another client")
    s.host.reload(s.text.replace("balancer: rr", "balancer: failover"))
    equal(s.links(2), "aa", "after a reload")
    equal(s.links(2, source="127.0.0.2"), "bb", "the other client after a reload")
    equal(s.links(2, source="127.0.0.3"), "aa", "a new client")


@case("60 reloads to another balancer, under a session of each: all are taken, memory is flat",
      needs=NEEDS)
def reloads(t):
    s = Sticky(t, "by: client")
    holds = s.w.serve(servers.tell_and_hold).port
    first = s.host.rss_kib()
    for i in range(60):
        client.held(t, 1, s.host.addr, TARGET, holds, parallel=1)
        said = s.host.reload(s.text.replace("rr", ("leastconn", "rr")[i % 2]))
        check("error" not in said, "reload %d" % i, said)
    grown = s.host.rss_kib() - first
    check(grown < 8192, "memory grew by less than 8 MiB", "%d KiB" % grown)


tap.main()
