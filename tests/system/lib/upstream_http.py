# SPDX-License-Identifier: MIT
"""An HTTP proxy of our own for CONNECT, which works, or misbehaves at a chosen point."""

import base64
import re
import socket
import threading
import time

from . import servers
from .upstream import relay
from .world import inside

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


def answer(status, body=b"no"):
    """A whole answer, as a proxy sends it."""
    return (b"HTTP/1.1 %d Reason\r\nServer: test\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))


def read_head(conn):
    """The lines of a request's head. One byte at a time: what follows is the tunnel's."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = conn.recv(1)
        if not byte:
            raise EOFError("client left")
        got += byte
    return got[:-4].decode("latin-1").split("\r\n")


class HttpUpstream:
    """handler() for a world.Service. `requests` holds (host, port) of each request, `heads` all of
    its lines. `out`: the namespace it connects from; `login`: what Basic credentials must be;
    `names`: what a name resolves to; `reply` is said in pieces of `piece` bytes with pauses."""

    def __init__(self, out, login=None, names=None, misbehave=None, reply=OK, piece=0, pause=0.0):
        self.out, self.login, self.names = out, login, names or {}
        self.misbehave, self.reply, self.piece, self.pause = misbehave, reply, piece, pause
        self.requests, self.heads = [], []
        self.lock = threading.Lock()

    def __call__(self, conn, name, peer):
        conn.settimeout(60)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return (self.misbehave or HttpUpstream.serve)(self, conn)

    def say(self, conn, data):
        """Sends, in pieces if it dribbles."""
        step = self.piece or len(data)
        for i in range(0, len(data), step):
            if self.pause:
                time.sleep(self.pause)
            conn.sendall(data[i:i + step])

    def read_request(self, conn):
        """Returns (host, port) of a request as strict as it can be, and its fields."""
        lines = read_head(conn)
        target = re.fullmatch(r"CONNECT (\[([0-9a-f:]+)\]|[^:/\s]+):(\d+) HTTP/1\.1", lines[0])
        fields = dict(line.split(": ", 1) for line in lines[1:])
        if not target or fields.get("Host") != lines[0].split(" ")[1]:
            raise AssertionError("the request is %r" % lines)
        host, port = target.group(2) or target.group(1), int(target.group(3))
        with self.lock:
            self.requests.append((host, port))
            self.heads.append(lines)
        return host, port, fields

    def serve(self, conn):
        host, port, fields = self.read_request(conn)
        if self.login:
            wanted = "Basic " + base64.b64encode(self.login).decode()
            if fields.get("Proxy-Authorization") != wanted:
                self.say(conn, answer(407))
                return
        host = self.names.get(host, host)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with inside(self.out):
                away = socket.socket(family, socket.SOCK_STREAM)
            away.settimeout(10)
            away.connect((host, port))
        except (OSError, ValueError):
            self.say(conn, answer(503))
            return
        with away:
            self.say(conn, self.reply)
            relay(conn, away)


# What a broken one does, from the first byte to the last.

def _close_at_once(_self, _conn):
    return None


def _reset_at_once(_self, conn):
    servers.reset(conn)


def _hang(_self, conn):
    while conn.recv(4096):
        pass


def _after_request(data, then):
    """Reads the request, says `data`, and goes on as `then` says."""

    def misbehave(self, conn):
        self.read_request(conn)
        conn.sendall(data)
        then(self, conn)

    return misbehave


def answers(status):
    """One that answers every request so."""
    return _after_request(answer(status), _close_at_once)


CLOSES = _after_request(b"", _close_at_once)

BROKEN = {
    "closes at once": _close_at_once,
    "resets at once": _reset_at_once,
    "hangs at once": _hang,
    "closes after the request": CLOSES,
    "resets after the request": _after_request(b"", _reset_at_once),
    "hangs after the request": _after_request(b"", _hang),
    "hangs inside its answer": _after_request(OK[:-2], _hang),
    "closes inside its answer": _after_request(OK[:-2], _close_at_once),
    "resets inside its answer": _after_request(OK[:20], _reset_at_once),
    "answers garbage": _after_request(b"\x7f" * 64, _hang),
    "answers SOCKS": _after_request(b"\x05\xff", _hang),
    "speaks SSH": _after_request(b"SSH-2.0-OpenSSH_9.2p1\r\n", _hang),
    "answers without end": _after_request(OK[:-2] + b"a: b\r\n" * 200, _hang),
    "answers 100 and no more": _after_request(b"HTTP/1.1 100 Continue\r\n\r\n", _close_at_once),
    "wants a login": answers(407),
    "redirects to a login page": answers(302),
    "forbids": answers(403),
    "knows no CONNECT": answers(405),
    "has no way out": answers(503),
}
