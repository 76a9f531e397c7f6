#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""dispatch-host behind Dante, and behind socksify: the very files that doc/dante.md shows."""

import os
import re
import subprocess

from lib import client, dns, servers, tap
from lib.dante import Danted, users
from lib.host import Host, SRCDIR, config
from lib.tap import case, check, equal, matches, table
from lib.upstream import Upstream
from lib.world import TARGET, TARGET6, Service, World

NEEDS = ["danted"]
SOCKSIFY = ["socksify", "curl"]
LINKS = {"a": "interface: a0", "b": "interface: b0"}


def shown(first_line):
    """The file of doc/dante.md that begins with this line."""
    with open(os.path.join(SRCDIR, "doc", "dante.md"), encoding="utf-8") as f:
        blocks = re.findall(r"^```\w*\n(.*?)^```$", f.read(), re.M | re.S)
    found = [x for x in blocks if x.startswith(first_line)]
    equal(len(found), 1, "files that begin with " + first_line)
    return found[0]


def danted_conf(port):
    conf = shown("logoutput: syslog\n").replace("syslog\n", "LOG\n" + users(), 1)
    return conf.replace("= 1080", "= PORT").replace("= 8080", "= %d" % port)


def socks_conf(port):
    return shown("resolveprotocol: fake\n").replace("= 8080", "= %d" % port)


def tell_asked(conn, name, peer):
    """Says who the client is once it has said something, then echoes: Dante loses what a server
    says together with the reply of the proxy between them."""
    conn.recv(1)
    servers.tell_and_echo(conn, name, peer)


class Behind:
    """A Dante in front of a dispatch-host in front of two links."""

    def __init__(self, t, links=None, conf=danted_conf, world_=None):
        self.t = t
        self.world = world_ or World(t)
        self.told = self.world.serve(tell_asked)
        self.host = Host(t, config(links or LINKS))
        self.danted = Danted(t, conf(self.host.port))

    def tell(self, host=TARGET, port=None):
        """One connection: the client, what the server said of it."""
        c = client.connect(self.danted.addr, host, port or self.told.port)
        c.send(b"?")
        link, addr, port = c.line().split()
        return c, link, (addr, int(port))

    def link(self, host=TARGET, port=None):
        c, link, _source = self.tell(host, port)
        c.close()
        return link

    def links(self, count):
        return "".join(self.link() for _ in range(count))

    def ask(self, port=None):
        return client.ask(self.danted.addr, TARGET, port or self.told.port)


# ---- behind a Dante ----

@case("each link in its turn, and data both ways", needs=NEEDS)
def in_turn(t):
    b = Behind(t)
    seen = ""
    for _ in range(8):
        c, link, _source = b.tell()
        with c:
            c.send(b"ping" * 5000)
            equal(c.take(20000), b"ping" * 5000, "echo")
        seen += link
    equal(seen, "abababab", "links in order")


@case("40 at once are spread exactly", needs=NEEDS)
def parallel(t):
    b = Behind(t, {"a": "interface: a0, weight: 3", "b": "interface: b0"})
    got = client.together(40, lambda _: b.link())
    equal([g for g in got if isinstance(g, Exception)], [], "clients that failed")
    equal((got.count("a"), got.count("b")), (30, 10), "connections by link")


@case("reply and log of danted have the source address that the server saw", needs=NEEDS)
def bound_address(t):
    b = Behind(t)
    seen = []
    for _ in range(4):
        c, _link, source = b.tell()
        with c:
            equal(c.bound, source, "BND of the reply")
        seen.append(source)
    equal([addr for addr, _port in seen], ["10.0.1.1", "10.0.2.1"] * 2, "addresses seen")
    tap.wait_for("four lines in danted's log", lambda: len(b.danted.connects()) == 4)
    equal(sorted(x[1:] for x in b.danted.connects()),
          sorted((source, (TARGET, b.told.port)) for source in seen), "danted's log")


@case("names are looked up through the link, IPv6 destinations are served", needs=NEEDS)
def names(t):
    w = World(t)
    server = dns.NameServer(t, [("a", w.a.ns, w.a.gw), ("b", w.b.ns, w.b.gw)],
                            {"name.test": [TARGET]})
    b = Behind(t, {"a": "interface: a0, dns: [%s]" % w.a.gw,
                   "b": "interface: b0, dns: [%s]" % w.b.gw}, world_=w)
    equal([b.link("name.test") for _ in range(2)], ["a", "b"], "links")
    equal({place for place, name, _type in server.asked if name == "name.test"}, {"a", "b"},
          "where the name was asked")
    matches(r"dest=name\.test:", b.host.log(), "dispatch-host was given the name")
    for link in w.links:
        b.told.add(link.name, link.ns, TARGET6)
    equal([b.link(TARGET6) for _ in range(2)], ["a", "b"], "links to the IPv6 address")


@case("links that are upstream proxies", needs=NEEDS)
def upstreams(t):
    w = World(t)
    ups = [Service(t, Upstream(link.ns), [(link.name, link.ns, link.gw)]) for link in w.links]
    b = Behind(t, {link.name: "dialer: socks, server: %s:%d" % (link.gw, up.port)
                   for link, up in zip(w.links, ups)}, world_=w)
    equal(b.links(4), "abab", "links in order")
    ups[0].close()
    equal(b.links(6), "bbbbbb", "links, the first upstream killed")


@table("dispatch-host's answer reaches the client", [
    ("refused", "reject with tcp reset", 5),
    ("host unreachable", "reject with icmp type host-unreachable", 4),
], needs=NEEDS + ["nft"])
def answers(t, verdict, rep):
    b = Behind(t)
    for link in b.world.links:
        link.beyond("nft", "add table ip no; add chain ip no in { type filter hook input priority "
                    "0; }; add rule ip no in tcp dport 7 " + verdict)
    equal(b.ask(port=7), rep, "reply")
    equal(b.links(2).count("a"), 1, "and each link is used again")


