#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The command line: the Go tool's own, word for word, and ours."""

import glob
import os
import re
import signal
import socket

from lib import client, servers, tap, world
from lib.client import Client
from lib.host import SRCDIR, Host, config, once, privileged
from lib.tap import case, check, equal, matches, table, wait_for
from lib.world import TARGET, World, inside

LIST_HEAD = "--- Listing the available adresses for dispatching\n"


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)


place = tap.shared(Place)


# ---- the Go tool's ----

@table("-list, whole", [("-list", "-list"), ("--list", "--list"), ("-list=true", "-list=true")])
def listing(t, word):
    place(t)
    status, out, err = once(word)
    equal((status, err), (0, ""), "exit status, standard error")
    equal(out, LIST_HEAD + "[+] a0, IPv4:10.0.1.1\n[+] b0, IPv4:10.0.2.1\n", "standard output")


@case("-list names a second address, and no interface that is down")
def listing_more(t):
    p = place(t)
    world.run("ip", "addr", "add", "10.0.1.77/24", "dev", "a0")
    t.defer(world.run, "ip", "addr", "del", "10.0.1.77/24", "dev", "a0")
    p.world.b.down()
    t.defer(p.world.b.up)
    equal(once("-list")[1], LIST_HEAD + "[+] a0, IPv4:10.0.1.1\n[+] a0, IPv4:10.0.1.77\n",
          "standard output")


START = [
    ("addresses", ["10.0.1.1@3", "10.0.2.1@2"], [("10.0.1.1", 3), ("10.0.2.1", 2)]),
    ("an address without a weight", ["10.0.1.1"], [("10.0.1.1", 1)]),
    ("one address twice", ["10.0.1.1@1", "10.0.1.1@2"], [("10.0.1.1", 1), ("10.0.1.1", 2)]),
    ("a tunnel", ["-tunnel", "127.0.0.1:7777@2", "127.0.0.1:7778"],
     [("127.0.0.1:7777", 2), ("127.0.0.1:7778", 1)]),
]


def start_lines(links, addr):
    lines = ["[INFO] Load balancer %d: %s, contention ratio: %d" % (i, name, weight)
             for i, (name, weight) in enumerate(links, 1)]
    return "\n".join(lines + ["[INFO] SOCKS server started at %s:%d" % addr, ""])


@table("start lines, whole", START)
def started(t, args, links):
    place(t)
    host = Host(t, args=["-lport", "PORT"] + args)
    equal(host.log(), start_lines(links, host.addr), "standard error")
    equal(host.out(), "", "standard output")


FORMS = [
    ("-lport P", ["-lport", "PORT"]), ("--lport P", ["--lport", "PORT"]),
    ("-lport=P", ["-lport=PORT"]), ("--lport=P", ["--lport=PORT"]),
    ("-lhost H -lport P", ["-lhost", "127.0.0.3", "-lport", "PORT"]),
    ("--lhost=H", ["--lhost=127.0.0.3", "--lport=PORT"]),
    ("-tunnel=false", ["-tunnel=false", "-lport", "PORT"]),
    ("-quiet=false", ["-quiet=false", "-lport", "PORT"]),
]


@table("a flag in the form", FORMS)
def forms(t, flags):
    p = place(t)
    listen = "127.0.0.3" if "127.0.0.3" in " ".join(flags) else "127.0.0.1"
    host = Host(t, args=flags + ["10.0.1.1@1", "10.0.2.1@1"], listen=listen)
    equal(host.log(), start_lines([("10.0.1.1", 1), ("10.0.2.1", 1)], host.addr), "start lines")
    equal(client.links_of(4, host.addr, TARGET, p.told.port), "abab", "links")


@case("the default is 127.0.0.1:8080")
def default_port(t):
    place(t)
    host = Host(t, args=["10.0.1.1"], port=8080)
    matches(r"started at 127\.0\.0\.1:8080$", host.log(), "start lines")


