#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Few descriptors, many clients, signals, a sudden death and a start on the same port."""

import signal
import socket
import struct
import threading
import time

from lib import client, http, servers, tap, world
from lib.client import Client
from lib.host import Host, config
from lib.tap import case, check, equal, table, wait_for, within
from lib.world import TARGET, World

ONE = {"a": "interface: a0"}


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.held = self.world.serve(servers.tell_and_hold, threaded=False)
        self.echoed = self.world.serve(servers.tell_and_echo)
        self.origin = http.Origin(self.world)


place = tap.shared(Place)


def few(t, text, number):
    """A host with no more than so many descriptors, soft and hard."""
    return Host(t, text, prefix=[tap.tool("prlimit"), "--nofile=%d:%d" % (number, number)])


def idle_share(host, seconds=2.0):
    """The share of a processor the host uses while nothing happens."""
    cpu, at = host.cpu_s(), time.monotonic()
    time.sleep(seconds)  # the measurement itself
    return (host.cpu_s() - cpu) / (time.monotonic() - at)


@table("out of descriptors: no spinning, sessions live, back within 3 s",
       [("1 worker", 1), ("4 workers", 4)], needs=["prlimit"])
def few_descriptors(t, workers):
    p = place(t)
    host = few(t, config(ONE, more="workers: %d" % workers), 100)
    live = client.connect(host.addr, TARGET, p.echoed.port)
    t.defer(live.close)
    live.line()
    crowd = []
    t.defer(lambda: [c.close() for c in crowd])
    for _ in range(200):
        c = Client(host.addr)
        c.send(b"\5\1\0" + client.request(TARGET, p.held.port))
        crowd.append(c)
    wait_for("it has taken what it can", lambda: host.fds() >= 60)
    share = idle_share(host)
    check(share < 0.3, "less than 30 % of a processor while it waits", share)
    live.send(b"still")
    equal(live.take(5), b"still", "a session from before")
    check(host.alive(), "it lives")
    lines = [x for x in host.log().splitlines() if not x.startswith("info ")]
    check(len(lines) <= 15, "few lines", lines)
    for c in crowd:
        c.reset()
    started = time.monotonic()
    equal(client.until_served(host.addr, TARGET, p.told.port, 10), "a", "link")
    within(3.5, started, "until served again")
    wait_for("nothing is left over", lambda: host.fds() <= host.fds_ready + 2, 10)


@table("so few descriptors that hardly one session fits", [(str(n), n) for n in (24, 40)],
       needs=["prlimit"])
def hardly_any(t, number):
    p = place(t)
    host = Host(t, config(ONE), wait=False,
                prefix=[tap.tool("prlimit"), "--nofile=%d:%d" % (number, number)])
    wait_for("it is ready or gone", lambda: "listening on" in host.log() or not host.alive())
    if not host.alive():  # that is an answer, too, if it says why
        equal(host.wait(), 1, "exit status")
        check("descriptors" in host.log() or "files" in host.log(), "the reason", host.log())
        return
    host.fds_ready = host.fds()
    crowd = [Client(host.addr) for _ in range(60)]
    t.defer(lambda: [c.close() for c in crowd])
    for c in crowd:
        c.send(b"\5\1\0" + client.request(TARGET, p.held.port))
    share = idle_share(host, 1.0)
    check(share < 0.3, "less than 30 % of a processor", share)
    for c in crowd:
        c.reset()
    equal(client.until_served(host.addr, TARGET, p.told.port, 10), "a", "link")


@case("a dial without a descriptor: answered with 01 or delayed, never left hanging",
      needs=["prlimit"])
def dial_without(t):
    p = place(t)
    host = few(t, config(ONE), 100)

    def one(_):
        with Client(host.addr, timeout=20) as c:
            return c.ask(TARGET, p.told.port).rep

    got = client.together(300, one, 150)
    bad = [g for g in got if isinstance(g, Exception) or g not in (0, 1)]
    equal(bad, [], "answers other than 00 and 01")
    check(got.count(0) >= 100, "most are served in the end", got.count(0))


@case("500 held idle: live, cheap, and all usable")
def held_idle(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}))
    before = host.rss_kib()
    clients, links = client.held(t, 500, host.addr, TARGET, p.held.port)
    equal(links.count("a"), 250, "connections by a")
    check(idle_share(host) < 0.05, "less than 5 % of a processor")
    grown = host.rss_kib() - before
    check(grown < 500 * 16, "less than 16 KiB of memory each", "%d KiB" % grown)
    check(host.fds() <= host.fds_ready + 2 * 500 + 8, "two descriptors each", host.fds())
    with p.held.lock:
        servers_side = p.held.held[-500:]
    for s in servers_side:
        s.sendall(b"x")
    for c in clients:
        equal(c.take(1), b"x", "a byte for each")


