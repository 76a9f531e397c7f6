#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Bytes: all of them, in order, to the end that was meant, and no more memory than needed."""

import select
import threading
import time

from lib import client, servers, tap
from lib.client import Client, request
from lib.host import Host, config
from lib.servers import Pattern
from lib.tap import case, check, equal, table, wait_for, within
from lib.world import TARGET, TARGET6, Service, World

MB = 1000000
LARGE = 200 * MB


class Place:
    def __init__(self, t):
        self.t = t
        self.world = World(t)
        self.host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}))
        self.to = self.host.addr

    def serve(self, t, handler):
        """The port of a service for this case."""
        places = [(x.name, x.ns, addr) for x in self.world.links for addr in (TARGET, TARGET6)]
        return Service(t, handler, places).port

    def connect(self, port, **keywords):
        return client.connect(self.to, TARGET, port, **keywords)


place = tap.shared(Place)


@case("1,000 B sent, write side closed, 200 MB received, every byte")
def half_close_by_client(t):
    p = place(t)
    port = p.serve(t, servers.answer_after_end(LARGE))
    with p.connect(port) as c:
        c.send(b"r" * 1000)
        c.finish()
        equal(c.line().split()[0], "1000", "bytes the server has got before the end")
        equal(servers.drain(c.sock), (LARGE, Pattern.digest(LARGE)), "bytes, digest")


@case("1,000 B received, the server's write side closed, 200 MB sent, every byte")
def half_close_by_server(t):
    p = place(t)
    handler = servers.end_then_count(1000)
    port = p.serve(t, handler)
    with p.connect(port) as c:
        equal(servers.drain(c.sock), (1000, Pattern.digest(1000)), "bytes until the server's end")
        servers.pour(c.sock, LARGE)
        c.finish()
        check(handler.done.wait(20), "the server sees the end")
        equal(handler.results, [(LARGE, Pattern.digest(LARGE))], "what it has got")
        equal(c.ended(5), ("fin", b""), "the end of all")


@case("all data before a close, 100 times each way")
def data_before_close(t):
    p = place(t)
    size = 300000
    handler = servers.end_then_count(size)
    port = p.serve(t, handler)

    def one(_):
        with p.connect(port) as c:
            servers.pour(c.sock, size)
            c.finish()
            return servers.drain(c.sock)

    whole = (size, Pattern.digest(size))
    equal(client.together(100, one, 10), [whole] * 100, "what clients have got")
    wait_for("the server has counted all", lambda: len(handler.results) == 100)
    equal(handler.results, [whole] * 100, "what the server has got")


@table("a close on an idle tunnel", [("by the client", True), ("by the server", False)])
def plain_close(t, by_client):
    p = place(t)
    seen = threading.Event()

    def handler(conn, _name, _peer):
        conn.sendall(b"hi")
        if by_client:
            equal(conn.recv(10), b"", "what the server sees")
            seen.set()

    port = p.serve(t, handler)
    with p.connect(port) as c:
        equal(c.take(2), b"hi", "banner")
        if not by_client:
            equal(c.ended(3)[0], "fin", "what the client sees")
            return
    check(seen.wait(3), "the server sees the end within 3 s")


@case("the client's RST arrives at the server as a RST")
def reset_by_client(t):
    p = place(t)
    seen = []

    def handler(conn, _name, _peer):
        conn.sendall(b"hi")
        started = time.monotonic()
        try:
            seen.append(("data" if conn.recv(10) else "fin", time.monotonic() - started))
        except ConnectionResetError:
            seen.append(("rst", time.monotonic() - started))

    port = p.serve(t, handler)
    c = p.connect(port)
    c.take(2)
    c.reset()
    how, took = wait_for("the server sees an end", lambda: seen and seen[0], 5)
    equal(how, "rst", "how it ended")
    check(took < 3, "within 3 s", took)


