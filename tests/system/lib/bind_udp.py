# SPDX-License-Identifier: MIT
"""Clients for the other two commands of SOCKS5, BIND and UDP ASSOCIATE, and a UDP server."""

import contextlib
import ipaddress
import socket
import struct
import threading

from . import client, tap, world


class Bind:
    """BIND: `bound` is where the peer is expected; then peer(), and .sock carries its bytes."""

    def __init__(self, to, peer_addr, peer_port=0):
        self.client = client.Client(to)
        reply = self.client.ask(peer_addr, peer_port, cmd=2)
        if reply.rep != 0:
            self.client.close()
            raise client.Refused(reply)
        self.bound = (reply.addr, reply.port)

    def peer(self):
        """Waits for the second reply: who has come, as (address, port)."""
        reply = self.client.reply()
        if reply.rep != 0:
            raise client.Refused(reply)
        return reply.addr, reply.port

    def close(self):
        self.client.close()


class Udp:
    """UDP ASSOCIATE: send() and take() datagrams by way of the server."""

    def __init__(self, to):
        self.client = client.Client(to)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        reply = self.client.ask(*self.sock.getsockname(), cmd=3)
        if reply.rep != 0:
            self.close()
            raise client.Refused(reply)
        self.relay = (reply.addr, reply.port)

    def send(self, data, addr, port):
        self.sock.sendto(b"\0\0\0" + client.address(addr, port) + data, self.relay)

    def take(self):
        """(data, (address, port) it came from)."""
        got = self.sock.recv(65536)
        rsv, frag, atyp = struct.unpack(">HBB", got[:4])
        if rsv or frag or atyp not in (1, 4):
            raise AssertionError("not a datagram of RFC 1928: %r" % got[:32])
        end = 8 if atyp == 1 else 20
        (port,) = struct.unpack(">H", got[end:end + 2])
        return got[end + 2:], (str(ipaddress.ip_address(got[4:end])), port)

    def ask(self, data, addr, port):
        """Sends one datagram; returns the answer's data. Its sender must be who was asked."""
        self.send(data, addr, port)
        answer, sender = self.take()
        tap.equal(sender, (addr, port), "who has answered")
        return answer

    def silent(self, addr, port, limit_s=1.0):
        """Sends one datagram, to which no answer may come."""
        self.sock.settimeout(limit_s)
        self.send(b"lost", addr, port)
        try:
            raise AssertionError("answered: %r" % (self.take(),))
        except TimeoutError:
            pass

    def close(self):
        self.client.close()
        self.sock.close()


class UdpTell:
    """A UDP server behind each link, all at the same address and port: it answers a datagram with
    `LINK ADDRESS PORT DATA`. `asked` is the links in the order of what came."""

    def __init__(self, t, w, addr=world.TARGET):
        self.asked = []
        self.port = 0
        self.sockets = []
        t.defer(self.close)
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        for link in w.links:
            with world.inside(link.ns):
                s = socket.socket(family, socket.SOCK_DGRAM)
            s.bind((addr, self.port))
            self.port = s.getsockname()[1]
            self.sockets.append(s)
            threading.Thread(target=self._serve, args=(s, link.name), daemon=True).start()

    def _serve(self, s, name):
        while True:
            data, peer = s.recvfrom(65536)
            if not peer:
                return
            self.asked.append(name)
            with contextlib.suppress(OSError):  # there may be no way back
                s.sendto(("%s %s %d " % (name, peer[0], peer[1])).encode() + data, peer)

    def close(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
