#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Upstream proxies as links: ssh -D, microsocks and danted, alone, killed, and one behind the
other; and who resolves names."""

import threading
import time

from lib import client, dns, peers, servers, tap
from lib.client import Client, Refused, request
from lib.host import Host, config
from lib.servers import Pattern
from lib.tap import case, check, equal, table, wait_for
from lib.upstream import Upstream, Upstream4
from lib.world import TARGET, TARGET6, Service, World, free_port


class Tunnels:
    """Two ssh -D, each to an sshd behind a link of its own."""

    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.echoed = self.world.serve(servers.tell_and_echo)
        self.sshd = [peers.Ssh(t, self.world, x.ns, x.gw) for x in self.world.links]
        self.ssh = [s.tunnel() for s in self.sshd]
        self.servers = ["127.0.0.1:%d" % s.port for s in self.ssh]

    def start(self, t, mode):
        """A host with both tunnels, as socks5:// links, with -tunnel, or by YAML."""
        if mode == "socks5://":
            args = ["-lport", "PORT"] + ["socks5://%s" % s for s in self.servers]
        elif mode == "-tunnel":
            args = ["-lport", "PORT", "-tunnel"] + ["%s@1" % s for s in self.servers]
        else:
            links = {n: "dialer: socks, server: %s" % s for n, s in zip("ab", self.servers)}
            return Host(t, config(links))
        return Host(t, args=args)


SSH = ["ssh", "sshd", "ssh-keygen"]
MODES = [("socks5:// links", "socks5://"), ("-tunnel", "-tunnel"), ("a file", "yaml")]


@table("ssh -D", MODES, needs=SSH)
def both(t, mode):
    p = Tunnels(t)
    host = p.start(t, mode)
    equal(client.links_of(10, host.addr, TARGET, p.told.port), "ab" * 5, "links in order")
    with client.connect(host.addr, TARGET, p.echoed.port) as c:
        c.line()
        total = 5000000

        def send():
            servers.pour(c.sock, total)
            c.finish()

        threading.Thread(target=send, daemon=True).start()
        equal(servers.drain(c.sock), (total, Pattern.digest(total)), "5 MB echoed")


@table("ssh -D, one killed in the middle, none fails", MODES, needs=SSH)
def killed(t, mode):
    p = Tunnels(t)
    host = p.start(t, mode)
    # What a raw relay has begun with a server that dies cannot be given to another: there,
    # clients come one by one, and the kill falls between two of them.
    parallel = 1 if mode == "-tunnel" else 4
    failed, served, lock = [], [], threading.Lock()
    turn = threading.Lock() if parallel == 1 else None
    stop = threading.Event()

    def work():
        while not stop.is_set():
            if turn:
                turn.acquire()
            try:
                started = time.monotonic()
                with Client(host.addr) as c:
                    rep = c.ask(TARGET, p.told.port).rep
                    with lock:
                        if rep:
                            failed.append("reply %d" % rep)
                        else:
                            served.append(time.monotonic() - started)
            except (OSError, EOFError) as error:
                with lock:
                    failed.append(repr(error))
            finally:
                if turn:
                    turn.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(parallel)]
    for thread in threads:
        thread.start()
    wait_for("the stream runs", lambda: len(served) >= 30)
    if turn:
        turn.acquire()
    p.ssh[0].kill()
    p.ssh[0].wait()
    at = len(served)
    if turn:
        turn.release()
    wait_for("200 more are served", lambda: len(served) >= at + 200, 30)
    stop.set()
    for thread in threads:
        thread.join()
    equal(failed, [], "failed clients of %d" % len(served))
    check(max(served[at + parallel:]) < 4, "no one waited long", max(served[at:]))
    equal(set(client.links_of(6, host.addr, TARGET, p.told.port)), {"b"}, "links afterwards")


