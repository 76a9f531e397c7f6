#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Listeners behind a proxy, and servers behind a link, that say whose a connection is (the PROXY
protocol)."""

import ipaddress
import re
import struct
import time

from lib import client, peers, servers, tap
from lib.client import Client, request
from lib.host import Host, config
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.upstream import Upstream
from lib.world import TARGET, Service, World, accepts, free_port

LINKS = {"a": "interface: a0"}
CLIENT, CLIENT6 = "192.0.2.7", "2001:db8::7"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = ", proxy-protocol: [127.0.0.1]"


def v1(source, port=4000):
    family = 6 if ":" in source else 4
    return ("PROXY TCP%d %s %s %d 443\r\n" % (family, source, source, port)).encode()


def v2(source, port=4000, command=0x21, extra=b""):
    ip = ipaddress.ip_address(source)
    body = ip.packed * 2 + struct.pack(">HH", port, 443) + extra
    return SIGNATURE + struct.pack(">BBH", command, 0x11 if ip.version == 4 else 0x21,
                                   len(body)) + body


HEADERS = [
    ("version 1", v1(CLIENT), "192.0.2.7:4000"),
    ("version 1, IPv6", v1(CLIENT6), "[2001:db8::7]:4000"),
    ("version 1, UNKNOWN", b"PROXY UNKNOWN\r\n", r"127.0.0.1:\d+"),
    ("version 2", v2(CLIENT), "192.0.2.7:4000"),
    ("version 2, IPv6", v2(CLIENT6), "[2001:db8::7]:4000"),
    ("version 2, LOCAL", v2(CLIENT, command=0x20), r"127.0.0.1:\d+"),
    ("version 2, more in it", v2(CLIENT, extra=b"\x04\x00\x03abc"), "192.0.2.7:4000"),
    ("version 2, an IPv4 address in IPv6", v2("::ffff:192.0.2.7"), "192.0.2.7:4000"),
]


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)


place = tap.shared(Place)


def told_by_socks5(c, port):
    equal(c.ask(TARGET, port).rep, 0, "reply")
    return c.line().split()[0]


def told_by_connect(c, port):
    c.send(b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n" % (TARGET.encode(), port))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += c.take(1)
    check(head.startswith(b"HTTP/1.1 200"), "the answer", head)
    return c.line().split()[0]


def log_names(host, who, after=0):
    pattern = "client=%s " % (who if r"\d" in who else re.escape(who))
    return host.wait_log(pattern + "dest=", after=after)


@table("a header of", HEADERS)
def headers(t, header, who):
    p = place(t)
    host = Host(t, config(LINKS, listener=BEHIND))
    for told in (told_by_socks5, told_by_connect):
        for piece in (0, 1):
            before = len(host.log())
            with Client(host.addr) as c:
                c.send(header, piece)
                equal(told(c, p.told.port), "a", "link")
            log_names(host, who, before)
    with Client(host.addr) as c:  # all at once
        c.send(header + b"\x05\x01\x00" + request(TARGET, p.told.port))
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")


@table("a header, then a raw connection, of", HEADERS[:4])
def raw(t, header, who):
    p = place(t)
    upstream = Upstream(p.world.a.ns)
    port = Service(t, upstream, [("a", p.world.a.ns, p.world.a.gw)]).port
    host = Host(t, config({"tun": "dialer: socks, server: %s:%d" % (p.world.a.gw, port)},
                          listener=BEHIND + ", protocols: [raw]"))
    for early in (b"", b"\x05\x01\x00"):
        with Client(host.addr) as c:
            c.send(header + early)
            if not early:
                c.send(b"\x05\x01\x00")
            equal(c.selection(), 0, "method")
            c.send(request(TARGET, p.told.port))
            equal(c.reply().rep, 0, "reply")
    log_names(host, who)


@table("closed at once", [
    ("no header", b"\x05\x01\x00"), ("HTTP", b"GET / HTTP/1.1\r\n"),
    ("another word", b"PROXI TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    ("a bad address", b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n"), ("no end", b"PROXY " + b"x" * 200),
    ("version 3", SIGNATURE + b"\x31\x11\0\x0c" + bytes(12)),
    ("longer than any", SIGNATURE + b"\x21\x11\xff\xff"),
    ("too short for its family", SIGNATURE + b"\x21\x11\0\x04" + bytes(4))])
def malformed(t, data):
    host = Host(t, config(LINKS, listener=BEHIND))
    with Client(host.addr) as c:
        c.send(data)
        check(c.ended(5)[0] != "open", "it is closed")
    host.wait_log("client=127.0.0.1:.* no header of the PROXY protocol")


@table("not believed from elsewhere, version", [("1", v1(CLIENT)), ("2", v2(CLIENT))])
def elsewhere(t, header):
    p = place(t)
    host = Host(t, config(LINKS, listener=", proxy-protocol: [192.0.2.0/24]"))
    with Client(host.addr) as c:
        c.send(header + b"\x05\x01\x00" + request(TARGET, p.told.port))
        end, got = c.ended(5)
        check(end != "open" and not got.startswith(b"\x05\x00"), "it is refused", (end, got))
    check(CLIENT not in host.log(), "nobody of that name", host.log())
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "aa", "without a header")


@case("a header that does not come has the handshake's time")
def late(t):
    host = Host(t, config(LINKS, listener=BEHIND, more="timeouts: {handshake: 1s}"))
    started = time.monotonic()
    with Client(host.addr) as c:
        c.send(b"PROXY TCP4")
        equal(c.ended(10)[0], "fin", "the end")
    within(5, started, "closed")


@case("allow, rules and limits go by the client in the header")
def named(t):
    p = place(t)
    host = Host(t, config(
        LINKS, listener=BEHIND + ", allow: [192.0.2.0/24], max-connections-per-client: 2",
        more="rules: [{client: 192.0.2.9, action: deny}]"))

    def ask(source, keep=None):
        c = Client(host.addr)
        (keep.append if keep is not None else t.defer)(c if keep is not None else c.close)
        c.send(v1(source) + b"\x05\x01\x00")
        try:
            c.selection()
        except (EOFError, ConnectionResetError):
            return "closed"
        c.send(request(TARGET, p.told.port))
        return c.reply().rep

    kept = []
    equal([ask(CLIENT, kept), ask(CLIENT, kept), ask(CLIENT)], [0, 0, "closed"], "two of one client")
    equal(ask("192.0.2.8"), 0, "another one")
    equal(ask("192.0.2.9"), 2, "one that a rule denies")
    equal(ask("198.51.100.1"), "closed", "one that is not allowed")
    host.wait_log("client=198.51.100.1:4000 is in none of its allowed networks")
    for c in kept:
        c.close()
    wait_for("there is room again", lambda: ask(CLIENT) == 0)


HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen in
  bind 127.0.0.1:%d
  server dispatch 127.0.0.1:%d %s
"""


