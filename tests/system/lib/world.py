# SPDX-License-Identifier: MIT
"""A world of network namespaces. The host and its clients live in the test's own; behind each
link (a veth pair) lies a namespace with servers. All of them have the same target addresses, so
that a server tells by which link a client came."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time

from . import tap

TARGET = "10.9.9.9"
TARGET6 = "fd99::9"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words):
    """Runs a command; a failure shows what it said."""
    words = [tap.tool(words[0]) or words[0], *words[1:]]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(words), done.stdout.decode(errors="replace")))
    return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def inside(ns):
    """This thread makes sockets in namespace `ns` for a while; None: where it is."""
    if ns is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/" + ns, os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(home)
        os.close(home)
        os.close(there)


def _setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Link:
    """One way out: device `dev` with `addr` and `addr6` on the host's side, `gw` and `gw6` on the
    other, where the namespace `ns` begins."""

    def __init__(self, name, number):
        self.name = name
        self.dev, self.ns = name + "0", "beyond-" + name
        self.peer = name + "1"
        self.index = 1000 + number
        self.addr, self.gw = "10.0.%d.1" % number, "10.0.%d.2" % number
        self.addr6, self.gw6 = "fd00:%d::1" % number, "fd00:%d::2" % number
        self.metric = 100 * number

    def make(self):
        run("ip", "netns", "add", self.ns)
        self.plug()
        self.beyond("ip", "link", "set", "lo", "up")
        self.beyond("ip", "addr", "add", TARGET + "/32", "dev", "lo")
        self.beyond("ip", "addr", "add", TARGET6 + "/128", "dev", "lo", "nodad")
        self.beyond("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.address_add()
        self.up()

    def plug(self):
        """Makes the pair of devices. If both had the same index Linux would tell of carrier once in
        a second only."""
        run("ip", "link", "add", self.dev, "index", str(self.index), "type", "veth", "peer", "name",
            self.peer, "netns", self.ns)
        self.gateway_on()
        self.beyond("ip", "link", "set", self.peer, "up")

    def unplug(self):
        run("ip", "link", "del", self.dev)

    def replug(self):
        """After unplug(): an interface of the same name, and yet another."""
        self.index += 1000
        self.plug()
        self.address_add()
        self.up()

    def beyond(self, *words):
        """Runs a command on the far side."""
        return run("ip", "netns", "exec", self.ns, *words)

    def address_add(self):
        run("ip", "addr", "add", self.addr + "/24", "dev", self.dev)
        run("ip", "addr", "add", self.addr6 + "/64", "dev", self.dev, "nodad")

    def address_flush(self):
        run("ip", "addr", "flush", "dev", self.dev)

    def address_back(self):
        """After address_flush(): the same ones, and the routes that went with them."""
        self.address_add()
        self.up()

    def readdress(self, addr):
        """The old ones go, then another comes, as by DHCP."""
        self.address_flush()
        run("ip", "addr", "add", addr + "/24", "dev", self.dev)
        self.up()

    def route_off(self):
        run("ip", "route", "del", "default", "dev", self.dev)
        run("ip", "-6", "route", "del", "default", "dev", self.dev)

    def up(self):
        run("ip", "link", "set", self.dev, "up")
        run("ip", "addr", "replace", self.addr6 + "/64", "dev", self.dev, "nodad")  # down took it
        metric = str(self.metric)
        run("ip", "route", "replace", "default", "via", self.gw, "dev", self.dev, "metric", metric)
        run("ip", "-6", "route", "replace", "default", "via", self.gw6, "dev", self.dev, "metric",
            metric)

    def down(self):
        run("ip", "link", "set", self.dev, "down")

    def carrier_off(self):
        """The kernel tells of it at most once a second: waits until it has."""
        self.beyond("ip", "link", "set", self.peer, "down")
        tap.wait_for("no carrier on " + self.dev,
                     lambda: "NO-CARRIER" in run("ip", "link", "show", self.dev))

    def carrier_on(self):
        self.beyond("ip", "link", "set", self.peer, "up")

    def gateway_off(self):
        """Nobody answers for the gateway's addresses any more, not even to say where they are."""
        self.beyond("ip", "addr", "flush", "dev", self.peer)
        run("ip", "neigh", "flush", "dev", self.dev)

    def gateway_on(self):
        self.beyond("ip", "addr", "add", self.gw + "/24", "dev", self.peer)
        self.beyond("ip", "addr", "add", self.gw6 + "/64", "dev", self.peer, "nodad")

    def rule(self, verdict, match=""):
        """What the far side does with what comes in: `drop`, `reject with icmp ...`."""
        self.beyond("nft", "add table inet fault; add chain inet fault in { type filter hook "
                    "prerouting priority -300; }; add rule inet fault in iifname %s %s %s"
                    % (self.peer, match, verdict))

    def rules_off(self):
        self.beyond("nft", "delete table inet fault")

    def black_hole(self):
        """Silence: whatever arrives is dropped, ICMP and established streams as well."""
        self.rule("drop")


