#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""One port for every client: SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT told apart by what they say."""

import re
import socket
import struct
import time

from lib import client, dns, servers, tap, world
from lib.client import Client
from lib.host import Host, config
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, TARGET6, World

BLOCK = servers.Pattern.BLOCK


class Place:
    """Two links with servers and name servers behind them, and a host before them."""

    def __init__(self, t):
        self.world = World(t)
        self.echoed = self.world.serve(servers.tell_and_echo)
        self.web = self.world.serve(web)
        for link in (self.world.a, self.world.b):
            self.echoed.add(link.name, link.ns, TARGET6)
        self.port = self.echoed.port
        self.names = dns.NameServer(t, [(link.name, link.ns, link.gw)
                                        for link in (self.world.a, self.world.b)],
                                    {"v4.test": [TARGET], "both.test": [TARGET6, TARGET],
                                     "rebind.test": ["127.0.0.1"]})
        self.closed = world.free_port(TARGET, self.world.a.ns)
        self.host = Host(t, config({link.name: "interface: %s0, dns: [%s]" % (link.name, link.gw)
                                     for link in (self.world.a, self.world.b)}))
        self.to = self.host.addr


def web(conn, name, _peer):
    """Answers one request with the link's name."""
    conn.recv(65536)
    conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n" + name.encode())


place = tap.shared(Place)


def socks4(port, user=b"", name=None, addr=TARGET, cmd=1):
    """A SOCKS4 request, or a SOCKS4a one for a name."""
    ip = b"\0\0\0\1" if name is not None else socket.inet_aton(addr)
    tail = name + b"\0" if name is not None else b""
    return bytes([4, cmd]) + struct.pack(">H", port) + ip + user + b"\0" + tail


def connect_head(to, version="1.1", more=""):
    host = "Host: %s\r\n" % to if version == "1.1" else ""
    return ("CONNECT %s HTTP/%s\r\n%s%s\r\n" % (to, version, host, more)).encode()


def granted4(c):
    got = c.take(8)
    equal(got[:2], b"\0\x5a", "a grant: %r" % got)
    return socket.inet_ntoa(got[4:]), struct.unpack(">H", got[2:4])[0]


