#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Which link a connection goes by: the order of every policy, and exact shares under load."""

import collections

from lib import client, servers, tap
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for
from lib.world import TARGET, Service, World

A3B2 = {"a": "interface: a0, weight: 3", "b": "interface: b0, weight: 2"}


class Place:
    def __init__(self, t):
        self.world = World(t, "abc")
        self.told = self.world.serve(servers.tell)
        self.held = self.world.serve(servers.tell_and_hold, threaded=False)


place = tap.shared(Place)


def order(p, host, count):
    return client.links_of(count, host.addr, TARGET, p.told.port)


def shares(links):
    return dict(collections.Counter(links))


@case("the Go tool's command line, 3:2: A A A B B for ever")
def block_by_arguments(t):
    p = place(t)
    host = Host(t, args=["-lport", "PORT", "10.0.1.1@3", "10.0.2.1@2"])
    equal(order(p, host, 50), "aaabb" * 10, "links in order")
    check(all(peer[0] in ("10.0.1.1", "10.0.2.1") for peer in p.told.clients), "source addresses")


@case("the same by interface names, without and with weights")
def block_by_names(t):
    p = place(t)
    host = Host(t, args=["--lport=PORT", "a0@2", "b0", "10.0.3.1@3"])
    equal(order(p, host, 18), "aabccc" * 3, "links in order")


@table("round robin", [
    ("smooth 3:2", "", (3, 2), "ababa"),
    ("smooth by name", ", order: smooth", (3, 2), "ababa"),
    ("block 3:2", ", order: block", (3, 2), "aaabb"),
    ("equal", "", (1, 1), "ab"),
    ("three equal", "", (1, 1, 1), "abc"),
    ("smooth 5:1:1", "", (5, 1, 1), "aabacaa"),
    ("block 1:2:3", ", order: block", (1, 2, 3), "abbccc"),
])
def round_robin(t, order_key, weights, wanted):
    p = place(t)
    links = {n: "interface: %s0, weight: %d" % (n, w) for n, w in zip("abc", weights)}
    host = Host(t, config(links, pool="balancer: rr" + order_key))
    equal(order(p, host, len(wanted) * 4), wanted * 4, "links in order")


@case("the smallest file: two links, all else by default")
def smallest(t):
    p = place(t)
    host = Host(t, "links: {a: {interface: a0}, b: {interface: b0}}\n", port=8080)
    equal(order(p, host, 8), "abab" * 2, "links in order")


@table("1,000 held open at once are 600:400", [
    ("smooth, 1 worker", 1, "rr, order: smooth"), ("smooth, 4 workers", 4, "rr, order: smooth"),
    ("block, 1 worker", 1, "rr, order: block"), ("block, 4 workers", 4, "rr, order: block"),
    ("leastconn, 1 worker", 1, "leastconn"), ("leastconn, 4 workers", 4, "leastconn"),
])
def held_exactly(t, workers, balancer):
    p = place(t)
    host = Host(t, config(A3B2, pool="balancer: " + balancer, more="workers: %d" % workers))
    _clients, links = client.held(t, 1000, host.addr, TARGET, p.held.port)
    equal(shares(links), {"a": 600, "b": 400}, "connections by link")


@case("no privilege is needed, and none is held")
def unprivileged(t):
    p = place(t)
    host = Host(t, config(A3B2))
    equal(order(p, host, 10), "ababa" * 2, "links in order")
    for key in ("CapEff", "CapPrm", "CapBnd"):
        equal(int(host.status(key)[0], 16), 0, key)
    if tap.real_root():
        check(host.status("Uid")[1] != "0", "not root", host.status("Uid"))


