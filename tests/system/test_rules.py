#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Rules: by which pool a connection goes, directly, or not at all."""

import os
import socket
import struct

from lib import client, dns, http, servers, tap
from lib.client import Client
from lib.host import Host
from lib.tap import case, check, equal, matches, table, wait_for
from lib.world import TARGET, Service, World

NEAR = "10.0.1.1"  # the machine's own: no link leads there


class Place:
    """Two links, a and b, with servers and name servers; a server that no link leads to."""

    def __init__(self, t):
        self.world = World(t)
        links = (self.world.a, self.world.b)
        self.told = self.world.serve(servers.tell)
        self.port = self.told.port
        dns.NameServer(t, [(link.name, link.ns, link.gw) for link in links],
                       {name: [TARGET] for name in ("a.test", "x.bank.test", "bank.test",
                                                    "n77777.list.test", "sub.dom.test")}
                       | {"rebind.test": ["10.9.9.8"], "near.test": [NEAR]})
        for link in links:
            link.beyond("ip", "address", "add", "10.9.9.8/32", "dev", "lo")
            self.told.add(link.name, link.ns, "10.9.9.8")
        self.web = http.Origin(self.world)
        self.web.service.add(links[0].name, links[0].ns, "10.9.9.8")
        self.near = Service(t, servers.tell, [("near", None, NEAR)], port=self.port)

    def text(self, rules):
        links = "".join("  %s: {interface: %s0, dns: [%s]}\n" % (x.name, x.name, x.gw)
                        for x in (self.world.a, self.world.b))
        return ("listeners:\n  main: {listen: \"127.0.0.1:PORT\", pool: all}\nlinks:\n" + links
                + "pools: {all: {links: [a]}, other: {links: [b]}}\nrules:\n"
                + "".join("  - {%s}\n" % rule for rule in rules))

    def host(self, t, rules):
        return Host(t, self.text(rules))


place = tap.shared(Place)


@table("a rule leads to another pool", [
    ("by name", "host: a.test", "a.test"),
    ("by pattern", "host: \"*.bank.test\"", "x.bank.test"),
    ("by domain", "domain: dom.test", "sub.dom.test"),
    ("by network", "network: 10.9.0.0/16", TARGET),
    ("by client", "client: 127.0.0.0/8", TARGET),
    ("by protocol", "protocol: socks5", TARGET),
    ("by listener", "listener: main", TARGET),
    ("by nothing", "", TARGET),
])
def other_pool(t, condition, dest):
    p = place(t)
    host = p.host(t, ["%spool: other" % (condition + ", " if condition else "")])
    equal(client.link_of(host.addr, dest, p.port), "b", "link")


@table("a rule that does not hold", [
    ("by name", "host: x.test", "a.test"),
    ("by pattern", "host: \"*.bank.test\"", "bank.test"),
    ("by network, and a name", "network: 10.9.0.0/16", "a.test"),
    ("by client", "client: 192.0.2.0/24", TARGET),
    ("by protocol", "protocol: [http, socks4]", TARGET),
    ("by port", "port: [1, 2, 9-10]", TARGET),
    ("by user", "user: me", TARGET),
    ("by half", "host: a.test, port: 1", "a.test"),
])
def not_held(t, condition, dest):
    p = place(t)
    host = p.host(t, [condition + ", pool: other"])
    equal(client.link_of(host.addr, dest, p.port), "a", "link")


@case("the first rule that holds decides")
def first(t):
    p = place(t)
    host = p.host(t, ["host: a.test, pool: other", "port: %d, action: deny" % p.port])
    equal(client.link_of(host.addr, "a.test", p.port), "b", "link")
    equal(client.ask(host.addr, "bank.test", p.port), 2, "reply")
    wait_for("the log names the rule", lambda: "rule=2 code=02" in host.log())