def one_socks4(host, p):
    with Client(host.addr) as c:
        c.send(struct.pack(">BBH", 4, 1, p.told.port) + socket.inet_aton(TARGET) + b"me\0")
        equal(c.take(2), b"\0\x5a", "the answer")


def one_connect(host, p):
    with Client(host.addr) as c:
        c.send(b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n" % (TARGET.encode(), p.told.port))
        equal(c.take(12), b"HTTP/1.1 200", "the answer")


def one_kept(host, p):
    """Two plain requests."""
    with Client(host.addr) as c:
        reader = http.Reader(c.sock)
        for _ in range(2):
            c.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p.origin.url().encode())
            equal(http.answer(reader).status, 200, "the answer")


@table("1,500 in a row leave no descriptor and no memory behind", [
    ("SOCKS5", lambda host, p: equal(client.ask(host.addr, TARGET, p.told.port), 0, "reply")),
    ("SOCKS4", one_socks4), ("CONNECT", one_connect), ("plain HTTP", one_kept),
], long=("SOCKS4", "CONNECT"))
def in_a_row(t, one):
    p = place(t)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}))

    def some(count):
        got = client.together(count, lambda _: one(host, p), 8)
        equal([g for g in got if g], [], "failures")
        wait_for("all descriptors are back", lambda: host.fds() <= host.fds_ready, 10)

    some(500)
    before = host.rss_kib()
    some(1500)
    check(host.rss_kib() - before < 1024, "memory grew by less than 1 MiB",
          host.rss_kib() - before)