@case("ssh -D: a killed one that comes back is used again", needs=SSH)
def back_again(t):
    p = Tunnels(t)
    host = p.start(t, "yaml")
    equal(client.links_of(4, host.addr, TARGET, p.told.port), "abab", "links at first")
    p.ssh[0].kill()
    p.ssh[0].wait()
    equal(client.links_of(4, host.addr, TARGET, p.told.port), "bbbb", "links without the first")
    p.world.popen(None, p.ssh[0].args)
    wait_for("the first is used again",
             lambda: "a" in client.links_of(2, host.addr, TARGET, p.told.port), 20, 0.2)


@case("ssh -D: one that loses its sshd, while ssh lives on", needs=SSH)
def lost_sshd(t):
    p = Tunnels(t)
    host = p.start(t, "yaml")
    p.world.a.rule("reject with tcp reset", "tcp dport %d" % p.sshd[0].port)
    got = [client.link_of(host.addr, TARGET, p.told.port) for _ in range(12)]
    equal(set(got), {"b"}, "links of 12 clients")


@case("-tunnel: bytes pass untouched, half-close as well")
def raw(t):
    w = World(t)
    seen = []

    def handler(conn, name, _peer):
        seen.append(servers.drain(conn))
        conn.sendall(("%s\n" % name).encode())
        servers.pour(conn, 1000000)

    ports = [Service(t, handler, [(x.name, x.ns, x.gw)]).port for x in w.links]
    host = Host(t, args=["-lport", "PORT", "-tunnel", "10.0.1.2:%d@2" % ports[0],
                         "10.0.2.2:%d@1" % ports[1]])
    order = ""
    for _ in range(6):
        with Client(host.addr) as c:
            servers.pour(c.sock, 5000)  # not a SOCKS greeting
            c.finish()
            order += c.line()
            equal(servers.drain(c.sock), (1000000, Pattern.digest(1000000)), "what came back")
    equal(order, "aabaab", "links in order")
    equal(seen, [(5000, Pattern.digest(5000))] * 6, "what the servers got")


@case("-tunnel: a server that refuses is passed over; with none left the client sees the end")
def raw_refused(t):
    w = World(t)
    alive = Service(t, servers.tell, [("b", w.b.ns, w.b.gw)])
    dead = free_port(w.a.gw, w.a.ns)
    host = Host(t, args=["-lport", "PORT", "-tunnel", "10.0.1.2:%d" % dead,
                         "10.0.2.2:%d" % alive.port])
    for _ in range(8):
        with Client(host.addr) as c:
            equal(c.line().split()[0], "b", "link")
    alive.close()
    with Client(host.addr) as c:
        check(c.ended(10)[0] != "open", "the client sees the end")


# ---- other servers ----

@case("microsocks with user and password", needs=["microsocks"])
def microsocks(t):
    w = World(t)
    told = w.serve(servers.tell)
    port = peers.microsocks(w, w.a.ns, w.a.gw, "-u", "me", "-P", "p:w@x")
    secret = t.file("secret", "p:w@x\n", 0o644)
    right = "dialer: socks, server: 10.0.1.2:%d, username: me, " % port
    for keys in (right + 'password: "p:w@x"', right + "password-file: " + secret):
        host = Host(t, config({"up": keys}))
        for dest in (TARGET, TARGET.encode()):
            equal(client.link_of(host.addr, dest, told.port), "a", "link")
        host.kill()
    wrong = Host(t, config({"up": right + "password: wrong"}))
    equal(client.ask(wrong.addr, TARGET, told.port), 1, "reply with the wrong password")
    check("wrong" not in wrong.log(), "the password is not in the log", wrong.log())
    url = Host(t, args=["-lport", "PORT", "socks5://me:p%%3Aw%%40x@10.0.1.2:%d@2" % port])
    equal(client.link_of(url.addr, TARGET, told.port), "a", "link of a URL with a password")


