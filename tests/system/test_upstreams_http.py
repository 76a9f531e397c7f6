#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""HTTP proxies as links: squid and tinyproxy, alone, with a login, and in chains with SOCKS; and
such as break at every point, or are merely odd."""

import hashlib
import threading
import time

from lib import client, dante, peers, servers, tap
from lib.host import Host, config
from lib.servers import Pattern
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.upstream import Upstream, Upstream4
from lib.upstream_http import BROKEN, CLOSES, OK, HttpUpstream, answer, answers
from lib.world import TARGET, TARGET6, Service, World, free_port

SSH = ["ssh", "sshd", "ssh-keygen"]
MEGABYTE = 1 << 20


def http(addr, port, more=""):
    return "dialer: http, server: %s:%d%s" % (addr, port, more)


def echo_megabyte(to, dest, port):
    """1 MB through an echo server that speaks first; returns the link."""
    with client.connect(to, dest, port) as c:
        link = c.line().split()[0]

        # Without an end: at one of a client's, squid and tinyproxy end the other direction as well.
        threading.Thread(target=servers.pour, args=(c.sock, MEGABYTE), daemon=True).start()
        got = c.take(MEGABYTE)
        equal(got, b"".join(Pattern.pieces(MEGABYTE)), "1 MB echoed")
        return link


def half_closes(w, connect):
    """Each side in turn ends first, and still gets 1 MB. connect(server) is a client of one."""
    with connect(w.serve(servers.answer_after_end(MEGABYTE))) as c:
        c.send(b"r" * 1000)
        c.finish()
        equal(c.line().split()[0], "1000", "bytes the server has got before the end")
        equal(servers.drain(c.sock), (MEGABYTE, Pattern.digest(MEGABYTE)), "bytes, digest")
    handler = servers.end_then_count(1000)
    with connect(w.serve(handler)) as c:
        equal(servers.drain(c.sock), (1000, Pattern.digest(1000)), "bytes until the end")
        servers.pour(c.sock, MEGABYTE)
        c.finish()
        wait_for("the server sees the end", lambda: handler.results)
        equal(handler.results.pop(), (MEGABYTE, Pattern.digest(MEGABYTE)), "what it has got")


# ---- real proxies ----

PROXIES = [("squid", peers.squid), ("tinyproxy", peers.tinyproxy)]


def real(name):
    """Registers one case for each proxy, skipped if it is not installed."""

    def register(func):
        for proxy, make in PROXIES:
            def one(t, make=make):
                func(t, make)
            case("%s: %s" % (proxy, name), needs=[proxy])(one)
        return func

    return register


@real("addresses, names, IPv6; the server speaks first; 1 MB both ways")
def serves(t, make):
    w = World(t)
    echoed = w.serve(servers.tell_and_echo)
    for link in w.links:
        echoed.add(link.name, link.ns, TARGET6)
    ports = [make(w, link.ns, link.gw, hosts={"name.test": TARGET}) for link in w.links]
    host = Host(t, config({link.name: http(link.gw, port) for link, port in zip(w.links, ports)}))
    for dest in (TARGET, TARGET6, "name.test"):
        equal([echo_megabyte(host.addr, dest, echoed.port) for _ in range(4)],
              ["a", "b", "a", "b"], "links in order, to " + dest)
    url = Host(t, args=["-lport", "PORT"] + ["http://%s:%d" % (link.gw, port)
                                             for link, port in zip(w.links, ports)])
    equal(client.links_of(4, url.addr, TARGET, echoed.port), "abab", "links that are URLs")


@real("what fails behind it is the destination's: 04, and no link is put out of use")
def fails_behind(t, make):
    w = World(t)
    told = w.serve(servers.tell)
    host = Host(t, config({link.name: http(link.gw, make(w, link.ns, link.gw))
                           for link in w.links}))
    closed = free_port(TARGET, w.a.ns)
    for dest, port in ((TARGET, closed), ("203.0.113.1", 80)):
        started = time.monotonic()
        equal(client.ask(host.addr, dest, port), 4, "reply for %s:%d" % (dest, port))
        within(2, started, "the answer")
    equal(sorted(client.links_of(4, host.addr, TARGET, told.port)), list("aabb"), "links after")
    check("not used" not in host.log(), "no link was put out of use")


@real("a port that it forbids leaves by the other link; if both forbid it, 02")
def forbidden(t, make):
    w = World(t)
    told = w.serve(servers.tell)
    one = make(w, w.a.ns, w.a.gw, only_port=443)
    both = make(w, w.b.ns, w.b.gw), make(w, w.b.ns, w.b.gw, only_port=443)
    host = Host(t, config({"a": http(w.a.gw, one), "b": http(w.b.gw, both[0])}))
    equal(client.links_of(6, host.addr, TARGET, told.port), "b" * 6, "links")
    check("not used" not in host.log(), "no link was put out of use")
    host = Host(t, config({"a": http(w.a.gw, one), "b": http(w.b.gw, both[1])}))
    equal(client.ask(host.addr, TARGET, told.port), 2, "reply")


@real("a login, right and wrong")
def login(t, make):
    w = World(t)
    told = w.serve(servers.tell)
    ports = [make(w, link.ns, link.gw, login=True) for link in w.links]
    secret = t.file("secret", peers.PASSWORD + "\n")
    right = ", username: me, password-file: " + secret
    wrong = ", username: me, password: wr0ng"
    host = Host(t, config({link.name: http(link.gw, port, right)
                           for link, port in zip(w.links, ports)}))
    equal(client.links_of(4, host.addr, TARGET, told.port), "abab", "links in order")
    check(peers.PASSWORD not in host.log(), "the password is not in the log")
    for more, why in ((wrong, "the server refused the username or password"),
                      ("", "the server wants a login, and no username is configured")):
        host = Host(t, config({"a": http(w.a.gw, ports[0], more),
                               "b": http(w.b.gw, ports[1], right)}))
        equal(client.links_of(12, host.addr, TARGET, told.port), "b" * 12, "links")
        matches(r"a: %s$" % why, host.log(), "why")
        check("wr0ng" not in host.log(), "the password is not in the log")
    url = Host(t, args=["-lport", "PORT", "http://me:%s@%s:%d@2" % (
        peers.PASSWORD.replace(".", "%2E"), w.a.gw, ports[0])])
    equal(client.link_of(url.addr, TARGET, told.port), "a", "link of a URL with a password")


@real("killed: no client fails")
def killed(t, make):
    w = World(t)
    told = w.serve(servers.tell)
    ports = [make(w, link.ns, link.gw) for link in w.links]
    host = Host(t, config({link.name: http(link.gw, port) for link, port in zip(w.links, ports)}))
    equal(client.links_of(4, host.addr, TARGET, told.port), "abab", "links before")
    ports[0].kill()
    got = client.together(40, lambda _: client.link_of(host.addr, TARGET, told.port), 4)
    equal(set(got), {"b"}, "links afterwards")


# ---- chains ----

def chain(links):
    """A file whose pool has the last link alone."""
    lines = ["listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:"]
    lines += ["  %s: {%s}" % item for item in links.items()]
    return "\n".join(lines + ["pools: {all: {links: [%s]}}" % list(links)[-1], ""])


@case("via: microsocks over squid over an interface, and the reverse",
      needs=["squid", "microsocks"])
def mixed(t):
    w = World(t)
    echoed = w.serve(servers.tell_and_echo)
    squid = peers.squid(w, w.b.ns, TARGET)
    socks = peers.microsocks(w, w.b.ns, TARGET)
    below = {"b": "interface: b0"}
    outer = {"squid": http(TARGET, squid),
             "socks": "dialer: socks, server: %s:%d" % (TARGET, socks)}
    for order in (("squid", "socks"), ("socks", "squid")):
        host = Host(t, chain({**below, order[0]: outer[order[0]] + ", via: b",
                              order[1]: outer[order[1]] + ", via: " + order[0]}))
        equal(echo_megabyte(host.addr, TARGET, echoed.port), "b", "link, %s below" % order[0])
        host.kill()


@case("via: squid beyond ssh -D, which is spoken to in each version; a real sshd speaks first",
      needs=["squid"] + SSH)
def beyond_ssh(t):
    w = World(t, "a")
    echoed = w.serve(servers.tell_and_echo)
    sshd = peers.Ssh(t, w, w.a.ns, w.a.gw)
    tunnel = sshd.tunnel()
    squid = peers.squid(w, w.a.ns, TARGET)
    for version in ("5", "4a", "4"):
        host = Host(t, chain({
            "tun": "dialer: socks, server: 127.0.0.1:%d, version: %s" % (tunnel.port, version),
            "squid": http(TARGET, squid, ", via: tun")}))
        equal(echo_megabyte(host.addr, TARGET, echoed.port), "a", "link, version " + version)
        with client.connect(host.addr, w.a.gw, sshd.port) as c:
            check(c.line().startswith("SSH-2.0-"), "the banner")
        host.kill()


class Deep:
    """SOCKS5 over HTTP over SOCKS4a over an interface, each with a login where it has one, and
    answering a byte at a time."""

    def __init__(self, t):
        self.world = w = World(t)
        self.ups = [Upstream4(w.b.ns, piece=1), HttpUpstream(w.b.ns, login=b"u:p", piece=1),
                    Upstream(w.b.ns, user=b"u", password=b"p", piece=1)]
        self.ports = [Service(t, up, [("up", w.b.ns, TARGET)]).port for up in self.ups]
        login = ", username: u, password: p, via: "
        self.host = Host(t, chain({
            "b": "interface: b0",
            "one": "dialer: socks, server: %s:%d, version: 4a, username: u, via: b"
                   % (TARGET, self.ports[0]),
            "two": http(TARGET, self.ports[1], login + "one"),
            "three": "dialer: socks, server: %s:%d%stwo" % (TARGET, self.ports[2], login)}))

    def connect(self, server):
        return client.connect(self.host.addr, TARGET, server.port)


@case("via: four deep, of each kind: what is sent early, and the end behind it")
def deep_early(t):
    p = Deep(t)
    echoed = p.world.serve(servers.tell_and_echo)
    with client.Client(p.host.addr) as c:
        c.send(b"\5\1\0" + client.request(TARGET, echoed.port) + b"early")
        c.finish()
        c.selection()
        equal(c.reply().rep, 0, "reply")
        equal(c.line().split()[0], "b", "link")
        equal(c.take_all(), b"early", "early payload")
    equal([up.requests for up in p.ups],
          [[("u", TARGET, p.ports[1])], [(TARGET, p.ports[2])], [(1, TARGET, echoed.port)]],
          "requests to each proxy")


@case("via: four deep: 8 MB both ways at once, half-closes each way")
def deep_data(t):
    p = Deep(t)
    size = 8 * MEGABYTE
    with p.connect(p.world.serve(servers.both_ways(size))) as c:
        threading.Thread(target=servers.pour, args=(c.sock, size), daemon=True).start()
        got = hashlib.blake2b(c.take(size)).hexdigest()
        equal(got, Pattern.digest(size), "what came")
        equal(c.line(), "%d %s" % (size, Pattern.digest(size)), "what the server has got")
    half_closes(p.world, p.connect)


# ---- what is sent ----

@case("nothing is asked of the proxy but the request: host, port and login as given")
def as_given(t):
    w = World(t, "a")
    told = w.serve(servers.tell)
    told.add("a", w.a.ns, TARGET6)
    up = HttpUpstream(w.a.ns, login=b"me:p:w", names={"Name-1.test": TARGET})
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    host = Host(t, config({"up": http(w.a.gw, port, ', username: me, password: "p:w"')}))
    for dest, asked in ((TARGET, TARGET), (TARGET6, "[%s]" % TARGET6),
                        ("Name-1.test", "Name-1.test")):
        equal(client.link_of(host.addr, dest, told.port), "a", "link")
        asked += ":%d" % told.port
        equal(up.heads[-1], ["CONNECT %s HTTP/1.1" % asked, "Host: " + asked,
                             "Proxy-Authorization: Basic bWU6cDp3"], "the request")


@case("a name that would be another line, host or port is not sent: the next link gets it")
def injection(t):
    w = World(t)
    told = w.serve(servers.tell)
    up = HttpUpstream(w.a.ns)
    port = Service(t, up, [("up", w.a.ns, w.a.gw)]).port
    names = [b"x\r\nA: b", b"x:22", b"x y", b"x\0y", b"u@x", b"x/y", b"x%0d", b"x\xff", b"x?",
             b"[x]"]
    socks = Upstream(w.b.ns, names={n.decode("latin-1"): TARGET for n in names})
    other = Service(t, socks, [("socks", w.b.ns, w.b.gw)]).port
    host = Host(t, config({"up": http(w.a.gw, port),
                           "other": "dialer: socks, server: %s:%d" % (w.b.gw, other)}))
    for name in names:
        for _ in range(2):
            check(client.ask(host.addr, name, told.port) in (0, 4, 8), "an answer for %r" % name)
    equal(up.requests, [], "what the proxy was asked")
    equal(client.links_of(2, host.addr, TARGET, told.port), "ab", "links after")


# ---- broken ones ----

class Two:
    """The proxy under test and a good one, each behind a link, in one pool."""

    def __init__(self, t, upstream):
        self.world = World(t)
        self.told = self.world.serve(servers.tell_and_echo)
        a, b = self.world.links
        self.odd = upstream(a.ns) if upstream else None
        self.odd_service = self.odd and Service(t, self.odd, [("odd", a.ns, a.gw)])
        odd_port = self.odd_service.port if self.odd else free_port(a.gw, a.ns)
        self.good = HttpUpstream(b.ns)
        good_port = Service(t, self.good, [("good", b.ns, b.gw)]).port
        self.host = Host(t, config({"odd": http(a.gw, odd_port), "good": http(b.gw, good_port)}))

    def ask(self, count, parallel=1):
        """Clients; returns (link, seconds) of each."""

        def one(_):
            started = time.monotonic()
            with client.connect(self.host.addr, TARGET, self.told.port) as c:
                link = c.line().split()[0]
                c.send(b"ping")
                equal(c.take(4), b"ping", "echo")
            return link, time.monotonic() - started

        got = client.together(count, one, parallel)
        equal([g for g in got if isinstance(g, Exception)], [], "clients that failed")
        return got


@table("12 of 12 by way of the other: it", [("refuses", None)] + list(BROKEN.items()))
def broken(t, misbehave):
    p = Two(t, misbehave and (lambda ns: HttpUpstream(ns, misbehave=misbehave)))
    got = p.ask(12)
    equal({link for link, _took in got}, {"b"}, "links")
    check(max(took for _link, took in got) < 4, "each in under 4 s", got)
    slow = [took for _link, took in got if took > 0.5]
    check(len(slow) <= 1, "at most one had to wait", slow)
    if p.odd:
        check(p.odd_service.order, "the broken one was tried")
    got = p.ask(24, parallel=8)
    equal({link for link, _took in got}, {"b"}, "links of 24 at once")


ODD_OK = {
    "dribbles a byte at a time": {"piece": 1, "pause": 0.002},
    "is slow": {"pause": 0.3},
    "says 100 first": {"reply": b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" + OK},
    "has LF alone and no reason": {"reply": b"HTTP/1.0 200\nVia: x\n\n"},
    "has folded fields": {"reply": OK[:-2] + b"A: b\r\n c\r\n\td\r\n\r\n"},
    "has a length, which means nothing": {
        "reply": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    "has 16 KiB of head": {"reply": OK[:-2] + b"A: " + b"x" * (16384 - len(OK) - 5) + b"\r\n\r\n"},
}


@table("odd but legal: it", list(ODD_OK.items()))
def odd(t, keywords):
    p = Two(t, lambda ns: HttpUpstream(ns, **keywords))
    equal("".join(link for link, _took in p.ask(12)), "ab" * 6, "links in order")


@case("an answer and the first payload in one segment, then the end")
def glued(t):
    def misbehave(self, conn):
        self.read_request(conn)
        conn.sendall(OK + b"b 0 0\nhello")
        conn.shutdown(1)
        equal(conn.recv(100), b"more", "what comes after the end")

    p = Two(t, lambda ns: HttpUpstream(ns, misbehave=misbehave))
    hellos = 0
    for _ in range(6):
        with client.connect(p.host.addr, TARGET, p.told.port) as c:
            c.send(b"more")
            if c.line() == "b 0 0":
                equal(c.take_all(), b"hello", "payload glued to the answer")
                hellos += 1
    equal((hellos, p.odd_service.errors), (3, []), "connections by that proxy, its errors")


@case("half-closes pass in each direction")
def half_close(t):
    p = Two(t, HttpUpstream)
    for _ in range(2):
        half_closes(p.world, lambda s: client.connect(p.host.addr, TARGET, s.port))


@table("asked again, not put out of use, one", [
    ("that closes after the request", CLOSES), ("that forbids", answers(403)),
    ("that answers 400", answers(400)), ("that knows no CONNECT", answers(501))])
def not_ejected(t, misbehave):
    p = Two(t, lambda ns: HttpUpstream(ns, misbehave=misbehave))
    p.ask(12)
    check(len(p.odd.requests) >= 5, "requests it got of 12", len(p.odd.requests))
    check("not used" not in p.host.log(), "no link was put out of use")


@table("put out of use, one", [
    ("that wants a login", answers(407)), ("that redirects", answers(302)),
    ("that answers 503 where the other gets through", answers(503))])
def ejected(t, misbehave):
    p = Two(t, lambda ns: HttpUpstream(ns, misbehave=misbehave))
    p.ask(12)
    check(len(p.odd.requests) <= 3, "requests it got of 12", len(p.odd.requests))
    matches(r"link: odd: not used for", p.host.log(), "told")


@table("what both say is passed on, and nobody is blamed", [
    ("403", 403, 2), ("404", 404, 4), ("405", 405, 7), ("500", 500, 4), ("502", 502, 4),
    ("503", 503, 4), ("504", 504, 4), ("400", 400, 1)])
def passed_on(t, status, rep):
    p = Two(t, lambda ns: HttpUpstream(ns, misbehave=answers(status)))
    p.good.misbehave = answers(status)
    started = time.monotonic()
    equal(client.ask(p.host.addr, TARGET, p.told.port), rep, "the reply")
    within(1, started, "the answer")
    equal((len(p.odd.requests), len(p.good.requests)), (1, 1), "requests they got")
    p.good.misbehave = p.odd.misbehave = None
    links = "".join(link for link, _took in p.ask(10))
    equal(links.count("a"), 5, "connections by a of 10: " + links)
    check("not used" not in p.host.log(), "no link was put out of use")


@case("one that hangs costs no descriptor once its clients have gone")
def hang_leaks_nothing(t):
    p = Two(t, lambda ns: HttpUpstream(ns, misbehave=BROKEN["hangs inside its answer"]))
    p.ask(20, parallel=20)
    wait_for("all descriptors are back", lambda: p.host.fds() <= p.host.fds_ready, 10)


@case("a web server that is no proxy: the other link serves, and the log says why", needs=["nginx"])
def web_server(t):
    w = World(t)
    told = w.serve(servers.tell)
    port = peers.nginx(w, w.a.ns, w.a.gw, t.dir)
    host = Host(t, config({"a": http(w.a.gw, port), "b": "interface: b0"}))
    equal(client.links_of(8, host.addr, TARGET, told.port), "b" * 8, "links")


# ---- in danted ----

@case("in danted: by links to HTTP proxies, and over an interface", needs=["danted"])
def in_danted(t):
    w = World(t)
    echoed = w.serve(servers.tell_and_echo)
    ups = {link.name: HttpUpstream(link.ns, login=b"me:pw") for link in w.links}
    proxy = w.serve(lambda conn, name, peer: ups[name](conn, name, peer))
    links = {"a0": "interface: a0", "b0": "interface: b0"}
    links.update({name: http(TARGET, proxy.port, ", username: me, password: pw, via: %s0" % name)
                  for name in ups})
    d = dante.Balanced(t, dante.config(links).replace("links: [a0, b0, a, b]", "links: [a, b]"))
    equal([echo_megabyte(d.addr, TARGET, echoed.port) for _ in range(4)], ["a", "b", "a", "b"],
          "links in order")
    equal([peer[0] for peer in proxy.clients], [w.a.addr, w.b.addr] * 2, "sources")
    ups["a"].misbehave = lambda self, conn: (self.read_request(conn), conn.sendall(answer(503)))
    equal(client.links_of(4, d.addr, TARGET, echoed.port), "bbbb", "links with one broken")


@case("in danted: by SOCKS4a over HTTP, and whose connection it is by the PROXY protocol",
      needs=["danted"])
def in_danted_told(t):
    w = World(t, "a")

    def handler(conn, name, peer):
        head = b""
        while not head.endswith(b"\r\n"):
            head += conn.recv(1)
        conn.sendall(head)
        servers.tell_and_echo(conn, name, peer)

    told, echoed = w.serve(handler), w.serve(servers.tell_and_echo)
    up, four = HttpUpstream(w.a.ns), Upstream4(w.a.ns)
    ports = [Service(t, x, [("up", w.a.ns, w.a.gw)]).port for x in (up, four)]
    links = {"a0": "interface: a0, send-proxy: v1", "up": http(w.a.gw, ports[0]),
             "four": "dialer: socks, version: 4a, server: %s:%d, via: up" % (w.a.gw, ports[1])}
    d = dante.Balanced(t, dante.config(links).replace("links: [a0, up, four]", "links: [a0, four]"))
    with client.connect(d.addr, TARGET, told.port) as c:
        host, port = c.sock.getsockname()
        equal(c.line(), "PROXY TCP4 %s %s %d %d\r" % (host, TARGET, port, told.port), "the header")
        equal(c.line().split()[:2], ["a", w.a.addr], "link, source")
    equal(echo_megabyte(d.addr, TARGET, echoed.port), "a", "link")
    equal((up.requests, four.requests), ([(w.a.gw, ports[1])], [("", TARGET, echoed.port)]),
          "requests to the one and the other")


if __name__ == "__main__":
    tap.main()
