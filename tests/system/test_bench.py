# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""The benchmark: its load generator finds whatever a proxy does wrong, and its driver runs."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

from lib import tap, world
from lib.host import SRCDIR, program
from lib.tap import case, check, equal, matches, shared, table

sys.path.insert(0, os.path.join(SRCDIR, "bench"))
import build  # pylint: disable=wrong-import-position
import measures  # pylint: disable=wrong-import-position

HERE = "127.0.0.1"
RUN = os.path.join(SRCDIR, "bench", "run")
QUICK = ("--quick", "--rounds", "1")


@shared
def generator(t):
    """Built as the tests are: no warning is let through, and with their sanitizers."""
    sanitizers = os.environ.get("DISPATCH_SANITIZERS", "no")
    more = [] if sanitizers == "no" else ["-fsanitize=" + sanitizers]
    return build.load(t.dir, "-Werror", *more)


def load(t, run, server_port, through_port, *words):
    """A short run of the generator; returns its status and all it said."""
    done = subprocess.run(
        [generator(t), *run.split(), "--server", "%s:%d" % (HERE, server_port), "--through",
         "%s:%d" % (HERE, through_port), "--patience", "0.5", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.returncode, done.stdout.decode()


def pump(source, sink, change):
    """Passes bytes on until the end; change(bytes, their place in the stream) may alter them."""
    place = 0
    while True:
        data = source.recv(65536)
        if not data:
            break
        sink.sendall(change(data, place))
        place += len(data)
    sink.shutdown(socket.SHUT_WR)


def unchanged(data, _place):
    return data


def relay(t, server_port, change):
    """A forwarder that changes what the server sends; returns its port."""

    def handler(conn, _name, _peer):
        with socket.create_connection((HERE, server_port)) as server:
            up = threading.Thread(target=quietly(pump), args=(conn, server, unchanged))
            up.start()
            quietly(pump)(server, conn, change)
            conn.close()
            up.join()

    def quietly(func):
        def call(*args):
            try:
                func(*args)
            except OSError:
                pass  # the generator has seen enough
        return call

    return world.Service(t, handler, [("relay", None, HERE)]).port


def at(place, func):
    """A change of the one byte at this place."""

    def change(data, start):
        i = place - start
        if not 0 <= i < len(data):
            return data
        return data[:i] + func(data[i:i + 1]) + data[i + 1:]

    return change


def flipped(byte):
    return bytes([byte[0] ^ 1])


def lost(_byte):
    return b""


def doubled(byte):
    return byte + byte


BULK = "bulk --streams 3 --way both --seconds 0.1"
CONN = "conn --streams 3 --count 20"
MSG = "msg --streams 3 --seconds 0.1"
GET = "conn --get --streams 3 --count 6 --body 80000"


@table("no fault is found where there is none",
       [(name, run) for name, run in (("bulk", BULK), ("conn", CONN), ("msg", MSG),
                                      ("documents", GET), ("requests", MSG + " --get"))])
def right(t, run):
    port = world.free_port()
    status, text = load(t, run, port, relay(t, port, unchanged))
    equal(status, 0, text)
    matches(r'^\{"(bytes|count)": [1-9]\d*, ', text, "figures")


@case("connections at a fixed rate are due at fixed times, and wait for nobody else's end")
def paced(t):
    def slow(data, place):
        if place == 0:
            time.sleep(0.3)
        return data

    port = world.free_port()
    status, text = load(t, "conn --streams 50 --rate 100 --count 50", port, relay(t, port, slow))
    equal(status, 0, text)
    seen = json.loads(text)
    check(0.49 + 0.3 <= seen["seconds"] < 2, "half a second, and the last one's time", seen)
    check(seen["p50_us"] >= 3e5, "each is slow", seen)


ANSWER = 'HTTP/1.1 200 OK\r\nETag: "0/0"\r\nContent-Length: 80000\r\n'
ETAG, LENGTH = ANSWER.index("0/0"), ANSWER.index("80000")


@table("the load generator finds", [
    ("a wrong byte of bulk", BULK, at(70001, flipped), r"wrong byte at 70001 from the server"),
    ("a lost byte of bulk", BULK, at(70001, lost), r"wrong byte at 7000\d from the server"),
    ("a doubled byte of bulk", BULK, at(70001, doubled), r"wrong byte at 7000\d from the server"),
    ("a wrong byte of an answer", CONN, at(63, flipped), r"the client got a wrong message 0"),
    ("a lost byte of an answer", CONN, at(63, lost), r"nothing has moved for 0\.5 s"),
    ("a wrong byte of a later message", MSG, at(640, flipped), r"got a wrong message 10"),
    ("a lost byte of a later message", MSG, at(640, lost), r"nothing has moved for 0\.5 s"),
    ("a doubled byte of a later message", MSG, at(640, doubled), r"got a wrong message 10"),
    ("a wrong byte of a document", GET, at(70001, flipped), r"wrong byte at \d+ from the server"),
    ("a lost byte of a document", GET, at(70001, lost), r"wrong byte at \d+ from the server"),
    ("a doubled byte of a document", GET, at(70001, doubled), r"wrong byte at \d+ from the server"),
    ("the document of another stream", GET, at(ETAG, flipped), r"answer to another request than 0"),
    ("the document of a later request", MSG + " --get", at(ETAG + 2, flipped),
     r"answer to another request than 0"),
    ("a document of another length", GET, at(LENGTH, flipped), r"an answer of another length"),
    ("an answer with another status", GET, at(9, flipped), r"HTTP answer HTTP/1.1 300 OK"),
])
def wrong(t, run, change, pattern):
    port = world.free_port()
    status, text = load(t, run, port, relay(t, port, change))
    equal(status, 1, text)
    matches(pattern, text, "the fault")


@case("the load generator finds bytes that come by another stream")
def crossed(t):
    port = world.free_port()
    both = threading.Barrier(2)
    servers = []

    def handler(conn, _name, _peer):
        conn.settimeout(5)
        with socket.create_connection((HERE, port)) as server:
            server.settimeout(5)
            mine = len(servers)
            servers.append(server)
            server.sendall(conn.recv(64))
            both.wait(5)
            conn.sendall(servers[1 - mine].recv(64))
            with contextlib.suppress(OSError):
                conn.recv(64)  # until the generator has gone: it must not see an end before

    through = world.Service(t, handler, [("relay", None, HERE)]).port
    status, text = load(t, "msg --streams 2", port, through)
    equal(status, 1, text)
    matches(r"the client got (a wrong message 0|what nobody has sent)", text, "the fault")


@case("the load generator finds the tail that is missing when all has been sent")
def tail(t):
    port = world.free_port()
    held = {}

    def change(data, _place):
        """Keeps the last byte of all that has come so far back."""
        data = held.pop("byte", b"") + data
        held["byte"] = data[-1:]
        return data[:-1]

    status, text = load(t, "bulk --seconds 0.1", port, relay(t, port, change))
    equal(status, 1, text)
    down, sent = matches(r"down (\d+) of (\d+) bytes", text, "what is missing").groups()
    equal(int(sent) - int(down), 1, text)


@case("the load generator finds a refused connection")
def refused(t):
    status, text = load(t, CONN, world.free_port(), world.free_port())
    equal(status, 1, text)
    matches(r"stream \d: connect: Connection refused", text, "the fault")


@case("the load generator finds a refusal by SOCKS, and a proxy that closes")
def refused_by_socks(t):
    for answers, pattern in (([b"\5\0", b"\5\5\0\1" + bytes(6)], r"SOCKS answer 5 5"),
                             ([b"\5\xff"], r"SOCKS method 5 255"),
                             ([b"\5\0", b"\5\0\0\1"], r"end was closed")):
        def handler(conn, _name, _peer, answers=answers):
            for answer in answers:
                conn.recv(64)
                conn.sendall(answer)

        through = world.Service(t, handler, [("proxy", None, HERE)]).port
        status, text = load(t, CONN, world.free_port(), through, "--socks")
        equal(status, 1, text)
        matches(pattern, text, "the fault")


@case("the load generator finds a refusal by HTTP, a proxy that closes, and what nobody has sent")
def refused_by_http(t):
    for answer, pattern in ((b"HTTP/1.1 403 Forbidden\r\n\r\n", r"HTTP answer HTTP/1.1 403 For"),
                            (b"HTTP/1.1 200 OK\r\n", r"end was closed"),
                            (b"HTTP/1.1 200 OK\r\n\r\nx", r"bytes that nobody has sent")):
        def handler(conn, _name, _peer, answer=answer):
            conn.recv(512)
            conn.sendall(answer)

        through = world.Service(t, handler, [("proxy", None, HERE)]).port
        status, text = load(t, CONN, world.free_port(), through, "--connect")
        equal(status, 1, text)
        matches(pattern, text, "the fault")


@case("bench/run --help names every measure")
def helps(t):
    del t
    done = subprocess.run([RUN, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    text = done.stdout.decode()
    equal(done.returncode, 0, text)
    for name in measures.MEASURES:
        matches(r"\b%s\b" % name, text, "a measure")


def measured(*words):
    """What bench/run prints."""
    if len(os.sched_getaffinity(0)) < 2:
        raise tap.Skip("two processors are needed")
    words = [RUN, "--host", program(), *words]
    plugins = os.environ.get("DISPATCH_PLUGIN_PATH")
    words += ["--plugins", plugins] if plugins else []
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    equal(done.returncode, 0, done.stderr.decode())
    return done.stdout.decode()


@case("bench/run measures dispatch-host", needs=("setpriv", "ip"))
def runs(t):
    del t
    text = measured(*QUICK, "--only", "direct,dispatch-host", "--measure", "ttfb,gb-8-down")
    matches(r"^\| 8 streams down +\| +[\d.]+ \|$", text, "CPU of the proxy, none of direct")
    matches(r"^\| median +\| +[\d,.]+ \| +[\d,.]+ \|$", text, "time to first byte of both")


def cells(text, row):
    """The figures of a row of the report, of a run of one round."""
    found = matches(r"^\| %s +\|(.*)\|$" % row, text, row)
    return [float(cell.replace(",", "")) for cell in found[1].split("|")]


@case("bench/run measures HTTP beside tinyproxy and squid",
      needs=("setpriv", "ip", "tinyproxy", "squid"), long=True)
def http(t):
    del t
    text = measured(*QUICK, "--only", "dispatch-host,tinyproxy,squid", "--measure",
                    "http-tunnel-64,http-get-100")
    for row in ("CPU µs per connection, 64 at once",
                "CPU µs per request, 100 connections, 2,000 a second",
                "latency at 2,000 a second: p50, µs"):
        equal(len(cells(text, row)), 3, row)


@case("a look-up among a hundred thousand names or networks takes less than 2,000 instructions",
      needs=("setpriv", "ip", "valgrind"), long=True)
def look_ups(t):
    del t
    if os.environ.get("DISPATCH_SANITIZERS", "no") != "no":
        raise tap.Skip("a sanitizer's library cannot be loaded under valgrind")
    text = measured(*QUICK, "--only", "dispatch-host", "--measure", "rules")
    for row in ("a name", "a name that is in none", "an address", "an address that is in none"):
        seen, = cells(text, row + ", user instructions")
        check(50 < seen < 2000, row, seen)


@case("bench/run counts what the module costs danted's request child",
      needs=("setpriv", "ip", "valgrind", "danted"), long=True)
def module(t):
    del t
    if os.environ.get("DISPATCH_SANITIZERS", "no") != "no":
        raise tap.Skip("a sanitizer's library cannot be loaded under valgrind")
    text = measured(*QUICK, "--only", "danted,danted+module", "--measure", "dante")
    alone, led = (int(n.replace(",", "")) for n in matches(
        r"request child +\| +([\d,]+) \| +([\d,]+) \|$", text, "both figures").groups())
    check(alone < led < alone + 60000, "what the module adds is bounded", (alone, led))


def least(text, row):
    """Of a row of the report, with two peers, the least of all rounds for each."""
    cell = r" +([\d.,]+)(?: \(([\d.,]+)–.*?\))? \|"
    found = matches(r"^\| %s +\|%s%s$" % (row, cell, cell), text, row).groups()
    return [float((found[i + 1] or found[i]).replace(",", "")) for i in (0, 2)]


@case("what looks after links costs no system call, and at most 5 % of a connection's instructions",
      needs=("setpriv", "ip", "strace", "valgrind"), limit=300, long=True)
def living(t):
    del t
    if os.environ.get("DISPATCH_SANITIZERS", "no") != "no":
        raise tap.Skip("a sanitizer's library cannot be loaded under valgrind")
    text = measured("--rounds", "2", "--only", "dispatch-host,dispatch-host+living", "--measure",
                    "calls,instructions")
    for row, limit in (("system calls", 1.02), ("user instructions", 1.05),
                       ("user instructions, by name", 1.05)):
        plain, with_it = least(text, row)
        print("# %s: %.1f, %.1f with it" % (row, plain, with_it))
        check(with_it <= plain * limit, row, plain, with_it)


if __name__ == "__main__":
    tap.main()
