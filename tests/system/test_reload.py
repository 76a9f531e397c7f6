#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""HUP and TERM: another policy by one edited line, plugins dropped in, bad files, nothing lost."""

import errno
import glob
import os
import pwd
import re
import signal
import socket
import threading
import time

from lib import client, peers, servers, tap, world
from lib.client import Client
from lib.host import SRCDIR, Host, config, once
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, World

TWO = {"a": "interface: a0", "b": "interface: b0"}

# The member that was named last, whatever happens.
LAST = """
#include <dispatch-plugin.h>
static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host, (void)conf;
    *self = (void *)create;
    return DP_OK;
}
static void destroy(void *self) { (void)self; }
static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen;
    for (uint32_t i = pool->view->n; i-- > 0;)
        if (dp_allowed(pool, flow, i))
            return i;
    return DP_NONE;
}
static const struct dp_balancer_ops ops = {.create = create, .destroy = destroy, .pick = pick};
__attribute__((visibility("default"))) const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin, .abi = DP_ABI, .kind = DP_BALANCER, .ops_size = sizeof ops,
    .name = "last", .version = "1", .summary = "the last member", .ops = &ops,
};
"""

# The same; a port above this one says so and keeps the worker busy for so many seconds.
BUSY_PORT = 65000
BUSY = "#include <unistd.h>" + LAST.replace("(void)seen;", """(void)seen;
    if (flow->dest.port > %d && write(2, "busy\\n", 5) == 5)
        sleep(flow->dest.port - %d);""" % (BUSY_PORT, BUSY_PORT))


class Place:
    def __init__(self, t):
        self.world = World(t, "abc")
        self.told = self.world.serve(servers.tell)
        self.held = self.world.serve(servers.tell_and_hold, threaded=False)
        self.echoed = self.world.serve(servers.tell_and_echo)


place = tap.shared(Place)


def order(p, host, count):
    return client.links_of(count, host.addr, TARGET, p.told.port)


# ---- another policy ----

@case("rr becomes leastconn by one edited line and HUP, under held sessions")
def other_policy(t):
    p = place(t)
    host = Host(t, config(TWO))
    held, links = client.held(t, 4, host.addr, TARGET, p.told.port, parallel=1)
    equal("".join(links), "abab", "links by rr")
    said = host.reload(config(TWO, pool="balancer: leastconn"))
    check(" error " not in " " + said, "no error", said)
    for c, link in zip(held, links):
        if link == "b":
            c.close()
    wait_for("the host has closed two tunnels", lambda: host.fds() <= host.fds_ready + 4 + 2, 5)
    # Sessions begun under the old balancer count for the new one: a holds two.
    _held, links = client.held(t, 2, host.addr, TARGET, p.told.port, parallel=1)
    equal("".join(links), "bb", "links by leastconn")


@case("a plugin of one's own in plugins/ beside the file, named at a reload")
def own_plugin(t):
    p = place(t)
    host = Host(t, config(TWO))
    equal(order(p, host, 4), "abab", "links by rr")
    peers.build_plugin(t, "balancer-last", LAST)
    host.reload(config(TWO, pool="balancer: last"))
    equal(order(p, host, 6), "bbbbbb", "links by the own plugin")
    host.reload(config(TWO))
    equal(order(p, host, 4), "abab", "links by rr again")


@case("the same at the start, and by plugin-path")
def own_plugin_at_start(t):
    p = place(t)
    peers.build_plugin(t, "balancer-last", LAST, into=os.path.join(t.dir, "elsewhere"))
    host = Host(t, config(TWO, pool="balancer: last", more="plugin-path: [elsewhere]"))
    equal(order(p, host, 4), "bbbb", "links by the own plugin")


@case("the example plugin, built with cc against the one header")
def example_plugin(t):
    p = place(t)
    sources = glob.glob(os.path.join(SRCDIR, "examples", "balancer-leastbytes", "*.c"))
    check(len(sources) == 1, "examples/balancer-leastbytes has its source", sources)
    peers.build_plugin(t, "balancer-leastbytes", sources[0])
    host = Host(t, config(TWO, pool="balancer: leastbytes"))
    with client.connect(host.addr, TARGET, p.echoed.port) as c:
        first = c.line().split()[0]
        c.send(b"x" * 500000)
        c.finish()
        equal(len(c.take_all()), 500000, "bytes echoed")
    wait_for("the host has closed it", lambda: host.fds() <= host.fds_ready)
    other = {"a": "b", "b": "a"}[first]
    equal(order(p, host, 5), other * 5, "links while the first has carried more")


# ---- what changes, what stays ----

