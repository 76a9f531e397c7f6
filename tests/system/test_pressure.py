#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""What the machine does to a proxy: no memory, no disk, a clock that jumps, a suspension; and
readers of the log who go, or sleep."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

from lib import client, dns, servers, tap, world
from lib.client import Client
from lib.host import Host, config, sanitized
from lib.shim import ClockJump
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, World

ONE = {"a": "interface: a0"}
BOTH = {"a": "interface: a0", "b": "interface: b0"}
HOURS = 6


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.held = self.world.serve(servers.tell_and_hold, threaded=False)
        self.echoed = self.world.serve(servers.tell_and_echo)


place = tap.shared(Place)


def echoes(clients):
    """Each says something and hears it again."""
    for i, c in enumerate(clients):
        word = b"word %d" % i
        c.send(word)
        equal(c.take(len(word)), word, "connection %d" % i)


def tunnels(t, host, port, count=5):
    """Open connections that echo."""
    clients = [client.connect(host.addr, TARGET, port) for _ in range(count)]
    for c in clients:
        t.defer(c.close)
        c.line()
    return clients


# ---- the log ----

LINE = r"(?:info|warn|debug|error) [\w.-]+: .*"


def counted(text):
    """The sessions in a log, those included that it says it has lost; each line must be whole."""
    lines = [x for x in text.split("\n") if x]
    equal([x for x in lines if not re.fullmatch(LINE, x)], [], "lines that are none")
    lost = sum(int(x) for x in re.findall(r"^warn log: (\d+) lines lost", text, re.M))
    return len([x for x in lines if x.startswith("info session: ")]), lost


def some(p, host, count):
    got = client.together(count, lambda _: client.link_of(host.addr, TARGET, p.told.port), 16)
    equal([x for x in got if x != "a"], [], "connections that failed")


class Disk:
    """A file system of 64 KiB, nearly full, and a log on it."""

    def __init__(self, t):
        self.dir = os.path.join(t.dir, "disk")
        os.mkdir(self.dir)
        world.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", self.dir)
        t.defer(world.run, "umount", "-l", self.dir)
        self.ballast = os.path.join(self.dir, "ballast")
        with open(self.ballast, "wb") as f:
            f.write(bytes(52 * 1024))
        self.path = os.path.join(self.dir, "log")
        self.file = open(self.path, "ab", buffering=0)  # pylint: disable=consider-using-with
        t.defer(self.file.close)

    def log(self):
        with open(self.path, encoding="utf-8") as f:
            return f.read()


@table("disk full: nothing stops, lines are whole, lost ones are counted",
       [("1 worker", 1), ("4 workers", 4)])
