#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The drop-in for systemd: Debian's unit of danted with it is one that systemd accepts."""

import os
import shutil
import subprocess

from lib import tap
from lib.host import program
from lib.tap import case, equal, matches

UNIT = "/lib/systemd/system/danted.service"
DROP_IN = os.path.join(os.path.dirname(program()), "..", "packaging", "systemd",
                       "danted.service.d", "dispatch.conf")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def drop_in():
    if not os.path.exists(DROP_IN):
        raise tap.Skip("dispatch-host is not where it was built")
    return read(DROP_IN)


def verify(t, text):
    """What systemd says of Debian's unit with this drop-in."""
    if not os.path.exists(UNIT):
        raise tap.Skip("there is no " + UNIT)
    os.makedirs(os.path.join(t.dir, "danted.service.d"), exist_ok=True)
    t.file("danted.service.d/dispatch.conf", text)
    unit = shutil.copy(UNIT, t.dir)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode()


@case("systemd accepts Debian's unit with the drop-in", needs=["systemd-analyze", "danted"])
def accepted(t):
    equal(verify(t, drop_in()), (0, ""), "exit status and findings")


@case("and has read it: a key that is misspelt there is found", needs=["systemd-analyze", "danted"])
def misspelt(t):
    text = drop_in()
    for key in ("Environment", "RuntimeDirectory", "ExecReload", "RestartPreventExitStatus"):
        _status, said = verify(t, text.replace("\n%s=" % key, "\n%sX=" % key))
        matches(r"dispatch\.conf:\d+: Unknown key( name)? '%sX'" % key, said, "the finding")


@case("no path is left to be filled in, and all are whole")
def paths(t):
    del t
    text = drop_in()
    equal([x for x in text.splitlines() if "@" in x or "${" in x], [], "lines to be filled in")
    for name, end in (("LD_PRELOAD", "/dispatch/dispatch-dante.so"),
                      ("DISPATCH_CONFIG", "/dispatch/dispatch.yaml")):
        matches(r"^Environment=%s=/\S+%s$" % (name, end.replace(".", r"\.")), text, name)


if __name__ == "__main__":
    tap.main()
