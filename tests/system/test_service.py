#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dispatch-host as a service: what it tells its manager, and the unit for systemd."""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import time

from lib import client, servers, tap
from lib.host import Host, config, once, program
from lib.tap import case, check, equal, matches, table, wait_for
from lib.world import TARGET, World, accepts

NEEDS = ("ip", "sysctl")
UNIT = os.path.join(os.path.dirname(program()), "..", "packaging", "systemd",
                    "dispatch-host.service")
LINKS = {"a": "interface: a0", "b": "interface: b0"}
LOOPBACK = {"a": "address: 127.0.0.2"}


class Manager:
    """The socket of a service manager. What comes is kept as (pid of the sender, message)."""

    def __init__(self, t, abstract=False):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        t.defer(self.s.close)
        path = os.path.join(t.dir, "notify")
        self.s.bind("\0" + path if abstract else path)
        if not abstract:
            os.chmod(path, 0o777)  # the host is another user
        self.env = {"NOTIFY_SOCKET": "@" + path if abstract else path}

    def next(self, limit_s=15):
        self.s.settimeout(limit_s)
        data, control, _flags, _from = self.s.recvmsg(4096, socket.CMSG_SPACE(12))
        return struct.unpack("3i", control[0][2])[0], data.decode()

    def quiet(self):
        """Nothing has come."""
        self.s.setblocking(False)
        try:
            return self.s.recv(4096).decode() + " has come"
        except BlockingIOError:
            return True


@table("ready when it serves, reloading, stopping", [("a path", False), ("an abstract name", True)],
       needs=NEEDS)
def told(t, abstract):
    manager = Manager(t, abstract)
    text = config(LOOPBACK)
    host = Host(t, text, env=manager.env, wait=False)
    equal(manager.next(), (host.proc.pid, "READY=1"), "the first message")
    check(accepts(*host.addr), "and it accepts connections by then")
    equal(manager.quiet(), True, "nothing more is said")

    for yaml, says in ((text, "config: reloaded"), (text + "nonsense: 1\n", "not reloaded")):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        host.reload(yaml, says)
        pid, message = manager.next()
        equal(pid, host.proc.pid, "who is reloading")
        at = int(matches(r"\ARELOADING=1\nMONOTONIC_USEC=(\d+)\Z", message, "reloading").group(1))
        check(before <= at <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000, "when", at)
        equal(manager.next(), (host.proc.pid, "READY=1"), "afterwards")

    host.term()
    equal(manager.next(), (host.proc.pid, "STOPPING=1"), "at the end")
    equal(host.wait(), 0, "exit status")
    equal(manager.quiet(), True, "nothing more is said")


@case("a start that fails, --check and --run tell nothing")
def untold(t):
    manager = Manager(t)
    good = t.file("good.yaml", config(LOOPBACK).replace("PORT", "0"))
    bad = t.file("bad.yaml", "links: {a: {interfac: lo}}\n")
    equal(once("-c", bad, env=manager.env)[0], 78, "a mistake: exit status")
    equal(once("--check", "-c", good, env=manager.env)[0], 0, "--check: exit status")
    equal(once("-c", good, "--run", "true", env=manager.env)[0], 0, "--run: exit status")
    equal(manager.quiet(), True, "what the manager was told")


@table("a manager that cannot be told is a warning", [
    ("nobody is there", "/run/nobody/notify", "No such file or directory"),
    ("no address", "notify", "Address family not supported"),
    ("too long", "/" + "x" * 200, "Address family not supported"),
])
def absent(t, address, why):
    host = Host(t, config(LOOPBACK), env={"NOTIFY_SOCKET": address})
    host.wait_log("warn host: cannot tell the service manager at %s: %s" % (address, why))
    check(accepts(*host.addr), "it serves")


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@case("USR2: the new process is the service, and the old one is silent from then on", needs=NEEDS)
def upgraded(t):
    manager, w = Manager(t), World(t)
    holds = w.serve(servers.tell_and_hold)
    host = Host(t, config(LINKS, more="timeouts: {drain: 200ms}"), env=manager.env)
    manager.next()
    held, _links = client.held(t, 1, host.addr, TARGET, holds.port)
    host.proc.send_signal(signal.SIGUSR2)
    said = dict([manager.next(), manager.next()])
    new = max(said, key=lambda pid: said[pid] == "READY=1")
    t.defer(kill, new)
    equal(said, {new: "READY=1", host.proc.pid: "MAINPID=%d" % new}, "what was said, by whom")
    host.term()
    host.wait()
    held[0].close()
    equal(manager.quiet(), True, "the old one's end is not the service's")
    os.kill(new, signal.SIGTERM)
    equal(manager.next(), (new, "STOPPING=1"), "the service's end")


# ---- the unit ----

def unit():
    if not os.path.exists(UNIT):
        raise tap.Skip("dispatch-host is not where it was built")
    with open(UNIT, encoding="utf-8") as f:
        return f.read()


def verify(t, text):
    """What systemd says of the unit, with a program that is there."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=" + program(), text, flags=re.M)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no",
                           t.file("dispatch-host.service", text)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode()


@case("systemd accepts the unit, and has read each key", needs=["systemd-analyze"])
def accepted(t):
    text = unit()
    equal(verify(t, text), (0, ""), "exit status and findings")
    keys = re.findall(r"^([A-Z]\w+)=", text, re.M)
    check(len(keys) > 30, "keys", keys)
    _status, said = verify(t, re.sub(r"^([A-Z]\w+)=", r"\1X=", text, flags=re.M))
    missed = [k for k in keys if not re.search(r"Unknown key( name)? '%sX'" % k, said)]
    equal(missed, [], "keys whose misspelling is not found:\n" + said)


@case("systemd counts the unit among the safe ones", needs=["systemd-analyze"])
def safe(t):
    file = t.file("dispatch-host.service", unit())
    done = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=yes",
                           "--threshold=20", file], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    equal(done.returncode, 0, "exposure above 2.0:\n" + done.stdout.decode(errors="replace"))


@case("no path is left to be filled in")
def paths(t):
    del t
    text = unit()
    equal([x for x in text.splitlines() if "@" in x and "=@" not in x or "${" in x], [], "lines")
    matches(r"^ExecStart=/\S+/dispatch-host -c /\S+/dispatch/dispatch\.yaml$", text, "ExecStart")


if __name__ == "__main__":
    tap.main()