@case("-quiet mutes all that follows the start; errors still come")
def quiet(t):
    p = place(t)
    lines = start_lines([("10.0.1.1", 1), ("10.0.2.1", 1)], ("127.0.0.1", 0)).split("\n")[:2]
    for flag in ("-quiet", "-q", "--quiet=true"):
        host = Host(t, args=[flag, "-lport", "PORT", "10.0.1.1", "10.0.2.1"])
        equal(host.log().splitlines()[:2], lines, "start lines")
        start = host.log()
        p.world.a.carrier_off()
        t.defer(p.world.a.carrier_on)
        for _ in range(4):
            client.link_of(host.addr, TARGET, p.told.port)
        with Client(host.addr) as c:
            c.send(b"GET / HTTP/1.0\r\n\r\n")
            c.ended()
        equal(host.log(), start, "nothing more is said")
        host.kill()
        p.world.a.carrier_on()
    status, _out, err = once("-quiet", "-lport", "9999", "not-an.address.at.all:9@@")
    check(status in (2, 78) and err, "an error is said all the same", status, err)


@case("without -quiet a broken link is told, once and not for each client")
def loud(t):
    p = place(t)
    host = Host(t, args=["-lport", "PORT", "10.0.1.1", "10.0.2.1"])
    start = len(host.log())
    p.world.a.carrier_off()
    t.defer(p.world.a.carrier_on)
    for _ in range(20):
        client.link_of(host.addr, TARGET, p.told.port)
    said = [x for x in host.log()[start:].splitlines() if not x.startswith("info session:")]
    check(any("10.0.1.1" in line for line in said), "a line names the link", said)
    check(len(said) <= 6, "few lines for 20 clients", said)


@case("a taken port: exit 1, naming the port and -lport")
def taken(t):
    place(t)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        status, out, err = once("-lport", str(port), "10.0.1.1")
        equal((status, out), (1, ""), "exit status, standard output")
        check(str(port) in err and "-lport" in err, "the message", err)
        file = t.file("dispatch.yaml", config({"a": "interface: a0"}).replace("PORT", str(port)))
        status, _out, err = once("-c", file)
        equal(status, 1, "exit status with a file")
        check(str(port) in err, "the message", err)


BAD_WORDS = [
    ("an unknown flag", ["-bogus"], {2}, "bogus"),
    ("a port that is none", ["-lport", "x", "10.0.1.1"], {2, 78}, "x"),
    ("a port of 70000", ["-lport", "70000", "10.0.1.1"], {2, 78}, "70000"),
    ("no port at all", ["10.0.1.1", "-lport"], {2}, "lport"),
    ("an address that is none", ["10.0.1.999"], {2, 78}, "10.0.1.999"),
    ("a weight that is none", ["10.0.1.1@x"], {2, 78}, "10.0.1.1@x"),
    ("a weight of 0", ["10.0.1.1@0"], {2, 78}, "10.0.1.1@0"),
    ("a weight of 70000", ["10.0.1.1@70000"], {2, 78}, "10.0.1.1@70000"),
    ("a weight of -1", ["10.0.1.1@-1"], {2, 78}, "10.0.1.1@-1"),
    ("an empty link", [""], {2, 78}, ""),
    ("a tunnel without port", ["-tunnel", "10.0.1.1"], {2, 78}, "10.0.1.1"),
    ("a tunnel of nothing", ["-tunnel"], {2, 78}, "tunnel"),
    ("another scheme", ["ftp://10.0.1.1:21"], {2, 78}, "ftp"),
    ("a host that is none", ["-lhost", "10.0.1.999", "10.0.1.1"], {2, 78}, "10.0.1.999"),
    ("a file and links", ["-c", "x.yaml", "10.0.1.1"], {2}, "-c"),
    ("--dump-plugin of nothing", ["--dump-plugin", "dialer-nope"], {1, 2, 78}, "dialer-nope"),
]


@table("bad words", BAD_WORDS)
def bad_words(t, args, statuses, word):
    place(t)
    status, out, err = once(*args)
    check(status in statuses, "the exit status is one of %r" % statuses, status, err)
    check(word in err and 0 < len(err.strip().splitlines()) <= 4, "a clear message", err)
    equal(out, "", "standard output")


@case("a password in a URL is in no message and no dump")
def no_password(t):
    place(t)
    url = "socks5://me:s3cr3t@10.0.1.2:1080@3"
    for args in ([url, "10.0.1.999"], ["--dump-config", url], ["--check", url],
                 ["socks5://me:s3cr3t@10.0.1.2:99999"], ["http://me:s3cr3t@10.0.1.2"],
                 ["https://me:s3cr3t@10.0.1.2:1080"], ["socks4://me:s3cr3t@10.0.1.2:1080"]):
        _status, out, err = once(*args)
        check("s3cr3t" not in out + err, "it is not printed for %r" % args, out, err)
    host = Host(t, args=["-lport", "PORT", url])
    matches(r"^\[INFO\] Load balancer 1: .*10\.0\.1\.2:1080, contention ratio: 3$", host.log(),
            "start lines")
    check("s3cr3t" not in host.log(), "it is not in the log", host.log())