@case("clients that come and go at every point leave nothing behind")
def come_and_go(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"}))
    whole = b"\5\1\0" + client.request(TARGET, p.echoed.port) + b"payload"
    for cut in range(len(whole) + 1):
        for leave in (Client.close, Client.reset, Client.finish):
            c = Client(host.addr)
            c.send(whole[:cut])
            leave(c)
            t.defer(c.close)
    wait_for("all descriptors are back", lambda: host.fds() <= host.fds_ready + 3, 15)


LONG = b"a" * 200
DENIED = b"GET http://no.test/ HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW_HEAD = b"GET http://10.9.9.9/ HTTP/1.1\r\nHost: x\r\nX: " + LONG

# Where they connect to, what they send at once, and what byte by byte.
SLOW = {
    "SOCKS5 greeting": ("main", b"", b"\5\xff" + LONG),
    "SOCKS5 request": ("main", b"\5\1\0", b"\5\1\0\3\xff" + LONG),
    "SOCKS5 login": ("users", b"\5\1\2", b"\1\xff" + LONG),
    "SOCKS4 user": ("main", b"", b"\4\1\0\x50\1\2\3\4" + LONG),
    "SOCKS4a name": ("main", b"", b"\4\1\0\x50\0\0\0\1\0" + LONG),
    "CONNECT": ("main", b"", b"CONNECT 10.9.9.9:80 HTTP/1.1\r\nX: " + LONG),
    "a plain request": ("main", b"", SLOW_HEAD),
    "the next after 407": ("users", DENIED, SLOW_HEAD),
    "the next after 403": ("main", DENIED, SLOW_HEAD),
    "PROXY version 1": ("behind", b"", b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 " + b"1" * 60),
    "PROXY version 2": ("behind", b"", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\xff" + LONG),
    "behind PROXY": ("behind", b"PROXY UNKNOWN\r\n", b"\5\xff" + LONG),
}


def dribble(c, data):
    """Sends a byte each 50 ms until it is closed; how long that takes."""
    started = time.monotonic()
    c.sock.settimeout(0.05)
    for i in range(len(data)):
        try:
            c.send(data[i:i + 1])
            while c.sock.recv(4096):
                pass
            break
        except TimeoutError:
            pass
        except OSError:
            break
    return time.monotonic() - started


@case("clients that dribble, in each protocol and phase, have the handshake's time and no more")
def dribbles(t):
    place(t)
    ports = {where: world.free_port() for where in ("users", "behind")}
    t.file("who", "me:$5$rounds=1000$salt$oacEarljCLl1hnwSHaKByNaFLSC8faCZtGSPISXgwZ.\n")
    listeners = ("  users: {listen: 127.0.0.1:%d, pool: all, users-file: who}\n"
                 "  behind: {listen: 127.0.0.1:%d, pool: all, proxy-protocol: [127.0.0.1]}\n"
                 "links:\n" % tuple(ports.values()))
    host = Host(t, config(ONE, more="rules: [{host: no.test, action: deny}]\n"
                          "timeouts: {handshake: 1s}").replace("links:\n", listeners, 1))
    names = list(SLOW)

    def one(i):
        where, first, rest = SLOW[names[i]]
        with Client(("127.0.0.1", ports.get(where, host.port))) as c:
            c.send(first)
            return dribble(c, rest)

    took = dict(zip(names, client.together(len(names), one)))
    wrong = {name: x for name, x in took.items() if not isinstance(x, float) or not 0.7 < x < 3}
    equal(wrong, {}, "other times than a second")


@case("SIGPIPE and stray signals do no harm")
def stray_signals(t):
    p = place(t)
    host = Host(t, config(ONE))
    with client.connect(host.addr, TARGET, p.echoed.port) as c:
        c.line()
        for number in (signal.SIGPIPE, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG,
                       signal.SIGCHLD):
            host.proc.send_signal(number)
            c.send(b"x")
            equal(c.take(1), b"x", "the session after %s" % number)
        host.proc.send_signal(signal.SIGSTOP)
        host.proc.send_signal(signal.SIGCONT)
        c.send(b"y")
        equal(c.take(1), b"y", "the session after a suspension")


@case("started without standard input, output and error: none of it reaches a client")
def no_standard_descriptors(t):
    p = place(t)
    host = Host(t, config(ONE, more="workers: 2"), wait=False,
                prefix=["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"])
    wait_for("it listens", lambda: world.accepts(*host.addr))
    for _ in range(5):
        with client.connect(host.addr, TARGET, p.echoed.port) as c:
            c.line()
            with Client(host.addr) as other:  # something to log about
                other.send(b"GET / HTTP/1.0\r\n\r\n")
                check(other.take_all().startswith(b"HTTP/1."), "an answer to HTTP, nothing else")
            c.send(b"ping")
            c.finish()
            equal(c.take_all(), b"ping", "what the client got")


@case("a client that resets while much is on its way to it")
def write_to_the_dead(t):
    p = place(t)
    host = Host(t, config(ONE))
    port = p.world.serve(servers.source).port
    for _ in range(30):
        c = client.connect(host.addr, TARGET, port)
        c.take(10000)
        c.reset()
    check(host.alive(), "it lives")
    wait_for("all descriptors are back", lambda: host.fds() <= host.fds_ready, 10)


@case("killed, then started on the same port within 3 s, also with clients on it")
def killed(t):
    p = place(t)
    host = Host(t, config(ONE))
    lives = [client.connect(host.addr, TARGET, p.echoed.port) for _ in range(5)]
    t.defer(lambda: [c.close() for c in lives])
    host.proc.kill()
    host.wait()
    started = time.monotonic()
    again = Host(t, config(ONE), port=host.port)
    equal(client.link_of(again.addr, TARGET, p.told.port), "a", "link")
    within(3, started, "until served again")
    for c in lives:
        check(c.ended(3)[0] != "open", "the old sessions are over")


@case("a second one on the same port is refused, the first serves on")
def second_one(t):
    p = place(t)
    host = Host(t, config(ONE))
    other = Host(t, config(ONE), port=host.port, name="other.yaml", wait=False)
    equal(other.wait(), 1, "exit status of the second")
    check(str(host.port) in other.log(), "it names the port", other.log())
    equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link")


@case("an elephant leaves room for mice")
def elephant(t):
    p = place(t)
    host = Host(t, config(ONE))
    port = p.world.serve(servers.source).port
    big = client.connect(host.addr, TARGET, port)
    t.defer(big.close)

    def swallow():
        try:
            while big.sock.recv(1 << 20):
                pass
        except OSError:
            pass

    threading.Thread(target=swallow, daemon=True).start()
    with client.connect(host.addr, TARGET, p.echoed.port) as mouse:
        mouse.line()
        times = []
        for _ in range(200):
            at = time.monotonic()
            mouse.send(b"x" * 64)
            mouse.take(64)
            times.append(time.monotonic() - at)
    times.sort()
    # Generous: the test's own threads share two processors with the elephant.
    check(times[180] < 0.25, "9 of 10 answers within 250 ms", times[-5:])


@case("the limit of open files is raised to the hard one", needs=["prlimit"])
def raised(t):
    host = Host(t, config(ONE), prefix=[tap.tool("prlimit"), "--nofile=64:4096"])
    with open("/proc/%d/limits" % host.proc.pid, encoding="ascii") as f:
        line = [x for x in f if x.startswith("Max open files")][0]
    equal(line.split()[3:5], ["4096", "4096"], "soft and hard")


if __name__ == "__main__":
    tap.main()
