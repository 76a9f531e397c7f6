#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The module in danted, attacked: odd requests, odd moments, and people who help by trying again."""

from lib import client, servers, tap
from lib.dante import Balanced, config
from lib.tap import case, equal
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
