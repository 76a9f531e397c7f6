#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Listeners on unix sockets and on those of a service manager; proxies in front of a listener, and
servers behind a link, that are told whose a connection is (the PROXY protocol)."""

import ipaddress
import os
import re
import signal
import socket
import stat
import struct
import sys
import time

from lib import client, http, peers, servers, tap
from lib.client import Client, request
from lib.host import Host, config, environment, once, program
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.upstream import Upstream
from lib.world import TARGET, Service, World, accepts, free_port

LINKS = {"a": "interface: a0"}
CLIENT, CLIENT6 = "192.0.2.7", "2001:db8::7"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = ", proxy-protocol: [127.0.0.1]"


def v1(source, port=4000):
    family = 6 if ":" in source else 4
    return ("PROXY TCP%d %s %s %d 443\r\n" % (family, source, source, port)).encode()


def v2(source, port=4000, command=0x21, extra=b""):
    ip = ipaddress.ip_address(source)
    body = ip.packed * 2 + struct.pack(">HH", port, 443) + extra
    return SIGNATURE + struct.pack(">BBH", command, 0x11 if ip.version == 4 else 0x21,
                                   len(body)) + body


HEADERS = [
    ("version 1", v1(CLIENT), "192.0.2.7:4000"),
    ("version 1, IPv6", v1(CLIENT6), "[2001:db8::7]:4000"),
    ("version 1, UNKNOWN", b"PROXY UNKNOWN\r\n", r"127.0.0.1:\d+"),
    ("version 2", v2(CLIENT), "192.0.2.7:4000"),
    ("version 2, IPv6", v2(CLIENT6), "[2001:db8::7]:4000"),
    ("version 2, LOCAL", v2(CLIENT, command=0x20), r"127.0.0.1:\d+"),
    ("version 2, more in it", v2(CLIENT, extra=b"\x04\x00\x03abc"), "192.0.2.7:4000"),
    ("version 2, an IPv4 address in IPv6", v2("::ffff:192.0.2.7"), "192.0.2.7:4000"),
]


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)


place = tap.shared(Place)


def told_by_socks5(c, port):
    equal(c.ask(TARGET, port).rep, 0, "reply")
    return c.line().split()[0]


def told_by_connect(c, port):
    c.send(b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n" % (TARGET.encode(), port))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += c.take(1)
    check(head.startswith(b"HTTP/1.1 200"), "the answer", head)
    return c.line().split()[0]


def log_names(host, who, after=0):
    pattern = "client=%s " % (who if r"\d" in who else re.escape(who))
    return host.wait_log(pattern + "dest=", after=after)


@table("a header of", HEADERS)
def headers(t, header, who):
    p = place(t)
    host = Host(t, config(LINKS, listener=BEHIND))
    for told in (told_by_socks5, told_by_connect):
        for piece in (0, 1):
            before = len(host.log())
            with Client(host.addr) as c:
                c.send(header, piece)
                equal(told(c, p.told.port), "a", "link")
            log_names(host, who, before)
    with Client(host.addr) as c:  # all at once
        c.send(header + b"\x05\x01\x00" + request(TARGET, p.told.port))
        equal(c.selection(), 0, "method")
        equal(c.reply().rep, 0, "reply")


@table("a header, then a raw connection, of", HEADERS[:4])
def raw(t, header, who):
    p = place(t)
    upstream = Upstream(p.world.a.ns)
    port = Service(t, upstream, [("a", p.world.a.ns, p.world.a.gw)]).port
    host = Host(t, config({"tun": "dialer: socks, server: %s:%d" % (p.world.a.gw, port)},
                          listener=BEHIND + ", protocols: [raw]"))
    for early in (b"", b"\x05\x01\x00"):
        with Client(host.addr) as c:
            c.send(header + early)
            if not early:
                c.send(b"\x05\x01\x00")
            equal(c.selection(), 0, "method")
            c.send(request(TARGET, p.told.port))
            equal(c.reply().rep, 0, "reply")
    log_names(host, who)


@table("closed at once", [
    ("no header", b"\x05\x01\x00"), ("HTTP", b"GET / HTTP/1.1\r\n"),
    ("another word", b"PROXI TCP4 1.2.3.4 1.2.3.4 1 2\r\n"),
    ("a bad address", b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n"), ("no end", b"PROXY " + b"x" * 200),
    ("version 3", SIGNATURE + b"\x31\x11\0\x0c" + bytes(12)),
    ("longer than any", SIGNATURE + b"\x21\x11\xff\xff"),
    ("too short for its family", SIGNATURE + b"\x21\x11\0\x04" + bytes(4))])
def malformed(t, data):
    host = Host(t, config(LINKS, listener=BEHIND))
    with Client(host.addr) as c:
        c.send(data)
        check(c.ended(5)[0] != "open", "it is closed")
    host.wait_log("client=127.0.0.1:.* no header of the PROXY protocol")


@table("not believed from elsewhere, version", [("1", v1(CLIENT)), ("2", v2(CLIENT))])
def elsewhere(t, header):
    p = place(t)
    host = Host(t, config(LINKS, listener=", proxy-protocol: [192.0.2.0/24]"))
    with Client(host.addr) as c:
        c.send(header + b"\x05\x01\x00" + request(TARGET, p.told.port))
        end, got = c.ended(5)
        check(end != "open" and not got.startswith(b"\x05\x00"), "it is refused", (end, got))
    check(CLIENT not in host.log(), "nobody of that name", host.log())
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "aa", "without a header")


@case("a header that does not come has the handshake's time")
def late(t):
    host = Host(t, config(LINKS, listener=BEHIND, more="timeouts: {handshake: 1s}"))
    started = time.monotonic()
    with Client(host.addr) as c:
        c.send(b"PROXY TCP4")
        equal(c.ended(10)[0], "fin", "the end")
    within(5, started, "closed")


@case("allow, rules and limits go by the client in the header")
def named(t):
    p = place(t)
    host = Host(t, config(
        LINKS, listener=BEHIND + ", allow: [192.0.2.0/24], max-connections-per-client: 2",
        more="rules: [{client: 192.0.2.9, action: deny}]"))

    def ask(source, keep=None):
        c = Client(host.addr)
        (keep.append if keep is not None else t.defer)(c if keep is not None else c.close)
        c.send(v1(source) + b"\x05\x01\x00")
        try:
            c.selection()
        except (EOFError, ConnectionResetError):
            return "closed"
        c.send(request(TARGET, p.told.port))
        return c.reply().rep

    kept = []
    equal([ask(CLIENT, kept), ask(CLIENT, kept), ask(CLIENT)], [0, 0, "closed"], "two of one client")
    equal(ask("192.0.2.8"), 0, "another one")
    equal(ask("192.0.2.9"), 2, "one that a rule denies")
    equal(ask("198.51.100.1"), "closed", "one that is not allowed")
    host.wait_log("client=198.51.100.1:4000 is in none of its allowed networks")
    for c in kept:
        c.close()
    wait_for("there is room again", lambda: ask(CLIENT) == 0)


@case("who is not allowed any more gets no further request through")
def allowed_no_more(t):
    p = place(t)
    origin = http.Origin(p.world)
    text = config(LINKS, listener=", allow: [127.0.0.1]")
    host = Host(t, text)
    with Client(host.addr) as c:
        get = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.url().encode()
        c.send(get)
        equal(http.answer(http.Reader(c.sock)).status, 200, "before")
        host.reload(text.replace("[127.0.0.1]", "[192.0.2.1]"))
        c.send(get)
        equal(c.ended(5)[1], b"", "closed")
    host.wait_log("is in none of its allowed networks")


HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen in
  bind 127.0.0.1:%d
  server dispatch 127.0.0.1:%d %s
"""


