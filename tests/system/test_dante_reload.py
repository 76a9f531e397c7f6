#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""danted's own SIGHUP reloads dispatch.yaml too: new weights, policies and links under load, and a
file with a mistake changes nothing."""

import os
import threading
import time

from lib import client, servers, tap, world
from lib.bind_udp import Udp, UdpTell
from lib.dante import Balanced, conf, config
from lib.syslog import Syslog
from lib.tap import case, check, equal, matches, table, wait_for
from lib.upstream import Upstream
from lib.world import TARGET, Service, World

NEEDS = ["danted"]
A1B1 = {"a": "interface: a0", "b": "interface: b0"}
A3B1 = {"a": "interface: a0, weight: 3", "b": "interface: b0"}
ONLY_B = {"b": "interface: b0"}


class Place:
    """Two links, a server, and a danted that has taken its first connections."""

    def __init__(self, t, links=None, args=(), text=None):
        self.world = World(t)
        self.told = self.world.serve(servers.tell_and_echo)
        self.danted = Balanced(t, config(links or A1B1), text, args)

    def links(self, count):
        return client.links_of(count, self.danted.addr, TARGET, self.told.port)

    def shares(self, count):
        seen = self.links(count)
        return seen.count("a"), seen.count("b")

    def held(self, t, count):
        return client.held(t, count, self.danted.addr, TARGET, self.told.port, parallel=1)


class Load:
    """Clients that never stop; `failed` is what went wrong, `done` how many did not."""

    def __init__(self, t, place, parallel=8):
        self.failed, self.done = [], 0
        self.place = place
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(parallel)]
        t.defer(self.stop)
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.stopping.is_set():
            try:
                self.place.links(1)
                with self.lock:
                    self.done += 1
            except Exception as error:  # pylint: disable=broad-except
                self.failed.append(error)

    def go_on(self, count):
        """Waits for so many more."""
        wanted = self.done + count
        wait_for("%d more connections" % count, lambda: self.done >= wanted, 20)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def alive(clients):
    """All of these still carry data both ways."""
    for i, c in enumerate(clients):
        c.send(b"%04d" % i)
        equal(c.take(4), b"%04d" % i, "echo of a held session")


# ---- what changes ----

@table("SIGHUP under load: weights, then the policy; held sessions live on",
       [("in the foreground", []), ("-D -N 2", ["-D", "-N", "2"])], needs=NEEDS)
def under_load(t, args):
    p = Place(t, args=args)
    clients, links = p.held(t, 8)
    equal((links.count("a"), links.count("b")), (4, 4), "held before")
    load = Load(t, p)
    load.go_on(40)
    p.danted.reload(config(A3B1))
    load.go_on(40)
    p.danted.reload(config(A3B1, pool="balancer: leastconn"))
    load.go_on(40)
    load.stop()
    equal(load.failed, [], "clients that failed")
    alive(clients)
    p.danted.wait_active(a=4, b=4)
    _more, links = p.held(t, 8)  # 4 and 4 are held: 3:1 of 16 are 12 and 4
    equal((links.count("a"), links.count("b")), (8, 0), "held after, by least connections")
    alive(clients)


@case("new weights are exact from the reload on, over all processes", needs=NEEDS)
def new_weights(t):
    p = Place(t)
    equal(p.shares(8), (4, 4), "1:1")
    p.danted.reload(config(A3B1))
    got = client.together(40, lambda _: p.links(1))
    equal((got.count("a"), got.count("b")), (30, 10), "3:1, 40 at once")
    p.danted.reload(config(A1B1))
    equal(p.shares(8), (4, 4), "1:1 again")


@case("a link taken out of the file is used no more; its sessions live on, and are counted",
      needs=NEEDS)
def link_out(t):
    p = Place(t)
    clients, _links = p.held(t, 4)
    p.danted.reload(config(ONLY_B))
    equal(p.links(6), "bbbbbb", "links")
    alive(clients)
    a = p.danted.state().links["a"]
    equal((a.state, a.active), ("removed", 2), "the link that is out, in the state")
    for c in clients:
        c.close()
    p.danted.reload(config(A1B1))
    p.danted.wait_active(a=0, b=0)
    equal(p.shares(8), (4, 4), "put back")


@case("a link put in that is an upstream", needs=NEEDS)
def link_in(t):
    p = Place(t, ONLY_B)
    up = Service(t, Upstream(p.world.a.ns), [("a", p.world.a.ns, p.world.a.gw)])
    equal(p.links(3), "bbb", "links before")
    p.danted.reload(config({**ONLY_B, "up": "dialer: socks, server: %s:%d"
                            % (p.world.a.gw, up.port)}))
    equal(p.shares(8), (4, 4), "links after")
    equal(up.count("a"), 4, "connections the upstream saw")


@case("other devices under the same names, other names for the same devices", needs=NEEDS)
def swapped(t):
    p = Place(t)
    equal(p.links(2), "ab", "links before")
    p.danted.reload(config({"a": "interface: b0", "b": "interface: a0"}))
    equal(p.links(2), "ba", "the names swapped")
    p.danted.reload(config({"c": "interface: a0", "d": "interface: b0"}))
    equal(p.links(2), "ab", "new names")
    equal(set(p.danted.state().links), {"c", "d"}, "names in the state")


@case("another state file waits for the next start, and that is said", needs=NEEDS)
def other_state(t):
    log = Syslog(t)
    p = Place(t)
    other = os.path.join(t.dir, "other.state")
    p.danted.reload(config(A3B1).replace("STATE", other))
    log.wait(r"state.*next start")
    equal(p.shares(8), (6, 2), "the rest of the file is in use")
    check(not os.path.exists(other), "there is no other state file")
    p.danted.wait_active(a=0, b=0)


@case("the share goes on where it was when nothing has changed", needs=NEEDS)
def unchanged(t):
    p = Place(t, A3B1)
    before = p.links(2)
    p.danted.reload()
    whole = before + p.links(6)
    equal((whole.count("a"), whole.count("b")), (6, 2), "over the reload: " + whole)


@case("SIGHUPs while children dial: each request is served", needs=NEEDS)
def while_dialing(t):
    def late(self, conn):
        time.sleep(1)
        return self.serve(conn)

    w = World(t)
    told = w.serve(servers.tell)
    ups = [Service(t, Upstream(link.ns, misbehave=late), [(link.name, link.ns, link.gw)])
           for link in w.links]
    links = {link.name: "dialer: socks, server: %s:%d" % (link.gw, up.port)
             for link, up in zip(w.links, ups)}
    d = Balanced(t, config(links))
    got = []
    clients = threading.Thread(target=lambda: got.extend(client.together(
        20, lambda _: client.link_of(d.addr, TARGET, told.port))))
    clients.start()
    wait_for("children dial", lambda: any(x.dialing for x in d.state().links.values()))
    for weight in (1, 2, 3):
        d.reload(config({**links, "a": links["a"] + ", weight: %d" % weight}))
    check(any(x.dialing for x in d.state().links.values()), "and still do")
    clients.join()
    equal(([g for g in got if g not in ("a", "b")], len(got)), ([], 20), "failed, all")
    d.wait_active(a=0, b=0)


@case("processes without privilege, as in Debian's danted.conf: root's files are read again",
      needs=NEEDS)
def unprivileged(t):
    p = Place(t, text=conf().replace("privileged: root", "privileged: proxy"))
    if tap.real_root():
        for pid in p.danted.pids():
            check(tap.matches(r"^Uid:\s+\d+\s+(\d+)", world.run("cat", "/proc/%d/status" % pid),
                              "effective user").group(1) != "0", "no process works as root", pid)
    p.danted.reload(config(A3B1))
    equal(p.shares(8), (6, 2), "weights of the new file")


@case("30 SIGHUPs under load: no client fails, nothing is left over", needs=NEEDS)
def thirty(t):
    p = Place(t)
    load = Load(t, p, parallel=4)
    processes = len(p.danted.pids())
    for i in range(30):
        p.danted.reload(config(A3B1 if i % 2 else A1B1))
    load.go_on(20)
    load.stop()
    equal(load.failed, [], "clients that failed")
    p.danted.wait_active(a=0, b=0)
    check(len(p.danted.pids()) < processes + 40, "danted's processes", len(p.danted.pids()))
    shares = p.shares(8)
    equal(shares, (6, 2), "weights of the last file")


@case("an association keeps its link over a reload", needs=NEEDS)
def udp_kept(t):
    p = Place(t)
    tell = UdpTell(t, p.world)
    udp = Udp(p.danted.addr)
    t.defer(udp.close)
    link = udp.ask(b"1", TARGET, tell.port).split()[0]
    p.danted.reload(config(A3B1))
    equal(udp.ask(b"2", TARGET, tell.port).split()[0], link, "link")


# ---- what must not ----

BAD = {
    "no YAML": "links: {a: [\n",
    "an unknown key": config(A3B1).replace("weight", "weigth"),
    "a plugin that is not there": config(A3B1, pool="balancer: nosuch"),
    "no links": "links: {}\n",
    "an anchor of no loopback": config(A3B1).replace("127.0.0.2", "192.0.2.1"),
    "empty": "",
}


@table("a bad file keeps the old configuration, and syslog says why", list(BAD.items()),
       needs=NEEDS)
def bad(t, text):
    log = Syslog(t)
    p = Place(t, A3B1)
    clients, _links = p.held(t, 4)
    p.danted.reload(text)
    line = log.wait(r"dispatch\.yaml:\d+")
    if text:
        matches(r"dispatch\.yaml:\d+:\d+: ", line, "line and column")
    check("danted" in line or "dispatch" in line, "it says who speaks", line)
    seen = p.links(8)
    equal((seen.count("a"), seen.count("b")), (6, 2), "the old weights: " + seen)
    alive(clients)
    before = len(log.lines)
    p.danted.reload(config(A1B1))
    equal(p.shares(8), (4, 4), "weights of a good file again")
    check(not any("dispatch.yaml:" in x for x in log.lines[before:]), "no complaint of that")


@case("a file that is gone keeps the old configuration", needs=NEEDS)
def gone(t):
    log = Syslog(t)
    p = Place(t, A3B1)
    os.rename(p.danted.yaml_path, p.danted.yaml_path + ".away")
    p.danted.reload()
    log.wait(r"dispatch\.yaml")
    equal(p.shares(8), (6, 2), "weights")


@case("anchors that danted does not have: nothing leaves, and the next file is read", needs=NEEDS)
def other_anchor(t):
    p = Place(t)
    p.danted.reload(config(A1B1, anchors=("127.0.0.9",)))
    for _ in range(4):
        check(client.ask(p.danted.addr, TARGET, p.told.port) != 0, "a request fails")
    equal(p.told.order, [], "connections the servers saw")
    p.danted.reload(config(A1B1))
    equal(p.links(4), "abab", "links")


@case("children that danted makes after a bad file have the old configuration", needs=NEEDS)
def late_children(t):
    log = Syslog(t)
    p = Place(t, A3B1)
    before = set(p.danted.pids("request-child"))
    p.danted.reload(BAD["an unknown key"])
    log.wait(r"dispatch\.yaml:\d+")
    got = client.together(60, lambda _: p.links(1))
    equal((got.count("a"), got.count("b")), (45, 15), "60 at once")
    wait_for("there are new request children",
             lambda: set(p.danted.pids("request-child")) - before)
    seen = p.links(8)
    equal((seen.count("a"), seen.count("b")), (6, 2), "by these: " + seen)


if __name__ == "__main__":
    tap.main()
