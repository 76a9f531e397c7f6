# SPDX-License-Identifier: MIT
"""How long a look-up in the rules takes, with a hundred thousand names and networks in files."""

import glob
import json
import os
import random
import subprocess

import place as places
from place import Failed

LINES = 100000

CONFIG = """\
links: {out: {dialer: direct}}
rules:
  - {host-file: [names], action: deny}
  - {network-file: [networks], action: deny}
"""


def _network(number):
    return "%d.%d.%d" % (20 + (number >> 16), number >> 8 & 255, number & 255)


def _destinations(kind, hit):
    """In no order, so that no look-up finds in the processor's caches what the one before left. Of
    networks every other one is in the file."""
    chance = random.Random(1)
    numbers = chance.sample(range(LINES), LINES)
    if kind == "name":
        return ["www.%s%d.example.com:443" % ("known" if hit else "other", n) for n in numbers]
    return ["%s.%d:443" % (_network(2 * n + (0 if hit else 1)), chance.randrange(256))
            for n in numbers]


def _look_up(program, plugins, folder, file, rounds, under=()):
    done = subprocess.run([*under, program, "lookups.yaml", file, str(rounds)], cwd=folder,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          env=dict(os.environ, DISPATCH_PLUGIN_PATH=plugins))
    if done.returncode != 0:
        raise Failed(done.stderr.decode(errors="replace").strip())
    return json.loads(done.stdout)


def _instructions(folder, look_up, total_read):
    """Of the look-ups alone."""
    for path in glob.glob(os.path.join(folder, "count*")):
        os.unlink(path)
    seen = look_up(1, [places.tool("valgrind"), "-q", "--tool=callgrind",
                       "--toggle-collect=look_up_all", "--callgrind-out-file=count"])
    return total_read(os.path.join(folder, "count"), 0) / seen["count"]


def measure(bench, peer, total_read):
    """ns and user instructions of a look-up, by what is looked up."""
    if not os.path.isfile(peer.lookups):
        raise Failed("bench/lookups is not built beside the program")
    folder = os.path.join(bench.place.dir, "rules")
    os.makedirs(folder, exist_ok=True)
    bench.place.file("rules/lookups.yaml", CONFIG)
    bench.place.file("rules/names", "".join("*.known%d.example.com\n" % n for n in range(LINES)))
    bench.place.file("rules/networks", "".join("%s.0/24\n" % _network(2 * n)
                                               for n in range(LINES)))
    figures = {}
    for kind in ("name", "network"):
        for hit in (True, False):
            file = "%s-%s" % (kind, "hit" if hit else "miss")
            bench.place.file("rules/" + file, "\n".join(_destinations(kind, hit)) + "\n")

            def look_up(rounds, under=(), file=file, hit=hit):
                seen = _look_up(peer.lookups, peer.env["DISPATCH_PLUGIN_PATH"], folder, file,
                                rounds, under)
                if seen["held"] != (seen["count"] if hit else 0):
                    raise Failed("%s: a rule held for %d of %d" % (file, seen["held"],
                                                                   seen["count"]))
                return seen

            seen = look_up(bench.sizes.lookup_rounds)
            figures[file + "-ns"] = seen["seconds"] / seen["count"] * 1e9
            figures[file + "-instructions"] = _instructions(folder, look_up, total_read)
    return figures