@table("HAProxy in front", [(x, x) for x in ("send-proxy", "send-proxy-v2")],
       needs=["haproxy"])
def haproxy(t, how):
    p = place(t)
    host = Host(t, config(LINKS, listener=BEHIND))
    port = free_port()
    conf = t.file("haproxy.cfg", HAPROXY % (port, host.port, how))
    p.world.popen(None, ["haproxy", "-db", "-q", "-f", conf])
    wait_for("haproxy listens", lambda: accepts("127.0.0.1", port))
    with Client(("127.0.0.1", port), source="127.0.0.77") as c:
        equal(told_by_socks5(c, p.told.port), "a", "link")
        log_names(host, "127.0.0.77:%d" % c.sock.getsockname()[1])


# ---- out ----

@table("nginx behind a link that sends version", [("1", "v1"), ("2", "v2")], needs=["nginx", "curl"])
def nginx(t, version):
    p = place(t)
    port = free_port(TARGET, p.world.a.ns)
    peers.nginx(p.world, p.world.a.ns, "127.0.0.1", t.dir, "return 200 $proxy_protocol_addr; "
                "listen %s:%d proxy_protocol;" % (TARGET, port))
    host = Host(t, config({"a": "interface: a0, send-proxy: " + version}))
    for how, more in (("socks5h", ()), ("http", ("--proxytunnel",)), ("http", ())):
        equal(client.curl(t, "%s://127.0.0.1:%d" % (how, host.port), "http://%s:%d/" % (
            TARGET, port), "--interface", "127.0.0.77", *more), b"127.0.0.77",
            "the client that nginx sees, by " + " ".join((how, *more)))