@case("a RST after the client's half-close, while the server is silent, arrives as a RST within 3 s")
def reset_after_end(t):
    p = place(t)
    seen = []

    def handler(conn, _name, _peer):
        conn.sendall(b"hi")
        equal(conn.recv(10), b"", "the half-close")
        started = time.monotonic()
        conn.settimeout(6)
        seen.append("half")
        poller = select.poll()
        poller.register(conn, 0) # a reset alone
        events = poller.poll(6000)
        seen.append((bool(events), time.monotonic() - started))

    port = p.serve(t, handler)
    c = p.connect(port)
    c.take(2)
    c.finish()
    wait_for("the server sees the half-close", lambda: seen)
    c.reset()
    reset, took = wait_for("the server sees the reset", lambda: len(seen) > 1 and seen[1], 8)
    check(reset, "a reset was seen")
    check(took < 3.5, "within 3 s", took)


@case("a client that has half-closed and reads late gets all, though the server closed long ago")
def late_reader(t):
    p = place(t)
    size = 5000000
    sent = threading.Event()

    def handler(conn, _name, _peer):
        equal(conn.recv(10), b"go", "the request")
        equal(conn.recv(10), b"", "the half-close")
        servers.pour(conn, size)
        conn.close()
        sent.set()

    port = p.serve(t, handler)
    with p.connect(port) as c:
        c.send(b"go")
        c.finish()
        time.sleep(5) # longer than the proxy looks away; the client is what is tested, not timing
        equal(servers.drain(c.sock), (size, Pattern.digest(size)), "what the client has got")
    check(sent.wait(5), "the server has sent all")


@case("the server's RST arrives at the client as a RST")
def reset_by_server(t):
    p = place(t)

    def handler(conn, _name, _peer):
        conn.sendall(b"hi")
        conn.recv(10)
        servers.reset(conn)

    port = p.serve(t, handler)
    with p.connect(port) as c:
        c.take(2)
        started = time.monotonic()
        c.send(b"go")
        equal(c.ended(5), ("rst", b""), "how it ended")
        within(3, started, "the end")


@case("a RST after the client's write side was closed arrives as well")
def reset_after_half_close(t):
    p = place(t)

    def handler(conn, _name, _peer):
        servers.drain(conn)
        servers.reset(conn)

    port = p.serve(t, handler)
    with p.connect(port) as c:
        c.send(b"x" * 1000)
        c.finish()
        equal(c.ended(5)[0], "rst", "how it ended")


@case("a RST while the other side does not read ends both within 3 s")
def reset_when_blocked(t):
    p = place(t)
    ended = threading.Event()

    def handler(conn, _name, _peer):
        try:
            servers.source(conn, None, None)
        except OSError:
            ended.set()

    port = p.serve(t, handler)
    c = p.connect(port, rcvbuf=4096)
    time.sleep(0.3)  # lets buffers fill; the test holds whether they have or not
    c.reset()
    check(ended.wait(3), "the source sees the end within 3 s")


@case("one byte at a time, both ways")
def byte_by_byte(t):
    p = place(t)
    port = p.serve(t, servers.echo)
    data = Pattern.BLOCK[:1000]
    with Client(p.to) as c:
        c.send(b"\5\1\0", 1)
        equal(c.selection(), 0, "method")
        c.send(request(TARGET, port), 1)
        equal(c.reply().rep, 0, "reply")
        got = b""
        for i in range(len(data)):
            c.send(data[i:i + 1])
            got += c.take(1)
        equal(got, data, "echo")


@case("a server that speaks first is heard")
def server_first(t):
    p = place(t)

    def handler(conn, _name, _peer):
        servers.pour(conn, 100000)

    port = p.serve(t, handler)
    with p.connect(port) as c:
        equal(servers.drain(c.sock), (100000, Pattern.digest(100000)), "what came")


@case("full duplex: 8 MiB each way at once")
def full_duplex(t):
    p = place(t)
    total = 8 << 20
    port = p.serve(t, servers.both_ways(total))
    with p.connect(port) as c:
        sender = threading.Thread(target=servers.pour, args=(c.sock, total), daemon=True)
        sender.start()
        got = c.take(total)
        check(got == b"".join(Pattern.pieces(total)), "what the server sent")
        equal(c.line(), "%d %s" % (total, Pattern.digest(total)), "what the server has got")
        sender.join()


