# SPDX-License-Identifier: MIT
"""The benchmark's load generator, for tests that need more clients than Python can be."""

import functools
import json
import os
import subprocess
import sys

from . import world
from .host import SRCDIR
from .world import TARGET

sys.path.insert(0, os.path.join(SRCDIR, "bench"))
import build  # pylint: disable=wrong-import-position


@functools.lru_cache
def generator(folder, *flags):
    """Its path, compiled into this folder."""
    return build.load(folder, "-Werror", *flags)


class Load:
    """A run of it through the host, which it speaks `socks` to, or asks to `connect`, or to `get`; to
    a server of its own in namespace `ns`. It compares every byte, and gives up at the first thing
    that is wrong."""

    def __init__(self, t, host, run, ns, speak="socks", **options):
        server = "%s:%d" % (TARGET, world.free_port(TARGET, ns))
        words = [generator(t.dir), run, "--" + speak, "--server", server, "--server-ns",
                 "/run/netns/" + ns, "--through", "%s:%d" % host.addr]
        for key, value in options.items():
            words += ["--" + key, str(value)]
        self.proc = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
        t.defer(self._end)

    def _end(self):
        self.proc.kill()
        self.proc.wait()

    def runs(self):
        """Is it not over yet?"""
        return self.proc.poll() is None

    def figures(self):
        """Waits for its end; what it has measured."""
        out, err = self.proc.communicate()
        if self.proc.returncode != 0:
            raise AssertionError("the load generator: " + err.decode(errors="replace"))
        return json.loads(out)