@case("deny: each protocol in its own words")
def deny(t):
    p = place(t)
    host = p.host(t, ["action: deny"])
    equal(client.ask(host.addr, TARGET, p.port), 2, "SOCKS5")
    with Client(host.addr) as c:
        c.send(struct.pack(">BBH", 4, 1, p.port) + socket.inet_aton(TARGET) + b"\0")
        equal(c.ended(5)[1][:2], b"\0\x5b", "SOCKS4")
    with Client(host.addr) as c:
        c.send(b"CONNECT a.test:80 HTTP/1.0\r\n\r\n")
        equal(c.ended(5)[1][:12], b"HTTP/1.1 403", "HTTP")
    with Client(host.addr) as c:
        reader = http.Reader(c.sock)
        for _ in range(2):
            c.send(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
            got = http.answer(reader)
            equal(got.status, 403, "plain HTTP, kept")
            check(b"by a rule" in got.body, "why", got.body)


@table("deny: the connection of plain HTTP is kept, and the next request", [
    ("comes later", False), ("is there already", True)])
def deny_kept(t, at_once):
    p = place(t)
    host = p.host(t, ["host: a.test, action: deny"])
    request = "GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n\r\n"
    with Client(host.addr) as c:
        reader = http.Reader(c.sock)
        for _ in range(2):
            c.send((request % ("a.test", p.port) * (1 + at_once)).encode())
            equal([http.answer(reader).status for _ in range(1 + at_once)], [403] * (1 + at_once),
                  "the answers")
        # A server that speaks no HTTP: but it is asked.
        c.send((request % ("bank.test", p.port)).encode())
        equal(http.answer(reader).status, 502, "the answer for another")
    check(host.alive(), "it lives")


@case("deny holds for what a name turns out to be")
def rebind(t):
    p = place(t)
    host = p.host(t, ["network: 10.9.9.8/32, action: deny"])
    equal(client.ask(host.addr, "10.9.9.8", p.port), 2, "by address")
    equal(client.ask(host.addr, "rebind.test", p.port), 2, "by name")
    equal(client.link_of(host.addr, "a.test", p.port), "a", "another name")


@case("deny holds for what a kept connection leads to, once a reload has brought it")
def kept(t):
    p = place(t)
    host = p.host(t, ["host: none.test, action: deny"])
    with Client(host.addr) as c:
        reader = http.Reader(c.sock)

        def get(name):
            c.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p.web.url(host=name).encode())
            return http.answer(reader).status

        equal((get("rebind.test"), get("rebind.test"), p.web.connections()), (200, 200, 1), "before")
        host.reload(p.text(["network: 10.9.9.8/32, action: deny"]))
        equal(get("rebind.test"), 403, "by the same connection")
        equal(get("a.test"), 200, "another name")


@case("direct goes as the machine itself does")
def direct(t):
    p = place(t)
    host = p.host(t, ["network: 10.0.1.1, action: direct"])
    equal(client.link_of(host.addr, NEAR, p.port), "near", "link")
    equal(client.link_of(host.addr, TARGET, p.port), "a", "all else")


@case("a list of 100,000 names, read again by HUP")
def long_list(t):
    p = place(t)
    names = t.file("names.list", "# names\n" + "".join("n%d.list.test\n" % i
                                                        for i in range(100000)))
    host = p.host(t, ["host-file: %s, pool: other" % names])
    equal(client.link_of(host.addr, "n77777.list.test", p.port), "b", "link")
    with open(names, "w", encoding="utf-8") as f:
        f.write("a.test\n")
    host.reload()
    equal(client.link_of(host.addr, "n77777.list.test", p.port), "a", "link without it")
    equal(client.link_of(host.addr, "a.test", p.port), "b", "link of the new one")


@case("a mistake in a list names its file and line, and the old rules stay")
def bad_list(t):
    p = place(t)
    names = t.file("bad.list", "a.test\n\n")
    host = p.host(t, ["host-file: %s, pool: other" % names])
    with open(names, "w", encoding="utf-8") as f:
        f.write("x.test\nno name\n")
    said = host.reload()
    matches(r"%s:2:1: rule 1: host-file: \"no name\" is not a name" % names, said, "where")
    equal(client.link_of(host.addr, "a.test", p.port), "b", "link")
    os.unlink(names)
    matches("cannot read " + names, host.reload(), "that it is gone")
    check(host.alive(), "it lives")


if __name__ == "__main__":
    tap.main()
