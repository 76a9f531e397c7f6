# SPDX-License-Identifier: MIT
"""What is preloaded into the host, and steered while it runs: a failing allocator, a wall clock that
jumps."""

import mmap
import os
import struct
import subprocess
import time

from . import host, tap


class _Shim:
    """A file that the host and this test have mapped; .env is for the host to be started with."""

    def __init__(self, t, name, variable, size):
        if host.sanitized():
            raise tap.Skip("a sanitizer has these calls for itself")
        path = os.path.join(os.path.dirname(host.program()), "..", "tests", "lib", ".libs", name + ".so")
        if not os.path.exists(path):
            raise tap.Skip("not built: " + name)
        self.path = os.path.realpath(path)
        control = t.file("%s-%d" % (name, len(os.listdir(t.dir))), bytes(size), 0o666)
        self.env = {"LD_PRELOAD": self.path, variable: control}
        with open(control, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), size)


class FailMalloc(_Shim):
    """One allocation in `every` fails from the moment the host has started; 0: none."""

    def __init__(self, t, every=0, seed=1):
        super().__init__(t, "fail_malloc", "DISPATCH_FAIL_MALLOC", 40)
        struct.pack_into("II", self.map, 0, every, seed)

    def fail(self, every):
        struct.pack_into("I", self.map, 0, every)

    def fail_only(self, number):
        """From now on the call of this number fails, and no other; 0: none."""
        struct.pack_into("QQ", self.map, 8, 0, 0)
        struct.pack_into("Q", self.map, 32, number)

    def calls(self):
        """How many there were, of which some could fail."""
        return struct.unpack_from("Q", self.map, 8)[0]

    def failed(self):
        """How many have failed so far."""
        return struct.unpack_from("Q", self.map, 16)[0]

    def used(self):
        """Bytes of the heap in use, from some number on."""
        return struct.unpack_from("q", self.map, 24)[0]


class ClockJump(_Shim):
    """The wall clock goes wrong by what jump() says."""

    def __init__(self, t):
        super().__init__(t, "clock_jump", "DISPATCH_CLOCK_JUMP", 8)
        self.jump(1 << 30)
        # The host may have no use for that clock, so the proof is another program of its name.
        shown = subprocess.check_output(["dispatch-host", "+%s"], executable=tap.tool("date"),
                                        env=dict(os.environ, **self.env))
        tap.check(int(shown) > time.time() + (1 << 29), "the clock can be put wrong", shown)
        self.jump(0)

    def jump(self, seconds):
        struct.pack_into("q", self.map, 0, seconds)