@case("sessions live through reloads, also those of a link that went")
def sessions_live(t):
    p = place(t)
    host = Host(t, config(TWO))
    lives = [client.connect(host.addr, TARGET, p.echoed.port) for _ in range(4)]
    t.defer(lambda: [c.close() for c in lives])
    equal("".join(c.line().split()[0] for c in lives), "abab", "links")
    host.reload(config({"c": "interface: c0"}))
    equal(order(p, host, 3), "ccc", "links of new ones")
    host.reload(config(TWO, pool="balancer: leastconn"))
    for i, c in enumerate(lives):
        c.send(b"%d" % i)
        equal(c.take(1), b"%d" % i, "echo")
        c.finish()
        equal(c.ended(5), ("fin", b""), "the end")


@case("an instance that did not change keeps its place in turn; links and weights change")
def kept_state(t):
    p = place(t)
    host = Host(t, config(TWO))
    equal(order(p, host, 3), "aba", "links")
    host.reload()
    equal(order(p, host, 3), "bab", "links go on after a reload of the same")
    host.reload(config(dict(TWO, c="interface: c0")))
    equal(sorted(order(p, host, 6)), list("aabbcc"), "links with a third")
    host.reload(config({"a": "interface: a0, weight: 2", "b": "interface: b0"}))
    equal(order(p, host, 6).count("a"), 4, "connections by a of 6")


@case("listeners come and go; those that stay never close")
def listeners(t):
    p = place(t)
    one, two = world.free_port(), world.free_port()
    body = config(TWO).split("links:", 1)[1]

    def file(*ports):
        lines = ["  l%d: {listen: 127.0.0.1:%d, pool: all}" % (q, q) for q in ports]
        return "listeners:\n%s\nlinks:%s" % ("\n".join(lines), body)

    host = Host(t, file(one), port=one)
    check(not world.accepts("127.0.0.1", two), "the second does not listen yet")
    host.reload(file(one, two))
    wait_for("the second listens", lambda: world.accepts("127.0.0.1", two))
    for port in (one, two):
        check(client.link_of(("127.0.0.1", port), TARGET, p.told.port) in "ab", "served")
    live = client.connect(("127.0.0.1", one), TARGET, p.echoed.port)
    t.defer(live.close)
    live.line()
    host.reload(file(two))
    wait_for("the first is gone", lambda: not world.accepts("127.0.0.1", one))
    check(client.link_of(("127.0.0.1", two), TARGET, p.told.port) in "ab", "served")
    live.send(b"x")
    equal(live.take(1), b"x", "a session of the listener that went")


@case("who waits at a listener that goes, while all workers are busy, is served")
def listener_goes(t):
    p = place(t)
    peers.build_plugin(t, "balancer-last", BUSY)
    keys = {"pool": "balancer: last", "more": "workers: 2"}
    goes = world.free_port()
    more = "  goes: {listen: 127.0.0.1:%d, pool: all}\nlinks:" % goes
    host = Host(t, config(TWO, **keys).replace("links:", more, 1))
    busy = [client.Client(host.addr) for _ in range(2)]
    for c, seconds in zip(busy, (1, 2)):
        c.greet()
        c.send(client.request(TARGET, BUSY_PORT + seconds))
    wait_for("both workers are busy", lambda: host.log().count("busy") == 2)
    waiting = [client.Client(("127.0.0.1", goes)) for _ in range(40)]
    host.reload(config(TWO, **keys))
    for c in waiting:
        equal(c.ask(TARGET, p.echoed.port).rep, 0, "reply")
    check(not world.accepts("127.0.0.1", goes), "the listener has gone")
    for c in busy + waiting:
        c.close()


def shares(t, addr, port):
    """Can another program of the host's user listen there as well, if it asks to share?"""
    pid = os.fork()
    if pid == 0:
        try:
            if tap.real_root():
                os.setgroups([])
                os.setuid(pwd.getpwnam("nobody").pw_uid)
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                s.bind((addr, port))
                s.listen(1)
            os._exit(1)
        except OSError as error:
            os._exit(0 if error.errno == errno.EADDRINUSE else 2)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    check(status in (0, 1), "the other program could try", status)
    return status == 1


