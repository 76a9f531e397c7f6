#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The module in danted, attacked: odd requests, odd moments, and people who help by trying again."""

import os
import struct
import subprocess

from lib import client, dante, host, servers, tap
from lib.bind_udp import Bind
from lib.dante import Balanced, config
from lib.tap import case, check, equal, table
from lib.world import TARGET, World

NEEDS = ["danted"]
EQUAL = {"a": "interface: a0", "b": "interface: b0"}


class Place:
    """Two links, a server that says by which it was reached, and danted."""

    def __init__(self, t, text=None):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.danted = Balanced(t, config(EQUAL), text=text)

    def links(self, count):
        return client.links_of(count, self.danted.addr, TARGET, self.told.port)


# ---- destinations ----

@table("no link is blamed for a destination that none leads to", [
    (addr, addr) for addr in ("255.255.255.255", "10.0.1.255", "224.0.0.1", "239.255.255.250",
                              "ff02::1", "ff05::2", "0.0.0.1", "240.0.0.1", "2001:db8::1")], needs=NEEDS)
def nowhere(t, addr):
    w = World(t)
    dante.anchor6_add(t)
    d = Balanced(t, config(EQUAL, anchors=(dante.ANCHOR, dante.ANCHOR6)),
                 text=dante.conf(dante.ANCHOR, dante.ANCHOR6))
    with client.Client(d.addr) as c:
        check(c.ask(addr, 80).rep != 0, "refused")
    equal({name: (link.state, link.fails) for name, link in d.state().links.items()},
          {link.name: ("up", 0) for link in w.links}, "links")


# ---- the state file ----

def another(d, *args):
    """One more danted with the files of this one, to its end: its exit status."""
    return subprocess.run(
        [tap.tool("danted"), "-p", d.pid_path + ".2", *args], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False,
        env=dict(os.environ, **dante.environment(d.yaml_path))).returncode


@table("the state stays that of the danted that serves, with", [
    ("`danted -V` beside it", ["-V"], "internal: ", 0),
    ("another that does not get its port", [], "internal: ", 1),
    ("another that listens on its anchor", [],
     "internal: %s port = 1\ninternal: " % dante.ANCHOR, 78)], needs=NEEDS)
def state_kept(t, args, internal, status):
    p = Place(t)
    p.links(3)
    with open(p.danted.file, encoding="utf-8") as f:
        text = f.read()
    other = t.file("other.conf", text.replace("internal: ", internal))
    equal(another(p.danted, "-f", other, *args), status, "the status of the other one")
    p.links(1)
    equal(sum(link.picks for link in p.danted.state().links.values()), 4, "picks")
    equal([name for name in os.listdir(t.dir) if name.startswith("dante.state")], ["dante.state"],
          "state files")


def blocks(data):
    """Where each block of the file begins: its size (64 bits), whether it is used, its kind."""
    at = 64
    while at < len(data):
        yield at
        at += struct.unpack_from("<Q", data, at)[0]


def damages(data):
    """Lists of (place, bytes): each makes one damaged file."""
    for at in blocks(data):
        left = len(data) - at
        for size in (0, 63, 65, 128, left - 64, left, left + 64, 1 << 40, (1 << 64) - 1):
            yield [(at, struct.pack("<Q", size))]
        for kind in range(7):
            yield [(at + 12, struct.pack("<I", kind))]
        yield [(at + 64, b"\x1b\xff" * 120)]
    first, last = next(blocks(data)), len(data) - 64
    for kind in range(1, 6):
        yield [(first, struct.pack("<Q", last - first)),
               (last, struct.pack("<QIIQ", 1 << 40, 1, kind, 0))]


@case("--dante-state of a damaged file says so, or prints what there is", needs=NEEDS)
def damaged(t):
    p = Place(t)
    p.links(2)
    with open(p.danted.state_path, "rb") as f:
        data = f.read()
    path = t.file("damaged.state", data)
    with open(path, "r+b", buffering=0) as f:
        for patches in damages(data):
            for at, patch in patches:
                os.pwrite(f.fileno(), patch, at)
            status, out, err = host.once("--dante-state", path)
            check(status in (0, 1) and "\x1b" not in out, "status and text", patches, status, err)
            for at, patch in patches:
                os.pwrite(f.fileno(), data[at:at + len(patch)], at)


# ---- BIND ----

@case("BIND by Dante's extension, whose port is to be the client's own", needs=NEEDS)
def bind_extension(t):
    p = Place(t, text="extension: bind\n" + dante.conf())
    b = Bind(p.danted.addr, "255.255.255.255")
    t.defer(b.close)
    equal(b.bound, ("10.0.1.1", b.client.sock.getsockname()[1]), "address of the first link")
    p.danted.wait_active(a=1, b=0)


@case("BIND to the number of the client's own port is refused, and counts nothing", needs=NEEDS)
def bind_own_port(t):
    p = Place(t)
    with client.Client(p.danted.addr) as c:
        equal(c.ask("0.0.0.0", c.sock.getsockname()[1], cmd=2).rep, 1, "reply")
    p.danted.wait_active(a=0, b=0)


@case("BIND to a port: that one, the same by the other link, another where it is taken",
      needs=NEEDS)
def bind_port(t):
    p = Place(t)
    binds = []
    for _ in range(4):
        binds.append(Bind(p.danted.addr, "0.0.0.0", p.told.port))
        t.defer(binds[-1].close)
    bound = [b.bound for b in binds]
    equal([addr for addr, _port in bound], ["10.0.1.1", "10.0.2.1"] * 2, "links in turn")
    equal([port == p.told.port for _addr, port in bound], [True, True, False, False], "the port")
    p.danted.wait_active(a=2, b=2)


# ---- reloads ----

@case("reloads in a row, each with another anchor in both files", needs=NEEDS)
def other_anchors(t):
    p = Place(t)
    for anchor in ("127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"):
        p.danted.write(dante.conf(anchor))
        p.danted.reload(config(EQUAL, anchors=(anchor,)))
        equal(sorted(p.links(2)), ["a", "b"], "links with %s" % anchor)


@case("reloads that replace 250 links each time do not wear out", needs=NEEDS)
def links_without_end(t):
    p = Place(t)
    for i in range(8):
        p.danted.reload(config({"x%d-%d" % (i, n): "interface: a0" for n in range(250)}))
        p.links(1)
        picks = [link.picks for name, link in p.danted.state().links.items()
                 if name.startswith("x%d-" % i)]
        equal((len(picks), sum(picks)), (250, 1), "new links, and connections by them")


if __name__ == "__main__":
    tap.main()