@case("danted", needs=["danted"])
def danted(t):
    w = World(t)
    told = w.serve(servers.tell)
    port = peers.danted(w, w.a.ns, w.a.gw, w.a.peer)
    host = Host(t, config({"up": "dialer: socks, server: 10.0.1.2:%d" % port}))
    for _ in range(10):
        equal(client.link_of(host.addr, TARGET, told.port), "a", "link")
    closed = free_port(TARGET, w.a.ns)
    equal(client.ask(host.addr, TARGET, closed), 5, "reply for a port nobody has")


@case("nothing is asked of the upstream but the request: user, name, port as given")
def as_given(t):
    w = World(t, "a")
    told = w.serve(servers.tell)
    told.add("a", w.a.ns, TARGET6)
    up = Upstream(w.a.ns, user=b"u" * 255, password=b"p" * 255, names={"name.test": TARGET})
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    host = Host(t, config({"up": "dialer: socks, server: 10.0.1.2:%d, username: %s, password: %s"
                           % (port, "u" * 255, "p" * 255)}))
    for dest, kind in ((TARGET, 1), (TARGET6, 4), ("name.test", 3)):
        equal(client.link_of(host.addr, dest, told.port), "a", "link")
        equal(up.requests[-1], (kind, dest, told.port), "the request the upstream got")
    equal(up.logins, [(b"u" * 255, b"p" * 255)] * 3, "logins")


# ---- versions 4a and 4 ----

VERSIONS = [("4a", "4a"), ("4", "4")]


@table("danted and ssh -D, spoken to in version", VERSIONS, needs=SSH + ["danted"])
def old_versions(t, version):
    p = Tunnels(t)
    b = p.world.b
    port = peers.danted(p.world, b.ns, b.gw, b.peer)
    keys = "dialer: socks, version: %s, username: me, server: " % version
    host = Host(t, config({"ssh": keys + p.servers[0], "danted": keys + "%s:%d" % (b.gw, port)}))
    equal(client.links_of(6, host.addr, TARGET, p.told.port), "ababab", "links in order")
    closed = free_port(TARGET, b.ns)
    equal(client.ask(host.addr, TARGET, closed), 1, "reply for a port nobody has")
    equal(sorted(client.links_of(2, host.addr, TARGET, p.told.port)), ["a", "b"], "links after")


@table("nothing is asked of the upstream but the request, in version", VERSIONS)
def old_as_given(t, version):
    w = World(t, "a")
    told = w.serve(servers.tell)
    dns.NameServer(t, [("a", w.a.ns, w.a.gw)], {"name.test": [TARGET]})
    up = Upstream4(w.a.ns, names={"name.test": TARGET}, piece=1)
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    host = Host(t, args=["-lport", "PORT", "socks%s://me@%s:%d" % (version, w.a.gw, port)])
    for dest in (TARGET, "name.test"):
        equal(client.link_of(host.addr, dest, told.port), "a", "link")
    name = "name.test" if version == "4a" else TARGET  # looked up here
    equal(up.requests, [("me", TARGET, told.port), ("me", name, told.port)], "the requests")


@table("what it cannot ask for leaves by the other link, version", VERSIONS)
def old_cannot(t, version):
    w = World(t)
    told = w.serve(servers.tell)
    told.add("b", w.b.ns, TARGET6)
    up = Upstream4(w.a.ns)
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    host = Host(t, config({"a": "dialer: socks, version: %s, server: %s:%d"
                           % (version, w.a.gw, port), "b": "interface: b0"}))
    for _ in range(4):
        equal(client.link_of(host.addr, TARGET6, told.port), "b", "link")
    equal(up.requests, [], "what the upstream was asked")
    equal(sorted(client.links_of(2, host.addr, TARGET, told.port)), ["a", "b"], "links after")