@case("the same port at another address: nobody who connects meanwhile notices")
def same_port(t):
    p = place(t)
    near = config(TWO)
    everywhere = config(TWO, listen="0.0.0.0:PORT", listener=", open: yes")
    host = Host(t, near)
    over, failures, done = threading.Event(), [], []

    def load():
        while not over.is_set():
            try:
                done.append(client.ask(host.addr, TARGET, p.told.port))
            except (OSError, EOFError) as error:
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            for text, wide in ((everywhere, True), (near, False)):
                said = host.reload(text)
                matches(r"^info config: reloaded", said, "the reload", re.M)
                equal(world.accepts("10.0.1.1", host.port), wide, "served at another address")
                for addr in ("127.0.0.1", "0.0.0.0"):
                    check(not shares(t, addr, host.port), "the port is the host's alone", addr)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    equal(failures, [], "failures")
    check(len(done) > 50 and set(done) == {0}, "all were served", len(done), set(done))


@case("where a port cannot change its address, the old goes on, and what to do is said")
def same_port_other_family(t):
    p = place(t)
    host = Host(t, config(TWO))
    said = host.reload(config(TWO, listen="[::]:PORT", listener=", open: yes"))
    matches(r"port %d is this program's own already, at another address: stop it and start it "
            r"again" % host.port, said, "the cure")
    check(client.link_of(host.addr, TARGET, p.told.port) in "ab", "served as before")
    check(not shares(t, "127.0.0.1", host.port), "the port is the host's alone")


@case("a port of another program is not taken over, and that program is blamed")
def port_of_another(t):
    p = place(t)
    other = world.free_port()
    with socket.socket() as s:
        s.bind(("127.0.0.1", other))
        s.listen(1)
        host = Host(t, config(TWO))
        said = host.reload(config(TWO, listen="0.0.0.0:%d" % other, listener=", open: yes"))
    matches(r"port %d is taken: another program listens" % other, said, "whose it is")
    check(client.link_of(host.addr, TARGET, p.told.port) in "ab", "served as before")


@case("a listener changes at the same address: who may come, and what it speaks")
def listener_changes(t):
    p = place(t)
    far = {"a": "dialer: socks, server: 10.0.1.2:%d" % peers.microsocks(
        p.world, p.world.a.ns, p.world.a.gw)} if tap.tool("microsocks") else TWO
    host = Host(t, config(far))
    check(client.link_of(host.addr, TARGET, p.told.port) in "ab", "served")
    host.reload(config(far, listener=", allow: [10.7.0.0/16]"))
    with Client(host.addr) as c:
        try:
            c.send(b"\5\1\0")
            how, got = c.ended(5)
        except OSError:
            how, got = "rst", b""
        check(how != "open" and not got.startswith(b"\5\0"), "not served", how, got)
    if far is not TWO:
        host.reload(config(far, listener=", protocols: [raw]"))
        equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link by the raw listener")
    host.reload(config(far))
    check(client.link_of(host.addr, TARGET, p.told.port) in "ab", "served again")


@case("a link changes under its name: its interface, its name server")
def link_changes(t):
    p = place(t)
    host = Host(t, config({"x": "interface: a0"}))
    with client.connect(host.addr, TARGET, p.echoed.port) as c:
        equal(c.line().split()[0], "a", "link")
        host.reload(config({"x": "interface: b0, dns: [10.0.2.2]"}))
        equal(order(p, host, 3), "bbb", "links of new ones")
        c.send(b"x")
        equal(c.take(1), b"x", "the session from before")


@case("HUP to one that was started by words does no harm")
def words(t):
    p = place(t)
    host = Host(t, args=["-lport", "PORT", "10.0.1.1@2", "10.0.2.1"])
    equal(order(p, host, 3), "aab", "links")
    host.proc.send_signal(signal.SIGHUP)
    wait_for("it has done something about it", lambda: "reloaded" in host.log(), 10)
    equal(order(p, host, 3).count("a"), 2, "connections by a of 3")
    equal(host.proc.poll(), None, "it lives")


@case("a listener whose port is taken: the old configuration stays")
def taken_port(t):
    p = place(t)
    host = Host(t, config(TWO))
    with world.socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        said = host.reload(config({"c": "interface: c0"}, listen="127.0.0.1:%d" % taken),
                           says=r"(?m)^error .*not reloaded")
    matches(r"\b%d\b" % taken, said, "the port is named")
    equal(set(order(p, host, 4)), {"a", "b"}, "links")


# ---- bad files ----

BOMB = "x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n" + "".join(
    "x%d: &x%d [%s]\n" % (i, i, ",".join(["*x%d" % (i - 1)] * 10)) for i in range(1, 12))
