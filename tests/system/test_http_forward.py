#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plain requests of HTTP in absolute form: what reaches the origin, what comes back, and what of
both connections is kept."""

import base64
import contextlib
import gzip
import hashlib
import os
import re
import socket
import time

from lib import client, dns, host, http, peers, servers, tap, world
from lib.shim import FailMalloc
from lib.tap import case, check, equal, matches, table, within

BIG = 1 << 20
H = "Host: other\r\n"


def start(t, names="a", links=None, **keywords):
    """A world, an origin, a host in front."""
    w = world.World(t, names)
    links = links or {link.name: "interface: %s" % link.dev for link in w.links}
    return w, host.Host(t, host.config(links, **keywords))


class Browser:
    """A client that keeps its connection to the proxy."""

    def __init__(self, t, h, **keywords):
        self.client = client.Client(h.addr, **keywords)
        t.defer(self.client.close)
        self.reader = http.Reader(self.client.sock)

    def send(self, text, piece=0):
        self.client.send(text if isinstance(text, bytes) else text.encode(), piece)

    def answer(self, method="GET"):
        return http.answer(self.reader, method)

    def get(self, url, *fields, method="GET", body=b"", version="1.1"):
        self.send("\r\n".join(["%s %s HTTP/%s" % (method, url, version), "Host: other", *fields, "",
                               ""]).encode() + body)
        return self.answer(method)

    def ended(self):
        return self.client.ended()[0]


def body_of(size):
    return b"".join(servers.Pattern.pieces(size))


# ---- what reaches the origin ----


@case("the request becomes one to a server, with the host of its target")
def rewritten(t):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.send("GET HTTP://%s:%d?q=1 HTTP/1.1\r\nHost: evil\r\nConnection: keep-alive, X-Mine\r\n"
           "X-Mine: 1\r\nX-Theirs: 2\r\nKeep-Alive: 3\r\nProxy-Connection: keep-alive\r\n"
           "Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nUpgrade: h2c\r\n"
           "Via: 1.0 before\r\nAccept: */*\r\n\r\n" % (world.TARGET, origin.port))
    equal(b.answer().body, b"/?q=1", "the answer")
    equal(origin.all_bytes().decode(),
          "GET /?q=1 HTTP/1.1\r\nHost: %s:%d\r\nX-Theirs: 2\r\nVia: 1.0 before\r\n"
          "Accept: */*\r\nVia: 1.1 dispatch\r\n\r\n" % (world.TARGET, origin.port), "the request")


@case("what the answer says for one connection alone goes no further")
def answer_rewritten(t):
    w, h = start(t)
    origin = http.Origin(w, {"/": http.ok(
        b"x", "Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5", "X-End: 2",
        "Proxy-Authenticate: Basic", "Upgrade: h2c")})
    got = Browser(t, h).get(origin.url())
    equal(got.fields, [("content-length", "1"), ("x-end", "2"), ("via", "1.1 dispatch")],
          "the fields of the answer")


@case("OPTIONS and TRACE go no further than Max-Forwards says")
def hops(t):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.get(origin.url(""), "Max-Forwards: 3", method="OPTIONS")
    b.get(origin.url("/x"), "Max-Forwards: 3")
    equal([(r.target, http.value(r.fields, "Max-Forwards")) for r in origin.requests],
          [("*", "2"), ("/x", "3")], "what reached the origin")
    equal(b.get(origin.url("/"), "Max-Forwards: 0", method="TRACE").status, 405, "the last hop")
    equal(len(origin.requests), 2, "requests")


# ---- connections ----


@case("one connection of a client: each request to its server, one connection for the same")
def reused(t):
    w, h = start(t)
    one, two = http.Origin(w), http.Origin(w)
    b = Browser(t, h)
    for path, origin in (("/1", one), ("/2", one), ("/3", two), ("/4", two), ("/5", one)):
        equal(b.get(origin.url(path)).body, path.encode(), "the answer")
    equal((one.connections(), two.connections()), (2, 1), "connections")
    equal(one.heads(), ["GET /1", "GET /2", "GET /5"], "requests")
    equal(len(re.findall(r"client=\S+ dest=\S+ link=a code=00", h.log())), 5, "lines of the log")


@case("a connection to a server is no other client's")
def not_shared(t):
    w, h = start(t)
    origin = http.Origin(w)
    first, second = Browser(t, h), Browser(t, h)
    for b in (first, second, first, second):
        b.get(origin.url())
    equal(origin.connections(), 2, "connections")


@case("a connection to a server is its user's alone")
def not_other_users(t):
    w = world.World(t, "a")
    t.file("who", "".join("%s:%s\n" % (name, world.run("openssl", "passwd", "-5", name).strip())
                          for name in ("ann", "bob")))
    h = host.Host(t, host.config({"a": "interface: a0"}, listener=", users-file: who"))
    origin = http.Origin(w)
    b = Browser(t, h)
    for name in ("ann", "ann", "bob", "bob", "ann"):
        login = base64.b64encode(("%s:%s" % (name, name)).encode()).decode()
        equal(b.get(origin.url(), "Proxy-Authorization: Basic " + login).status, 200, name)
    equal(origin.connections(), 3, "connections")


@case("a reload: what a name stood for may be denied now, by a kept connection too")
def denied_later(t):
    w = world.World(t, "a")
    dns.NameServer(t, [("a", w.a.ns, w.a.gw)], {"a.test": [world.TARGET]})
    text = host.config({"a": "interface: a0, dns: [%s]" % w.a.gw})
    h = host.Host(t, text)
    origin = http.Origin(w)
    b = Browser(t, h)
    for _ in range(2):
        equal(b.get(origin.url(host="a.test")).status, 200, "before")
    equal(origin.connections(), 1, "connections")
    h.reload(text + "rules: [{network: 10.9.9.0/24, action: deny}]\n")
    equal(b.get(origin.url(host="a.test")).status, 403, "after it")


@case("requests in one segment are answered in their order")
def pipelined(t):
    w, h = start(t)
    one, two = http.Origin(w), http.Origin(w)
    b = Browser(t, h)
    text = b""
    for i in range(30):
        origin = (one, two)[i // 10 % 2]
        body = b"b%d" % i if i % 3 == 0 else b""
        text += ("%s %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (
            "PUT" if body else "GET", origin.url("/%d" % i), H, len(body))).encode() + body
    b.send(text)
    equal([b.answer().body for _ in range(30)], [b"/%d" % i for i in range(30)], "answers")
    equal([r.body for r in one.requests][:4], [b"b0", b"", b"", b"b3"], "bodies")


@case("a kept server that has closed: the request is sent again, by a new connection")
def closed_between(t):
    w, h = start(t)
    origin = http.Origin(w, {"/last": http.last(http.ok(b"last"))})
    b = Browser(t, h)
    for _ in range(3):
        equal(b.get(origin.url("/last")).body, b"last", "the answer")
        time.sleep(0.05)
    equal(origin.connections(), 3, "connections")


@case("a kept server that closes when it gets a request: once more if that does no harm")
def closed_at_request(t):
    w, h = start(t)

    def second_fails(request):
        return None if len([r for r in origin.requests if r.conn == request.conn]) > 1 else \
            http.ok(b"%d" % request.conn)

    origin = http.Origin(w, {"/": second_fails})
    b = Browser(t, h)
    equal([b.get(origin.url()).body for _ in range(3)], [b"0", b"1", b"2"], "answers")
    got = b.get(origin.url(), "Content-Length: 1", method="POST", body=b"x")
    equal(got.status, 502, "POST is not sent twice")
    check(b"without an answer" in got.body and b"Link: a" in got.body, "the page", got.body)
    equal(b.get(origin.url()).status, 200, "the client's connection after it")
    equal(len([r for r in origin.requests if r.method == "POST"]), 1, "POSTs seen")


@case("CONNECT on a connection that has carried plain requests")
def connect_later(t):
    w, h = start(t)
    origin, echo = http.Origin(w), w.serve(servers.echo)
    b = Browser(t, h)
    b.get(origin.url())
    b.send("CONNECT %s:%d HTTP/1.1\r\n%s\r\nearly" % (world.TARGET, echo.port, H))
    equal(b.reader.line(), b"HTTP/1.1 200 Connection established", "the answer")
    equal(b.reader.line(), b"", "its end")
    equal(b.reader.take(5), b"early", "the echo")


@case("a client that wants its connection closed, or speaks HTTP/1.0, gets that")
def closing(t):
    w, h = start(t)
    origin = http.Origin(w)
    for fields, version in ((["Connection: close"], "1.1"), ([], "1.0"),
                            (["Connection: keep-alive"], "1.0")):
        b = Browser(t, h)
        got = b.get(origin.url(), *fields, version=version)
        equal(http.value(got.fields, "Connection"), "close", "Connection")
        equal(b.ended(), "fin", "the end")


@case("an idle client that is kept costs no buffer, and the end of the host closes it")
def idle(t):
    w, h = start(t)
    origin = http.Origin(w, {"/": http.ok(body_of(20000))})
    browsers = []

    def open_some(n):
        for _ in range(n):
            b = Browser(t, h)
            equal(len(b.get(origin.url()).body), 20000, "the answer")
            browsers.append(b)

    open_some(50)
    before = h.rss_kib()
    open_some(300)
    grown = h.rss_kib() - before
    check(grown < 300 * 4, "KiB for 300 idle clients", grown)
    h.term()
    equal(h.wait(), 0, "the status")
    equal({b.ended() for b in browsers}, {"fin"}, "how they end")


@case("a kept client that says nothing is closed, and so is one that never comes to an end")
def slow_clients(t):
    w, h = start(t, more="timeouts: {handshake: 1s, idle: 1s}")
    origin = http.Origin(w)
    silent, slow = Browser(t, h), Browser(t, h)
    for b in (silent, slow):
        b.get(origin.url())
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in b"GET http://x/ HTTP/1.1\r\nX: " + b"y" * 200:
            slow.send(bytes([byte]))
            time.sleep(0.05)
    check(time.monotonic() - began < 8, "cut off though it goes on", time.monotonic() - began)
    equal(silent.ended(), "fin", "the silent one")
    equal(origin.heads(), ["GET /"] * 2, "requests")


# ---- bodies ----


@table("a body of 1 MB and back", [("of a length", 0, "1.1"), ("in chunks", 1, "1.1"),
                                   ("of a length, HTTP/1.0", 0, "1.0")])
def both_ways(t, chunks, version):
    w, h = start(t)
    data = body_of(BIG + 12345)

    def back(request):
        if version == "1.0" or chunks:
            pieces = [request.body[i:i + 70001] for i in range(0, len(request.body), 70001)]
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + http.chunked(*pieces)
        return http.ok(request.body)

    origin = http.Origin(w, {"/": back})
    b = Browser(t, h)
    for _ in range(2 if version == "1.1" else 1):
        if chunks:
            got = b.get(origin.url(), "Transfer-Encoding: chunked", method="PUT",
                        body=http.chunked(*[data[i:i + 9999] for i in range(0, len(data), 9999)]))
        else:
            got = b.get(origin.url(), "Content-Length: %d" % len(data), method="PUT", body=data,
                        version=version)
        equal(hashlib.sha1(got.body).hexdigest(), hashlib.sha1(data).hexdigest(), "the body")
    equal(http.value(got.fields, "Transfer-Encoding"), "chunked" if chunks else None, "its coding")
    equal(origin.connections(), 1, "connections")


@case("trailers both ways; extensions of chunks go no further")
def trailers(t):
    w, h = start(t)
    origin = http.Origin(w, {"/": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  b"003;a=\"b\"\r\nabc\r\n0;x\r\nX-Sum: 1\r\nKeep-Alive: 2\r\n\r\n"})
    b = Browser(t, h)
    got = b.get(origin.url(), "Transfer-Encoding: chunked", "Trailer: X-Up", method="PUT",
                body=b"2;e=f\r\nab\r\n0\r\nX-Up: 3\r\nTE: 4\r\n\r\n")
    equal((got.body, got.trailers), (b"abc", [("x-sum", "1")]), "the answer")
    check(origin.all_bytes().endswith(b"\r\n\r\n2\r\nab\r\n0\r\nX-Up: 3\r\n\r\n"), "the request",
          origin.all_bytes())
    equal(b.get(origin.url("/x")).body, b"/x", "the next one")


@case("answers without a body: HEAD, 204, 304, and what is behind them is another answer")
def bodyless(t):
    w, h = start(t)
    origin = http.Origin(w, {
        "/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\nETag: x\r\n\r\n",
        "/204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/big": http.ok(body_of(100000)),
        "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + http.chunked(b"x")})
    b = Browser(t, h)
    equal(http.value(b.get(origin.url("/big"), method="HEAD").fields, "Content-Length"), "100000",
          "the length that HEAD tells")
    equal(b.get(origin.url("/chunked"), method="HEAD").status, 200, "HEAD")
    equal(b.get(origin.url("/304")).status, 304, "304")
    equal(b.get(origin.url("/204")).status, 204, "204")
    equal(b.get(origin.url("/chunked")).body, b"x", "a body")
    equal(origin.connections(), 1, "connections")


@case("a body where there must be none is not taken for the next answer")
def stray_body(t):
    w, h = start(t)
    hidden = http.ok(b"hidden")
    origin = http.Origin(w, {
        "/204": b"HTTP/1.1 204 No\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        "/more": http.ok(b"x") + hidden})
    b = Browser(t, h)
    for path, status in (("/204", 204), ("/more", 200), ("/204", 204)):
        equal(b.get(origin.url(path)).status, status, path)
        equal(b.get(origin.url("/ok")).body, b"/ok", "the next answer")


@case("a body to the end of the connection")
def to_end(t):
    w, h = start(t)
    data = body_of(300000)
    origin = http.Origin(w, {
        "/": http.last(b"HTTP/1.1 200 OK\r\n\r\n" + data),
        "/old": http.last(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + data)})
    for path in ("/", "/old"):
        b = Browser(t, h)
        got = b.get(origin.url(path))
        check(got.body == data, "the body", len(got.body))
        equal(http.value(got.fields, "Connection"), "close", "Connection")


@case("an answer that is cut off does not look whole")
def cut_off(t):
    w, h = start(t)
    origin = http.Origin(w, {
        "/length": http.last(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        "/chunked": http.last(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")})
    for path in ("/length", "/chunked"):
        for version in ("1.1", "1.0"):
            b = Browser(t, h)
            b.send("GET %s HTTP/%s\r\n%s\r\n" % (origin.url(path), version, H))
            equal(b.ended(), "rst", "how %s ends for %s" % (path, version))


@case("100 Continue is passed on, and not to HTTP/1.0")
def go_on(t):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.send("PUT %s HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: 3\r\n\r\n" % (
        origin.url("/x"), H))
    equal(b.answer().status, 100, "the first answer")
    b.send("abc")
    equal(b.answer().status, 200, "the second one")
    equal(b.get(origin.url("/y")).body, b"/y", "another request")
    got = Browser(t, h).get(origin.url("/z"), "Expect: 100-continue", "Content-Length: 1",
                            method="PUT", body=b"x", version="1.0")
    equal(got.status, 200, "HTTP/1.0")
    equal(http.value(origin.requests[-1].fields, "Expect"), None, "Expect of HTTP/1.0")


@case("an answer instead of 100 Continue ends the connection")
def no_go(t):
    w, h = start(t)
    origin = http.Origin(w, {"/": http.early(lambda _: http.ok(b"no", status="417 No"))})
    b = Browser(t, h)
    got = b.get(origin.url(), "Expect: 100-continue", "Content-Length: 3", method="PUT")
    equal((got.status, http.value(got.fields, "Connection")), (417, "close"), "the answer")
    equal(b.ended(), "fin", "the end")


@case("an answer that comes before the request has been sent")
def early_answer(t):
    w, h = start(t)

    def refuse(_):
        return http.ok(b"too large", "Connection: close", status="413 Too Large")

    def goes_on(request):
        request.raw.sock.sendall(http.ok(b"already"))
        got.append(request.raw.take(BIG))
        return None

    def leaves(request):
        request.raw.sock.sendall(http.ok(b"bye"))
        time.sleep(0.2)

    got = []
    origin = http.Origin(w, {"/413": http.early(refuse), "/early": http.early(goes_on),
                             "/leaves": http.early(leaves)})
    b = Browser(t, h)
    b.send("PUT %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\nsome" % (origin.url("/413"), H, BIG))
    answer = b.answer()
    equal((answer.status, answer.body), (413, b"too large"), "the answer")
    b = Browser(t, h)
    data = body_of(BIG)
    b.send("PUT %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (origin.url("/early"), H, BIG))
    equal(b.answer().body, b"already", "the answer")
    b.send(data)
    tap.wait_for("all of it", lambda: got)
    check(got[0] == data, "the body")
    equal(b.ended(), "fin", "the end")
    b = Browser(t, h)
    b.send("PUT %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\nsome" % (origin.url("/leaves"), H, BIG))
    equal(b.answer().body, b"bye", "the answer")
    equal(b.ended(), "fin", "the end, though more was to come")


@case("who reads slowly holds up the other, and costs no memory", limit=90)
def slow_reader(t):
    w, h = start(t)
    total = 32 << 20

    def much(request):
        request.raw.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        servers.pour(request.raw.sock, total)
        return None

    origin = http.Origin(w, {"/": much})
    readers = [Browser(t, h, rcvbuf=4096) for _ in range(4)]
    before = h.rss_kib()
    for b in readers:
        b.send("GET %s HTTP/1.1\r\n%s\r\n" % (origin.url(), H))
    time.sleep(1)
    equal(Browser(t, h).get(origin.url("/x")).body, b"/x", "another client meanwhile")
    cpu = h.cpu_s()
    time.sleep(1)
    check(h.cpu_s() - cpu < 0.3, "processor time while nothing moves", h.cpu_s() - cpu)
    check(h.rss_kib() - before < 2048, "KiB", h.rss_kib() - before)
    b = readers[0]
    while b.reader.line():
        pass
    digest = hashlib.blake2b()
    left = total
    while left:
        some = b.reader.take(min(left, 1 << 20))
        digest.update(some)
        left -= len(some)
    equal(digest.hexdigest(), servers.Pattern.digest(total), "what came in the end")


# ---- another protocol ----


@case("WebSocket: 101 makes a tunnel of it, with what was sent right behind")
def websocket(t):
    w, h = start(t)

    def switch(request):
        key = http.value(request.fields, "Sec-WebSocket-Key")
        request.raw.sock.sendall((
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Accept: %s\r\n\r\nhello" % http.websocket_accept(key)).encode())
        request.raw.sock.sendall(request.raw.held)
        servers.echo(request.raw.sock, None, None)
        return None

    origin = http.Origin(w, {"/ws": switch})
    b = Browser(t, h)
    b.get(origin.url("/before"))
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    b.send("GET %s HTTP/1.1\r\n%sConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\nearly" % (
               origin.url("/ws"), H, key))
    got = b.answer()
    equal(got.status, 101, "the answer")
    equal(http.value(got.fields, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Accept")
    equal((http.value(got.fields, "Connection"), http.value(got.fields, "Upgrade")),
          ("upgrade", "websocket"), "fields")
    equal(b.reader.take(10), b"helloearly", "the first bytes")
    data = body_of(BIG)
    b.send(data[:1000])
    equal(b.reader.take(1000), data[:1000], "the echo")
    b.client.finish()
    equal(b.ended(), "fin", "the end")
    equal(http.value(origin.requests[-1].fields, "Upgrade"), "websocket", "what the origin got")


@case("101 that nobody has asked for is no answer")
def unasked(t):
    w, h = start(t)
    origin = http.Origin(w, {"/": b"HTTP/1.1 101 X\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n"})
    equal(Browser(t, h).get(origin.url()).status, 502, "the status")


# ---- what is refused ----

P = "POST %s HTTP/1.1\r\nHost: x\r\n"
CHUNKED = P + "Transfer-Encoding: chunked\r\n\r\n"


@table("smuggling by requests", [
    ("length and coding", P + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", P + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
    ("a list of lengths", P + "Content-Length: 5, 6\r\n\r\nabcdef"),
    ("a sign", P + "Content-Length: +5\r\n\r\nabcde"),
    ("negative", P + "Content-Length: -1\r\n\r\nabcde"),
    ("2^64 + 5", P + "Content-Length: 18446744073709551621\r\n\r\nabcde"),
    ("hexadecimal", P + "Content-Length: 0x5\r\n\r\nabcde"),
    ("a blank before the colon", P + "Content-Length : 5\r\n\r\nabcde"),
    ("a blank before the colon of the coding",
     P + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("a coding that is not the last", P + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("a coding twice", P + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    ("a coding with a vertical tab", P + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    ("a field that goes on", P + "X: y\r\n Content-Length: 5\r\n\r\nabcde"),
    ("NUL", P + "X: a\0b\r\nContent-Length: 5\r\n\r\nabcde"),
    ("a lone CR", P + "X: a\rContent-Length: 5\r\n\r\nabcde"),
    ("a lone LF", P + "X: a\nContent-Length: 5\r\n\r\nabcde"),
    ("a chunk of 2^64 + 5", CHUNKED + "10000000000000005\r\nabcde\r\n0\r\n\r\n"),
    ("a negative chunk", CHUNKED + "-5\r\nabcde\r\n0\r\n\r\n"),
    ("a chunk of 0x5", CHUNKED + "0x5\r\nabcde\r\n0\r\n\r\n"),
    ("a chunk line with LF alone", CHUNKED + "5\nabcde\r\n0\r\n\r\n"),
    ("a chunk that is longer", CHUNKED + "5\r\nabcdefg\r\n0\r\n\r\n"),
    ("an extension with LF alone", CHUNKED + "5;a\nx\r\nabcde\r\n0\r\n\r\n"),
    ("a length among the trailers", CHUNKED + "0\r\nContent-Length: 5\r\n\r\n"),
])
def smuggled(t, text):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.send((text % origin.url() + "GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.url("/s")).encode(
        "latin-1"))
    got = b.answer()
    equal((got.status, http.value(got.fields, "Connection")), (400, "close"), "the answer")
    equal(b.ended(), "fin", "the end")
    equal(origin.all_bytes(), b"", "what reached the origin")


@case("a coding that is not known gets 501, a head too large 431, a target too long 414")
def limits(t):
    w, h = start(t)
    origin = http.Origin(w)
    for text, status in (
            ("POST %s HTTP/1.1\r\n" + H + "Transfer-Encoding: xchunked\r\n\r\n", 501),
            ("GET %s HTTP/1.1\r\n" + H + "X: " + "y" * 20000 + "\r\n\r\n", 431),
            ("GET %s HTTP/1.1\r\n" + H + "X: y\r\n" * 101 + "\r\n", 431),
            ("GET %s HTTP/1.1\r\n" + H + "Connection: " + "," * 1025 + "\r\n\r\n", 431),
            ("GET %s/" + "y" * 20000 + " HTTP/1.1\r\n" + H + "\r\n", 414)):
        b = Browser(t, h)
        b.send(text % origin.url(""))
        equal(b.answer().status, status, "the status")
    equal(origin.all_bytes(), b"", "what reached the origin")


@case("a body larger than max-request-body gets 413, and nothing is dialed for it")
def too_large(t):
    w, h = start(t, listener=", max-request-body: 10B")

    def begins(request):
        request.raw.sock.sendall(http.ok(b"answer")[:-1])
        request.raw.rest()

    origin = http.Origin(w, {"/early": http.early(begins)})
    most = [("Content-Length: 10", b"0123456789"),
            ("Transfer-Encoding: chunked", http.chunked(b"0123", b"456789"))]
    more = [("Content-Length: 11", b""), ("Content-Length: 9223372036854775807", b""),
            ("Transfer-Encoding: chunked", b"B\r\n"),
            ("Transfer-Encoding: chunked", b"a\r\n0123456789\r\n1\r\n")]
    for field, body in most:
        equal(Browser(t, h).get(origin.url(), field, method="PUT", body=body).status, 200, field)
    seen = origin.all_bytes()
    for field, body in more:
        b = Browser(t, h)
        got = b.get(origin.url(), field, method="PUT", body=body)
        equal((got.status, http.value(got.fields, "Connection")), (413, "close"), field)
        check(b"10B is the most" in got.body, "the page", got.body)
        equal(b.ended(), "fin", "the end")
    equal(origin.all_bytes(), seen, "what reached the origin")
    # What comes to more on the way: neither side takes it for whole.
    for path, how in (("/", 413), ("/early", 200)):
        b = Browser(t, h)
        b.send("PUT %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" % (
            origin.url(path), H))
        if how == 200:
            equal(b.reader.line(), b"HTTP/1.1 200 OK", "the answer")
        else:
            tap.wait_for("the body", lambda: origin.all_bytes().endswith(b"3\r\nabc\r\n"))
        b.send("8\r\n")
        if how == 413:
            equal(b.answer().status, 413, "the answer")
        equal(b.ended(), "fin" if how == 413 else "rst", "the end of " + path)
    equal(len(origin.requests), 3, "whole requests")


@case("a body that turns out malformed on the way: neither side takes it for whole")
def malformed_later(t):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.send("PUT %s HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" % (origin.url(), H))
    tap.wait_for("the head at the origin", origin.all_bytes)
    b.send("zz\r\n\r\n")
    equal(b.answer().status, 400, "the status")
    equal(b.ended(), "fin", "the end")
    equal(origin.requests, [], "whole requests")


@table("smuggling by answers", [
    ("length and coding",
     b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
    ("a list", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde"),
    ("a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde"),
    ("negative", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcde"),
    ("a coding nobody asked for", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("a coding of HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nabcde"),
    ("a field that goes on", b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"),
    ("a lone LF", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nabcde"),
    ("a lone CR", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n"),
    ("NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"),
    ("no status", b"HTTP/1.1 OK\r\n\r\n"),
    ("another version", b"HTTP/2.0 200 OK\r\n\r\n"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    ("an empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ("a head without end", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000 + b"\r\n\r\n"),
    ("100 with a body", b"HTTP/1.1 100 Go\r\nContent-Length: 5\r\n\r\nabcde"),
])
def garbled(t, said):
    w, h = start(t)
    origin = http.Origin(w, {"/": http.last(said)})
    b = Browser(t, h)
    got = b.get(origin.url())
    equal(got.status, 502, "the status")
    check(b"Link: a" in got.body, "the page", got.body)
    equal(b.get(origin.url("/x")).body, b"/x", "the next request of the client")


@case("chunks of an answer that are malformed end it")
def garbled_chunks(t):
    w, h = start(t)
    origin = http.Origin(w, {
        "/%d" % i: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + bad
        for i, bad in enumerate((b"0x1\r\na\r\n0\r\n\r\n", b"1\na\r\n0\r\n\r\n", b"-1\r\n",
                                 b"fffffffffffffffff\r\n", b"1\r\nab\r\n0\r\n\r\n"))})
    for path in origin.pages:
        b = Browser(t, h)
        b.send("GET %s HTTP/1.1\r\n%s\r\n" % (origin.url(path), H))
        how, _ = b.client.ended()
        equal(how, "rst", "the end of " + path)


# ---- what cannot be reached ----


@case("502, 503 and 504 say which link and why, and the client's connection goes on")
def unreachable(t):
    w, h = start(t, more="timeouts: {connect: 2s, idle: 2s}")
    origin = http.Origin(w, {"/drop": lambda _: None, "/silent": lambda _: time.sleep(4)})
    free = world.free_port(world.TARGET, w.a.ns)
    b = Browser(t, h)
    rows = [("http://%s:%d/" % (world.TARGET, free), 502, b"refused"),
            (origin.url("/drop"), 502, b"without an answer"),
            (origin.url("/silent"), 504, b"has not answered")]
    for url, status, why in rows:
        got = b.get(url)
        equal(got.status, status, url)
        check(why in got.body and b"Link: a" in got.body, "the page", got.body)
        equal(http.value(got.fields, "Connection"), None, "Connection")
        equal(b.get(origin.url("/x")).body, b"/x", "the next one")
    got = b.get("http://127.0.0.1:%d/" % origin.port)
    equal(got.status, 403, "an address of the host")
    check(b"an address of this machine" in got.body, "why", got.body)
    equal(b.get(origin.url("/drop"), method="HEAD").body, b"", "the page of HEAD")
    equal(b.get(origin.url("/x")).body, b"/x", "the next one")


@case("a link that fails: requests go by the other, one that is under way is told of")
def link_fails(t):
    w, h = start(t, "ab", pool="balancer: failover")
    origin = http.Origin(w, {"/silent": lambda _: time.sleep(20)})
    b = Browser(t, h)
    equal(b.get(origin.url("/1")).body, b"/1", "the answer")
    waiting = Browser(t, h)
    waiting.send("GET %s HTTP/1.1\r\n%s\r\n" % (origin.url("/silent"), H))
    tap.wait_for("it waits", lambda: "GET /silent" in origin.heads())
    w.a.unplug()
    got = waiting.answer()
    equal(got.status, 502, "the one under way")
    check(b"when the link failed" in got.body, "the page", got.body)
    equal(b.get(origin.url("/2")).body, b"/2", "the next request")
    equal(waiting.get(origin.url("/3")).body, b"/3", "the next request of the other")
    check(origin.service.count("b") >= 2, "by the other link", origin.service.order)


@case("a reload: the next request goes by the new configuration")
def reloaded(t):
    w, h = start(t, "ab", pool="balancer: failover")
    origin = http.Origin(w)
    b = Browser(t, h)
    b.get(origin.url())
    h.reload(host.config({"b": "interface: b0"}))
    b.get(origin.url())
    b.get(origin.url())
    equal(origin.service.order, ["a", "b"], "links")


@case("TERM: the answer under way is the last of its connection")
def drained(t):
    w, h = start(t)

    def slowly(request):
        time.sleep(1)
        return http.ok(b"slow")

    origin = http.Origin(w, {"/slow": slowly})
    b, idle_one = Browser(t, h), Browser(t, h)
    idle_one.get(origin.url())
    b.send("GET %s HTTP/1.1\r\n%s\r\n" % (origin.url("/slow"), H))
    tap.wait_for("it waits", lambda: "GET /slow" in origin.heads())
    h.term()
    equal(idle_one.ended(), "fin", "the idle one")
    got = b.answer()
    equal((got.body, http.value(got.fields, "Connection")), (b"slow", "close"), "the answer")
    equal(h.wait(), 0, "the status")


@case("TERM: clients between two requests are not waited for")
def not_waited_for(t):
    w, h = start(t, more="timeouts: {drain: 30s}")
    origin = http.Origin(w)
    idle_ones = [Browser(t, h) for _ in range(3)]
    for b in idle_ones:
        b.get(origin.url())
    at = time.monotonic()
    h.term()
    equal(h.wait(), 0, "the status")  # though none of them closes
    within(1.5, at, "the end")
    for b in idle_ones:
        equal(b.ended(), "fin", "what they see")


@case("USR2: a kept client is told with its next answer, and then makes a new connection")
def handed_over(t):
    w, h = start(t)
    origin = http.Origin(w)
    b = Browser(t, h)
    b.get(origin.url())
    h.upgrade()
    got = b.get(origin.url())
    equal(http.value(got.fields, "Connection"), "close", "what it is told")
    equal(b.ended(), "fin", "and then")
    equal(h.wait(), 0, "the status")
    equal(Browser(t, h).get(origin.url()).status, 200, "by the new one")


# ---- however it is cut ----


@case("however requests and answers are cut, the same bytes come out", limit=120, long=True)
def cuts(t):
    w, h = start(t)
    pieces = http.chunked(b"abc", body_of(3000), b"z")

    def slow_chunks(request):
        text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Got: %d\r\n\r\n" % len(
            request.body) + http.chunked(b"first", b"second" * 100)
        size = int(http.value(request.fields, "X-Piece"))
        for i in range(0, len(text), size):
            request.raw.sock.sendall(text[i:i + size])
            time.sleep(0.0005)
        return b""

    origin = http.Origin(w, {"/": slow_chunks})
    outcome = set()
    for size in (1, 2, 3, 5, 7, 11, 64, 1000):
        b = Browser(t, h)
        text = ("PUT %s HTTP/1.1\r\n%sX-Piece: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % (
            origin.url(), H, max(size, 3))).encode() + pieces
        b.send(text + text, size)
        got = [b.answer(), b.answer()]
        outcome.add((got[0].body, got[1].body, http.value(got[1].fields, "X-Got")))
    equal(outcome, {(b"first" + b"second" * 100,) * 2 + ("3004",)}, "answers")
    bodies = {hashlib.sha1(r.body).hexdigest() for r in origin.requests}
    equal(len(bodies), 1, "bodies at the origin")


# ---- memory ----


@case("each allocation fails once in a request", limit=120)
def no_memory(t):
    w = world.World(t, "a")
    shim = FailMalloc(t)
    h = host.Host(t, host.config({"a": "interface: a0"}), env=shim.env)
    data = body_of(100000)
    origin = http.Origin(w, {"/": lambda request: http.ok(request.body),
                             "/ws": b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\nnow"})

    def work():
        b = Browser(t, h, timeout=5)
        try:
            got = [b.get(origin.url("/1")).body,
                   b.get(origin.url(), "Content-Length: %d" % len(data), method="PUT", body=data).body,
                   b.get(origin.url("/2")).body]
            b.send("GET %s HTTP/1.1\r\n%sUpgrade: x\r\nConnection: upgrade\r\n\r\n" % (
                origin.url("/ws"), H))
            return got == [b"/1", data, b"/2"] and b.answer().status == 101 and \
                b.reader.take(3) == b"now"
        except (OSError, EOFError, ValueError):
            return False
        finally:
            b.client.close()

    check(work() and work(), "it works")
    before, number, failed = shim.used(), 0, 0
    while True:
        number += 1
        shim.fail_only(number)
        failed += not work()
        over = shim.failed() == 0
        shim.fail_only(0)
        check(work(), "the next one, after number %d" % number)
        if over:
            break
    check(number > 10 and failed > 5, "there were many", number, failed)
    tap.wait_for("all memory is given back", lambda: shim.used() < before + (16 << 10), 15)


# ---- real programs ----


@case("curl over several hosts, HTTP/1.0, uploads in chunks and with Expect", needs=["curl"])
def with_curl(t):
    w, h = start(t)
    one, two = http.Origin(w), http.Origin(w)
    data = body_of(BIG)
    path = t.file("upload", data)
    echo = {"/echo": lambda request: http.ok(request.body)}
    one.pages.update(echo)
    proxy = "http://127.0.0.1:%d" % h.port
    out = world.run("curl", "-sS", "-v", "-x", proxy, one.url("/1"), one.url("/2"), two.url("/3"))
    check(len(re.findall("Re-using existing connection", out)) == 2, "the client's connection", out)
    equal((one.connections(), two.connections()), (1, 1), "connections")
    equal(client.curl(t, proxy, two.url("/4"), "--http1.0"), b"/4", "HTTP/1.0")
    for more in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"],
                 ["--http1.0"]):
        got = client.curl(t, proxy, one.url("/echo"), "-T", path, *more)
        check(got == data, "the upload %s" % more, len(got))


@case("nginx: files, ranges, compression, 204, 304, HEAD", needs=["curl", "nginx"])
def with_nginx(t):
    w, h = start(t)
    root = os.path.join(t.dir, "www")
    data = body_of(3 * BIG)
    t.file("www/big.bin", data)
    t.file("www/page.html", b"<p>dispatch</p>" * 1000)
    port = peers.nginx(w, w.a.ns, world.TARGET, root,
                       "default_type text/html; gzip on; gzip_proxied any; location = /204 { return 204; }")
    proxy, url = "http://127.0.0.1:%d" % h.port, "http://%s:%d" % (world.TARGET, port)
    check(client.curl(t, proxy, url + "/big.bin") == data, "a file")
    equal(client.curl(t, proxy, url + "/big.bin", "-r", "1000-1999"), data[1000:2000], "a range")
    packed = client.curl(t, proxy, url + "/page.html", "-H", "Accept-Encoding: gzip")
    equal(gzip.decompress(packed), b"<p>dispatch</p>" * 1000, "in chunks, compressed")
    packed = client.curl(t, proxy, url + "/page.html", "-H", "Accept-Encoding: gzip", "--http1.0")
    check(b"<p>dispatch</p>" in (packed if packed[:1] == b"<" else gzip.decompress(packed)),
          "the same for HTTP/1.0")
    b = Browser(t, h)
    first = b.get(url + "/page.html", method="HEAD")
    equal(http.value(first.fields, "Content-Length"), "15000", "HEAD")
    got = b.get(url + "/page.html", "If-None-Match: " + http.value(first.fields, "ETag"))
    equal(got.status, 304, "304")
    equal(b.get(url + "/204").status, 204, "204")
    equal(len(b.get(url + "/page.html").body), 15000, "the same connection")


if __name__ == "__main__":
    tap.main()
