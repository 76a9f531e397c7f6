# SPDX-License-Identifier: MIT
"""A SOCKS server of our own, which works, or misbehaves at a chosen point."""

import ipaddress
import select
import socket
import struct
import threading
import time

from . import servers
from .world import inside

OK4 = b"\x05\x00\x00\x01\x0a\x09\x09\x09\x12\x34"


def _take(conn, n):
    got = b""
    while len(got) < n:
        some = conn.recv(n - len(got))
        if not some:
            raise EOFError("client left")
        got += some
    return got


def _text(conn):
    """Up to a NUL."""
    got = b""
    while not got.endswith(b"\0"):
        got += _take(conn, 1)
    return got[:-1].decode("latin-1")


def relay(a, b):
    """Both ways until both have ended."""
    open_from = {a: b, b: a}
    while open_from:
        for s in select.select(list(open_from), [], [], 60)[0]:
            try:
                data = s.recv(65536)
                if data:
                    open_from[s].sendall(data)
                    continue
                open_from[s].shutdown(socket.SHUT_WR)
            except OSError:
                return
            del open_from[s]


class Upstream:
    """handler() for a world.Service. `requests` holds (ATYP, host, port) of each request; `logins`
    the names and passwords given. `out`: the namespace it connects from; `names`: what a name
    resolves to. `after` and `say` are the misbehaviours below."""

    def __init__(self, out, user=None, password=None, names=None, misbehave=None, reply=OK4,
                 piece=0, pause=0.0):
        self.out, self.user, self.password = out, user, password
        self.names, self.misbehave = names or {}, misbehave
        self.reply, self.piece, self.pause = reply, piece, pause
        self.requests, self.logins = [], []
        self.lock = threading.Lock()
        self.__name__ = "upstream"

    def __call__(self, conn, name, peer):
        conn.settimeout(60)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.misbehave:
            return self.misbehave(self, conn)
        return self.serve(conn)

    def say(self, conn, data):
        """Sends, in pieces if it dribbles."""
        step = self.piece or len(data)
        for i in range(0, len(data), step):
            if self.pause:
                time.sleep(self.pause)
            conn.sendall(data[i:i + step])

    def read_greeting(self, conn):
        ver, n = _take(conn, 2)
        if ver != 5:
            raise EOFError("VER %d" % ver)
        return _take(conn, n)

    def select(self, conn):
        """Greeting and sub-negotiation. Returns whether the client may go on."""
        methods = self.read_greeting(conn)
        if self.user is None:
            self.say(conn, b"\x05\x00" if 0 in methods else b"\x05\xff")
            return 0 in methods
        if 2 not in methods:
            self.say(conn, b"\x05\xff")
            return False
        self.say(conn, b"\x05\x02")
        _ver, n = _take(conn, 2)
        user = _take(conn, n)
        password = _take(conn, _take(conn, 1)[0])
        with self.lock:
            self.logins.append((user, password))
        good = (user, password) == (self.user, self.password)
        self.say(conn, b"\x01\x00" if good else b"\x01\x01")
        return good

    def read_request(self, conn):
        _ver, _cmd, _rsv, atyp = _take(conn, 4)
        if atyp == 3:
            host = _take(conn, _take(conn, 1)[0]).decode("latin-1")
        else:
            host = str(ipaddress.ip_address(_take(conn, 4 if atyp == 1 else 16)))
        (port,) = struct.unpack(">H", _take(conn, 2))
        with self.lock:
            self.requests.append((atyp, host, port))
        return host, port

    def serve(self, conn):
        """The whole of RFC 1928 that CONNECT needs."""
        if not self.select(conn):
            return
        host, port = self.read_request(conn)
        host = self.names.get(host, host)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with inside(self.out):
                away = socket.socket(family, socket.SOCK_STREAM)
            away.settimeout(10)
            away.connect((host, port))
        except (OSError, ValueError):
            self.say(conn, b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
            return
        with away:
            self.say(conn, self.reply)
            relay(conn, away)


class Upstream4(Upstream):
    """One of SOCKS4 and 4a. `requests` holds (user, host, port); `code` is what it answers if that
    is not 90."""

    def __init__(self, out, names=None, code=90, piece=0):
        super().__init__(out, names=names, piece=piece)
        self.code = code

    def read_request(self, conn):
        vn, cd, port, ip = struct.unpack(">BBH4s", _take(conn, 8))
        if (vn, cd) != (4, 1):
            raise EOFError("VN %d CD %d" % (vn, cd))
        user = _text(conn)
        named = ip[:3] == bytes(3) and ip[3] != 0
        host = _text(conn) if named else socket.inet_ntoa(ip)
        with self.lock:
            self.requests.append((user, host, port))
        return host, port

    def serve(self, conn):
        host, port = self.read_request(conn)
        if self.code != 90:
            self.say(conn, bytes([0, self.code]) + bytes(6))
            return
        with inside(self.out):
            away = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with away:
            away.settimeout(10)
            away.connect((self.names.get(host, host), port))
            self.say(conn, b"\x00\x5a" + bytes(6))
            relay(conn, away)


# What a broken one does, from the first byte to the last.

def _close_at_once(_self, _conn):
    return None


def _reset_at_once(_self, conn):
    servers.reset(conn)


def _reset_after_greeting(self, conn):
    self.read_greeting(conn)
    servers.reset(conn)


def _hang(_self, conn):
    while conn.recv(4096):
        pass


def _hang_after_selection(self, conn):
    self.select(conn)
    _hang(self, conn)


def _hang_in_reply(self, conn):
    self.select(conn)
    self.read_request(conn)
    conn.sendall(OK4[:5])
    _hang(self, conn)


def _half_selection(self, conn):
    self.read_greeting(conn)
    conn.sendall(b"\x05")


def _half_reply(self, conn):
    self.select(conn)
    self.read_request(conn)
    conn.sendall(OK4[:5])


def _garbage(self, conn):
    self.read_greeting(conn)
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _garbage_reply(self, conn):
    self.select(conn)
    self.read_request(conn)
    conn.sendall(b"\x7f" * 64)


def _no_method(self, conn):
    self.read_greeting(conn)
    conn.sendall(b"\x05\xff")


def _unoffered_method(self, conn):
    self.read_greeting(conn)
    conn.sendall(b"\x05\x80")


def _general_failure(self, conn):
    self.select(conn)
    self.read_request(conn)
    conn.sendall(b"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00")


def _close_after_request(self, conn):
    self.select(conn)
    self.read_request(conn)


def answers(rep):
    """One that answers every request with `rep`."""

    def misbehave(self, conn):
        self.select(conn)
        self.read_request(conn)
        conn.sendall(bytes([5, rep, 0, 1, 0, 0, 0, 0, 0, 0]))

    return misbehave


BROKEN = {
    "closes at once": _close_at_once,
    "resets at once": _reset_at_once,
    "resets after the greeting": _reset_after_greeting,
    "hangs at once": _hang,
    "hangs after the selection": _hang_after_selection,
    "hangs inside its reply": _hang_in_reply,
    "answers half a selection": _half_selection,
    "answers half a reply": _half_reply,
    "answers garbage": _garbage,
    "answers garbage to the request": _garbage_reply,
    "selects FF": _no_method,
    "selects what was not offered": _unoffered_method,
    "replies 01": _general_failure,
    "closes after the request": _close_after_request,
}
