# SPDX-License-Identifier: MIT
"""Compiles the load generator."""

import glob
import os
import subprocess

from place import Failed

FLAGS = ["-std=gnu11", "-O2", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Wconversion",
         "-Wno-sign-conversion", "-Wstrict-prototypes"]


def load(into, *more):
    """Compiles it into a folder; `more` are flags. Returns its path."""
    here = os.path.dirname(os.path.realpath(__file__))
    path = os.path.join(into, "load")
    done = subprocess.run([*os.environ.get("CC", "cc").split(), *FLAGS, *more, "-o", path,
                           *sorted(glob.glob(os.path.join(here, "load", "*.c")))],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed("the load generator: " + done.stdout.decode(errors="replace"))
    return path