@table("a SOCKS server behind a link that sends version", [("1", "v1"), ("2", "v2")])
def chained(t, version):
    p = place(t)
    far = Host(t, config(LINKS, listener=BEHIND), name="far.yaml")
    near = Host(t, config({"far": "dialer: socks, server: 127.0.0.1:%d, send-proxy: %s"
                           % (far.port, version)}), name="near.yaml")
    for dest in (TARGET, "name.test"):
        c = Client(near.addr, source="127.0.0.77")
        t.defer(c.close)
        rep = c.ask(dest, p.told.port).rep
        equal(rep, 0 if dest == TARGET else 4, "reply for " + dest)
        port = c.sock.getsockname()[1]
        log_names(far, "127.0.0.77:%d" % port)


@case("health checks by a link that sends it say that nobody is behind them")
def checked(t):
    heads = []

    def server(conn, _name, _peer):
        heads.append(conn.recv(4096))

    w = place(t).world
    port = Service(t, server, [("a", w.a.ns, TARGET)]).port
    Host(t, config({"a": "interface: a0, send-proxy: v1, health-check: {http: \"http://%s:%d/\", "
                         "interval: 100ms}" % (TARGET, port)}))
    wait_for("a check has come", lambda: heads)
    matches(r"\APROXY UNKNOWN\r\n(GET / |\Z)", heads[0].decode(), "what it says")


# ---- unix sockets ----

class UnixClient(Client):
    """A client at a unix socket."""

    def __init__(self, path, timeout=20.0):  # pylint: disable=super-init-not-called
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)


def folder(t):
    """One in which the host may make files."""
    path = os.path.join(t.dir, "run")
    os.makedirs(path, exist_ok=True)
    os.chmod(t.dir, 0o755)
    os.chmod(path, 0o777)
    return path


def link_at(path, port):
    with UnixClient(path) as c:
        return told_by_socks5(c, port)


@case("unix: every protocol, a large transfer, the log, the file's life")
def unix(t):
    p = place(t)
    path = os.path.join(folder(t), "main.sock")
    echoed = p.world.serve(servers.tell_and_echo)
    host = Host(t, config(LINKS, listen="unix:run/main.sock", listener=", mode: 0666"))
    host.wait_log("listening on unix:" + path)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o666, "its permissions")
    for told in (told_by_socks5, told_by_connect):
        with UnixClient(path) as c:
            equal(told(c, p.told.port), "a", "link")
    with UnixClient(path) as c:
        c.ask(TARGET, echoed.port)
        c.line()
        for _ in range(64):
            c.send(b"x" * 65536)
            equal(c.take(65536), b"x" * 65536, "echo")
    log_names(host, "unix")
    host.term()
    equal(host.wait(), 0, "exit status")
    check(not os.path.exists(path), "its file has gone")


@case("unix: users log in, rules by client do not hold")
def unix_users(t):
    p = place(t)
    path = os.path.join(folder(t), "main.sock")
    t.file("who", "bob:" + "$5$rounds=1000$salt$oacEarljCLl1hnwSHaKByNaFLSC8faCZtGSPISXgwZ.\n")
    Host(t, config(LINKS, listen="unix:" + path, listener=", mode: 0666, users-file: who",
                   more="rules: [{client: [0.0.0.0/0, \"::/0\"], action: deny}]"))
    with UnixClient(path) as c:
        equal(c.greet(b"\x00"), 255, "without a login")
    with UnixClient(path) as c:
        equal(c.greet(b"\x02"), 2, "method")
        c.send(client.login(b"bob", b"wrong"))
        check(c.take(2)[1] != 0, "a wrong password")
    with UnixClient(path) as c:
        equal(c.greet(b"\x02"), 2, "method")
        c.send(client.login(b"bob", b""))
        equal(c.take(2), b"\x01\x00", "the right one")
        c.send(request(TARGET, p.told.port))
        equal(c.reply().rep, 0, "reply")


@table("unix: in the way is", [
    ("a socket of one that was killed", "stale", None), ("a file", "file", "this file is no socket"),
    ("another program", "live", "another program listens on it"),
    ("no such folder", "nowhere", "No such file or directory")])
