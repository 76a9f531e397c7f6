# SPDX-License-Identifier: MIT
"""Debian's danted as it is: started, watched by role of its processes, told to reload, ended."""

import contextlib
import os
import re
import signal
import subprocess
import time

from . import tap, world


def users():
    """Whose rights its processes have: where there is real root, its children drop theirs."""
    if not tap.real_root():
        return ""
    return "user.privileged: root\nuser.unprivileged: nobody\n"


def _stat(pid):
    """(state, session) of a process, or None."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return fields[0], int(fields[3])


def _read(path):
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as f:
        return f.read().decode(errors="replace")


def _role(pid):
    """What a process of Dante's calls itself: `mother`, `monitor-child`, `negotiate-child`,
    `request-child`, `io-child`."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            title = f.read().decode(errors="replace")
    except OSError:
        return None
    found = re.match(r"danted: ([\w-]+)", title)
    return found.group(1) if found else "mother"


class Danted:
    """A danted with the configuration `conf`, in which PORT stands for a free port and LOG for
    its log file. `args` are more options, as `-N 2`; with `-D` it goes to the background."""

    def __init__(self, t, conf, args=(), env=None, wait=True):
        self.t = t
        self.port = world.free_port()
        self.addr = ("127.0.0.1", self.port)
        self.background = "-D" in args
        self.file = os.path.join(t.dir, "danted-%d.conf" % self.port)
        self.log_path = os.path.join(t.dir, "danted-%d.log" % self.port)
        self.said_path = self.log_path + ".said"
        self.pid_path = os.path.join(t.dir, "danted-%d.pid" % self.port)
        self.write(conf)
        temp = os.path.join(t.dir, "danted-%d.tmp" % self.port)
        os.mkdir(temp)
        os.chmod(temp, 0o777)  # its children may have become nobody
        with open(self.said_path, "wb") as said:
            self.proc = subprocess.Popen(
                [tap.tool("danted"), "-f", self.file, "-p", self.pid_path, *args],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=dict(os.environ, TMPDIR=temp, **(env or {})), start_new_session=True)
        self.pid = self.proc.pid
        t.defer(self.end)
        t.report(lambda: "--- danted's log\n%s\n--- danted said\n%s"
                 % (self.log()[-6000:], self.said()[-2000:]))
        if wait:
            tap.wait_for("danted listens", self._ready, 20)

    def write(self, conf):
        """Writes the configuration."""
        text = conf.replace("PORT", str(self.port)).replace("LOG", self.log_path)
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(self.file + ".new", self.file)

    def _ready(self):
        status = self.proc.poll()
        if status is not None and (not self.background or status != 0):
            raise AssertionError("danted ended with %d:\n%s" % (status, self.said()))
        if self.background:
            pid = _read(self.pid_path).strip()
            if status is None or not pid:
                return False
            self.pid = int(pid)
        return world.accepts(*self.addr)

    def log(self):
        return _read(self.log_path)

    def said(self):
        """What it printed itself: mistakes found at the start."""
        return _read(self.said_path)

    def wait_log(self, pattern, limit_s=10, after=0):
        """Waits for a line; text before `after` (a position in log()) is not looked at."""
        return tap.wait_for("danted logs /%s/" % pattern,
                            lambda: re.search(pattern, self.log()[after:], re.M), limit_s)

    def connects(self):
        """The `tcp/connect [` lines of the log: [(link side, destination)], each as
        (address, port). By way of an upstream the link side is the one it told of."""
        number = r"([\w.:]+)\.(\d+)"
        lines = re.findall(r"tcp/connect \[: .* -> (.*)$", self.log(), re.M)
        seen = []
        for line in lines:
            chain = re.search(r"\[%s\] %s$" % (number, number), line)
            found = chain or re.search(r"^%s %s$" % (number, number), line)
            if not found:
                raise AssertionError("not understood: " + line)
            addr, port, to, to_port = found.groups()
            seen.append(((addr, int(port)), (to, int(to_port))))
        return seen

    def pids(self, role=None):
        """Its living processes, of one role or all. They are in one session, and nobody else is."""
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            stat = _stat(pid)
            if stat and stat[0] != "Z" and stat[1] == self.pid and role in (None, _role(pid)):
                found.append(pid)
        return sorted(found)

    def alive(self):
        return self.pid in self.pids()

    def hup(self):
        os.kill(self.pid, signal.SIGHUP)

    def wait(self, limit_s=10):
        """Its exit status."""
        return self.proc.wait(limit_s)

    def end(self):
        """Ends all of its processes, kindly first."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            tap.wait_for("danted's processes end", lambda: not self.pids(), 2)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc.wait()
