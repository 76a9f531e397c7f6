#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""SOCKS5 as clients may send it, right and wrong: RFC 1928 and what it leaves open."""

import errno
import re
import socket
import subprocess
import time

from lib import client, dns, servers, tap, world
from lib.client import Client, request
from lib.host import Host, config
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, TARGET6, World

LONG = "%s.%s.%s.%s" % ("a" * 63, "b" * 63, "c" * 63, "d" * 61)  # 253 bytes
AT_ONCE_S = 1.0
ZONE = {
    "v4.test": [TARGET], "v6.test": [TARGET6], "both.test": [TARGET6, TARGET], LONG: [TARGET],
    "rebind.test": ["127.0.0.1"], "rebind6.test": ["::1"], "mapped.test": ["::ffff:127.0.0.1"],
    "zero.test": ["0.0.0.0"], "evil": [TARGET],
}


class Place:
    """One link with a server and a name server behind it, and a host before it."""

    def __init__(self, t):
        self.world = World(t, "a")
        link = self.world.a
        self.server = self.world.serve(servers.tell_and_echo)
        self.server.add("a", link.ns, TARGET6)
        self.port = self.server.port
        self.names = dns.NameServer(t, [("a", link.ns, link.gw)], ZONE)
        self.closed = world.free_port(TARGET, link.ns)
        # Whoever reaches this one has come round the rule about loopback.
        self.inner = world.Service(t, servers.tell_and_echo, [("inner", None, "127.0.0.1")])
        self.inner.add("inner", None, "::1")
        self.host = Host(t, config({"a": "interface: a0"}))
        self.to = self.host.addr

    def served(self, conn):
        """The connection is up: name the server's link, then echo."""
        equal(conn.line().split()[0], "a", "the server's banner")
        conn.send(b"ping")
        equal(conn.take(4), b"ping", "the echo")


place = tap.shared(Place)


def works(p):
    """The host serves the next client."""
    with client.connect(p.to, TARGET, p.port) as c:
        p.served(c)


# ---- segmentation ----

@table("segmentation", [(str(n), n) for n in (1, 2, 3, 5, 7)])
def segmentation(t, piece):
    p = place(t)
    for host in (TARGET, TARGET6, "v4.test"):
        with Client(p.to) as c:
            equal(c.greet(b"\0\2", piece), 0, "method")
            c.send(request(host, p.port), piece)
            equal(c.reply().rep, 0, "reply for " + host)
            p.served(c)