@case("full duplex over IPv6, echoed, while the writer runs far ahead")
def echo_ahead(t):
    p = place(t)
    port = p.serve(t, servers.echo)
    total = 20 * MB
    with client.connect(p.to, TARGET6, port) as c:

        def send():
            servers.pour(c.sock, total)
            c.finish()

        threading.Thread(target=send, daemon=True).start()
        equal(servers.drain(c.sock), (total, Pattern.digest(total)), "echo")


@case("100 streams at once are not mixed")
def not_mixed(t):
    p = place(t)
    port = p.serve(t, servers.echo)
    opened = threading.Barrier(100, timeout=30)

    def one(i):
        with p.connect(port) as c:
            opened.wait()
            for turn in range(20):
                data = bytes([i, turn]) * (50 + 97 * turn)
                c.send(data)
                if c.take(len(data)) != data:
                    return "mixed"
            return "right"

    equal(client.together(100, one), ["right"] * 100, "streams")


@case("clients that do not read cost no memory: 4 endless sources")
def slow_readers(t):
    p = place(t)
    sent = [0] * 4
    numbers = iter(range(4))

    def handler(conn, _name, _peer):
        me = next(numbers)
        block = b"x" * 65536
        while True:
            sent[me] += conn.send(block)

    port = p.serve(t, handler)
    with p.connect(p.serve(t, servers.echo)) as warm:
        warm.send(b"x" * 100000)
        warm.take(100000)
    before = p.host.rss_kib()
    readers = [p.connect(port, rcvbuf=65536) for _ in range(4)]
    t.defer(lambda: [c.close() for c in readers])

    def settled(last=[None]):  # pylint: disable=dangerous-default-value
        same = last[0] == sent and all(sent)
        last[0] = list(sent)
        time.sleep(0.3)
        return same

    wait_for("all sources are held back", settled, 20)
    grown = p.host.rss_kib() - before
    check(grown < 16 * 1024, "memory grew by less than 16 MiB", "%d KiB" % grown, sent)
    for c in readers:  # and they go on
        equal(len(c.take(4 * MB)), 4 * MB, "bytes once it reads")


@case("a server that does not read holds its client back, the others not")
def slow_server(t):
    p = place(t)
    release = threading.Event()
    t.defer(release.set)

    def handler(conn, _name, _peer):
        release.wait(30)
        got = servers.drain(conn)
        conn.sendall(("%d %s\n" % got).encode())

    port = p.serve(t, handler)
    echo = p.serve(t, servers.echo)
    total = 30 * MB
    with p.connect(port) as c:

        def send():
            servers.pour(c.sock, total)
            c.finish()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        started = time.monotonic()
        for _ in range(20):
            with p.connect(echo) as other:
                other.send(b"ping")
                equal(other.take(4), b"ping", "echo")
        within(4, started, "20 others")
        release.set()
        equal(c.line(), "%d %s" % (total, Pattern.digest(total)), "what it got in the end")


@case("an idle limit ends a silent tunnel, and no busy one")
def idle_limit(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0"}, more="timeouts: {idle: 1s}"))
    port = p.serve(t, servers.echo)
    with client.connect(host.addr, TARGET, port) as busy:
        with client.connect(host.addr, TARGET, port) as silent:
            started = time.monotonic()
            while time.monotonic() - started < 2.5:
                busy.send(b"x")
                equal(busy.take(1), b"x", "echo on the busy tunnel")
                time.sleep(0.1)  # the pace of the busy one, not a wait
            check(silent.ended(3)[0] != "open", "the silent one is closed")


@case("a client that leaves while its dial is under way leaves nothing behind")
def left_while_dialing(t):
    p = place(t)
    for link in p.world.links:
        link.rule("drop", "tcp dport 4444")
        t.defer(link.rules_off)
    before = p.host.fds()
    clients = []
    for _ in range(50):
        c = Client(p.to)
        c.greet()
        c.send(request(TARGET, 4444))
        clients.append(c)
    wait_for("dials are under way", lambda: p.host.fds() >= before + 50)
    for c in clients:
        c.reset()
    wait_for("all descriptors are back", lambda: p.host.fds() <= before, 15)


if __name__ == "__main__":
    tap.main()
