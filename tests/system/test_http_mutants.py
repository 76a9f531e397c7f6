#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plain requests of HTTP, and answers, with bytes changed, added and left out: whatever becomes of a
request, what reaches the server reads the same for every server; whatever becomes of an answer, no
part of it is taken for the next one."""

import contextlib
import random
import re
import threading

from lib import client, host, http, http_strict, tap, world
from lib.tap import case, check, equal

HIDDEN = b"GET http://%s/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST http://%s/a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n"
SEEDS = [
    HEAD + b"Content-Length: 75\r\n\r\n" + HIDDEN,
    HEAD + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n4B\r\n" + HIDDEN +
    b"\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n" +
    HIDDEN,
    b"GET http://%s/u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, X\r\nUpgrade: websocket\r\n"
    b"X: y\r\n\r\n" + HIDDEN,
    b"PUT http://%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTE: trailers\r\n"
    b"Content-Length: 3\r\n\r\nabc" + HIDDEN,
]
BITS = [
    b"\r\n", b"\n", b"\r", b"\0", b"\v", b"\f", b"\t", b" ", b"\x85", b"\xa0", b":", b",", b";",
    b"0", b"00", b"+", b"-", b"0x", b"#", b"@", b"\r\n ", b"\r\n\t", b"chunked", b", chunked",
    b"chunked, ", b"identity", b"close", b"_", b"Content-Length: 5\r\n", b"Content-Length: 75\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: x\r\n", b"Content_Length: 9\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Connection: Content-Length, Host\r\n",
    b"Connection: Transfer-Encoding\r\n", b"Host: y\r\n", b"0\r\n\r\n", b"18446744073709551621",
    b"ffffffffffffffff", HIDDEN,
]


SECRET = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden"
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: %d\r\n\r\n" % len(SECRET) + SECRET,
    b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x;a=b\r\n" % len(SECRET) + SECRET + b"\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n",
]


def place(rng, text, bit):
    """Where to put it: a line mostly between lines, else mostly where names and values end."""
    what = rng.random()
    if bit.endswith(b"\r\n") and what < 0.7:
        ends = [m.end() for m in re.finditer(rb"\r\n", text)]
    elif what < 0.9:
        ends = [m.start() + rng.choice((0, 0, 1)) for m in re.finditer(rb"[\r\n:;, ]", text)]
    else:
        ends = range(len(text))
    return max(1, rng.choice(ends))  # the first byte says which protocol it is


def mutant(rng, seeds, address):
    """A seed after one to three changes."""
    text = rng.choice(seeds).replace(b"%s", address)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        bit = rng.choice(BITS).replace(b"%s", address)
        at = place(rng, text, bit)
        cut = rng.choice((0, 0, 0, 1, 2))
        text = text[:at] + bit + text[at + cut:]
    return text


class Origin:
    """Answers what it can read strictly, and notes what it cannot."""

    def __init__(self, w):
        self.lock, self.requests, self.faults = threading.Lock(), 0, []
        self.service = w.serve(self._serve)

    def _serve(self, conn, _name, _peer):
        reader = http.Reader(conn)
        said = b""
        try:
            while reader.held or reader.more():
                said = reader.held
                http_strict.request(reader)
                with self.lock:
                    self.requests += 1
                conn.sendall(http.ok(b""))
        except EOFError:
            pass
        except http_strict.Ambiguous as fault:
            with self.lock:
                self.faults.append((fault, said))


def say(c, text):
    """All there is, and the end; one that has been refused by then may have been closed."""
    with contextlib.suppress(OSError):
        c.send(text)
        c.finish()


def answers(text):
    """Their status codes; a stream of bytes that is nothing else."""
    codes = []
    while text:
        head, end, text = text.partition(b"\r\n\r\n")
        check(end and re.match(rb"HTTP/1\.1 \d{3} ", head), "not an answer", head)
        codes.append(int(head[9:12]))
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        text = text[int(length.group(1)) if length else 0:]
    return codes


def try_mutants(t, number, seed):
    w = world.World(t, "a")
    h = host.Host(t, host.config({"a": "interface: a0"}, more="timeouts: {connect: 100ms}"))
    origin = Origin(w)
    address = b"%s:%d" % (world.TARGET.encode(), origin.service.port)
    rng = random.Random(seed)
    codes = {}
    for _ in range(number):
        text = mutant(rng, SEEDS, address)
        before = origin.requests
        with client.Client(h.addr) as c:
            say(c, text)
            _, got = c.ended()
        try:
            found = answers(got)
        except AssertionError as fault:
            raise AssertionError("%s\nfor: %r" % (fault, text)) from fault
        check(not origin.faults, "ambiguous, of %r" % text, *origin.faults)
        check(found.count(200) <= origin.requests - before, "more answers than requests", text, got)
        for code in found or [0]:
            codes[code] = codes.get(code, 0) + 1
    check(codes.get(200, 0) > number // 20 and codes.get(400, 0) > number // 4,
          "some are served, many refused", codes)
    check(set(codes) <= {0, 200, 400, 405, 408, 417, 431, 501, 502, 504, 505}, "which answers", codes)


def plain(answer, text):
    """One length at most, and no byte that may end a line."""
    framing = [(n, v) for n, v in answer.fields if n.encode() in http_strict.FRAMING]
    check(len(framing) < 2 and dict(framing).get("transfer-encoding", "chunked") == "chunked",
          "the length of an answer, of %r" % text, answer)
    for _, value in answer.fields + [("", answer.reason)]:
        check(not re.search(r"[\0-\x08\x0a-\x1f\x7f]", value), "a field, of %r" % text, value)


@case("whatever is changed in an answer, the next one is no part of it")
def answers_changed(t):
    w = world.World(t, "a")
    h = host.Host(t, host.config({"a": "interface: a0"}))
    rng = random.Random(3)
    said = [mutant(rng, ANSWERS, b"") for _ in range(400)]

    def changed(request):
        request.raw.sock.settimeout(0.03)  # the rest of an answer that is not whole never comes
        return said[int(request.target.split("?")[1])]

    origin = http.Origin(w, {"/m": changed})
    ends = {}
    for i, text in enumerate(said):
        with client.Client(h.addr) as c:
            say(c, "".join("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.url("/%s?%d" % (path, i))
                           for path in "mn").encode())
            reader, got = http.Reader(c.sock), []
            try:
                while len(got) < 2:
                    answer = http.answer(reader)
                    plain(answer, text)
                    if answer.status >= 200:
                        got.append(answer)
                rest = reader.rest()
            except (EOFError, ConnectionError):
                rest = b""
        equal(rest, b"", "behind both answers, of %r" % text)
        if len(got) == 2:
            check(got[1].body == b"/n?%d" % i, "the second answer, of %r" % text, got)
        end = (len(got), got[0].status if got else 0)
        ends[end] = ends.get(end, 0) + 1
    check(ends.get((2, 200), 0) > 20 and ends.get((2, 502), 0) > 100, "some pass, many do not", ends)


@case("whatever is changed in a request, the server gets what reads in one way only")
def mutants(t):
    try_mutants(t, 500, 1)


@case("the same for many more", limit=300, long=True)
def many_mutants(t):
    try_mutants(t, 10000, 2)


@case("what is ambiguous is seen to be so")
def judge(t):
    del t
    good = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"

    class Bytes(http.Reader):
        def more(self):
            return False

    def read(text):
        reader = Bytes(None)
        reader.held = text
        return http_strict.request(reader)

    equal(read(good).body, b"x", "the body")
    for old, new in ((b": 1", b": 01"), (b": 1", b": +1"), (b": 1", b":1"), (b"-L", b"_L"),
                     (b"\r\nC", b"\nC"), (b"Host: a\r\n", b""), (b": 1\r\n", b": 1\r\nContent-Length: 1\r\n"),
                     (b": 1\r\n", b": 1\r\nTransfer-Encoding: chunked\r\n"), (b": a", b": a\0"),
                     (b"Content-Length: 1", b"Transfer-Encoding: xchunked"), (b": a", b": a:080"),
                     (b"/ ", b"http://a/ "), (b"\r\nC", b"\r\n C"), (b": a", b": a\r\n\tb")):
        try:
            read(good.replace(old, new, 1))
        except http_strict.Ambiguous:
            continue
        raise AssertionError("not seen: %r" % good.replace(old, new, 1))


if __name__ == "__main__":
    tap.main()