@case("greeting, request and payload in one segment")
def one_segment(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(b"\5\1\0" + request(TARGET, p.port) + b"early")
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")
        equal(c.line().split()[0], "a", "banner")
        equal(c.take(5), b"early", "payload sent with the request")


@case("payload behind the request arrives, 100 KB before the reply")
def early_payload(t):
    p = place(t)
    data = servers.Pattern.BLOCK[:100000]
    with Client(p.to) as c:
        c.greet()
        c.send(request("v4.test", p.port) + data)
        equal(c.reply().rep, 0, "reply")
        c.line()
        equal(c.take(len(data)), data, "early payload")


@case("request, payload and the end of it in one segment")
def early_end(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(b"\5\1\0" + request(TARGET, p.port) + b"bye")
        c.finish()
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")
        c.line()
        equal(c.take_all(), b"bye", "what came back until the end")


# ---- method selection ----

@case("no method offered: nothing is selected, and it is said")
def no_methods(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(b"\5\0")
        equal(c.selection(), 0xFF, "method")
        equal(c.ended()[0], "fin", "the end")


@table("methods", [
    ("255 with none among them", bytes(range(1, 255)) + b"\0", 0),
    ("255 without none", b"\2" * 255, 0xFF),
    ("user/pass only", b"\2", 0xFF),
    ("GSSAPI and user/pass", b"\1\2", 0xFF),
    ("none last", b"\x80\2\0", 0),
    ("FF itself", b"\xff", 0xFF),
])
def methods(t, offered, wanted):
    p = place(t)
    with Client(p.to) as c:
        equal(c.greet(offered), wanted, "method")
        if wanted == 0:
            c.send(request(TARGET, p.port))
            equal(c.reply().rep, 0, "reply")
            p.served(c)
        else:
            equal(c.ended()[0], "fin", "the end")


@case("a request behind a refused selection is not served")
def skipped_login(t):
    p = place(t)
    before = len(p.server.order)
    with Client(p.to) as c:
        c.send(b"\5\1\2" + b"\1\1u\1p" + request(TARGET, p.port))
        equal(c.selection(), 0xFF, "method")
        equal(c.ended()[1], b"", "bytes after the refusal")
    equal(len(p.server.order), before, "clients the server has seen")


# ---- broken requests ----

@table("first byte", [("%02x" % b, b) for b in (0, 1, 6, 0x16, 0x80, 0xFF)])
def first_byte(t, byte):
    p = place(t)
    before = len(p.server.order)
    with Client(p.to) as c:
        c.send(bytes([byte]) + b"\1\0" + request(TARGET, p.port))
        how, got = c.ended()
        check(how != "open", "the connection is closed", how, got)
        check(not got.startswith(b"\5\0"), "no method is selected", got)
    equal(len(p.server.order), before, "clients the server has seen")
    works(p)


@table("request VER", [("%02x" % b, b) for b in (0, 1, 4, 6, 0xFF)])
def request_version(t, ver):
    p = place(t)
    before = len(p.server.order)
    with Client(p.to) as c:
        c.greet()
        c.send(request(TARGET, p.port, ver=ver))
        how, got = c.ended()
        equal(how, "fin", "the end")
        check(got == b"" or got[:2] == b"\5\1", "no reply, or 01", got)
    equal(len(p.server.order), before, "clients the server has seen")


@case("RSV other than 0 gets a clear answer")
def reserved(t):
    p = place(t)
    with Client(p.to) as c:
        c.greet()
        c.send(request(TARGET, p.port, rsv=7))
        reply = c.reply()
        if reply.rep == 0:
            p.served(c)
        else:
            equal(reply.rep, 1, "reply")
            equal(c.ended()[0], "fin", "the end")


@table("command", [("%02x" % b, b) for b in (0, 2, 3, 4, 0x80, 0xFF)])
def command(t, cmd):
    p = place(t)
    with Client(p.to) as c:
        equal(c.ask(TARGET, p.port, cmd=cmd).rep, 7, "reply")
        equal(c.ended(), ("fin", b""), "the end, and no stray bytes")


@table("address type", [("%02x" % b, b) for b in (0, 2, 5, 0x80, 0xFF)])
def address_type(t, atyp):
    p = place(t)
    with Client(p.to) as c:
        c.greet()
        c.send(bytes([5, 1, 0, atyp]) + socket.inet_aton(TARGET) + b"\0\x50")
        equal(c.reply().rep, 8, "reply")
        equal(c.ended(), ("fin", b""), "the end, and no stray bytes")


# ---- names ----

@table("name", [
    ("253 bytes", LONG),
    ("a dot at its end", "v4.test."),
    ("capitals", "V4.TeSt"),
    ("an IPv4 literal", TARGET),
    ("an IPv6 literal", TARGET6),
    ("only AAAA", "v6.test"),
    ("A and AAAA", "both.test"),
])
def good_name(t, name):
    p = place(t)
    with Client(p.to) as c:
        equal(c.ask(name.encode(), p.port).rep, 0, "reply")
        p.served(c)


@table("bad name", [
    ("of length 0", b"", (1, 4, 8)),
    ("of 255 bytes", b"x" * 255, (4,)),
    ("of 255 bytes with dots", (b"x" * 62 + b".") * 4 + b"abc", (4,)),
    ("not there", b"nowhere.test", (4,)),
    ("NUL inside", b"v4.test\0.evil", (1, 2, 4, 8)),
    ("NUL at its end", b"v4.test\0", (1, 2, 4, 8)),
    ("only NUL", b"\0", (1, 2, 4, 8)),
    ("CR LF", b"v4.test\r\nX: y", (1, 4, 8)),
    ("8-bit", b"\xff\xfe\x80.test", (1, 4, 8)),
    ("format strings", b"%s%n%s%n%100000d.test", (1, 4, 8)),
    ("escape codes", b"\x1b[31mred\x1b[0m.test", (1, 4, 8)),
    ("only dots", b"...", (1, 4, 8)),
    ("an empty label", b"v4..test", (1, 4, 8)),
    ("spaces", b" v4.test ", (1, 4, 8)),
])
def bad_name(t, name, reps):
    p = place(t)
    asked, reached = len(p.names.asked), len(p.server.order)
    started = time.monotonic()
    with Client(p.to) as c:
        reply = c.ask(name, p.port)
        check(reply.rep in reps, "the reply is one of %r" % (reps,), reply)
        within(8, started, "the answer")
        equal(c.ended(), ("fin", b""), "the end, and no stray bytes")
    equal(len(p.server.order), reached, "clients the server has seen")
    for _place, query, _type in p.names.asked[asked:]:
        check(query not in ("v4.test", "evil"), "a part of the name is not asked for", query)
    check(not re.search(r"[^\n\x20-\x7e]", p.host.log()), "the log is printable",
          p.host.log()[-400:])
    works(p)


# ---- destinations ----

@case("port 0 is answered at once")
def port_zero(t):
    p = place(t)
    started = time.monotonic()
    rep = client.ask(p.to, TARGET, 0)
    check(rep in (1, 2, 4, 5), "a failure is replied", rep)
    within(AT_ONCE_S, started, "the answer")


@table("loopback by a link that is not", [
    ("127.0.0.1", "127.0.0.1"), ("127.9.9.9", "127.9.9.9"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1"),
    ("::", "::"), ("mapped 127.0.0.1", "::ffff:127.0.0.1"), ("mapped 0.0.0.0", "::ffff:0.0.0.0"),
    ("name that is a literal", b"127.0.0.1"), ("name that is ::1", b"::1"),
    ("rebinding to 127.0.0.1", b"rebind.test"), ("rebinding to ::1", b"rebind6.test"),
    ("rebinding to a mapped one", b"mapped.test"), ("rebinding to 0.0.0.0", b"zero.test"),
])
def loopback(t, dest):
    p = place(t)
    started = time.monotonic()
    equal(client.ask(p.to, dest, p.inner.port), 2, "reply")
    within(AT_ONCE_S, started, "the answer")
    equal(p.inner.order, [], "clients of the server on loopback")


@table("loopback in other writing", [
    (n, n.encode()) for n in ("localhost", "localhost.", "2130706433", "127.1", "0177.0.0.1",
                              "0x7f000001", "0x7f.1", "127.0.0.1.", "ip6-localhost", "0", "[::1]")
])
def loopback_writing(t, dest):
    p = place(t)
    started = time.monotonic()
    rep = client.ask(p.to, dest, p.inner.port)
    check(rep != 0, "refused", rep)
    within(8, started, "the answer")
    equal(p.inner.order, [], "clients of the server on loopback")


@case("the host's own listener is no destination")
def own_listener(t):
    p = place(t)
    port = world.free_port("10.0.1.1")
    host = Host(t, config({"a": "interface: a0"}, listen="10.0.1.1:PORT", listener=", open: yes"),
                port=port, listen="10.0.1.1")
    with Client(("10.0.1.1", port)) as c:
        started = time.monotonic()
        equal(c.ask("10.0.1.1", port).rep, 2, "reply")
        within(AT_ONCE_S, started, "the answer")
    with client.connect(host.addr, TARGET, p.port) as c:
        p.served(c)


@case("nor is a listener on all addresses, by any of this host's")
def own_wildcard_listener(t):
    p = place(t)
    port = world.free_port("0.0.0.0")
    host = Host(t, config({"a": "interface: a0"}, listen="0.0.0.0:PORT", listener=", open: yes"),
                port=port)
    for addr in ("10.0.1.1", "127.0.0.1"):
        with Client(("127.0.0.1", port)) as c:
            equal(c.ask(addr, port).rep, 2, "reply for " + addr)
    with client.connect(host.addr, TARGET, p.port) as c:
        p.served(c)


@table("a link to the host's own port is no way out", [
    ("by SOCKS", "127.0.0.1", "127.0.0.1", "dialer: socks"),
    ("by HTTP", "127.0.0.1", "127.0.0.1", "dialer: http"),
    ("where it listens on all addresses", "0.0.0.0", "10.0.1.1", "dialer: socks"),
    ("of raw bytes", "127.0.0.1", "127.0.0.1", None),
])
def own_port(t, listen, server, dialer):
    place(t)
    port = world.free_port(listen)
    if dialer:
        host = Host(t, config({"me": "%s, server: %s:%d" % (dialer, server, port)},
                              listen=listen + ":PORT", listener=", allow: [127.0.0.0/8, 10.0.0.0/8]"),
                    port=port)
    else:
        host = Host(t, args=["-lport", "PORT", "-tunnel", "%s:%d" % (server, port)], port=port)
    with Client(("127.0.0.1", port)) as c:
        started = time.monotonic()
        c.send(b"\5\1\0" + request(TARGET, 80))
        equal(c.ended()[1][:4], b"\5\0\5\1" if dialer else b"", "the answer")
        within(AT_ONCE_S, started, "the answer")
    matches("its server is a port of this program itself", host.log(), "why")


@case("a link on loopback may reach loopback")
def loopback_link(t):
    p = place(t)
    host = Host(t, args=["-lport", "PORT", "127.0.0.2@1"])
    with client.connect(host.addr, "127.0.0.1", p.inner.port) as c:
        equal(c.line().split()[:2], ["inner", "127.0.0.2"], "the server's banner")


# ---- replies ----

@case("BND is the address the server sees")
def bound(t):
    p = place(t)
    for dest, source in ((TARGET, "10.0.1.1"), (TARGET6, "fd00:1::1"), ("v4.test", "10.0.1.1")):
        with client.connect(p.to, dest, p.port) as c:
            _link, addr, port = c.line().split()
            equal(c.bound, (addr, int(port)), "BND")
            equal(addr, source, "the link's address")


@table("reply", [
    ("05 refused", "reject with tcp reset", 5, AT_ONCE_S),
    # So near a gateway answers inside connect(), where Linux only notes the error until it sends
    # the SYN again, a second later.
    ("04 host unreachable", "reject with icmp type host-unreachable", 4, 2.5),
    ("03 network unreachable", "reject with icmp type net-unreachable", 3, 2.5),
    ("04 no answer", "drop", 4, 12),
])
def reply_code(t, verdict, rep, limit):
    p = place(t)
    link = p.world.a
    link.rule(verdict, "tcp dport 4444")
    t.defer(link.rules_off)
    started = time.monotonic()
    equal(client.ask(p.to, TARGET, 4444), rep, "reply")
    within(limit, started, "the answer")
    works(p)


@case("reply: 05 for a port nobody has, IPv4, IPv6 and name")
def refused(t):
    p = place(t)
    for dest in (TARGET, TARGET6, "v4.test", "both.test"):
        started = time.monotonic()
        equal(client.ask(p.to, dest, p.closed), 5, "reply for " + dest)
        within(AT_ONCE_S, started, "the answer")


@case("a failure reply is not eaten by unread input, and the end follows")
def reply_then_close(t):
    p = place(t)
    for _ in range(20):
        with Client(p.to) as c:
            c.greet()
            c.send(request(TARGET, p.closed) + b"x" * 200000)
            equal(c.reply().rep, 5, "reply")
            how, got = c.ended(10)
            check(how in ("fin", "rst") and not got, "the end within 10 s", how, got)


@case("a client that waits after a failure sees the end within 10 s")
def failure_then_end(t):
    p = place(t)
    with Client(p.to) as c:
        equal(c.ask(TARGET, p.closed).rep, 5, "reply")
        equal(c.ended(10), ("fin", b""), "the end")


# ---- other protocols, at a listener that speaks SOCKS5 only ----

ONLY = config({"a": "interface: a0"}, listener=", protocols: [socks5]")


@table("another protocol", [
    ("HTTP GET", b"GET http://v4.test/ HTTP/1.1\r\nHost: v4.test\r\n\r\n", "HTTP"),
    ("HTTP CONNECT", b"CONNECT v4.test:443 HTTP/1.1\r\nHost: v4.test:443\r\n\r\n", "HTTP"),
    ("HTTP POST", b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "HTTP"),
])
def http(t, data, word):
    place(t)
    host = Host(t, ONLY)  # of its own: repeats are not logged
    before = len(host.log())
    with Client(host.addr) as c:
        c.send(data)
        how, got = c.ended()
        equal(how, "fin", "the end")
    matches(r"\AHTTP/1\.[01] [45]\d\d [^\r\n]+\r\n(.|\r|\n)*\r\n\r\n",
            got.decode(errors="replace"), "an answer a browser shows")
    check(b"SOCKS" in got, "the answer says what is spoken here", got)
    said = wait_for("a log line", lambda: host.log()[before:])
    lines = [line for line in said.splitlines() if word in line]
    equal(len(lines), 1, "log lines that name the mistake: %r" % said)


@case("another protocol: curl shows HTTP's answer", needs=["curl"])
def http_curl(t):
    place(t)
    host = Host(t, ONLY)
    body = client.curl(t, "http://127.0.0.1:%d" % host.port, "http://v4.test/")
    check(b"SOCKS" in body, "curl shows it", body)


@table("another protocol", [
    ("SOCKS4", b"\4\1\0\x50" + socket.inet_aton(TARGET) + b"me\0"),
    ("SOCKS4a", b"\4\1\0\x50\0\0\0\1me\0v4.test\0"),
])
def socks4(t, data):
    place(t)
    host = Host(t, ONLY)
    before = len(host.log())
    with Client(host.addr) as c:
        c.send(data)
        how, got = c.ended()
    equal((how, got[:2], len(got)), ("fin", b"\0\x5b", 8), "a SOCKS4 refusal: %r" % got)
    said = wait_for("a log line", lambda: host.log()[before:])
    check("SOCKS4" in said, "the log names the mistake", said)


@case("another protocol: HTTP and SOCKS4 one after the other are both named")
def both_named(t):
    place(t)
    host = Host(t, ONLY)
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\4\1\0\x50\1\2\3\4me\0"):
        with Client(host.addr) as c:
            c.send(data)
            c.ended()
    wait_for("two log lines", lambda: "HTTP" in host.log() and "SOCKS4" in host.log())


@table("spoken to by", [
    ("an SSH client", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 ", b"is a proxy"),
    ("a mail client that is in a hurry", b"EHLO me\r\n", b"HTTP/1.1 400 ", b"is a proxy"),
    ("a person", b"?\r\n", b"HTTP/1.1 400 ", b"is a proxy"),
    ("a database's client", b"*1\r\n$4\r\nPING\r\n", b"HTTP/1.1 400 ", b"is a proxy"),
    ("an HTTP/2 client", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 ", b"HTTP/1.1 and"),
    ("a browser, after an empty line", b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 ",
     b"a proxy"),
    ("a TLS client", b"\x16\3\1\6\xf0" + b"\1" * 1776, b"HTTP/1.1 400 ", b"not https://"),
])
def strangers(t, data, start, text):
    p = place(t)
    with Client(p.to) as c:
        c.send(data)
        how, got = c.ended()
    equal((how, got[:len(start)]), ("fin", start), "an answer that comes, and its end")
    check(text in got.split(b"\r\n\r\n", 1)[1], "what it says", got)


@case("another protocol: curl takes it for TLS: a wrong version", needs=["curl"])
def tls_curl(t):
    p = place(t)
    done = subprocess.run([tap.tool("curl"), "-sS", "-x", "https://127.0.0.1:%d" % p.host.port,
                           "http://v4.test/"], stderr=subprocess.PIPE, timeout=20, check=False)
    check(b"wrong version" in done.stderr, "what curl says", done.stderr)


@case("another protocol: SOCKS4 with an endless user id ends")
def socks4_endless(t):
    p = place(t)
    with Client(p.to) as c:
        try:
            for _ in range(1000):
                c.send(b"\4\1\0\x50" + socket.inet_aton(TARGET) if not _ else b"u" * 1000)
            how = c.ended(20)[0]
        except OSError as error:
            check(error.errno in (errno.EPIPE, errno.ECONNRESET), "closed", error)
            how = "rst"
    check(how != "open", "closed", how)
    works(p)


# ---- slow and silent clients ----

@case("a client that says nothing, little, or a byte at a time meets the deadline")
def slow_loris(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0"}, more="timeouts: {handshake: 1s}"))
    whole = b"\5\1\0" + request(b"x" * 200, 80)
    starts = {"nothing": b"", "one byte": b"\5", "half a greeting": b"\5\3\0",
              "a greeting": b"\5\1\0", "half a request": whole[:12]}

    def silent(name):
        with Client(host.addr) as c:
            started = time.monotonic()
            c.send(starts[name])
            how = c.ended(6)[0]
            return name, how, time.monotonic() - started

    def dribble():
        with Client(host.addr) as c:
            started = time.monotonic()
            try:
                for i in range(len(whole)):
                    c.send(whole[i:i + 1])
                    c.sock.settimeout(0.2)
                    try:
                        while c.sock.recv(100):
                            pass
                        break
                    except TimeoutError:
                        continue
            except OSError:
                pass
            return "dribble", "fin", time.monotonic() - started

    jobs = [lambda n=n: silent(n) for n in starts] + [dribble]
    for got in client.together(len(jobs), lambda i: jobs[i]()):
        check(not isinstance(got, Exception), "closed", got)
        name, how, took = got
        check(how != "open" and 0.5 < took < 4, "%s: closed after about 1 s" % name, how, took)
    said = r"client=127\.0\.0\.1:\d+ has not said what it wants: closed ms=1\d\d\d\b"
    wait_for("the log says it", lambda: re.search(said, host.log()))
    with client.connect(host.addr, TARGET, p.port) as c:
        p.served(c)


@case("400 silent clients keep nobody else waiting")
def many_silent(t):
    p = place(t)
    idle = [Client(p.to) for _ in range(400)]
    t.defer(lambda: [c.close() for c in idle])
    started = time.monotonic()
    for _ in range(10):
        works(p)
    within(3, started, "ten clients among them")


if __name__ == "__main__":
    tap.main()