@case("-lhost beyond loopback: one warning, and only the interface's own networks are served")
def beyond_loopback(t):
    p = place(t)
    w = p.world
    w.b.beyond("ip", "route", "add", "10.0.1.0/24", "via", "10.0.2.1")
    t.defer(w.b.beyond, "ip", "route", "del", "10.0.1.0/24")
    host = Host(t, args=["-lhost", "10.0.1.1", "-lport", "PORT", "10.0.2.1"], listen="10.0.1.1")
    warned = [x for x in host.log().splitlines() if x.lower().startswith(("[warn", "warn"))]
    equal(len(warned), 1, "warnings: %r" % warned)

    def served(ns, source=None):
        with inside(ns):
            try:
                c = Client(host.addr, timeout=5, source=source)
            except OSError:
                return False
        with c:
            try:
                return c.ask(TARGET, p.told.port).rep == 0
            except (OSError, EOFError):
                return False

    check(served(None), "this machine is served")
    check(served(w.a.ns), "a neighbour is served")
    check(not served(w.b.ns), "one behind another interface is not")
    check(not served(w.a.ns, TARGET), "one from far behind the same interface is not")


@case("in a file a listener beyond loopback says for whom it is")
def exposed(t):
    p = place(t)
    text = config({"a": "interface: a0"}, listen="10.0.1.1:PORT")
    status, _out, err = once("--check", "-c", t.file("dispatch.yaml", text.replace("PORT", "9999")))
    equal(status, 78, "exit status")
    matches(r"dispatch\.yaml:2:\d+: .*allow.*open", err, "the message names both ways")
    for key, neighbour in ((", open: yes", True), (", allow: [10.0.1.0/24]", True),
                           (", allow: [10.7.0.0/16]", False)):
        host = Host(t, config({"b": "interface: b0"}, listen="10.0.1.1:PORT", listener=key),
                    listen="10.0.1.1")
        with inside(p.world.a.ns):
            c = Client(host.addr, timeout=5)
        with c:
            try:
                got = c.ask(TARGET, p.told.port).rep == 0
            except (OSError, EOFError):
                got = False
        equal(got, neighbour, "is a neighbour served with %s" % key)
        host.kill()


# ---- --auto ----

@case("--auto finds both interfaces; no arguments do the same")
def auto(t):
    p = place(t)
    for args in (["--auto"], ["-auto"], []):
        if not args and any(os.path.exists(x + "/dispatch.yaml")
                            for x in ("/etc", "/etc/dispatch", "/usr/local/etc",
                                      "/usr/local/etc/dispatch")):
            continue
        host = Host(t, args=args, port=8080)
        equal(host.log(), start_lines([("a0", 1), ("b0", 1)], host.addr), "start lines")
        equal(client.links_of(4, host.addr, TARGET, p.told.port), "abab", "links")
        host.kill()


@case("--auto with -lport")
def auto_port(t):
    place(t)
    host = Host(t, args=["--auto", "-lport", "PORT"])
    matches(r"started at 127\.0\.0\.1:%d$" % host.port, host.log(), "start lines")


def carrier_off(link):
    """Also waits until the kernel has told everybody, which takes it up to a second."""
    link.carrier_off()
    wait_for("the loss of carrier is known",
             lambda: "state UP" not in world.run("ip", "-o", "link", "show", "dev", link.dev))


PASSED_OVER = [
    ("down", lambda x: x.down(), lambda x: x.up(), "down"),
    ("without carrier", carrier_off, lambda x: x.carrier_on(), "carrier"),
    ("without address", lambda x: x.address_flush(), lambda x: (x.address_add(), x.up()),
     "address"),
    ("without default route",
     lambda x: [world.run("ip", f, "route", "del", "default", "dev", x.dev) for f in ("-4", "-6")],
     lambda x: x.up(), "route"),
]


