# SPDX-License-Identifier: MIT
"""The benchmark: dispatch-host beside other proxies, in one run."""

import argparse
import os
import random
import subprocess
import sys
import time

import measures
import peers
import place as places
import report
from place import Failed

HERE = os.path.dirname(os.path.realpath(__file__))
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wno-sign-conversion",
            "-Wstrict-prototypes"]


def load_build(into, *more):
    """Compiles the load generator; returns its path."""
    sources = sorted(os.path.join(HERE, "load", name)
                     for name in os.listdir(os.path.join(HERE, "load")) if name.endswith(".c"))
    path = os.path.join(into, "load")
    done = subprocess.run([*os.environ.get("CC", "cc").split(), "-std=gnu11", "-O2", "-g",
                           *WARNINGS, *more, "-D_GNU_SOURCE", "-o", path, *sources],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed("the load generator: " + done.stdout.decode(errors="replace"))
    return path


def options_read():
    names = ", ".join(measures.MEASURES)
    parser = argparse.ArgumentParser(
        prog="bench/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures dispatch-host beside other proxies; prints a table.",
        epilog="measures: %s\nA word stands for all that begin with it: gb, gb-8, conn.\n\n"
               "In COMMAND, {listen} and {port} stand for where it must listen, {address} and\n"
               "{device} for the way out, {config} for a dispatch-host configuration:\n"
               "  --also 'old=env DISPATCH_PLUGIN_PATH=DIR PATH/dispatch-host -q -c {config}'"
               % names)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, less of each: about "
                        "3 minutes")
    parser.add_argument("--only", metavar="PEER[,PEER]...", help="these peers only")
    parser.add_argument("--measure", metavar="NAME[,NAME]...", help="these measures only")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each peer is measured")
    parser.add_argument("--host", metavar="PATH", help="the dispatch-host that is measured; "
                        "without it this tree is built, and what is missing installed")
    parser.add_argument("--plugins", metavar="DIR", help="its plugins (default: those built "
                        "with it)")
    parser.add_argument("--also", metavar="NAME=COMMAND", action="append", default=[],
                        help="one more SOCKS5 server")
    parser.add_argument("--write", action="store_true", help="write doc/benchmark.md and "
                        "doc/benchmark.svg")
    options = parser.parse_args()
    options.host = os.path.realpath(options.host or "")
    if not os.path.isfile(options.host):
        parser.error("--host: there is no %s" % options.host)
    options.plugins = options.plugins or os.path.join(os.path.dirname(options.host), "..",
                                                      "plugins", ".libs")
    if not os.path.isdir(options.plugins):
        parser.error("--plugins: there is no folder %s" % options.plugins)
    return options


def peers_chosen(options, host, plugins):
    known = peers.known(host, plugins, options.also)
    wanted = options.only.split(",") if options.only else [p.name for p in known]
    for name in wanted:
        if name not in [p.name for p in known]:
            raise Failed("there is no peer %s; there are: %s"
                         % (name, ", ".join(p.name for p in known)))
    found = []
    for peer in known:
        if peer.name not in wanted:
            continue
        if peer.missing():
            tell("%s is left out: not installed: %s" % (peer.name, peer.missing()))
            continue
        found.append(peer)
    return found


def tell(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def peer_measure(bench, peer, names, results):
    """One start of a peer, and all measures of it."""
    with peers.Running(bench.place, peer) as running:
        for name in names:
            try:
                results.add(peer.name, name, measures.MEASURES[name](bench, running))
            except Failed as error:
                tell("%s: %s: %s" % (peer.name, name, error))
                results.fail(peer.name, name, str(error))
                running.restart()


def main():
    options = options_read()
    places.enter()
    sizes = measures.Sizes(options.quick)
    rounds = options.rounds or sizes.rounds
    names = measures.chosen(options.measure.split(",") if options.measure else [])
    started = time.monotonic()
    with places.Place() as place:
        bench = measures.Bench(place, load_build(place.dir), sizes)
        found = peers_chosen(options, *peers.copied(place, options.host, options.plugins))
        results = report.Results([p.name for p in found], names)
        for number in range(1, rounds + 1):
            for peer in random.sample(found, len(found)):
                tell("round %d of %d: %s (%d s)" % (number, rounds, peer.name,
                                                    time.monotonic() - started))
                peer_measure(bench, peer, names, results)
        text = report.table(results, found, rounds, time.monotonic() - started)
    print(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit("bench: %s" % error)
