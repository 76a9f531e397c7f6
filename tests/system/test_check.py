#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""Health checks: links that are broken in ways that no interface shows are found before a client
is, and used again when they work."""

import os
import re
import signal
import threading
import time

from lib import client, dns, peers, servers, tap
from lib.host import Host, config
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, Service, World, run

TWO = {"a": "interface: a0", "b": "interface: b0"}
PACE = "interval: 200ms, timeout: 1s, rise: 2, fall: 2"
DOWN = r"^warn link: %s: not used: health check failed 2 times: %s$"
UP = r"^info link: %s: in use again: health check passed 2 times$"
SEEN_S = 0.5


def checked(what):
    """A `health-check` for all links."""
    return "health-check: {%s, %s}" % (what, PACE)


def told(host, link):
    """What the log says of a link's checks."""
    return re.findall(r"^\w+ link: %s: (not used|in use again)" % link, host.log(), re.M)


def out_and_back(host, port, fault, cure, why):
    """Link a is found out, left alone and used again."""
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links at first")
    fault()
    host.wait_log(DOWN % ("a", why))
    started = time.monotonic()
    equal(client.links_of(6, host.addr, TARGET, port), "b" * 6, "links without a")
    within(6 * SEEN_S, started, "clients without a")
    cure()
    host.wait_log(UP % "a", 30)
    wait_for("a has its share again",
             lambda: client.links_of(4, host.addr, TARGET, port) in ("abab", "baba"))
    equal(told(host, "a"), ["not used", "in use again"], "what was told of a")
    equal(told(host, "b"), [], "what was told of b")


# ---- a way that is silent ----

def hung(t, w):
    """Two ssh -D, the first of which can be stopped."""
    sshd = [peers.Ssh(t, w, x.ns, x.gw) for x in w.links]
    ssh = [s.tunnel() for s in sshd]
    links = {n: "dialer: socks, server: 127.0.0.1:%d" % s.port for n, s in zip("ab", ssh)}
    return (links, lambda: ssh[0].send_signal(signal.SIGSTOP),
            lambda: ssh[0].send_signal(signal.SIGCONT))


def holed(_t, w):
    return TWO, w.a.black_hole, w.a.rules_off


SILENT = r"no answer from 10\.9\.9\.9:\d+ in 1s"


def silent(t, make):
    w = World(t)
    port = w.serve(servers.tell).port
    links, fault, cure = make(t, w)
    host = Host(t, config(links, more=checked("tcp: %s:%d" % (TARGET, port))))
    out_and_back(host, port, fault, cure, SILENT)


case("tcp by an interface that is black-holed")(lambda t: silent(t, holed))
case("tcp through an ssh -D that hangs",
     needs=["ssh", "sshd", "ssh-keygen"])(lambda t: silent(t, hung))


@case("tcp through two tunnels, the outer by an interface: each is checked end to end",
      needs=["microsocks"])
def chain(t):
    w = World(t)
    port = w.serve(servers.tell).port
    outer = peers.microsocks(w, w.a.ns, w.a.gw)
    inner = peers.microsocks(w, w.a.ns, TARGET)
    host = Host(t, "\n".join([
        "listeners: {main: {listen: 127.0.0.1:PORT, pool: all}}", "links:",
        "  a: {interface: a0, health-check: no}",
        "  outer: {dialer: socks, server: %s:%d, via: a}" % (w.a.gw, outer),
        "  inner: {dialer: socks, server: %s:%d, via: outer}" % (TARGET, inner),
        "  b: {interface: b0}",
        "pools: {all: {links: [inner, b]}}", checked("tcp: %s:%d" % (TARGET, port)), ""]))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links at first")
    w.a.rule("drop", "tcp dport %d" % outer)
    host.wait_log(DOWN % ("outer", SILENT))
    host.wait_log(DOWN % ("inner", SILENT))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links without the tunnels")
    w.a.rules_off()
    host.wait_log(UP % "outer")
    host.wait_log(UP % "inner")
    equal(told(host, "b"), [], "what was told of b")
    check("link: a: " not in host.log(), "nothing of a, which is not checked", host.log())


# ---- what a server answers ----

class Web:
    """A server that answers as it is told for each link; .asked has the requests."""

    def __init__(self, answer):
        self.answer = {"a": answer, "b": answer}
        self.asked = {"a": [], "b": []}

    def __call__(self, conn, name, _peer):
        got = b""
        while b"\r\n\r\n" not in got:
            some = conn.recv(4096)
            if not some:
                return
            got += some
        self.asked[name].append(got.decode())
        for piece in self.answer[name]:
            conn.sendall(piece)
            time.sleep(0.002)  # lets the segment go out alone; nothing depends on it


