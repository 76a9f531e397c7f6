#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""A link breaks in the middle of 50 connections a second, in every way a link can: no new
connection fails or waits, what goes by the other does not notice, and it is used again soon."""

import os
import re
import signal
import time

from lib import client, servers, stream, tap, world
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for
from lib.world import TARGET, World

NEW = "10.0.1.77"
LONG = bool(os.environ.get("DISPATCH_LONG"))
BEFORE_S, DURING_S, AFTER_S = (2, 10, 8) if LONG else (0.5, 2, 0.5)  # 20 s in all, or enough
RAMP_S = 5
TWO = {x: "interface: %s0, slow-start: %ds" % (x, RAMP_S) for x in "ab"}
KNOWN_S, SILENT_S = 2, 12  # until it is used again: where the kernel tells of it, and where not


def flap(link):
    for _ in range(6):
        link.carrier_off()
        time.sleep(0.25)
        link.carrier_on()
        time.sleep(0.25)


FAULTS = [
    ("link down", lambda x: x.down(), lambda x: x.up(), KNOWN_S, True),
    ("carrier lost", lambda x: x.carrier_off(), lambda x: x.carrier_on(), KNOWN_S, True),
    ("address gone", lambda x: x.address_flush(), lambda x: x.address_back(), KNOWN_S, True),
    ("address changed", lambda x: x.readdress(NEW), None, KNOWN_S, False),
    ("interface gone", lambda x: x.unplug(), lambda x: x.replug(), KNOWN_S, True),
    ("route gone", lambda x: x.route_off(), lambda x: x.up(), KNOWN_S, False),
    ("rejected", lambda x: x.rule("reject with icmp type host-unreachable"),
     lambda x: x.rules_off(), SILENT_S, True),
    ("black hole", lambda x: x.black_hole(), lambda x: x.rules_off(), SILENT_S, True),
    ("gateway gone", lambda x: x.gateway_off(), lambda x: x.gateway_on(), SILENT_S, True),
    ("flapping six times in three seconds", flap, None, KNOWN_S, False),
]


def check_ramp(load, since):
    """A link that was out of use has its share little by little."""
    first, last = load.links(since, since + 1), load.links(since + RAMP_S + 1)
    shares = [part.count("a") / len(part) for part in (first, last)]
    print("# share of a link that is back: at first %.2f, then %.2f" % tuple(shares))
    check(shares[0] < 0.5 * shares[1], "it has less at first", first)
    check(0.45 < shares[1] < 0.55, "it has its half then", last)


def broken_and_back(t, w, host, port, fault, cure, limit_s):
    """Link a breaks and is used again, under load; returns the load and when that was."""
    load = stream.Stream(t, host, port)
    time.sleep(BEFORE_S)
    fault(w.a)
    began = time.monotonic()
    time.sleep(DURING_S)
    over = time.monotonic()
    if cure:
        cure(w.a)
    back = time.monotonic() if cure else began
    again = load.await_link("a", back, limit_s)
    time.sleep(AFTER_S)
    slowest = load.end()
    print("# slowest of %d %.3f s; used again after %.2f s" % (len(load.all), slowest, again))
    during = load.links(began + stream.LIMIT_S, over) if cure else ""
    check("a" not in during, "link a does not work meanwhile", during)
    cut = load.links(0).count("-")
    check(cut <= 6, "only what was under way when the link went has ended then", cut)
    return load, back + again


# What the kernel tells of is much alike: test_monitor.py has each of those without the load.
@table("50 connections a second", FAULTS, long=("address gone", "interface gone", "route gone"))
def under_load(t, fault, cure, limit_s, was_out):
    w = World(t)
    told_port = w.serve(servers.tell).port
    talk_port = w.serve(servers.tell_and_echo).port
    host = Host(t, config(TWO))
    talks = stream.talks(t, host, talk_port, "ab")
    load, since = broken_and_back(t, w, host, told_port, fault, cure, limit_s)
    if LONG and was_out:
        check_ramp(load, since)
    for talk in talks["b"]:
        talk.end()
    states = re.findall(r"^\w+ link: a: (up|down|no route)", host.log(), re.M)
    equal([x == "up" for x in states], [False, True] * (len(states) // 2), "told in turn")
    check(len(states) <= 12, "a line for each change at most", states)


# ---- tunnels ----

@table("50 connections a second, by two SOCKS servers", [
    ("one hangs", lambda proxy: proxy.send_signal(signal.SIGSTOP),
     lambda proxy: proxy.send_signal(signal.SIGCONT)),
    ("the way to one is a black hole", None, None),
], needs=["microsocks"])
def tunnels(t, fault, cure):
    w = World(t)
    port = w.serve(servers.tell).port
    links, proxies = {}, {}
    for link in w.links:
        proxy_port = world.free_port(link.gw, link.ns)
        proxies[link] = w.popen(link.ns, ["microsocks", "-i", link.gw, "-p", str(proxy_port)])
        wait_for("it listens", lambda x=link, p=proxy_port: world.accepts(x.gw, p, x.ns))
        links[link.name] = "dialer: socks, server: %s:%d" % (link.gw, proxy_port)
    host = Host(t, config(links))
    broken_and_back(t, w, host, port,
                    lambda x: fault(proxies[x]) if fault else x.black_hole(),
                    lambda x: cure(proxies[x]) if cure else x.rules_off(), SILENT_S)


# ---- not a fault ----

def lossy(t, link):
    """Of a hundred packets five are lost, in each direction."""
    drop = "numgen random mod 100 < 5 drop"
    link.rule(drop)
    name = "loss-" + link.name
    world.run("nft", "add table inet %s; add chain inet %s in { type filter hook prerouting "
              "priority -300; }; add rule inet %s in iifname %s %s"
              % (name, name, name, link.dev, drop))
    t.defer(world.run, "nft", "delete table inet " + name)


@case("5 % loss both ways: 400 connections, none fails, no link is put out of use")
def loss(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO))
    for link in w.links:
        lossy(t, link)
    seen = client.together(400, lambda _: stream.Connection(host, port), 16)
    equal([c for c in seen if c.error], [], "failures")
    slowest = max(c.took for c in seen)
    print("# slowest %.3f s; by a %d of 400" % (slowest, [c.link for c in seen].count("a")))
    check(slowest > 0.15, "something was lost", slowest)
    equal(re.findall(r"^\w+ link: .*", host.log(), re.M), [], "told of links")


if __name__ == "__main__":
    tap.main()
