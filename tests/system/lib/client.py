# SPDX-License-Identifier: MIT
"""A strict SOCKS5 client on a raw socket: what is sent in which segments is the test's choice,
and every byte that comes back is looked at (RFC 1928, RFC 1929)."""

import collections
import contextlib
import ipaddress
import os
import socket
import struct
import threading
import time

from . import world

# What a SOCKS5 reply said; `port` and `addr` are BND.
Reply = collections.namedtuple("Reply", "rep addr port")


class Refused(Exception):
    """The proxy said no; .rep says how."""

    def __init__(self, reply):
        super().__init__("reply %02x" % reply.rep)
        self.rep = reply.rep


def address(host, port):
    """ATYP, DST.ADDR and DST.PORT. Bytes are always taken as a name."""
    if isinstance(host, str):
        try:
            ip = ipaddress.ip_address(host)
            return bytes([1 if ip.version == 4 else 4]) + ip.packed + struct.pack(">H", port)
        except ValueError:
            host = host.encode()
    return b"\x03" + bytes([len(host)]) + host + struct.pack(">H", port)


def request(host, port, cmd=1, ver=5, rsv=0):
    return bytes([ver, cmd, rsv]) + address(host, port)


def login(user, password):
    return bytes([1, len(user)]) + user + bytes([len(password)]) + password


class Client:
    """One connection to the proxy at `to`, an (address, port) pair."""

    def __init__(self, to, timeout=20.0, rcvbuf=0, source=None, source_port=0):
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        if source:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((source, source_port))
        self.sock.settimeout(timeout)
        self.sock.connect(to)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def finish(self):
        """Closes the write side."""
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data, piece=0):
        """Sends all; with `piece`, in segments of so many bytes."""
        if not piece:
            self.sock.sendall(data)
            return
        for i in range(0, len(data), piece):
            self.sock.sendall(data[i:i + piece])
            time.sleep(0.001)  # lets the segment go out alone; nothing depends on it

    def take(self, n):
        """Exactly n bytes."""
        got = bytearray()
        while len(got) < n:
            some = self.sock.recv(n - len(got))
            if not some:
                raise EOFError("%d of %d bytes, then the end: %r" % (len(got), n, bytes(got)))
            got += some
        return bytes(got)

    def take_all(self, limit=1 << 24):
        """Everything until the end."""
        got = bytearray()
        while len(got) < limit:
            some = self.sock.recv(65536)
            if not some:
                break
            got += some
        return bytes(got)

    def line(self):
        """One line, without its end."""
        got = bytearray()
        while not got.endswith(b"\n"):
            got += self.take(1)
        return got[:-1].decode()

    def greet(self, methods=b"\x00", piece=0):
        """Offers methods; returns the one selected."""
        self.send(bytes([5, len(methods)]) + methods, piece)
        return self.selection()

    def selection(self):
        ver, method = self.take(2)
        if ver != 5:
            raise AssertionError("VER %02x in the method selection" % ver)
        return method

    def reply(self):
        """Reads one reply, strictly."""
        head = self.take(4)
        ver, rep, rsv, atyp = head
        if ver != 5 or rsv != 0 or atyp not in (1, 3, 4) or rep > 8:
            raise AssertionError("not a reply of RFC 1928: %r" % head)
        if atyp == 3:
            addr = self.take(self.take(1)[0]).decode("latin-1")
        else:
            addr = str(ipaddress.ip_address(self.take(4 if atyp == 1 else 16)))
        (port,) = struct.unpack(">H", self.take(2))
        return Reply(rep, addr, port)

    def ask(self, host, port, cmd=1):
        """Greeting, request, reply."""
        method = self.greet()
        if method != 0:
            raise AssertionError("method %02x selected" % method)
        self.send(request(host, port, cmd))
        return self.reply()

    def ended(self, limit_s=10.0):
        """Does the peer close within the limit? Returns "fin", "rst" or "open", and what came."""
        self.sock.settimeout(limit_s)
        got = bytearray()
        try:
            while True:
                some = self.sock.recv(65536)
                if not some:
                    return "fin", bytes(got)
                got += some
        except ConnectionResetError:
            return "rst", bytes(got)
        except TimeoutError:
            return "open", bytes(got)


def connect(to, host, port, **keywords):
    """A Client connected to host:port by way of the proxy; raises Refused."""
    client = Client(to, **keywords)
    try:
        reply = client.ask(host, port)
        if reply.rep != 0:
            raise Refused(reply)
        client.bound = (reply.addr, reply.port)
        return client
    except BaseException:
        client.close()
        raise


def ask(to, host, port, **keywords):
    """The REP that the proxy answers for host:port."""
    with Client(to, **keywords) as client:
        return client.ask(host, port).rep


def link_of(to, host, port, **keywords):
    """By which link did this connection go? Asks a `tell` server."""
    with connect(to, host, port, **keywords) as client:
        return client.line().split()[0]


def links_of(count, to, host, port, **keywords):
    """The same for `count` connections one after the other, as one string."""
    return "".join(link_of(to, host, port, **keywords) for _ in range(count))


def together(count, func, parallel=None):
    """func(i) for each i below count in `parallel` threads; returns the results, or the exception
    in a result's place."""
    results = [None] * count
    numbers = iter(range(count))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                i = next(numbers, None)
            if i is None:
                return
            try:
                results[i] = func(i)
            except Exception as error:  # pylint: disable=broad-except
                results[i] = error

    threads = [threading.Thread(target=work, daemon=True) for _ in range(parallel or count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def held(t, count, to, host, port, parallel=32):
    """Opens `count` connections to a `tell_and_hold` server, keeps them all; returns the clients
    and the links they went by, in no order."""
    clients = []
    t.defer(lambda: [c.close() for c in clients])

    def one(_):
        client = connect(to, host, port, timeout=40)
        clients.append(client)
        return client.line().split()[0]

    results = together(count, one, parallel)
    failed = [r for r in results if isinstance(r, Exception)]
    if failed:
        raise AssertionError("%d of %d failed, first: %r" % (len(failed), count, failed[0]))
    return clients, results


def until_served(to, host, port, limit_s=10.0):
    """Tries until a connection works; returns its link."""
    end = time.monotonic() + limit_s
    while True:
        try:
            return link_of(to, host, port, timeout=limit_s)
        except (OSError, EOFError, Refused):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def curl(t, proxy, url, *more, limit=20):
    """What curl prints for a URL by way of a proxy URL."""
    path = os.path.join(t.dir, "curl-%d" % time.monotonic_ns())
    world.run("curl", "-sS", "--max-time", str(limit), "-o", path, "-x", proxy, *more, url)
    with contextlib.closing(open(path, "rb")) as f:
        return f.read()
