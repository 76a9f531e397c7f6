#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""USR2: a new program takes over the listening sockets, the old one serves its sessions out."""

import os
import shutil
import signal
import threading
import time

from lib import client, servers, tap
from lib.host import Host, config, processes, program
from lib.tap import case, check, equal, table
from lib.world import TARGET, World, accepts, free_port

NEEDS = ("ip", "sysctl")


class Upgraded:
    """A host whose program is a file of its own, so that it can be replaced and found."""

    def __init__(self, t, more="", workers=1):
        self.t, self.w = t, World(t)
        self.told = self.w.serve(servers.tell)
        self.holds = self.w.serve(servers.tell_and_hold)
        self.path = os.path.join(t.dir, "dispatch-host")
        shutil.copy(program(), self.path)
        self.text = config({"a": "interface: a0", "b": "interface: b0"},
                           more="workers: %d\n%s" % (workers, more))
        os.chmod(t.dir, 0o755)
        self.host = Host(t, self.text, path=self.path)
        t.defer(self.kill_all)

    def kill_all(self):
        for pid in processes(self.path):
            os.kill(pid, signal.SIGKILL)

    def newest(self):
        return processes(self.path)[-1]

    def upgrade(self):
        """Sends USR2 to the one that serves; returns the new one's pid when it has taken over."""
        before = self.host.log().count("serves from now on")
        os.kill(self.newest(), signal.SIGUSR2)
        tap.wait_for("the new program serves",
                     lambda: self.host.log().count("serves from now on") > before)
        return self.newest()

    def link(self):
        return client.link_of(self.host.addr, TARGET, self.told.port)


@table("under load, five times: no connection fails; held ones go on",
       [("1 worker", 1), ("4 workers", 4)], needs=NEEDS)
def under_load(t, workers):
    u = Upgraded(t, workers=workers)
    held, links = client.held(t, 6, u.host.addr, TARGET, u.holds.port)
    stop, served, failed = threading.Event(), [], []

    def go_on():
        while not stop.is_set():
            try:
                served.append(u.link())
            except Exception as e:  # pylint: disable=broad-except
                failed.append(e)

    threads = [threading.Thread(target=go_on) for _ in range(6)]
    for thread in threads:
        thread.start()
    first = u.newest()
    for _ in range(5):
        last = u.newest()
        check(u.upgrade() != last, "another process")
        time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    equal(failed, [], "failures of %d connections" % len(served))
    check(len(served) > 100, "load", len(served))
    check({"a", "b"} == set(served), "links", set(served))

    check(first in processes(u.path), "the first serves its connections")
    tap.wait_for("those in between have ended", lambda: len(processes(u.path)) == 2)
    equal(len(links), 6, "held")
    for c in held:
        c.close()
    u.holds.close()
    tap.wait_for("the first ends with its last connection", lambda: first not in processes(u.path))


@case("clients that wait in the queue when the new program begins are all served", needs=NEEDS)
def queue(t):
    u = Upgraded(t, workers=64)
    old, gate = u.newest(), os.path.join(t.dir, "gate")
    path, u.path = u.path, u.path + ".real"
    os.rename(path, u.path)
    os.mkfifo(gate)
    t.file("dispatch-host", "#!/bin/sh\nread go < %s\nexec %s \"$@\"\n" % (gate, u.path), 0o755)
    os.kill(old, signal.SIGUSR2)
    with open(gate, "w", encoding="ascii"):  # the new one waits for its end
        os.kill(old, signal.SIGSTOP)
        said = len(u.host.log())
        waiting = [client.Client(u.host.addr) for _ in range(400)]
    u.host.wait_log("listening on", after=said)
    os.kill(old, signal.SIGCONT)
    equal([c.greet() for c in waiting], [0] * len(waiting), "methods")
    u.host.wait_log("serves from now on")
    for c in waiting:
        c.close()


@case("a replaced file is what runs then", needs=NEEDS)
def replaced(t):
    u = Upgraded(t)
    shutil.copy(program(), u.path + ".new")
    os.rename(u.path + ".new", u.path)
    inode = os.stat(u.path).st_ino
    new = u.upgrade()
    equal(os.stat("/proc/%d/exe" % new).st_ino, inode, "the file of the new process")
    u.link()


@case("a configuration that is wrong by now: the old one goes on, and says so", needs=NEEDS)
def wrong(t):
    u = Upgraded(t)
    first = u.newest()
    u.host.write(u.text + "nonsense: 1\n")
    os.kill(first, signal.SIGUSR2)
    u.host.wait_log("the new program has ended before it served: this one goes on")
    equal(processes(u.path), [first], "processes")
    u.link()
    u.host.write(u.text)
    check(u.upgrade() != first, "and later it works")
    u.link()


@case("TERM to the one that serves out its connections ends it in time", needs=NEEDS)
def term(t):
    u = Upgraded(t, more="timeouts: {drain: 300ms}\n")
    client.held(t, 1, u.host.addr, TARGET, u.holds.port)
    first = u.newest()
    u.upgrade()
    check(first in processes(u.path), "it has a connection")
    os.kill(first, signal.SIGTERM)
    tap.wait_for("it ends", lambda: first not in processes(u.path), 5)
    u.link()


@case("listeners that the new file has no more are closed, new ones opened", needs=NEEDS)
def listeners(t):
    u = Upgraded(t)
    other = free_port()
    u.host.write(u.text.replace("PORT", str(other)))
    u.upgrade()
    client.link_of((u.host.addr[0], other), TARGET, u.told.port)
    check(not accepts(*u.host.addr), "nobody listens where the old one did")


tap.main()