@table("--auto passes over one", PASSED_OVER)
def auto_one(t, fault, cure, _word):
    p = place(t)
    fault(p.world.a)
    t.defer(cure, p.world.a)
    host = Host(t, args=["--auto", "-lport", "PORT"])
    matches(r"(?m)\A\[INFO\] Load balancer 1: b0, contention ratio: 1$", host.log(), "the other")
    matches(r"nothing to balance", host.log(), "it says that there is nothing to balance yet")
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "bb", "links")


@table("--auto with nothing to use: exit 1, with why for each; all", PASSED_OVER)
def auto_none(t, fault, cure, word):
    p = place(t)
    for link in p.world.links:
        fault(link)
        t.defer(cure, link)
    status, _out, err = once("--auto")
    equal(status, 1, "exit status, after %r" % err)
    for dev in ("a0", "b0"):
        matches(r"(?m)^.*\b%s\b.*%s" % (dev, word), err, "why %s was passed over" % dev)


# ---- ours ----

PLUGINS = ["balancer-adaptive", "balancer-failover", "balancer-hash", "balancer-leastconn",
           "balancer-p2c", "balancer-random", "balancer-rr", "dialer-http", "dialer-iface",
           "dialer-socks"]


@case("--version, --help")
def version(t):
    place(t)
    status, out, err = once("--version")
    equal((status, err), (0, ""), "exit status, standard error")
    matches(r"\Adispatch-host \d+\.\d+", out, "the version")
    status, out, err = once("--help")
    equal((status, err), (0, ""), "exit status, standard error")
    for word in ("-lhost", "-lport", "-list", "-tunnel", "-quiet", "--auto", "--check",
                 "--dump-config", "--list-plugins", "--dump-plugin", "-c"):
        check(word in out, "the help names " + word, out)


@case("--check: a good file, nothing listens, nothing stays")
def check_good(t):
    place(t)
    file = t.file("dispatch.yaml", config({"a": "interface: a0"}).replace("PORT", "9998"))
    status, out, err = once("--check", "-c", file)
    equal((status, err), (0, ""), "exit status, standard error")
    matches(r"ok", out, "what it says")
    with socket.socket() as s:  # a taken port is no mistake of the file
        s.bind(("127.0.0.1", 9998))
        s.listen()
        equal(once("--check", "-c", file)[0], 0, "exit status while the port is taken")


@table("--dump-config gives a file that gives the same", [
    ("from a file", None), ("from words", ["10.0.1.1@3", "b0@2"]),
    ("from URLs", ["socks5://me:pw@10.0.1.2:1080@3", "socks5://[fd00::1]:1080",
                   "http://me:pw@10.0.1.2:3128", "socks4a://me@10.0.1.2:1080"]),
    ("from a tunnel", ["-tunnel", "10.0.1.2:1080@3"]), ("from --auto", ["--auto"]),
])
def dump(t, args):
    place(t)
    if args is None:
        text = "\n".join([
            "workers: 2", "listeners:", "  main: {listen: 127.0.0.1:8080, pool: all}",
            '  six: {listen: "[::1]:8081", pool: all}',
            "  net: {listen: 10.0.1.1:8082, pool: all, allow: [10.0.1.0/24, \"fd00::/8\"]}",
            "  raw: {listen: 127.0.0.1:8083, pool: up, protocols: [raw]}",
            "links:", "  a: {interface: a0, weight: 3, dns: [10.0.1.2]}",
            "  b: {dialer: iface, interface: b0, max-connections: 200}",
            "  c: {dialer: iface, address: 10.0.1.1}",
            "  up: {dialer: socks, server: proxy.example.net:1080, username: me, password: s3cr3t,"
            " resolve: local, via: a}",
            "pools:", "  all: {balancer: rr, order: block, links: [a, b, c], retries: 1}",
            "  up: {balancer: leastconn, links: [up]}",
            "timeouts: {handshake: 5s, connect: 8s, attempt: 2s, idle: 30m, drain: 1500ms}", ""])
        args = ["-c", t.file("dispatch.yaml", text)]
    status, first, err = once("--dump-config", *args)
    equal((status, err), (0, ""), "exit status, standard error")
    check("s3cr3t" not in first and "pw" not in first, "no secret", first)
    status, second, err = once("--dump-config", "-c", t.file("again/dispatch.yaml", first))
    equal((status, err), (0, ""), "exit status, standard error for its own dump:\n" + first)
    equal(second, re.sub(" # .*", "", first), "the dump of the dump, but for comments")


