# SPDX-License-Identifier: MIT
"""HTTP/1 on raw sockets: an origin that notes every byte it gets, and a client that reads answers
strictly. What is sent in which segments is the test's choice."""

import hashlib
import base64
import collections
import threading

from . import tap, world

Answer = collections.namedtuple("Answer", "status reason fields body trailers")
Request = collections.namedtuple("Request", "method target fields body raw conn")
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class Reader:
    """Bytes of a socket, by lines and by numbers."""

    def __init__(self, sock):
        self.sock, self.held = sock, b""

    def more(self):
        some = self.sock.recv(65536)
        self.held += some
        return bool(some)

    def take(self, n):
        parts, have = [self.held], len(self.held)
        self.held = b""
        while have < n:
            some = self.sock.recv(262144)
            if not some:
                raise EOFError("%d of %d bytes" % (have, n))
            parts.append(some)
            have += len(some)
        data = b"".join(parts)
        self.held = data[n:]
        return data[:n]

    def line(self):
        while b"\r\n" not in self.held:
            if not self.more():
                raise EOFError("in a line: %r" % self.held)
        line, self.held = self.held.split(b"\r\n", 1)
        return line

    def rest(self):
        while self.more():
            pass
        data, self.held = self.held, b""
        return data

    def fields(self):
        """Up to the empty line, as a list of (name in lower case, value)."""
        found = []
        while True:
            line = self.line()
            if not line:
                return found
            name, colon, value = line.decode("latin-1").partition(":")
            tap.check(colon and name == name.strip(), "not a field", line)
            found.append((name.lower(), value.strip()))

    def chunks(self):
        """The data, and the trailers."""
        data = []
        while True:
            line = self.line()
            size = int(line, 16)
            if size == 0:
                return b"".join(data), self.fields()
            data.append(self.take(size))
            tap.equal(self.take(2), b"\r\n", "the end of a chunk")


def value(fields, name):
    """Of the only field of that name; None: there is none."""
    found = [v for n, v in fields if n == name.lower()]
    tap.check(len(found) < 2, "several %s" % name, fields)
    return found[0] if found else None


def answer(reader, method="GET"):
    """Reads one answer, interim ones too. Its body ends as RFC 9112, section 6.3 says."""
    version, status, reason = (reader.line().decode("latin-1") + "  ").split(" ", 2)
    tap.equal(version, "HTTP/1.1", "the version of an answer")
    status, fields, trailers = int(status), reader.fields(), []
    if method == "HEAD" or status < 200 or status in (204, 304):
        body = b""
    elif value(fields, "Transfer-Encoding"):
        tap.equal(value(fields, "Transfer-Encoding"), "chunked", "the coding of an answer")
        body, trailers = reader.chunks()
    elif value(fields, "Content-Length") is not None:
        body = reader.take(int(value(fields, "Content-Length")))
    else:
        body = reader.rest()
    return Answer(status, reason.strip(), fields, body, trailers)


def ok(body, *fields, status="200 OK"):
    """An answer with a length."""
    lines = ["HTTP/1.1 " + status, "Content-Length: %d" % len(body), *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


class Origin:
    """An HTTP server on all links. `pages` has, by the path, what is answered: bytes, or a function
    of the Request that returns bytes, or None to end the connection. A path that is not there
    gets its name as the body. What has come is in `requests`, what came at all in `seen`."""

    def __init__(self, w, pages=None, name=None):
        self.pages, self.requests, self.seen = pages or {}, [], []
        self.lock = threading.Lock()
        if name:
            self.service = world.Service(w.t, self._serve, [(name, w.by_name[name].ns, world.TARGET)])
        else:
            self.service = w.serve(self._serve)
        self.port = self.service.port

    def url(self, path="/", host=world.TARGET):
        return "http://%s:%d%s" % (host, self.port, path)

    def connections(self):
        with self.lock:
            return len(self.seen)

    def heads(self):
        """What has come, in order, as `METHOD target`."""
        with self.lock:
            return ["%s %s" % (r.method, r.target) for r in self.requests]

    def all_bytes(self):
        with self.lock:
            return b"".join(self.seen)

    def _serve(self, conn, _name, _peer):
        with self.lock:
            number = len(self.seen)
            self.seen.append(b"")
        conn.settimeout(60)
        reader = _Noting(conn, self, number)
        try:
            while reader.held or reader.more():
                if not self._one(reader, number):
                    return
        except (EOFError, ConnectionError):
            pass

    def _one(self, reader, number):
        line = reader.line()
        method, target, version = line.decode("latin-1").split(" ")
        fields = reader.fields()
        tap.equal(version, "HTTP/1.1", "the version of a request")
        page = self.pages.get(target.split("?")[0], ok(target.encode()))
        if getattr(page, "early", False):
            body = b""
        else:
            if value(fields, "Expect"):
                reader.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self._body(reader, fields)
        request = Request(method, target, fields, body, reader, number)
        with self.lock:
            self.requests.append(request)
        said = page(request) if callable(page) else page
        if said is None:
            return False
        if method == "HEAD":
            said = said.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
        reader.sock.sendall(said)
        return not getattr(page, "last", False) and b"\nConnection: close\r" not in said

    @staticmethod
    def _body(reader, fields):
        if value(fields, "Transfer-Encoding"):
            return reader.chunks()[0]
        return reader.take(int(value(fields, "Content-Length") or 0))


class _Noting(Reader):
    """Notes what comes with the origin."""

    def __init__(self, sock, origin, number):
        super().__init__(sock)
        self.origin, self.number = origin, number

    def more(self):
        before = len(self.held)
        got = super().more()
        with self.origin.lock:
            self.origin.seen[self.number] += self.held[before:]
        return got


def last(page):
    """A page after which the origin closes."""

    def said(request):
        return page(request) if callable(page) else page

    said.last = True
    return said


def early(page):
    """A function of the Request that is called before the body has been read."""
    page.early = True
    return page


def websocket_accept(key):
    return base64.b64encode(hashlib.sha1(key.encode() + WEBSOCKET).digest()).decode()