@case("leastconn: ties in turn, the emptier first, weights respected")
def leastconn(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}, pool="balancer: leastconn"))
    clients, links = client.held(t, 10, host.addr, TARGET, p.told.port, parallel=1)
    equal(shares(links), {"a": 5, "b": 5}, "ten on empty links")
    for c, link in zip(clients, links):
        if link == "a":
            c.close()

    # The server's own end of these is still open, but the host has closed: nothing else to see.
    wait_for("the host has closed five tunnels", lambda: host.fds() <= host.fds_ready + 2 * 5, 5)
    _clients, links = client.held(t, 5, host.addr, TARGET, p.told.port, parallel=1)
    equal(shares(links), {"a": 5}, "the next five, while b has five")


@case("leastconn: sessions that end and begin all the time leave the counts right")
def leastconn_churn(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"},
                          pool="balancer: leastconn", more="workers: 4"))
    got = client.together(400, lambda _: client.link_of(host.addr, TARGET, p.told.port), 16)
    check(set(got) == {"a", "b"}, "every one is served", set(map(str, got)))
    wait_for("all tunnels are closed", lambda: host.fds() <= host.fds_ready, 10)
    _clients, links = client.held(t, 100, host.addr, TARGET, p.held.port)
    equal(shares(links), {"a": 50, "b": 50}, "100 held afterwards")


@case("max-connections: a full link is passed over, and taken again when one ends")
def limit(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0, max-connections: 2", "b": "interface: b0"}))
    clients, links = client.held(t, 10, host.addr, TARGET, p.told.port, parallel=1)
    equal(shares(links), {"a": 2, "b": 8}, "ten held")
    clients[links.index("a")].close()
    wait_for("the host has closed it", lambda: host.fds() <= host.fds_ready + 2 * 9, 5)
    _clients, links = client.held(t, 4, host.addr, TARGET, p.told.port, parallel=1)
    equal(shares(links), {"a": 1, "b": 3}, "four more")


@case("max-connections: exact while 200 come at once to 4 workers")
def limit_exact(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0, max-connections: 7", "b": "interface: b0"},
                          more="workers: 4"))
    _clients, links = client.held(t, 200, host.addr, TARGET, p.held.port)
    equal(shares(links), {"a": 7, "b": 193}, "200 held")


@case("max-connections: all links full is a failure at once, not a wait")
def all_full(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0, max-connections: 1",
                           "b": "interface: b0, max-connections: 1"}))
    client.held(t, 2, host.addr, TARGET, p.held.port, parallel=1)
    check(client.ask(host.addr, TARGET, p.held.port, timeout=3) in (1, 3), "a failure is replied")


@case("an IPv6 listener and 200 in a row keep the order")
def long_order(t):
    p = place(t)
    host = Host(t, config(A3B2, listen="[::1]:PORT"), listen="::1")
    equal(order(p, host, 200), "ababa" * 40, "links in order")


@case("100 links, each in its turn; 14, of which all but the last two are dead")
def many_links(t):
    p = place(t)
    inner = Service(t, servers.tell, [("inner", None, "127.0.0.1")])

    def source(host):
        with client.connect(host.addr, "127.0.0.1", inner.port) as c:
            return c.line().split()[1]

    addrs = ["127.0.1.%d" % i for i in range(1, 101)]
    host = Host(t, args=["-lport", "PORT"] + addrs)
    equal([source(host) for _ in range(200)], addrs * 2, "source addresses in order")
    links = {"l%d" % i: "interface: none%d" % i for i in range(12)}
    links.update({"a": "interface: a0", "b": "interface: b0"})
    host = Host(t, config(links, pool="balancer: rr, retries: 15"))
    check(set(order(p, host, 20)) <= {"a", "b"}, "all are served, from the first on")


@case("sessions are spread over the workers, the shares stay")
def workers(t):
    p = place(t)
    host = Host(t, config(A3B2, more="workers: auto"))
    _clients, links = client.held(t, 100, host.addr, TARGET, p.held.port)
    equal(shares(links), {"a": 60, "b": 40}, "connections by link")


if __name__ == "__main__":
    tap.main()