@case("--list-plugins names the four, with their kind")
def list_plugins(t):
    place(t)
    status, out, err = once("--list-plugins")
    equal((status, err), (0, ""), "exit status, standard error")
    for name in PLUGINS:
        kind, short = name.split("-")
        matches(r"(?m)^%s\s+%s\s" % (kind, short), out, "the line of " + name)


def options_of(text):
    """The option lines of --dump-plugin: two spaces or more part the columns."""
    lines = text.split("options:", 1)[1].splitlines()[1:]
    return [re.split(r" {2,}", line.strip()) for line in lines]


def options_in_page(path):
    """The rows of the manual page's table, as --dump-plugin prints them."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    body = text.split(".Bl -column", 1)[1].split(".El", 1)[0] if ".Bl -column" in text else ""
    rows = [re.split(r"\s+Ta\s+", line[4:].strip()) for line in body.splitlines()
            if line.startswith(".It ") and "Sy Option" not in line]
    return [[re.sub(r"\\&|\\", "", cell) for cell in row] for row in rows]


@table("the manual page has the options that --dump-plugin prints", [(n, n) for n in PLUGINS])
def pages(t, name):
    place(t)
    status, out, err = once("--dump-plugin", name)
    equal((status, err), (0, ""), "exit status, standard error")
    found = glob.glob(os.path.join(SRCDIR, "plugins", name, "*.7"))
    equal(len(found), 1, "manual pages of " + name)
    printed = options_of(out)
    for row in printed:  # the page tells of X-file in its text
        row[-1] = re.sub(r" \([a-z-]+-file: from a file\)$", "", row[-1])
    equal(options_in_page(found[0]), printed, "option, type, default, help")
    for row in printed:
        equal(len(row), 4, "columns of %r" % row)


@case("the examples and the design's files pass --check")
def examples(t):
    place(t)
    files = glob.glob(os.path.join(SRCDIR, "examples", "**", "*.yaml"), recursive=True)
    check(files, "there are examples")
    for file in files:
        run = privileged if file.endswith("/two-routers.yaml") else None
        status, _out, err = once("--check", "-c", file, run=run)
        equal(status, 0, "%s: %s" % (file, err))


@case("standard error that nobody reads, or that is full, stops nothing")
def log_reader_gone(t):
    p = place(t)
    host = Host(t, config({"a": "interface: a0"}),
                prefix=["sh", "-c", 'exec "$@" 2>/dev/full', "sh"], wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    for _ in range(5):
        equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link")
    check(host.alive(), "it lives")


def stuck(kind):
    """Two ends; nobody ever reads the first."""
    if kind == "pipe":
        return os.pipe()
    if kind == "socket":
        return [s.detach() for s in socket.socketpair()]
    return os.openpty()


@table("mistakes at a reload reach whoever reads standard error", [
    ("a pipe", "pipe", True), ("a terminal", "terminal", True), ("a socket", "socket", False),
])
def reload_mistakes(t, kind, own):
    place(t)
    reader, writer = stuck(kind)
    t.defer(os.close, reader)
    t.defer(os.close, writer)
    host = Host(t, config({"a": "interface: a0"}), stderr=writer, own=own, wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    host.write(b"links: {a: {interfac: a0}}\n")
    host.proc.send_signal(signal.SIGHUP)
    os.set_blocking(reader, False)
    seen = []

    def told():
        try:
            seen.append(os.read(reader, 4096))
        except BlockingIOError:
            pass
        return b"not reloaded" in b"".join(seen)

    wait_for("the end of the reload", told)
    matches(r"error config: .*dispatch.yaml:1:13: .*interfac", b"".join(seen).decode(), "the log")


@table("standard error whose reader is stuck stops nothing", [
    ("a pipe", "pipe", True), ("a pipe of somebody else", "pipe", False),
    ("a socket", "socket", False), ("a terminal", "terminal", True),
])
def log_reader_stuck(t, kind, own):
    p = place(t)
    reader, writer = stuck(kind)
    t.defer(os.close, reader)
    t.defer(os.close, writer)
    host = Host(t, config({"a": "interface: a0"}), stderr=writer, own=own, wait=False)
    wait_for("it listens", lambda: world.accepts(*host.addr))
    for _ in range(1500):
        equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link")
    host.term()
    equal(host.wait(5), 0, "exit status")
    check(b"listening on" in os.read(reader, 4096), "the first lines have arrived")


if __name__ == "__main__":
    tap.main()