@case("a link goes down: no client of danted's fails", needs=NEEDS)
def link_dies(t):
    b = Behind(t)
    equal(b.links(2), "ab", "links")
    b.world.a.down()
    equal(b.links(6), "bbbbbb", "links while a is down")
    b.world.a.up()
    tap.wait_for("a is used again", lambda: "a" in b.links(2), 12)


def outage(b):
    """Both links down, and requests enough for each of danted's children; then both up."""
    for link in b.world.links:
        link.down()
    got = client.together(32, lambda _: b.ask(), 16)
    check(all(isinstance(g, int) and g != 0 for g in got), "no request succeeds", got)
    for link in b.world.links:
        link.up()
    tap.wait_for("dispatch-host serves again",
                 lambda: client.ask(b.host.addr, TARGET, b.told.port) == 0, 20)


def restart(b):
    """dispatch-host ends, clients come, it is back."""
    b.host.kill()
    got = client.together(32, lambda _: b.ask(), 16)
    check(all(isinstance(g, int) and g != 0 for g in got), "no request succeeds", got)
    b.host = Host(b.t, config(LINKS), port=b.host.port)


@table("route.maxfail: 0, and it is over when it is over",
       [("all links down", outage), ("dispatch-host restarted", restart)], needs=NEEDS)
def not_blacklisted(t, fault):
    b = Behind(t)
    equal(b.links(2), "ab", "links before")
    fault(b)
    equal(client.together(32, lambda _: b.ask(), 16), [0] * 32, "replies afterwards")
    check("blacklisting" not in b.danted.log(), "nobody was blacklisted")


@case("without route.maxfail: 0 clients are refused long after", needs=NEEDS)
def blacklisted(t):
    b = Behind(t, conf=lambda port: danted_conf(port).replace("route.maxfail: 0\n", ""))
    equal(b.links(2), "ab", "links before")
    restart(b)
    got = client.together(32, lambda _: b.ask(), 16)
    check(any(got), "some are refused", got)
    check("blacklisting" in b.danted.log(), "the log says why")


@case("while dispatch-host is away nothing leaves by another way", needs=NEEDS)
def no_other_way(t):
    b = Behind(t)
    b.host.kill()
    for _ in range(4):
        check(b.ask() != 0, "a request fails")
    for command in (2, 3):
        with client.Client(b.danted.addr) as c:
            check(c.ask(TARGET, b.told.port, cmd=command).rep != 0, "BIND and UDP are refused")
    equal(b.told.order, [], "connections the servers saw")


# ---- socksify ----

def socksify(t, host, *words, status=0):
    """Runs a program behind socksify; returns what it printed."""
    path = t.file("dante.conf", socks_conf(host.port))
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(["socksify", *words], env=dict(env, SOCKS_CONF=path), timeout=30,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    equal(done.returncode, status, "exit status: " + done.stderr.decode(errors="replace"))
    return done.stdout.decode()


def tell_http(conn, name, _peer):
    """A web server that says by which link its client came."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += conn.recv(65536) or b"\r\n\r\n"
    conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n" + name.encode())


CURL = ["curl", "-q", "-sS", "--max-time", "20"]
PYTHON = ["/usr/bin/python3", "-c", "import sys, urllib.request as r; "
          "sys.stdout.write(r.urlopen(sys.argv[1], timeout=20).read().decode())"]


@table("socksify by the links in turn", [
    ("curl", CURL), ("wget", ["wget", "--no-config", "-q", "-O", "-", "-T", "20"]),
    ("python", PYTHON)], needs=SOCKSIFY + ["wget"])
def programs(t, words):
    w = World(t)
    web = w.serve(tell_http)
    host = Host(t, config(LINKS))
    url = "http://%s:%d/" % (TARGET, web.port)
    equal("".join(socksify(t, host, *words, url) for _ in range(4)), "abab", "links in order")
    check(all(peer[0] in ("10.0.1.1", "10.0.2.1") for peer in web.clients), "sources", web.clients)


@case("socksify gives dispatch-host the names", needs=SOCKSIFY)
def socksify_names(t):
    w = World(t)
    server = dns.NameServer(t, [("a", w.a.ns, w.a.gw), ("b", w.b.ns, w.b.gw)],
                            {"name.test": [TARGET]})
    web = w.serve(tell_http)
    host = Host(t, config({"a": "interface: a0, dns: [%s]" % w.a.gw,
                           "b": "interface: b0, dns: [%s]" % w.b.gw}))
    url = "http://name.test:%d/" % web.port
    equal("".join(socksify(t, host, *CURL, url) for _ in range(2)), "ab", "links in order")
    matches(r"dest=name\.test:", host.log(), "dispatch-host was given the name")
    equal({place for place, _name, _type in server.asked}, {"a", "b"}, "where it was asked")


@case("socksify: the loopback is direct, and with dispatch-host away nothing leaves",
      needs=SOCKSIFY)
def socksify_fails(t):
    w = World(t)
    web = w.serve(tell_http)
    here = Service(t, tell_http, [("h", None, "127.0.0.1")])
    host = Host(t, config(LINKS))
    equal(socksify(t, host, *CURL, "http://127.0.0.1:%d/" % here.port), "h", "the loopback")
    check("session:" not in host.log(), "dispatch-host was not asked", host.log())
    host.kill()
    socksify(t, host, *CURL, "http://%s:%d/" % (TARGET, web.port), status=7)
    equal(web.order, [], "connections the servers saw")


if __name__ == "__main__":
    tap.main()
