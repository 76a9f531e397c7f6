# SPDX-License-Identifier: MIT
"""What is preloaded into the host, and steered while it runs: a failing allocator, a wall clock that
jumps."""

import mmap
import os
import struct

from . import tap
from .host import program, sanitized


class _Shim:
    """A file that the host and this test have mapped; .env is for the host to be started with."""

    def __init__(self, t, name, variable, size):
        if sanitized():
            raise tap.Skip("a sanitizer has these calls for itself")
        path = os.path.join(os.path.dirname(program()), "..", "tests", "lib", ".libs", name + ".so")
        if not os.path.exists(path):
            raise tap.Skip("not built: " + name)
        self.path = os.path.realpath(path)
        control = t.file("%s-%d" % (name, len(os.listdir(t.dir))), bytes(size), 0o666)
        self.env = {"LD_PRELOAD": self.path, variable: control}
        with open(control, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), size)

    def check_loaded(self, host):
        """It would do nothing where the loader leaves it out."""
        with open("/proc/%d/maps" % host.proc.pid, encoding="utf-8") as f:
            tap.check(self.path in f.read(), "%s is loaded" % self.path)


class FailMalloc(_Shim):
    """One allocation in `every` fails from the moment the host has started; 0: none."""

    def __init__(self, t, every=0, seed=1):
        super().__init__(t, "fail_malloc", "DISPATCH_FAIL_MALLOC", 24)
        struct.pack_into("II", self.map, 0, every, seed)

    def fail(self, every):
        struct.pack_into("I", self.map, 0, every)

    def failed(self):
        """How many have failed so far."""
        return struct.unpack_from("Q", self.map, 16)[0]


class ClockJump(_Shim):
    """The wall clock goes wrong by what jump() says."""

    def __init__(self, t):
        super().__init__(t, "clock_jump", "DISPATCH_CLOCK_JUMP", 8)

    def jump(self, seconds):
        struct.pack_into("q", self.map, 0, seconds)
