# SPDX-License-Identifier: MIT
"""Handlers for world.Service: handler(conn, name of the place, peer)."""

import hashlib
import socket
import struct
import threading


def tell(conn, name, peer):
    """Says which link and which address the client has, then waits for its end."""
    conn.sendall(("%s %s %d\n" % (name, peer[0], peer[1])).encode())
    conn.settimeout(30)
    while conn.recv(65536):
        pass


def tell_and_hold(conn, name, peer):
    """The same without a thread: the connection stays until the service closes."""
    conn.sendall(("%s %s %d\n" % (name, peer[0], peer[1])).encode())
    return "hold"


def tell_and_echo(conn, name, peer):
    """Says who the client is, then sends back what comes, until the end."""
    conn.sendall(("%s %s %d\n" % (name, peer[0], peer[1])).encode())
    echo(conn, name, peer)


def echo(conn, _name, _peer):
    while True:
        data = conn.recv(262144)
        if not data:
            return
        conn.sendall(data)


def reset(conn):
    """Closes with a RST."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Pattern:
    """An endless stream of bytes that repeats after a prime number of them, so that a lost, doubled
    or swapped piece shows in the checksum and at once in size."""

    BLOCK = bytes((i * 7 + (i >> 8) * 13 + (i >> 16)) & 255 for i in range(1000003))

    @classmethod
    def pieces(cls, total, size=1 << 18):
        double = cls.BLOCK + cls.BLOCK[:size]
        at = 0
        while at < total:
            n = min(size, total - at)
            start = at % len(cls.BLOCK)
            yield memoryview(double)[start:start + n]
            at += n

    @classmethod
    def digest(cls, total):
        h = hashlib.blake2b()
        for piece in cls.pieces(total):
            h.update(piece)
        return h.hexdigest()


def pour(sock, total):
    """Sends `total` bytes of the pattern."""
    for piece in Pattern.pieces(total):
        sock.sendall(piece)


def drain(sock):
    """Reads until the end; returns (bytes, digest)."""
    h, total = hashlib.blake2b(), 0
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while True:
        n = sock.recv_into(buffer)
        if n == 0:
            return total, h.hexdigest()
        h.update(view[:n])
        total += n


def answer_after_end(total):
    """Reads until the client's end, then sends how much came and `total` bytes of the pattern."""

    def handler(conn, _name, _peer):
        got = drain(conn)
        conn.sendall(("%d %s\n" % got).encode())
        pour(conn, total)
        conn.shutdown(socket.SHUT_WR)

    return handler


def end_then_count(first):
    """Sends `first` bytes, closes its write side, then counts what comes. The results lie in
    handler.results; handler.done is set once there is one."""

    def handler(conn, _name, _peer):
        pour(conn, first)
        conn.shutdown(socket.SHUT_WR)
        handler.results.append(drain(conn))
        handler.done.set()

    handler.results, handler.done = [], threading.Event()
    return handler


def source(conn, _name, _peer):
    """Sends without end."""
    block = b"x" * (1 << 20)
    while True:
        conn.sendall(block)


def both_ways(total):
    """Sends `total` bytes while it reads; then says what it read."""

    def handler(conn, _name, _peer):
        sender = threading.Thread(target=pour, args=(conn, total), daemon=True)
        sender.start()
        buffer, h, got = bytearray(1 << 18), hashlib.blake2b(), 0
        while got < total:
            n = conn.recv_into(buffer)
            if n == 0:
                break
            h.update(memoryview(buffer)[:n])
            got += n
        sender.join()
        conn.sendall(("%d %s\n" % (got, h.hexdigest())).encode())
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    return handler