def line(text):
    return [b"HTTP/1.1 " + text + b"\r\nContent-Length: 0\r\n\r\n"]


NO_CONTENT = line(b"204 No Content")
ANSWERS = [
    ("503", line(b"503 Service Unavailable"), "answered 503"),
    ("a captive portal: 302", line(b"302 Found"), "answered 302"),
    ("200 where 204 is wanted", line(b"200 OK"), "answered 200"),
    ("not HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n"], r"answered not in HTTP/1"),
    ("nothing", [], "closed without an answer"),
    ("half a line", [b"HTTP/1.1 20"], "closed without an answer"),
    ("an interim answer, then 500", [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                                     b"HTTP/1.1 500 No\r\n\r\n"], "answered 500"),
]


@table("http", ANSWERS)
def http(t, answer, why):
    w = World(t)
    web = Web([bytes([x]) for x in b"HTTP/1.1 103 Early Hints\r\n\r\n"] + NO_CONTENT)
    port = w.serve(servers.tell).port
    site = w.serve(web)
    url = "http://%s:%d/generate_204?x=1" % (TARGET, site.port)
    host = Host(t, config(TWO, more=checked('http: "%s", status: 204' % url)))
    wait_for("both have been asked", lambda: all(len(x) > 1 for x in web.asked.values()))

    def fault():
        web.answer["a"] = answer

    def cure():
        web.answer["a"] = NO_CONTENT

    out_and_back(host, port, fault, cure, re.escape(url) + ":? " + why)
    equal(set(web.asked["a"]),
          {"GET /generate_204?x=1 HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: dispatch\r\n"
           "Accept: */*\r\nConnection: close\r\n\r\n" % (TARGET, site.port)}, "the requests")


@case("http of nginx, by name: 204 and 404", needs=["nginx"])
def nginx(t):
    w = World(t)
    port = w.serve(servers.tell).port
    dns.NameServer(t, [(x.name, x.ns, x.gw) for x in w.links], {"site.test": [TARGET]})
    root = os.path.dirname(t.file("www/there", "x"))
    web = {x.name: peers.nginx(w, x.ns, TARGET, root) for x in w.links}
    host = Host(t, config({
        n: "interface: %s0, dns: [%s], health-check: {http: \"http://site.test:%d/%s\", %s}"
           % (n, w.by_name[n].gw, web[n], path, PACE)
        for n, path in (("a", "missing"), ("b", "there"))}))
    host.wait_log(DOWN % ("a", r"http://site\.test:\d+/missing answered 404"))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")
    equal(told(host, "b"), [], "what was told of b")


@case("a link that checks keep out is tried by no client; the last one is not withheld")
def kept_out(t):
    w = World(t)
    port = w.serve(servers.tell).port
    web = Web(NO_CONTENT)
    site = w.serve(web)
    host = Host(t, config(TWO, more=checked("http: \"http://%s:%d\"" % (TARGET, site.port))))
    web.answer["a"] = line(b"302 Found")
    host.wait_log(DOWN % ("a", ".* answered 302"))
    end = time.monotonic() + 2.5  # passive trials come after a second
    while time.monotonic() < end:
        equal(client.link_of(host.addr, TARGET, port), "b", "link while a is kept out")
    web.answer["b"] = line(b"302 Found")
    host.wait_log(DOWN % ("b", ".* answered 302"))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links when both are out")
    time.sleep(0.5)  # more checks: that dials worked has not brought one back
    equal(told(host, "a") + told(host, "b"), ["not used"] * 2, "what was told")
    web.answer["b"] = NO_CONTENT
    host.wait_log(UP % "b")
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links when b is back")


@case("connections of a link that is taken out go on; a check takes no client's place")
def go_on(t):
    w = World(t)
    web = Web(NO_CONTENT)
    site, echoed = w.serve(web), w.serve(servers.tell_and_echo)
    host = Host(t, config(dict(TWO, a="interface: a0, max-connections: 1"),
                          more=checked("http: \"http://%s:%d\"" % (TARGET, site.port))))
    with client.connect(host.addr, TARGET, echoed.port) as c:
        equal(c.line().split()[0], "a", "link")
        seen = len(web.asked["a"])
        wait_for("a is checked at its limit", lambda: len(web.asked["a"]) > seen + 3)
        equal(told(host, "a"), [], "what was told of a")
        web.answer["a"] = line(b"500 No")
        host.wait_log(DOWN % ("a", ".* answered 500"))
        c.send(b"still here")
        equal(c.take(10), b"still here", "what comes back")


# ---- other reasons ----

