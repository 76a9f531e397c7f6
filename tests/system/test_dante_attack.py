#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The module in danted, attacked: odd requests, odd moments, and people who help by trying again."""

import os
import subprocess

from lib import client, dante, servers, tap
from lib.dante import Balanced, config
from lib.tap import case, equal, table
from lib.world import TARGET, World

NEEDS = ["danted"]
EQUAL = {"a": "interface: a0", "b": "interface: b0"}


class Place:
    """Two links, a server that says by which it was reached, and danted."""

    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.danted = Balanced(t, config(EQUAL))

    def links(self, count):
        return client.links_of(count, self.danted.addr, TARGET, self.told.port)


# ---- the state file ----

def another(d, *args):
    """One more danted with the files of this one, to its end: its exit status."""
    return subprocess.run(
        [tap.tool("danted"), "-p", d.pid_path + ".2", *args], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20, check=False,
        env=dict(os.environ, **dante.environment(d.yaml_path))).returncode


@table("the state stays that of the danted that serves, with", [
    ("`danted -V` beside it", ["-V"], "internal: ", 0),
    ("another that does not get its port", [], "internal: ", 1),
    ("another that listens on its anchor", [],
     "internal: %s port = 1\ninternal: " % dante.ANCHOR, 78)], needs=NEEDS)
def state_kept(t, args, internal, status):
    p = Place(t)
    p.links(3)
    with open(p.danted.file, encoding="utf-8") as f:
        text = f.read()
    other = t.file("other.conf", text.replace("internal: ", internal))
    equal(another(p.danted, "-f", other, *args), status, "the status of the other one")
    p.links(1)
    equal(sum(link.picks for link in p.danted.state().links.values()), 4, "picks")
    equal([name for name in os.listdir(t.dir) if name.startswith("dante.state")], ["dante.state"],
          "state files")


# ---- reloads without end ----

@case("reloads that replace 250 links each time do not wear out", needs=NEEDS)
def links_without_end(t):
    p = Place(t)
    for i in range(8):
        p.danted.reload(config({"x%d-%d" % (i, n): "interface: a0" for n in range(250)}))
        p.links(1)
        picks = [link.picks for name, link in p.danted.state().links.items()
                 if name.startswith("x%d-" % i)]
        equal((len(picks), sum(picks)), (250, 1), "new links, and connections by them")


if __name__ == "__main__":
    tap.main()