def disk_full(t, workers):
    p = place(t)
    disk = Disk(t)
    host = Host(t, config(ONE, more="workers: %d" % workers), stderr=disk.file, wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    started = host.fds()
    live = tunnels(t, host, p.echoed.port)
    some(p, host, 400)
    check(len(disk.log()) < 16384, "the disk is full", len(disk.log()))
    echoes(live)
    os.unlink(disk.ballast)
    some(p, host, 1)
    lines, lost = counted(disk.log())
    check(lost > 200, "most were lost", lost)
    # A client of wait_for's is a line more, or two.
    check(0 <= lines + lost - 406 <= 3, "each is a line, or counted as lost", lines, lost)
    some(p, host, 10)
    equal(counted(disk.log())[1], lost, "no more are lost")
    echoes(live)
    for c in live:
        c.close()
    wait_for("all descriptors are back", lambda: host.fds() <= started)
    host.term()
    equal(host.wait(5), 0, "exit status")


@case("reloads with a full disk")
def disk_full_reload(t):
    p = place(t)
    disk = Disk(t)
    host = Host(t, config(ONE), stderr=disk.file, wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    some(p, host, 300)
    for _ in range(3):
        host.write(b"links: {a: {interfac: a0}}\n")
        host.proc.send_signal(signal.SIGHUP)
        some(p, host, 5)
    host.write(config(BOTH))
    host.proc.send_signal(signal.SIGHUP)
    wait_for("the new configuration is used",
             lambda: client.link_of(host.addr, TARGET, p.told.port) == "b")


def ends(kind):
    """What reads the log, and what the host writes to."""
    if kind == "pipe":
        return os.pipe()
    if kind == "socket":
        return [s.detach() for s in socket.socketpair()]
    return os.openpty()


KINDS = [("a pipe", "pipe", True), ("a pipe of somebody else", "pipe", False),
         ("a socket", "socket", False), ("a terminal", "terminal", True)]


@table("the log's reader goes: nothing stops", KINDS)
def reader_gone(t, kind, own):
    p = place(t)
    reader, writer = ends(kind)
    host = Host(t, config(BOTH, more="workers: 2"), stderr=writer, own=own, wait=False)
    os.close(writer)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    live = tunnels(t, host, p.echoed.port)
    os.close(reader)
    for _ in range(200):
        client.link_of(host.addr, TARGET, p.told.port)
    echoes(live)
    host.write(config(ONE))
    host.proc.send_signal(signal.SIGHUP)
    wait_for("a reload", lambda: client.links_of(3, host.addr, TARGET, p.told.port) == "aaa")
    echoes(live)
    for c in live:
        c.close()
    host.term()
    equal(host.wait(5), 0, "exit status")


def available(fd):
    """What waits there."""
    os.set_blocking(fd, False)
    data = b""
    try:
        while True:
            data += os.read(fd, 65536)
    except BlockingIOError:
        return data.decode().replace("\r\n", "\n")


@table("the log's reader sleeps, and wakes: lines are whole, lost ones are counted", KINDS)
def reader_asleep(t, kind, own):
    p = place(t)
    reader, writer = ends(kind)
    t.defer(os.close, reader)
    t.defer(os.close, writer)
    host = Host(t, config(ONE, more="workers: 2"), stderr=writer, own=own, wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    count = 3000 if kind == "socket" else 1200
    some(p, host, count)
    text = available(reader)
    if kind == "terminal":  # it takes part of a line, as a disk does
        text = re.sub(r"(?m)^(?!%s$).*\n" % LINE, "", text)
    before = counted(text)
    some(p, host, 1)
    after = counted(available(reader))
    lines, lost = before[0] + after[0], before[1] + after[1]
    check(lost > 0 and lines > 0, "some were lost", lines, lost)
    check(0 <= lines + lost - count - 1 <= 2, "each is a line, or counted as lost", lines, lost)


@table("one system call for a line", [("a file", "file", True)] + KINDS, needs=["strace"])
def one_call(t, kind, own):
    p = place(t)
    trace = os.path.join(t.dir, "trace")
    if kind == "file":
        reader = writer = os.open(os.path.join(t.dir, "log"), os.O_RDWR | os.O_CREAT)
    else:
        reader, writer = ends(kind)
        t.defer(os.close, reader)
    t.defer(os.close, writer)
    host = Host(t, config(ONE), stderr=writer, own=own, wait=False,
                prefix=["strace", "-D", "-f", "-o", trace, "-s", "20",
                        "-e", "trace=write,sendto,poll,fstat,getsockopt"])
    wait_for("it listens", lambda: world.accepts(*host.addr))
    some(p, host, 20)
    host.term()
    host.wait(10)
    if kind == "file":
        os.lseek(reader, 0, os.SEEK_SET)
        text = os.read(reader, 65536).decode()
    else:
        text = available(reader)
    said = len(re.findall(r"(?m)^info session: ", text))
    check(said >= 20, "the log has them", text)
    with open(trace, encoding="utf-8") as f:
        calls = f.read()
    calls = calls[calls.index('"info session: '):]
    check(len(re.findall(r'"info session: ', calls)) == said, "a call for each line", calls)
    polls = len(re.findall(r"\bpoll\(\[\{fd=2,", calls))
    if kind == "pipe" and not own:
        check(polls >= said, "nothing else can be done there", polls)
    else:
        equal(polls, 0, "calls of poll(2)")
    equal(len(re.findall(r"ENOTSOCK", calls)), 0, "sends to what is no socket")


# ---- memory ----

def crowd(t, p, host, count):
    """As many clients as there is memory for; returns those that are served."""
    clients = []
    t.defer(lambda: [c.close() for c in clients])

    def one(_):
        c = Client(host.addr, timeout=30)
        clients.append(c)
        try:
            return c if c.ask(TARGET, p.held.port).rep == 0 and c.line() else None
        except (OSError, EOFError):
            return None

    served = [c for c in client.together(count, one, 32) if isinstance(c, Client)]
    return clients, served


def no_memory(t, p, host, count):
    """Under a limit: what is open works, who is refused is told or closed, and all is well when
    they have gone."""
    live = tunnels(t, host, p.echoed.port)
    started = host.fds() - 2 * len(live)
    clients, served = crowd(t, p, host, count)
    check(host.alive(), "it lives")
    echoes(live)
    with p.held.lock:
        there = p.held.held[-len(served):]
    for s in there:
        s.sendall(b"x")
    equal([c.take(1) for c in served], [b"x"] * len(served), "a byte for each that is served")
    for c in clients:
        c.reset()
    wait_for("all descriptors are back", lambda: host.fds() <= started + 2 * len(live), 20)
    equal(client.until_served(host.addr, TARGET, p.told.port), "a", "link")
    echoes(live)
    host.reload(config(BOTH))  # whether there is memory for it or not
    equal(client.until_served(host.addr, TARGET, p.told.port) in "ab", True, "a link")
    echoes(live)
    return len(served)


@table("a limit of data: who does not fit is refused, the others live",
       [("1 worker", 1, 1000), ("4 workers", 4, 3000)], needs=["prlimit"])
def data_limit(t, workers, count):
    p = place(t)
    if sanitized():
        raise tap.Skip("a sanitizer has its own uses for memory")
    text = config(ONE, more="workers: %d" % workers)
    first = Host(t, text)
    tunnels(t, first, p.echoed.port, 4 * workers)  # what each worker needs for its first ones
    limit = (int(first.status("VmData")[0]) + 128) << 10
    first.kill()
    host = Host(t, text, prefix=["prlimit", "--data=%d" % limit])
    served = no_memory(t, p, host, count)
    check(20 < served < count, "some fit, and some do not", served)


class Group:
    """A memory group: of cgroup v2, or of v1 where its memory controller is in use."""

    V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"

    @classmethod
    def root(cls):
        """The folder that groups can be made in; None: there is none here."""
        try:
            with open(cls.V2 + "/cgroup.subtree_control", encoding="ascii") as f:
                if "memory" in f.read().split() and os.access(cls.V2, os.W_OK):
                    return cls.V2
        except OSError:
            pass
        return cls.V1 if os.access(cls.V1 + "/memory.limit_in_bytes", os.W_OK) else None

    def __init__(self, t, limit):
        root = self.root()
        self.path = "%s/dispatch-test-%d" % (root, time.monotonic_ns())
        os.mkdir(self.path)
        t.defer(self._remove)
        if root == self.V2:
            self.limit, self.events = "memory.max", "memory.events"
            self._write("memory.swap.max", 0)
        else:
            self.limit, self.events = "memory.limit_in_bytes", "memory.oom_control"
        self._write(self.limit, limit)

    def _write(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as f:
            f.write(str(value))

    def _remove(self):
        wait_for("the group is empty", lambda: not subprocess.call(["rmdir", self.path]))

    def add(self, pid):
        self._write("cgroup.procs", pid)

    def killed(self):
        with open(os.path.join(self.path, self.events), encoding="ascii") as f:
            return int(dict(x.split() for x in f)["oom_kill"])


# Containers that have no such groups run all the rest.
@table("a group of 32 MiB under load",
       [("1 worker", 1), ("4 workers", 4)] if Group.root() and not sanitized() else [])
def small_group(t, workers):
    p = place(t)
    group = Group(t, 32 << 20)
    host = Host(t, config(BOTH, more="workers: %d" % workers))
    group.add(host.proc.pid)
    t.defer(host.kill)  # before the group is removed
    live = tunnels(t, host, p.echoed.port)
    port = p.world.serve(servers.source).port
    slow = [client.connect(host.addr, TARGET, port, rcvbuf=4096) for _ in range(8)]
    t.defer(lambda: [c.close() for c in slow])
    clients, served = crowd(t, p, host, 500)
    check(len(served) > 100, "most are served", len(served))
    for _ in range(4):
        some_bytes(p, host)
    check(host.alive(), "it lives")
    equal(group.killed(), 0, "processes the kernel has killed")
    echoes(live)
    for c in clients:
        c.close()
    echoes(live)


def some_bytes(p, host, total=1 << 22):
    """A large download, whole."""
    port = p.world.serve(servers.answer_after_end(total)).port
    with client.connect(host.addr, TARGET, port) as c:
        c.finish()
        c.line()
        equal(servers.drain(c.sock), (total, servers.Pattern.digest(total)), "bytes, digest")


# ---- the clock ----

JUMPS = [("forwards", HOURS * 3600), ("back", -HOURS * 3600)]


def jumping(t, text):
    clock = ClockJump(t)
    return clock, Host(t, text, env=clock.env)


def keeps_time(c, started, least, most, what):
    """It is closed between `least` and `most` seconds after the start."""
    ended = c.ended(most + 5)[0]
    took = within(most, started, what)
    check(ended != "open" and took >= least, "%s ends in its time" % what, ended, took)


@table("the clock jumps by hours: limits keep their time", JUMPS, long=("back",))
def clock_limits(t, seconds):
    p = place(t)
    clock, host = jumping(t, config(ONE, more="timeouts: {handshake: 2s, idle: 3s}"))
    silent = Client(host.addr)
    t.defer(silent.close)
    started = time.monotonic()
    silent.send(b"\5")
    idle = tunnels(t, host, p.echoed.port, 1)[0]
    echoes([idle])
    at = time.monotonic()
    time.sleep(0.5)  # the clock is to jump while they run
    clock.jump(seconds)
    keeps_time(silent, started, 1.5, 3.5, "the handshake limit")
    keeps_time(idle, at, 2.5, 6.5, "the idle limit")  # looked at every 2 s


@table("the clock jumps by hours: open tunnels live", JUMPS, long=("back",))
def clock_tunnels(t, seconds):
    p = place(t)
    clock, host = jumping(t, config(BOTH))
    live = tunnels(t, host, p.echoed.port)
    for wrong in (seconds, 0, -seconds, 0):
        clock.jump(wrong)
        time.sleep(1.2)  # they are looked at every 2 s
        echoes(live)
        equal(len(client.links_of(2, host.addr, TARGET, p.told.port)), 2, "new ones work")


@table("the clock jumps by hours: dials, look-ups and the drain keep their time", JUMPS, long=True)
def clock_dials(t, seconds):
    p = place(t)
    dns.NameServer(t, [("a", p.world.a.ns, p.world.a.gw)], {"known.test": [TARGET]},
                   silent=["silent.test"])
    clock, host = jumping(t, config(
        {"a": "interface: a0, dns: [%s]" % p.world.a.gw},
        more="timeouts: {connect: 3s, attempt: 3s, drain: 2s}"))
    with client.connect(host.addr, b"known.test", p.told.port) as c:
        equal(c.line().split()[0], "a", "link")
    p.world.a.rule("drop", "ip daddr 10.9.9.8")
    t.defer(p.world.a.rules_off)
    for name in ("10.9.9.8", b"silent.test"):
        c = Client(host.addr)
        t.defer(c.close)
        c.send(b"\5\1\0" + client.request(name, 80))
        started = time.monotonic()
        time.sleep(0.5)
        clock.jump(seconds)
        c.selection()
        check(c.reply().rep in (1, 4), "a failure")
        check(within(5, started, "the dial") > 2, "it takes its time")
        clock.jump(0)
    tunnels(t, host, p.echoed.port, 1)
    host.term()
    started = time.monotonic()
    time.sleep(0.5)
    clock.jump(seconds)
    equal(host.wait(5), 0, "exit status")
    check(within(3.5, started, "the drain") > 1.5, "it takes its time")


# ---- suspension ----

@table("suspended for seconds: all live", [("1 worker", 1), ("4 workers", 4)], long=("1 worker",))
def suspended(t, workers):
    p = place(t)
    total, taken = 1 << 25, 100000
    port = p.world.serve(servers.answer_after_end(total)).port
    host = Host(t, config(BOTH, more="workers: %d" % workers))
    live = tunnels(t, host, p.echoed.port)
    flows = [client.connect(host.addr, TARGET, port) for _ in range(4)]
    results = []
    for c in flows:
        t.defer(c.close)
        c.finish()
        c.line()
        c.take(taken)  # it flows
    half = Client(host.addr)
    t.defer(half.close)
    half.send(b"\5\1")
    asked = Client(host.addr)
    t.defer(asked.close)
    asked.greet()

    host.proc.send_signal(signal.SIGSTOP)
    readers = [threading.Thread(target=lambda c=c: results.append(servers.drain(c.sock)))
               for c in flows]
    for reader in readers:
        reader.start()
    asked.send(client.request(TARGET, p.told.port))
    for c in live:
        c.send(b"while it sleeps")
    waiting = [Client(host.addr) for _ in range(5)]
    for c in waiting:
        t.defer(c.close)
        c.send(b"\5\1\0" + client.request(TARGET, p.told.port))
    half.send(b"\0")
    time.sleep(4.5)  # longer than an attempt may take, and than sessions are looked at
    host.proc.send_signal(signal.SIGCONT)

    for c in live:
        equal(c.take(15), b"while it sleeps", "what was sent meanwhile")
    for reader in readers:
        reader.join()
    rest = b"".join(servers.Pattern.pieces(total))[taken:]
    wanted = (len(rest), hashlib.blake2b(rest).hexdigest())
    equal(results, [wanted] * 4, "bytes of what was in flight, digest")
    for c in waiting:
        c.selection()
    half.selection()
    for c in [asked] + waiting:
        equal(c.reply().rep, 0, "the reply to who has waited")
        c.line()
    echoes(live)
    equal(client.links_of(2, host.addr, TARGET, p.told.port) in ("ab", "ba"), True, "both links")


@case("suspended in the middle of a dial")
def suspended_dial(t):
    p = place(t)
    host = Host(t, config(BOTH))
    p.world.a.rule("drop", "tcp flags syn")
    c = Client(host.addr)
    t.defer(c.close)
    c.greet()
    c.send(client.request(TARGET, p.told.port))
    wait_for("it dials", lambda: host.fds() >= host.fds_ready + 2)
    host.proc.send_signal(signal.SIGSTOP)
    time.sleep(4)  # longer than an attempt may take
    p.world.a.rules_off()
    host.proc.send_signal(signal.SIGCONT)
    equal(c.reply().rep, 0, "the reply")
    check(c.line(), "a link")
    matches(r"info session: .*code=00", host.log(), "the log")


if __name__ == "__main__":
    tap.main()