@case("tcp: refused")
def refused(t):
    w = World(t)
    port = w.serve(servers.tell).port
    only_b = Service(t, servers.tell, [("b", w.b.ns, TARGET)])
    host = Host(t, config(TWO, more=checked("tcp: %s:%d" % (TARGET, only_b.port))))
    host.wait_log(DOWN % ("a", r"10\.9\.9\.9:\d+ refused the connection"))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")


@case("tcp to the loopback is guarded as any connection is")
def loopback(t):
    w = World(t)
    port = w.serve(servers.tell).port
    here = Service(t, servers.tell, [("here", None, "127.0.0.1")])
    target = "tcp: 127.0.0.1:%d" % here.port
    host = Host(t, config(dict(TWO, a="interface: a0, health-check: {%s, %s}" % (target, PACE))))
    host.wait_log(DOWN % ("a", r"127\.0\.0\.1:\d+ may not be connected to by this link"))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")
    equal(here.order, [], "connections to the loopback")


DEAD = [("is silent", None, r"no answer for check\.test in 1s"),
        ("is gone", "close", r"no name server answers for check\.test"),
        ("fails", 2, r"no name server answers for check\.test")]


@table("dns: the name server of one link", DEAD)
def names(t, how, why):
    w = World(t)
    port = w.serve(servers.tell).port
    # b's says that there is no such name, and for how long that holds: it works.
    server = {x.name: dns.NameServer(t, [(x.name, x.ns, x.gw)], {}, negative=300)
              for x in w.links}
    links = {x.name: "interface: %s, dns: [%s]" % (x.dev, x.gw) for x in w.links}
    host = Host(t, config(links, more=checked("dns: check.test")))
    wait_for("no answer is kept", lambda: server["b"].count(name="check.test") > 3)
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links at first")
    if how == "close":
        server["a"].close()
    elif how:
        server["a"].rcodes["check.test"] = how
    else:
        server["a"].silent = ("check.test",)
    host.wait_log(DOWN % ("a", why))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links without a's")
    equal(told(host, "b"), [], "what was told of b")
    host.term()
    equal(host.wait(), 0, "exit status with a question under way")


@case("a link whose interface is not there is not checked, and said once to be down")
def no_way(t):
    w = World(t, "b")
    site = w.serve(servers.tell)
    host = Host(t, config({"a": "interface: a0", "b": "interface: b0"},
                          more=checked("tcp: %s:%d" % (TARGET, site.port))))
    wait_for("b was checked some times", lambda: site.count("b") > 8)
    check("health check" not in host.log(), "no word of checks", host.log())
    equal(len(re.findall(r"link: a: down", host.log())), 1, "a is said to be down")


# ---- reload, end, many ----

@case("a reload keeps what is known of checks that stay, and forgets the others'")
def reload(t):
    w = World(t)
    port = w.serve(servers.tell).port
    web = Web(NO_CONTENT)
    site = w.serve(web)
    web.answer["a"] = line(b"500 No")
    what = "http: \"http://%s:%d\"" % (TARGET, site.port)
    host = Host(t, config(TWO, more=checked(what)))
    host.wait_log(DOWN % ("a", ".* answered 500"))
    host.reload(config(TWO, pool="balancer: leastconn", more=checked(what)))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links after a reload")
    equal(told(host, "a"), ["not used"], "what was told of a")
    host.reload(config(TWO, more=checked(what + ", status: 200-599")))
    matches(r"^info link: a: in use again: not checked so any more$", host.log(), "the log")
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links with another check")
    host.reload(config(TWO, more=checked(what)))
    host.wait_log(DOWN % ("a", ".* answered 500"), after=len(host.log()) - 100)
    host.reload(config(TWO))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links without checks")
    asked = len(web.asked["b"])
    time.sleep(0.5)
    check(len(web.asked["b"]) <= asked + 1, "nobody is checked any more", web.asked["b"])


@case("a link that is taken out of the file while checks keep it out is not told to be in use")
def removed(t):
    w = World(t)
    port = w.serve(servers.tell).port
    host = Host(t, config(TWO, more=checked("tcp: %s:%d" % (TARGET, port))))
    w.a.black_hole()
    host.wait_log(DOWN % ("a", SILENT))
    host.reload(config({"b": TWO["b"]}, more=checked("tcp: %s:%d" % (TARGET, port))))
    equal(client.links_of(2, host.addr, TARGET, port), "bb", "links without a")
    equal(told(host, "a"), ["not used"], "what was told of a")