@table("version 4a: it answers", [("91", 91, False), ("92", 92, True), ("93", 93, True)])
def old_refuses(t, code, at_once):
    w = World(t)
    told = w.serve(servers.tell)
    ups = [Upstream4(link.ns, code=code) for link in w.links]
    ports = [Service(t, up, [("up", link.ns, link.gw)]).port for up, link in zip(ups, w.links)]
    host = Host(t, config({link.name: "dialer: socks, version: 4a, server: %s:%d" % (link.gw, port)
                           for link, port in zip(w.links, ports)}))
    equal(client.ask(host.addr, TARGET, told.port), 1, "reply when both do")
    equal("not used" in host.log(), at_once, "was a link put out of use?")
    ups[1].code = 90
    equal([client.link_of(host.addr, TARGET, told.port) for _ in range(8)], ["b"] * 8, "links")
    check("link: a: not used" in host.log(), "where the other gets through the first has failed")


def _after_request(data, end=None):
    """Reads the request, says `data`, and ends as `end` says."""

    def misbehave(self, conn):
        self.read_request(conn)
        conn.sendall(data)
        if end:
            end(conn)

    return misbehave


GRANT4 = b"\0\x5a" + bytes(6)
BROKEN4 = [
    ("answers in version 4", _after_request(b"\4\x5a" + bytes(6)), True),
    ("answers SOCKS5", _after_request(b"\5\0" + bytes(8)), True),
    ("answers zeros", _after_request(bytes(8)), True),
    ("ends inside its answer", _after_request(GRANT4[:7]), False),
    ("ends after the request", _after_request(b""), False),
    ("resets after the request", _after_request(b"", servers.reset), False),
]


@table("version 4a: by way of the other, where one", BROKEN4)
def old_broken(t, misbehave, blamed):
    w = World(t)
    told = w.serve(servers.tell)
    up = Upstream4(w.a.ns)
    up.misbehave = misbehave
    service = Service(t, up, [("up", w.a.ns, w.a.gw)])
    host = Host(t, config({"a": "dialer: socks, version: 4a, server: %s:%d"
                           % (w.a.gw, service.port), "b": "interface: b0"}))
    equal(client.links_of(12, host.addr, TARGET, told.port), "b" * 12, "links")
    check(len(up.requests) >= (1 if blamed else 5), "how often it was asked", up.requests)
    equal("not used" in host.log(), blamed, "was it put out of use?")


@case("version 4a: the answer and the first payload in one segment")
def old_glued(t):
    w = World(t, "a")
    up = Upstream4(w.a.ns)
    up.misbehave = _after_request(GRANT4 + b"a 0 0\nhello")
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    host = Host(t, args=["-lport", "PORT", "socks4a://%s:%d" % (w.a.gw, port)])
    with client.connect(host.addr, TARGET, 80) as c:
        equal(c.take_all(), b"a 0 0\nhello", "payload glued to the answer")


# ---- who resolves ----

@table("resolve", [("remote is the default", ""), ("remote", ", resolve: remote"),
                   ("local", ", resolve: local")])
def resolve(t, key):
    w = World(t, "a")
    told = w.serve(servers.tell)
    names = dns.NameServer(t, [("here", None, "10.0.1.1"), ("there", w.a.ns, w.a.gw)],
                           {"name.test": [TARGET]})
    w.resolv_conf("nameserver 10.0.1.1\n")
    if tap.tool("microsocks"):
        port = peers.microsocks(w, w.a.ns, TARGET, resolv="nameserver %s\n" % w.a.gw)
    else:
        raise tap.Skip("not installed: microsocks")
    host = Host(t, config({"up": "dialer: socks, server: %s:%d%s" % (TARGET, port, key)}))
    equal(client.link_of(host.addr, "name.test", told.port), "a", "link")
    asked = {place for place, name, _type in names.asked if name == "name.test"}
    equal(asked, {"here" if "local" in key else "there"}, "who was asked")


# ---- chains ----