def unix_taken(t, what, says):
    p = place(t)
    path = os.path.join(folder(t), "main.sock")
    text = config(LINKS, listen="unix:" + path, listener=", mode: 0666")
    if what == "stale":
        first = Host(t, text, name="first.yaml")
        first.proc.kill()
        first.wait()
        check(os.path.exists(path), "it is left behind")
    elif what == "file":
        t.file("run/main.sock", "precious")
    elif what == "live":
        Host(t, text, name="first.yaml")
    else:
        text = text.replace("/run/", "/nowhere/")
    if not says:
        Host(t, text)
        equal(link_at(path, p.told.port), "a", "link")
        return
    status, _out, err = once("-c", t.file("second.yaml", text))
    equal(status, 1, "exit status of\n" + err)
    matches(says, err, "what it says")
    check(os.path.exists(path) == (what != "nowhere"), "what is in the way stays")
    if what == "live":
        equal(link_at(path, p.told.port), "a", "link of the first")


@case("unix: HUP keeps it, changes its mode, moves it")
def unix_reload(t):
    p = place(t)
    first, second = (os.path.join(folder(t), x) for x in ("1.sock", "2.sock"))
    text = config(LINKS, listen="unix:" + first, listener=", mode: 0666")
    host = Host(t, text)
    inode = os.stat(first).st_ino
    for mode in ("0622", "0666"):
        host.reload(text.replace("0666", mode))
        equal(oct(stat.S_IMODE(os.stat(first).st_mode)), oct(int(mode, 8)), "permissions")
        equal(os.stat(first).st_ino, inode, "the same file")
        equal(link_at(first, p.told.port), "a", "link")
    host.reload(text.replace("1.sock", "2.sock"))
    check(not os.path.exists(first), "the old file has gone")
    equal(link_at(second, p.told.port), "a", "link")
    log = host.reload(text.replace("unix:" + first, "unix:" + t.file("file", "")))
    matches("not reloaded", log, "a path that cannot be had")
    equal(link_at(second, p.told.port), "a", "link")
    host.term()
    equal(host.wait(), 0, "exit status")
    equal(os.listdir(folder(t)), [], "files left behind")


@case("unix: USR2 hands it on")
def unix_upgrade(t):
    p = place(t)
    path = os.path.join(folder(t), "main.sock")
    host = Host(t, config(LINKS, listen="unix:" + path, listener=", mode: 0666"))
    inode = os.stat(path).st_ino
    pid = host.upgrade()
    equal(host.wait(), 0, "exit status of the old one")
    equal(os.stat(path).st_ino, inode, "the same file")
    equal(link_at(path, p.told.port), "a", "link")
    os.kill(pid, signal.SIGTERM)
    wait_for("the file has gone", lambda: not os.path.exists(path))


@case("unix: clients that HAProxy names", needs=["haproxy"])
def unix_proxied(t):
    p = place(t)
    path = os.path.join(folder(t), "main.sock")
    host = Host(t, config(LINKS, listen="unix:" + path,
                          listener=", mode: 0666, proxy-protocol: [unix], allow: [127.0.0.77]"))
    port = free_port()
    conf = t.file("haproxy.cfg", (HAPROXY % (port, 1, "send-proxy-v2")).replace(
        "127.0.0.1:1 ", "unix@" + path + " "))
    p.world.popen(None, ["haproxy", "-db", "-q", "-f", conf])
    wait_for("haproxy listens", lambda: accepts("127.0.0.1", port))
    with Client(("127.0.0.1", port), source="127.0.0.77") as c:
        equal(told_by_socks5(c, p.told.port), "a", "link")
        log_names(host, "127.0.0.77:%d" % c.sock.getsockname()[1])
    with Client(("127.0.0.1", port), source="127.0.0.78") as c:
        c.send(b"\x05\x01\x00")
        check(c.ended(5)[0] != "open", "one that is not allowed")


# ---- sockets of a service manager ----

LAUNCHER = """
import os, socket, sys
names, n = sys.argv[1], int(sys.argv[2])
where, words = sys.argv[3:3 + n], sys.argv[3 + n:]
for i, at in enumerate(where):
    if at.startswith("/"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(at)
        os.chmod(at, 0o666)
    elif at == "datagrams":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        s = socket.create_server((at.split(":")[0], int(at.split(":")[1])))
    if at != "datagrams":
        s.listen(64)
    os.dup2(s.fileno(), 60 + i, inheritable=True)
    s.close()
for i in range(n):
    os.dup2(60 + i, 3 + i, inheritable=True)
    os.close(60 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execvp(words[0], words)
"""