@table("HAProxy in front", [(x, x) for x in ("send-proxy", "send-proxy-v2")],
       needs=["haproxy"])
def haproxy(t, how):
    p = place(t)
    host = Host(t, config(LINKS, listener=BEHIND))
    port = free_port()
    conf = t.file("haproxy.cfg", HAPROXY % (port, host.port, how))
    p.world.popen(None, ["haproxy", "-db", "-q", "-f", conf])
    wait_for("haproxy listens", lambda: accepts("127.0.0.1", port))
    with Client(("127.0.0.1", port), source="127.0.0.77") as c:
        equal(told_by_socks5(c, p.told.port), "a", "link")
        log_names(host, "127.0.0.77:%d" % c.sock.getsockname()[1])


# ---- out ----

@table("nginx behind a link that sends version", [("1", "v1"), ("2", "v2")], needs=["nginx", "curl"])
def nginx(t, version):
    p = place(t)
    port = free_port(TARGET, p.world.a.ns)
    peers.nginx(p.world, p.world.a.ns, "127.0.0.1", t.dir, "return 200 $proxy_protocol_addr; "
                "listen %s:%d proxy_protocol;" % (TARGET, port))
    host = Host(t, config({"a": "interface: a0, send-proxy: " + version}))
    for how, more in (("socks5h", ()), ("http", ("--proxytunnel",)), ("http", ())):
        equal(client.curl(t, "%s://127.0.0.1:%d" % (how, host.port), "http://%s:%d/" % (
            TARGET, port), "--interface", "127.0.0.77", *more), b"127.0.0.77",
            "the client that nginx sees, by " + " ".join((how, *more)))


@table("a SOCKS server behind a link that sends version", [("1", "v1"), ("2", "v2")])
def chained(t, version):
    p = place(t)
    far = Host(t, config(LINKS, listener=BEHIND), name="far.yaml")
    near = Host(t, config({"far": "dialer: socks, server: 127.0.0.1:%d, send-proxy: %s"
                           % (far.port, version)}), name="near.yaml")
    for dest in (TARGET, "name.test"):
        c = Client(near.addr, source="127.0.0.77")
        t.defer(c.close)
        rep = c.ask(dest, p.told.port).rep
        equal(rep, 0 if dest == TARGET else 4, "reply for " + dest)
        port = c.sock.getsockname()[1]
        log_names(far, "127.0.0.77:%d" % port)


@case("health checks by a link that sends it say that nobody is behind them")
def checked(t):
    heads = []

    def server(conn, _name, _peer):
        heads.append(conn.recv(4096))

    w = place(t).world
    port = Service(t, server, [("a", w.a.ns, TARGET)]).port
    Host(t, config({"a": "interface: a0, send-proxy: v1, health-check: {http: \"http://%s:%d/\", "
                         "interval: 100ms}" % (TARGET, port)}))
    wait_for("a check has come", lambda: heads)
    matches(r"\APROXY UNKNOWN\r\n(GET / |\Z)", heads[0].decode(), "what it says")


if __name__ == "__main__":
    tap.main()