@case("via: socks over an interface")
def via_iface(t):
    w = World(t)
    told = w.serve(servers.tell)
    # The same server address behind both links: only the device decides which one is met.
    ups = {x.name: Upstream(x.ns) for x in w.links}
    one = w.serve(lambda conn, name, peer: ups[name](conn, name, peer))
    server = "dialer: socks, server: %s:%d" % (TARGET, one.port)
    host = Host(t, "\n".join([
        "listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:",
        "  a: {interface: a0}", "  b: {interface: b0}", "  ua: {%s, via: a}" % server,
        "  ub: {%s, via: b}" % server, "pools: {all: {balancer: rr, links: [ua, ub]}}", ""]))
    equal(client.links_of(8, host.addr, TARGET, told.port), "ab" * 4, "links in order")
    equal({peer[0] for peer in one.clients}, {"10.0.1.1", "10.0.2.1"}, "source addresses")


@case("via: socks over socks over an interface, every byte, early and late")
def via_socks(t):
    w = World(t)
    echoed = w.serve(servers.tell_and_echo)
    inner, outer = Upstream(w.b.ns), Upstream(w.b.ns, user=b"u", password=b"p", piece=1)
    inner_port = Service(t, inner, [("inner", w.b.ns, TARGET)]).port
    outer_port = Service(t, outer, [("outer", w.b.ns, TARGET)]).port
    host = Host(t, "\n".join([
        "listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:",
        "  b: {interface: b0}",
        "  one: {dialer: socks, server: %s:%d, via: b, username: u, password: p}"
        % (TARGET, outer_port),
        "  two: {dialer: socks, server: %s:%d, via: one}" % (TARGET, inner_port),
        "pools: {all: {links: [two]}}", ""]))
    total = 3000000
    with Client(host.addr) as c:
        c.send(b"\5\1\0" + request(TARGET, echoed.port) + b"early")
        c.selection()
        equal(c.reply().rep, 0, "reply")
        equal(c.line().split()[0], "b", "link")
        equal(c.take(5), b"early", "early payload")

        def send():
            servers.pour(c.sock, total)
            c.finish()

        threading.Thread(target=send, daemon=True).start()
        equal(servers.drain(c.sock), (total, Pattern.digest(total)), "3 MB echoed")
    equal(outer.requests, [(1, TARGET, inner_port)], "requests to the outer server")
    equal(inner.requests, [(1, TARGET, echoed.port)], "requests to the inner server")


@case("via: a server that is a name is resolved by the link below")
def via_name(t):
    w = World(t)
    told = w.serve(servers.tell)
    names = dns.NameServer(t, [(x.name, x.ns, x.gw) for x in w.links], {"proxy.test": [TARGET]})
    up = Upstream(w.b.ns)
    port = Service(t, up, [("up", w.b.ns, TARGET)]).port
    host = Host(t, "\n".join([
        "listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:",
        "  b: {interface: b0, dns: [10.0.2.2]}",
        "  up: {dialer: socks, server: proxy.test:%d, via: b}" % port,
        "pools: {all: {links: [up]}}", ""]))
    equal(client.link_of(host.addr, TARGET, told.port), "b", "link")
    check(names.names_at("b") and not names.names_at("a"), "b's name server was asked", names.asked)


@case("via: a failure below blames the chain, and another link serves")
def via_broken(t):
    w = World(t)
    told = w.serve(servers.tell)
    dead = free_port(TARGET, w.a.ns)
    host = Host(t, "\n".join([
        "listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:",
        "  a: {interface: a0}", "  b: {interface: b0}",
        "  up: {dialer: socks, server: %s:%d, via: a}" % (TARGET, dead),
        "pools: {all: {links: [up, b]}}", ""]))
    equal(client.links_of(8, host.addr, TARGET, told.port), "b" * 8, "links")


@case("via: no server at all, then none of the clients hangs")
def none_left(t):
    w = World(t, "a")
    dead = free_port(TARGET, w.a.ns)
    host = Host(t, config({"up": "dialer: socks, server: %s:%d" % (TARGET, dead)}))
    for _ in range(3):
        started = time.monotonic()
        try:
            client.link_of(host.addr, TARGET, 80)
            tap.fail("served by nobody")
        except Refused as refused:
            check(refused.rep in (1, 3, 4), "a reply of failure", refused.rep)
        tap.within(2, started, "the answer")


if __name__ == "__main__":
    tap.main()
