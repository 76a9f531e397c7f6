# SPDX-License-Identifier: MIT
"""The system's log, as programs of the test's own world see it."""

import os
import re
import socket
import threading

from . import tap, world


class Syslog:
    """A /dev/log of this case's own; `lines` is what came. /dev itself is replaced for it, as no
    name can be made there without privilege."""

    KEPT = ("null", "zero", "full", "random", "urandom", "tty", "shm", "pts", "ptmx")

    def __init__(self, t):
        self.lines = []
        dev = os.path.join(t.dir, "dev")
        os.mkdir(dev)
        for name in self.KEPT:
            self._keep(t, os.path.join("/dev", name), os.path.join(dev, name))
        os.symlink("/proc/self/fd", os.path.join(dev, "fd"))
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(os.path.join(dev, "log"))
        os.chmod(os.path.join(dev, "log"), 0o666)
        world.run("mount", "--rbind", dev, "/dev")
        t.defer(world.run, "umount", "-l", "/dev")
        t.report(lambda: "--- syslog\n%s" % "\n".join(self.lines))
        threading.Thread(target=self._read, daemon=True).start()

    @staticmethod
    def _keep(t, old, new):
        if not os.path.exists(old):
            return
        if os.path.isdir(old):
            os.mkdir(new)
        else:
            open(new, "wb").close()
        world.run("mount", "--bind", old, new)
        t.defer(world.run, "umount", "-l", new)

    def _read(self):
        while True:
            data = self.sock.recv(8192)
            self.lines.append(data.decode(errors="replace"))

    def wait(self, pattern, limit_s=5.0, after=0):
        """Waits for a line; the first `after` lines are not looked at."""
        return tap.wait_for("syslog has /%s/" % pattern, lambda: next(
            (x for x in self.lines[after:] if re.search(pattern, x)), None), limit_s)