@case("20 reloads in the middle of checks, under load")
def reloads(t):
    w = World(t)
    port = w.serve(servers.tell).port
    silent = w.serve(lambda conn, name, peer: conn.recv(65536) and "hold")
    some = "http: \"http://%s:%d\", interval: 100ms, timeout: 300ms" % (TARGET, silent.port)
    files = [config(TWO, more="health-check: {%s, fall: 100}" % some),
             config({"a": TWO["a"] + ", weight: 2", "b": TWO["b"]},
                    more="health-check: {%s, fall: 50}" % some),
             config(dict(TWO, c="dialer: socks, server: 10.9.9.9:%d" % silent.port),
                    more="health-check: {tcp: %s:%d, interval: 100ms, fall: 100}"
                    % (TARGET, port) + "\ntimeouts: {attempt: 300ms}"), config(TWO)]
    host = Host(t, files[0])
    failed, served = [], []
    stop = threading.Event()

    def load():
        while not stop.is_set():
            try:
                served.append(client.link_of(host.addr, TARGET, port))
            except Exception as error:  # pylint: disable=broad-except
                failed.append(repr(error))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(20):
        before = len(served)
        host.reload(files[(i + 1) % len(files)])
        wait_for("more were served", lambda before=before: len(served) > before + 5)
    stop.set()
    for thread in threads:
        thread.join()
    equal(failed, [], "failures of %d" % len(served))
    host.reload(files[3])
    wait_for("no descriptor is left over", lambda: host.fds() <= host.fds_ready + 2)


@case("TERM in the middle of checks")
def term(t):
    w = World(t)
    silent = w.serve(lambda conn, name, peer: "hold")
    host = Host(t, config(TWO, more="health-check: {http: \"http://%s:%d\", interval: 100ms}"
                          % (TARGET, silent.port)))
    wait_for("checks are under way", lambda: silent.count("a") and silent.count("b"))
    started = time.monotonic()
    host.term()
    equal(host.wait(), 0, "exit status")
    within(3, started, "the end")


MANY = 200


@case("200 links: each is checked, never more than 128 at once")
def many(t):
    w = World(t, "a")
    lock, at_once, most = threading.Lock(), [0], [0]
    seen, hang = set(), threading.Event()
    hang.set()

    def answer(conn, _name, peer):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            seen.add(peer[0])
        try:
            conn.recv(4096)
            if hang.is_set():
                conn.recv(1)
            else:
                conn.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        finally:
            with lock:
                at_once[0] -= 1

    site = w.serve(answer)
    addrs = ["10.0.1.%d" % (i + 20) for i in range(MANY)]
    for addr in addrs:
        run("ip", "addr", "add", addr + "/24", "dev", "a0")
    links = {"l%d" % i: "address: %s, interface: a0" % addr for i, addr in enumerate(addrs)}
    host = Host(t, config(links, more="health-check: {http: \"http://%s:%d\", interval: 1s, "
                          "timeout: 2s, fall: 100}" % (TARGET, site.port)))
    wait_for("128 hang", lambda: at_once[0] >= 120, 20)
    fds = host.fds()
    check(fds <= host.fds_ready + 140, "descriptors are bounded", fds, host.fds_ready)
    hang.clear()
    wait_for("all were checked", lambda: len(seen) == MANY, 30)
    check(most[0] <= 140, "at once", most)
    equal(host.log().count("not used"), 0, "links taken out")


# ---- what it costs ----

def is_traced(pid, thread):
    with open("/proc/%d/task/%s/status" % (pid, thread), "rb") as f:
        return b"TracerPid:\t0\n" not in f.read()


@case("no system call more for a connection", needs=["strace"])
def calls(t):
    w = World(t)
    told_by, site = w.serve(servers.tell), w.serve(servers.tell)
    count = {}
    for name, more in (("without", ""), ("with", checked("tcp: %s:%d" % (TARGET, site.port)))):
        host = Host(t, config(TWO, more=more))
        if more:
            wait_for("there have been checks", lambda: site.count("a") and site.count("b"))
        out = os.path.join(t.dir, "strace-" + name)
        # The checks' own calls are made by the main thread, which is left out.
        threads = [x for x in os.listdir("/proc/%d/task" % host.proc.pid)
                   if int(x) != host.proc.pid]
        tracer = w.popen(None, ["strace", "-qq", "-o", out]
                         + [x for thread in threads for x in ("-p", thread)])
        wait_for("it is traced", lambda at=(host.proc.pid, threads[-1]): is_traced(*at))
        equal(client.links_of(50, host.addr, TARGET, told_by.port), "ab" * 25, "links")
        tracer.terminate()
        tracer.wait()
        with open(out, "rb") as f:
            count[name] = f.read().count(b"\n")
        host.kill()
    check(0 < count["with"] <= count["without"] * 1.05, "calls of the workers", count)


if __name__ == "__main__":
    tap.main()