def head(c):
    """The head of an HTTP answer."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        got += c.take(1)
    return got.decode()


def granted_http(c):
    got = head(c)
    matches(r"\AHTTP/1\.1 200 ", got, "success")
    check(not re.search(r"(?i)content-length|transfer-encoding", got), "no length in it", got)


def echoed(c):
    check(c.line()[0] in "ab", "the server's banner")
    c.send(b"ping")
    equal(c.take(4), b"ping", "the echo")


# ---- real clients ----

@table("curl", [(scheme, scheme) for scheme in ("socks4", "socks4a", "socks5", "socks5h", "http")],
       needs=["curl"])
def curl(t, scheme):
    p = place(t)
    host = "v4.test" if scheme in ("socks4a", "socks5h", "http") else TARGET
    tunnel = ["--proxytunnel"] if scheme == "http" else []
    got = [client.curl(t, "%s://127.0.0.1:%d" % (scheme, p.host.port),
                       "http://%s:%d/" % (host, p.web.port), *tunnel) for _ in range(4)]
    equal(sorted(got), [b"a", b"a", b"b", b"b"], "links of four requests")


@case("curl: CONNECT to an IPv6 address and as HTTP/1.0", needs=["curl"])
def curl_more(t):
    p = place(t)
    for link in (p.world.a, p.world.b):
        p.web.add(link.name, link.ns, TARGET6)
    proxy = "http://127.0.0.1:%d" % p.host.port
    for url, option in (("http://[%s]:%d/" % (TARGET6, p.web.port), "-p"),
                        ("http://both.test:%d/" % p.web.port, "-p")):
        check(client.curl(t, proxy, url, option) in (b"a", b"b"), "served", url)
    check(client.curl(t, proxy, "http://v4.test:%d/" % p.web.port, "-p", "--proxy1.0",
                      "127.0.0.1:%d" % p.host.port) in (b"a", b"b"), "served as HTTP/1.0")


# ---- SOCKS4 ----

@table("SOCKS4", [
    ("no user", lambda port: socks4(port)),
    ("a user of 200 bytes", lambda port: socks4(port, b"u" * 200)),
    ("a user of 255 bytes", lambda port: socks4(port, b"u" * 255)),
    ("SOCKS4a", lambda port: socks4(port, b"me", b"v4.test")),
    ("SOCKS4a, an address as name", lambda port: socks4(port, b"", TARGET.encode())),
])
def socks4_served(t, make):
    p = place(t)
    for piece in (0, 1):
        with Client(p.to) as c:
            c.send(make(p.port), piece)
            bound = granted4(c)
            check(bound[0] in ("10.0.1.1", "10.0.2.1") and bound[1], "the real source", bound)
            echoed(c)


@table("SOCKS4 refused", [
    ("BIND", lambda p: socks4(p.port, cmd=2)),
    ("a name of no bytes", lambda p: socks4(p.port, name=b"")),
    ("a name of 300 bytes", lambda p: socks4(p.port, name=b"n" * 300)),
    ("a user without an end", lambda p: b"\4\1\0\x50" + socket.inet_aton(TARGET) + b"u" * 700),
    ("a name that does not exist", lambda p: socks4(p.port, name=b"none.test")),
    ("a refusing destination", lambda p: socks4(p.closed)),
    ("loopback", lambda p: socks4(p.port, addr="127.0.0.1")),
    ("loopback by name", lambda p: socks4(p.port, name=b"rebind.test")),
    ("this port", lambda p: socks4(p.host.port, addr="127.0.0.1")),
])
def socks4_refused(t, make):
    p = place(t)
    with Client(p.to) as c:
        c.send(make(p))
        how, got = c.ended(10)
        equal((how, got[:2], len(got)), ("fin", b"\0\x5b", 8), "a rejection: %r" % got)


@case("SOCKS4: payload behind the request, and its end, arrive")
def socks4_early(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(socks4(p.port, b"me", b"v4.test") + BLOCK[:100000])
        c.finish()
        granted4(c)
        c.line()
        equal(c.take_all(), BLOCK[:100000], "what came back")


# ---- HTTP CONNECT ----

@table("CONNECT", [
    ("an address", TARGET, "1.1"), ("an address as HTTP/1.0", TARGET, "1.0"),
    ("a name", "v4.test", "1.1"), ("an IPv6 address", "[%s]" % TARGET6, "1.1"),
])
def connect(t, host, version):
    p = place(t)
    for piece in (0, 1):
        with Client(p.to) as c:
            c.send(connect_head("%s:%d" % (host, p.port), version), piece)
            granted_http(c)
            echoed(c)


@case("CONNECT: a head of 16 KiB less one byte, and payload behind it")
def connect_large(t):
    p = place(t)
    to = "%s:%d" % (TARGET, p.port)
    more = "X: %s\r\n" % ("x" * (16384 - 1 - len(connect_head(to, more="X: \r\n"))))
    with Client(p.to) as c:
        whole = connect_head(to, more=more)
        equal(len(whole), 16383, "the head")
        c.send(whole + BLOCK[:100000])
        c.finish()
        granted_http(c)
        c.line()
        equal(c.take_all(), BLOCK[:100000], "what came back")


@case("CONNECT: half closes, each way, and 1 MB")
def connect_halves(t):
    p = place(t)
    total = 1 << 20
    served = p.world.serve(servers.answer_after_end(total))
    with Client(p.to) as c:
        c.send(connect_head("%s:%d" % (TARGET, served.port)))
        granted_http(c)
        c.send(b"x" * 1000)
        c.finish()
        check(len(c.take_all()) >= total, "all that comes after the end of ours")


def status_of(p, data, finish=False):
    with Client(p.to) as c:
        c.send(data)
        if finish:
            c.finish()
        how, got = c.ended(10)
        equal(how, "fin", "the end")
        matches(r"\AHTTP/1\.1 \d\d\d [A-Za-z ]+\r\n(.|\r|\n)*\r\n\r\n.+", got.decode("latin-1"),
                "an answer with a text")
        length = int(re.search(rb"Content-Length: (\d+)", got).group(1))
        equal(len(got.split(b"\r\n\r\n", 1)[1]), length, "the length it tells")
        return int(got[9:12])


@table("CONNECT refused", [
    ("no port", b"CONNECT v4.test HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("an empty port", b"CONNECT v4.test: HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("port 0", b"CONNECT v4.test:0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("port 70000", b"CONNECT v4.test:70000 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("port -1", b"CONNECT v4.test:-1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a port beyond 16 bits", b"CONNECT v4.test:65616 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no Host in HTTP/1.1", b"CONNECT v4.test:80 HTTP/1.1\r\n\r\n", 400),
    ("a bare line feed", b"CONNECT v4.test:80 HTTP/1.1\nHost: a\n\n", 400),
    ("NUL in the name", b"CONNECT v4.test\0x:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("half an address", b"CONNECT 127.1:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("a body", b"CONNECT v4.test:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("an endless line", b"CONNECT " + b"a" * 20000, 414),
    ("an endless head", b"CONNECT v4.test:80 HTTP/1.1\r\nX: " + b"a" * 20000, 431),
    ("20,000 fields", b"CONNECT v4.test:80 HTTP/1.1\r\n" + b"X: y\r\n" * 20000, 431),
    ("a name that does not exist", b"CONNECT none.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", 502),
    ("loopback", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: a\r\n\r\n", 403),
    ("loopback in IPv6", b"CONNECT [::ffff:127.0.0.1]:80 HTTP/1.1\r\nHost: a\r\n\r\n", 403),
    ("loopback by name", b"CONNECT rebind.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", 403),
    ("words", b"HELLO\r\n", 400),
])
def connect_refused(t, data, status):
    p = place(t)
    equal(status_of(p, data), status, "status")


@case("CONNECT to what refuses: 502, and the link is named")
def connect_closed(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(connect_head("v4.test:%d" % p.closed))
        how, got = c.ended(10)
        equal((how, got[:12]), ("fin", b"HTTP/1.1 502"), "status")
        matches(r"v4\.test:%d has refused the connection\.\nLink: [ab]\n" % p.closed,
                got.decode(), "the page")


@case("CONNECT to what is silent: 504 within the limit")
def connect_silent(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0"}, more="timeouts: {attempt: 500ms, connect: 1s}"))
    p.world.a.black_hole()
    t.defer(p.world.a.rules_off)
    began = time.monotonic()
    with Client(host.addr) as c:
        c.send(connect_head("%s:80" % TARGET))
        equal(c.ended(10)[1][:12], b"HTTP/1.1 504", "status")
    within(3, began, "answered")


@case("empty lines before the first request; not such as end otherwise")
def empty_lines(t):
    p = place(t)
    head = connect_head("%s:%d" % (TARGET, p.port))
    for piece in (0, 1):
        with Client(p.to) as c:
            c.send(b"\r\n\r\n" + head, piece)
            granted_http(c)
    for lines in (b"\n", b"\r\r\n", b"\r"):
        with Client(p.to) as c:
            c.send(lines + head)
            equal(c.ended(5)[1][:12], b"HTTP/1.1 400", "status")


# ---- this port itself ----

@case("a browser that opens the port gets a page, and /proxy.pac", needs=["curl"])
def pages(t):
    p = place(t)
    here = "127.0.0.1:%d" % p.host.port
    url = "http://" + here
    page = world.run("curl", "-sS", url + "/")
    check("proxy" in page and here + "/proxy.pac" in page, "what this is", page)
    pac = world.run("curl", "-sSi", url + "/proxy.pac")
    check("application/x-ns-proxy-autoconfig" in pac, "the type", pac)
    matches(r'return "SOCKS5 %s; PROXY %s";' % (here, here), pac, "the ways")
    equal(world.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url + "/x"), "404",
          "another page")
    equal(world.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-d", "x", url), "405",
          "another method")
    for path in ("/", "/proxy.pac", "/x"):
        for method in (b"HEAD", b"GET"):
            with Client(p.to) as c:
                c.send(b"%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method, path.encode(), here.encode()))
                head, _, body = c.ended(5)[1].partition(b"\r\n\r\n")
            size = int(matches(rb"\r\nContent-Length: (\d+)", head, "a length").group(1))
            equal(len(body), size if method == b"GET" else 0, "%s of %s" % (method, path))
    with Client(p.to) as c:
        c.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        matches(rb"^HTTP/1.1 405 .*\r\nAllow: GET, HEAD\r\n", c.ended(5)[1], "RFC 9110, 15.5.6", re.S)
    for own in ("[::1]:99", "proxy.test:99"):
        matches(re.escape(own) + '"', world.run("curl", "-sS", "-H", "Host: " + own, url + "/proxy.pac"),
                "by the address at which it was reached")
    equal(world.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url + "/proxy.pac?1"),
          "200", "with a query")
    ftp = world.run("curl", "-sS", "--noproxy", "", "-x", url, "ftp://v4.test/")
    check("http://" in ftp and "CONNECT" in ftp, "what may be asked for", ftp)
    only = Host(t, config({"a": "interface: a0"}, listener=", protocols: [http]"))
    there = "127.0.0.1:%d" % only.port
    matches(r'return "PROXY %s";' % there, world.run("curl", "-sS", "http://%s/proxy.pac" % there),
            "without SOCKS5")


# ---- what a listener does not speak ----

@table("a listener that speaks only", [
    ("socks4, to SOCKS5", "socks4", b"\5\1\0", b"\5\xff"),
    ("socks4, to HTTP", "socks4", b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 501"),
    ("http, to SOCKS5", "http", b"\5\1\0", b"\5\xff"),
    ("http, to SOCKS4", "http", socks4(80), b"\0\x5b"),
    ("socks5, to SOCKS4", "socks5", socks4(80), b"\0\x5b"),
])
def only(t, protocol, data, answer):
    place(t)
    host = Host(t, config({"a": "interface: a0"}, listener=", protocols: [%s]" % protocol))
    with Client(host.addr) as c:
        c.send(data)
        how, got = c.ended(10)
        equal((how, got[:len(answer)]), ("fin", answer), "a refusal")
    wait_for("the log says why", lambda: "which this listener does not: refused\n" in host.log(),
             2)


@case("a TLS client is told of in the log")
def tls(t):
    p = place(t)
    with Client(p.to) as c:
        c.send(b"\x16\3\1\0\5hello")
        check(c.ended(10)[0] != "open", "closed")
    wait_for("the log says why", lambda: "TLS" in p.host.log())


@case("early-reply: HTTP and SOCKS4 clients are told at once")
def early_reply(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0"}, listener=", early-reply: yes"))
    with Client(host.addr) as c:
        c.send(connect_head("%s:%d" % (TARGET, p.port)))
        granted_http(c)
        echoed(c)
    with Client(host.addr) as c:
        c.send(socks4(p.port))
        equal(granted4(c), ("0.0.0.0", 0), "nothing is known yet")
        echoed(c)


if __name__ == "__main__":
    tap.main()