GOOD = config(TWO)
BAD = [
    ("broken YAML", GOOD + "pools: {all: [\n", r"\.yaml:\d+:\d+: "),
    ("an unknown key", GOOD + "bogus-key: 1\n", r"\.yaml:8:1: .*bogus-key"),
    ("a key with a slip", GOOD.replace("balancer:", "balancr:"), r"\.yaml:\d+:\d+: .*balancer"),
    ("a wrong type", GOOD + "workers: many\n", r"\.yaml:\d+:\d+: .*workers"),
    ("a value out of range", GOOD.replace("a0", "a0, weight: 70000"),
     r"\.yaml:\d+:\d+: .*weight"),
    ("a key twice", GOOD + "workers: 1\nworkers: 2\n", r"\.yaml:\d+:\d+: .*workers"),
    ("an unknown link in a pool", GOOD.replace("[a, b]", "[a, nope]"), r"\.yaml:\d+:\d+: .*nope"),
    ("an unknown balancer", GOOD.replace("balancer: rr", "balancer: nope"),
     r"\.yaml:\d+:\d+: .*balancer-nope"),
    ("what is not built yet", GOOD + "metrics: {}\n",
     r"\.yaml:\d+:\d+: .*metrics.*not in this version"),
    ("a link via itself", GOOD.replace("interface: a0", "dialer: socks, server: 1.2.3.4:1, via: a"),
     r"\.yaml:\d+:\d+: .*via"),
    ("a bomb of aliases", BOMB + GOOD, r"\.yaml:\d+:\d+: "),
    ("nesting without end", "x: " + "[" * 200000, r"\.yaml:\d+:\d+: "),
    ("NUL inside", GOOD.replace("a0", "a\0"), r"\.yaml"),
    ("1 MiB of it", "links:\n" + "".join("  l%d: {interface: a0}\n" % i for i in range(45000)),
     r"\.yaml"),
    ("bytes that are no text", b"\xff\xfe\xfd" + GOOD.encode(), r"\.yaml"),
    ("nothing", "", r"\.yaml"),
    ("a list", "- a\n- b\n", r"\.yaml:1:1: "),
    ("no links", "workers: 1\n", r"\.yaml.*links"),
]


@table("a bad file at a reload keeps the old one", BAD)
def bad_reload(t, text, pattern):
    p = place(t)
    host = Host(t, config(TWO))
    live = client.connect(host.addr, TARGET, p.echoed.port)
    t.defer(live.close)
    live.line()
    started = time.monotonic()
    said = host.reload(text, says=r"(?m)^error .*not reloaded")
    within(5, started, "the answer to HUP")
    matches(pattern, said, "one clear line with file and line")
    check(len(said) < 10000, "few lines", len(said))
    equal(set(order(p, host, 4)), {"a", "b"}, "links")
    live.send(b"x")
    equal(live.take(1), b"x", "a session from before")
    host.reload(config({"c": "interface: c0"}))
    equal(order(p, host, 2), "cc", "a good file is taken again")


@table("a bad file at the start: exit 78 with the line", BAD)
def bad_start(t, text, pattern):
    file = t.file("dispatch.yaml", text.replace(b"PORT", b"9") if isinstance(text, bytes)
                  else text.replace("PORT", "9"))
    for more in ((), ("--check",)):
        started = time.monotonic()
        status, out, err = once("-c", file, *more)
        within(5, started, "the answer")
        equal(status, 78, "exit status, after %r" % err[-500:])
        matches(pattern, err, "the line")
        equal(out, "", "standard output")


@case("a missing file at a reload keeps the old one; at the start it is exit 78")
def missing_file(t):
    p = place(t)
    host = Host(t, config(TWO))
    os.unlink(host.file)
    said = host.reload(says=r"(?m)^error .*not reloaded")
    matches(r"dispatch\.yaml", said, "one clear line with the file")
    equal(order(p, host, 4), "abab", "links")
    status, _out, err = once("-c", host.file)
    equal(status, 78, "exit status, after %r" % err)
    matches(r"dispatch\.yaml.*No such file", err, "the line")


@case("two mistakes in one file are both reported")
def two_mistakes(t):
    file = t.file("dispatch.yaml", config({"a": "interface: a0, weight: 0", "b": "intrface: b0"}))
    status, _out, err = once("-c", file, "--check")
    equal(status, 78, "exit status")
    matches(r"dispatch\.yaml:4:\d+: .*weight", err, "the first")
    matches(r"dispatch\.yaml:5:\d+: .*intrface.*interface", err, "the second, with the nearest key")


# ---- under load ----

