# SPDX-License-Identifier: MIT
"""A name server that knows a few names, tells who asked, and can be silent or slow."""

import contextlib
import ipaddress
import socket
import struct
import threading

from .world import inside

A, AAAA = 1, 28


def _name(data, at):
    labels = []
    while data[at]:
        n = data[at]
        labels.append(data[at + 1:at + 1 + n])
        at += n + 1
    return b".".join(labels).lower().decode("latin-1"), at + 1


class NameServer:
    """Answers UDP queries at each of `places` ((name, namespace, address)). `zone` maps a name to
    its addresses; a name in `silent` (or with a suffix in it) is never answered. `asked` lists
    (place, name, type); `delay` is (seconds by type). `ttl` is that of addresses, `negative` that
    of "no" (None: no SOA record says), `rcodes` maps a name to an error."""

    def __init__(self, t, places, zone, silent=(), delay=None, ttl=30, negative=None, rcodes=None):
        self.zone = {name.lower(): addrs for name, addrs in zone.items()}
        self.silent, self.delay = tuple(silent), delay or {}
        self.ttl, self.negative, self.rcodes = ttl, negative, rcodes or {}
        self.asked = []
        self.lock = threading.Lock()
        self.sockets, self.threads = [], []
        t.defer(self.close)
        t.report(lambda: "name server was asked: %r" % self.asked[-12:])
        for place, ns, addr in places:
            family = socket.AF_INET6 if ":" in addr else socket.AF_INET
            with inside(ns):
                s = socket.socket(family, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((addr, 53))
            self.sockets.append(s)
            self.threads.append(threading.Thread(target=self._serve, args=(s, place), daemon=True))
            self.threads[-1].start()

    def close(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)  # "not connected", but the thread wakes up
        for thread in self.threads:
            thread.join()
        for s in self.sockets:
            s.close()

    def count(self, place=None, name=None):
        """How many questions came: to one place or all, for one name or all."""
        with self.lock:
            return sum(place in (None, p) and name in (None, n) for p, n, _type in self.asked)

    def names_at(self, place):
        """The names asked at a place."""
        with self.lock:
            return [name for where, name, _type in self.asked if where == place]

    def _serve(self, s, place):
        while True:
            try:
                query, peer = s.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            name, end = _name(query, 12)
            (qtype,) = struct.unpack(">H", query[end:end + 2])
            with self.lock:
                self.asked.append((place, name, qtype))
            if any(name == x or name.endswith("." + x) for x in self.silent):
                continue
            answer = self._answer(query, end + 4, name, qtype)
            if self.delay.get(qtype):
                later = threading.Timer(self.delay[qtype], self._send, (s, answer, peer))
                later.daemon = True
                later.start()
            else:
                self._send(s, answer, peer)

    @staticmethod
    def _send(s, answer, peer):
        with contextlib.suppress(OSError):  # the case may be over, or the link down
            s.sendto(answer, peer)

    def _answer(self, query, end, name, qtype):
        addrs = [ipaddress.ip_address(a) for a in self.zone.get(name, ())]
        want = {A: 4, AAAA: 6}.get(qtype)
        chosen = [a for a in addrs if a.version == want]
        rcode = self.rcodes.get(name, 0 if name in self.zone else 3)
        soa = b"" if chosen or self.negative is None else self._soa()
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, len(chosen), bool(soa), 0)
        body = b"".join(struct.pack(">HHHIH", 0xC00C, qtype, 1, self.ttl, len(a.packed)) + a.packed
                        for a in chosen)
        return head + query[12:end] + body + soa

    def _soa(self):
        """The authority's record: its own TTL is the longer, so that `minimum` decides."""
        data = b"\x02ns\0\x02me\0" + struct.pack(">5I", 1, 2, 3, 4, self.negative)
        return b"\x04test\0" + struct.pack(">HHIH", 6, 1, self.negative + 1000, len(data)) + data