class World:
    """The links, and what a test needs to put servers behind them."""

    def __init__(self, t, names="ab"):
        self.t = t
        self.links = [Link(name, n) for n, name in enumerate(names, 1)]
        for link in self.links:
            t.defer(self._remove, link)
            link.make()
        self.by_name = {link.name: link for link in self.links}
        self.by_ns = {link.ns: link for link in self.links}
        self.resolv_conf("nameserver %s\n" % self.links[0].gw)

    def __getattr__(self, name):
        try:
            return self.__dict__["by_name"][name]
        except KeyError:
            raise AttributeError(name) from None

    @staticmethod
    def _remove(link):
        ip = tap.tool("ip")
        for words in (["link", "del", link.dev], ["netns", "del", link.ns]):
            subprocess.run([ip, *words], stderr=subprocess.DEVNULL, check=False)

    def resolv_conf(self, text):
        """What /etc/resolv.conf says in this world."""
        path = os.path.realpath("/etc/resolv.conf")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="ascii"):
                pass
        new = self.t.file("resolv.conf", text)
        run("mount", "--bind", new, path)
        self.t.defer(run, "umount", path)

    def serve(self, handler, **keywords):
        """One service on all links: handler(conn, link name, peer address) for each client."""
        return Service(self.t, handler, [(link.name, link.ns, TARGET) for link in self.links],
                       **keywords)

    def popen(self, ns, words, **keywords):
        """A daemon, in `ns` or (None) here; killed at the end of the case. Its output is shown if
        the case fails."""
        words = [tap.tool(words[0]) or words[0], *words[1:]]
        if ns is not None:
            words = [tap.tool("ip"), "netns", "exec", ns] + words
        path = os.path.join(self.t.dir, "out-%d" % time.monotonic_ns())
        with open(path, "wb") as out:
            proc = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=subprocess.STDOUT, **keywords)
        proc.said = lambda: _slurp(path)

        def end():
            if proc.poll() is None:
                proc.kill()
                proc.wait()

        self.t.defer(end)
        self.t.report(lambda: "--- %s said:\n%s" % (" ".join(words), proc.said()[-2000:]))
        return proc


def _slurp(path):
    with open(path, "rb") as f:
        return f.read().decode(errors="replace")


def free_port(addr="127.0.0.1", ns=None):
    """A port nobody has. Nobody else lives in these namespaces, so it stays free."""
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    with inside(ns), socket.socket(family, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((addr, 0))
        return s.getsockname()[1]


def accepts(addr, port, ns=None):
    """Does somebody accept there now?"""
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    with inside(ns), socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        return s.connect_ex((addr, port)) == 0


class Service:
    """A TCP server in threads of this process, at the same port of several places. `order` is the
    names of the places in the order clients came, `clients` their addresses."""

    def __init__(self, t, handler, places, port=0, threaded=True, backlog=4096):
        self.handler, self.threaded, self.backlog = handler, threaded, backlog
        self.order, self.clients, self.errors = [], [], []
        self.lock = threading.Lock()
        self.port = port
        self.listeners, self.held, self.closed = [], [], False
        t.defer(self.close)
        t.report(lambda: "server errors: %r" % self.errors[-3:] if self.errors else "")
        for place in places:
            self.add(*place)

    def add(self, name, ns, addr):
        """Serves at one more place."""
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        with inside(ns):
            s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((addr, self.port))
        s.listen(self.backlog)
        self.port = s.getsockname()[1]
        self.listeners.append(s)
        self.closed = False
        threading.Thread(target=self._accept, args=(s, name), daemon=True).start()
        return self

    def _accept(self, listener, name):
        while True:
            try:
                conn, peer = listener.accept()
            except OSError:
                return
            with self.lock:
                self.order.append(name)
                self.clients.append(peer)
            if self.threaded:
                threading.Thread(target=self._serve, args=(conn, name, peer), daemon=True).start()
            else:
                self._serve(conn, name, peer)

    def _serve(self, conn, name, peer):
        try:
            if self.handler(conn, name, peer) == "hold":
                with self.lock:
                    if not self.closed:
                        self.held.append(conn)
                        return
        except (OSError, EOFError) as error:
            self.errors.append("%s: %r" % (name, error))
        conn.close()

    def count(self, name):
        with self.lock:
            return self.order.count(name)

    def close(self):
        for s in self.listeners:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            s.close()
        with self.lock:
            held, self.held, self.closed = self.held, [], True
        for s in held:
            s.close()