class Load:
    """Clients one after the other in a few threads; every failure is kept."""

    def __init__(self, t, host, port, parallel=4):
        self.stop, self.failed, self.served = threading.Event(), [], 0
        self.lock = threading.Lock()
        self.host, self.port = host, port
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(parallel)]
        t.defer(self.stop.set)
        for thread in self.threads:
            thread.start()
        self.more(50)

    def _work(self):
        while not self.stop.is_set():
            try:
                with client.connect(self.host.addr, TARGET, self.port) as c:
                    c.line()
                    c.send(b"ping")
                    equal(c.take(4), b"ping", "echo")
                error = None
            except Exception as problem:  # pylint: disable=broad-except
                error = repr(problem)
            with self.lock:
                if error:
                    self.failed.append(error)
                else:
                    self.served += 1

    def more(self, count):
        at = self.served
        wait_for("%d more clients are served" % count,
                 lambda: self.served >= at + count or self.failed, 20)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        equal(self.failed, [], "failures of %d" % (self.served + len(self.failed)))


@table("30 HUPs under load, none lost", [("1 worker", 1), ("4 workers", 4)])
def many_reloads(t, workers):
    p = place(t)
    peers.build_plugin(t, "balancer-last", LAST)
    more = "workers: %d" % workers
    files = [config(TWO, more=more), config(TWO, pool="balancer: leastconn", more=more),
             config({"c": "interface: c0"}, more=more),
             config(dict(TWO, c="interface: c0"), pool="balancer: last", more=more), "broken: ["]
    host = Host(t, files[0])
    load = Load(t, host, p.echoed.port)
    for i in range(30):
        host.reload(files[i % len(files)])
        load.more(10)
    load.end()
    wait_for("no descriptor is left over", lambda: host.fds() <= host.fds_ready + 2, 10)


@case("HUPs faster than they can be served are no harm")
def storm(t):
    p = place(t)
    host = Host(t, config(TWO))
    load = Load(t, host, p.echoed.port)
    for _ in range(300):
        host.proc.send_signal(signal.SIGHUP)
    load.more(50)
    load.end()


@case("reloads do not leak: memory after 200 of them")
def no_leak(t):
    host = Host(t, config(TWO))
    files = [config(TWO), config({"c": "interface: c0"}, pool="balancer: leastconn")]
    for i in range(50):
        host.reload(files[i % 2])
    before = host.rss_kib()
    for i in range(150):
        host.reload(files[i % 2])
    grown = host.rss_kib() - before
    check(grown < 1024, "memory grew by less than 1 MiB", "%d KiB" % grown)


# ---- the end ----

@case("TERM with no session: exit 0 at once")
def term_idle(t):
    host = Host(t, config(TWO))
    started = time.monotonic()
    host.term()
    equal(host.wait(), 0, "exit status")
    within(1, started, "the end")


@case("TERM lets a session end within drain, takes no new one, then exits 0")
def term_drains(t):
    p = place(t)
    host = Host(t, config(TWO))
    with client.connect(host.addr, TARGET, p.echoed.port) as c:
        c.line()
        started = time.monotonic()
        host.term()
        wait_for("it accepts no more", lambda: not world.accepts(*host.addr))
        c.send(b"still")
        equal(c.take(5), b"still", "the session goes on")
        c.finish()
        equal(c.ended(3), ("fin", b""), "its end")
    equal(host.wait(3), 0, "exit status")
    within(3, started, "the end, as soon as the last session had ended")


@case("TERM with a session that never ends: exit 0 in under 5 s")
def term_held(t):
    p = place(t)
    host = Host(t, config(TWO))
    client.held(t, 20, host.addr, TARGET, p.held.port)
    waiting = Client(host.addr)
    t.defer(waiting.close)
    started = time.monotonic()
    host.term()
    equal(host.wait(6), 0, "exit status")
    took = within(5, started, "the end")
    check(took > 2, "not before drain (3 s) is over", took)


@case("TERM with drain: 500ms, and INT, and with 4 workers")
def term_short(t):
    p = place(t)
    for name in (signal.SIGTERM, signal.SIGINT):
        host = Host(t, config(TWO, more="workers: 4\ntimeouts: {drain: 500ms}"))
        client.held(t, 20, host.addr, TARGET, p.held.port)
        started = time.monotonic()
        host.proc.send_signal(name)
        equal(host.wait(6), 0, "exit status")
        within(2, started, "the end")


@case("a second TERM stops at once")
def term_twice(t):
    p = place(t)
    host = Host(t, config(TWO, more="timeouts: {drain: 1m}"))
    client.held(t, 5, host.addr, TARGET, p.held.port)
    host.term()
    wait_for("it accepts no more", lambda: not world.accepts(*host.addr))
    started = time.monotonic()
    host.term()
    host.wait(3)
    within(1, started, "the end")


if __name__ == "__main__":
    tap.main()