def launcher(names, *where):
    """The words before the host's that give it these sockets, from number 3 on."""
    return [sys.executable, "-c", LAUNCHER, names, str(len(where)), *where]


TWO_FDS = """
listeners:
  web: {listen: fd:web, pool: all}
  local: {listen: "fd:4", pool: all}
links: {a: {interface: a0}}
pools: {all: {links: [a]}}
"""


@case("fd: by name and by number; HUP and USR2 keep them, a stop leaves them")
def fd(t):
    p = place(t)
    path, port = os.path.join(folder(t), "main.sock"), free_port()
    host = Host(t, TWO_FDS, port=port, prefix=launcher("web:x", "127.0.0.1:%d" % port, path))
    inode = os.stat(path).st_ino

    def serves():
        equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link by its address")
        equal(link_at(path, p.told.port), "a", "link by its path")

    serves()
    host.reload()
    serves()
    host.reload(TWO_FDS.replace("  web: {listen: fd:web, pool: all}\n", ""))
    equal(link_at(path, p.told.port), "a", "link by its path")
    with Client(host.addr) as waiting:  # the manager's socket is still there
        waiting.send(b"\x05\x01\x00")
        host.reload(TWO_FDS)
        equal(waiting.selection(), 0, "one that came in between")
    serves()
    log = host.reload(TWO_FDS.replace("fd:4", "fd:5"))
    matches("fd:5: the service manager has opened none of that name; there are web:x, of the "
            "numbers 3 to 4", log, "one that is not there")
    host.reload(TWO_FDS)
    pid = host.upgrade()
    equal(host.wait(), 0, "exit status of the old one")
    serves()
    before = host.log().count("reloaded")
    os.kill(pid, signal.SIGHUP)
    wait_for("the new one has reloaded", lambda: host.log().count("reloaded") > before)
    serves()
    os.kill(pid, signal.SIGTERM)
    wait_for("it has ended", lambda: not os.path.exists("/proc/%d" % pid) or
             "Z" in open("/proc/%d/stat" % pid, encoding="ascii").read())
    equal(os.stat(path).st_ino, inode, "the manager's file stays")


@table("fd: exit 78 where", [
    ("there are none", None, "fd:web: the service manager has opened no sockets"),
    ("none has that name", ("x", "127.0.0.1:0"), "there are x, of the numbers 3 to 3"),
    ("there are no names", ("", "127.0.0.1:0"), "there are no names, of the numbers 3 to 3"),
    ("it does not listen", ("web", "datagrams"), "is not a socket that listens for streams"),
    ("everybody could come", ("web", "0.0.0.0:0"), "others than this machine can reach"),
    ("one is there for two", ("web:web", "127.0.0.1:0", "127.0.0.1:0"),
     "listener \"b\": fd:3 is another listener's already")])
def fd_wrong(t, given, says):
    more = "  b: {listen: \"fd:3\", pool: all}\n" if "two" in says or "another" in says else ""
    text = config(LINKS, listen="fd:web").replace("links:\n", more + "links:\n", 1)
    host = Host(t, text, prefix=launcher(*given) if given else (), wait=False)
    equal(host.wait(), 78, "exit status")
    matches(re.escape(says), host.log(), "what it says")
    equal(once("--check", "-c", host.file)[0], 0, "--check, which is not what the manager starts")


@case("fd: sockets meant for another process are not ours")
def fd_of_another(t):
    path = t.file("dispatch.yaml", config(LINKS, listen="fd:web"))
    status, _out, err = once("-c", path, env={"LISTEN_PID": "1", "LISTEN_FDS": "1",
                                              "LISTEN_FDNAMES": "web"})
    equal(status, 78, "exit status")
    matches("has opened no sockets", err, "what it says")


@case("fd: started by systemd-socket-activate", needs=["systemd-socket-activate"])
def activated(t):
    p = place(t)
    port = free_port()
    host = Host(t, config(LINKS, listen="fd:dispatch"), port=port, wait=False, prefix=[
        tap.tool("systemd-socket-activate"), "-l", "127.0.0.1:%d" % port, "--fdname=dispatch",
        "--setenv=DISPATCH_PLUGIN_PATH=" + environment()["DISPATCH_PLUGIN_PATH"]])
    wait_for("it listens", lambda: accepts(*host.addr))
    equal(client.link_of(host.addr, TARGET, p.told.port), "a", "link")
    host.wait_log("main: listening on 127.0.0.1:%d" % port)


if __name__ == "__main__":
    tap.main()
