# SPDX-License-Identifier: MIT
"""The benchmark: dispatch-host beside other proxies, in one run."""

import argparse
import os
import random
import sys
import time

import build
import chart
import measures
import peers
import place as places
import report
from place import Failed

HERE = os.path.dirname(os.path.realpath(__file__))


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
                        "5 minutes instead of about 30")
    parser.add_argument("--only", metavar="PEER[,PEER]...", help="these peers only")
    parser.add_argument("--measure", metavar="NAME[,NAME]...", help="these measures only")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each peer is measured")
    parser.add_argument("--host", metavar="PATH", help="the dispatch-host that is measured; "
                        "without it this tree is built, and what is missing installed")
    parser.add_argument("--plugins", metavar="DIR", help="its plugins (default: those built "
                        "with it)")
    parser.add_argument("--module", metavar="PATH", help="its module for danted (default: the one "
                        "built with it)")
    parser.add_argument("--also", metavar="NAME=COMMAND", action="append", default=[],
                        help="one more SOCKS5 server")
    parser.add_argument("--keep", metavar="FILE", help="keep the figures in this file too, beside "
                        "those of runs before that are in it: a long run in parts")
    parser.add_argument("--write", action="store_true", help="write doc/benchmark.md and "
                        "doc/benchmark.svg, of this run and of what --keep has kept")
    options = parser.parse_args()
    if options.write and (options.only or (options.measure and not options.keep)):
        parser.error("--write wants all peers and, but for --keep, all measures")
    options.host = os.path.realpath(options.host or "")
    if not os.path.isfile(options.host):
        parser.error("--host: there is no %s" % options.host)
    folder = os.path.dirname(options.host)
    options.plugins = options.plugins or os.path.join(folder, "..", "plugins", ".libs")
    options.module = options.module or os.path.join(folder, "dante", ".libs", peers.MODULE)
    if not os.path.isdir(options.plugins):
        parser.error("--plugins: there is no folder %s" % options.plugins)
    return options


def peers_chosen(options, host, plugins):
    """Those of --only, or all, and those of --also; without what is not installed."""
    known, more = peers.known(host, plugins), [peers.also(text) for text in options.also]
    names = [peer.name for peer in known]
    wanted = options.only.split(",") if options.only else names
    for name in wanted:
        if name not in names:
            raise Failed("there is no peer %s; there are: %s" % (name, ", ".join(names)))
    found = [peer for peer in known if peer.name in wanted] + more
    for peer in found:
        if peer.missing():
            tell("%s is left out: not installed: %s" % (peer.name, peer.missing()))
    return [peer for peer in found if not peer.missing()]


def tell(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def peer_measure(bench, peer, names, results):
    """One start of a peer, and all measures of it."""
    left = [name for name in names if measures.fits(name, peer)]
    if not left:
        return
    try:
        with peers.Running(bench.place, peer) as running:
            while left:
                try:
                    results.add(peer.name, left[0], measures.MEASURES[left[0]](bench, running))
                except Failed as error:
                    tell("%s: %s: %s" % (peer.name, left[0], error))
                    results.fail(peer.name, left[0], str(error))
                    running.restart()
                left.pop(0)
    except Failed as error:  # it does not start
        tell("%s: %s" % (peer.name, error))
        for name in left:
            results.fail(peer.name, name, str(error))


def measure(options, place):
    """All rounds; returns the results."""
    sizes = measures.Sizes(options.quick)
    rounds = options.rounds or sizes.rounds
    names = measures.chosen(options.measure.split(",") if options.measure else [])
    bench = measures.Bench(place, build.load(place.dir), sizes)
    copies = peers.copied(place, options.host, options.plugins, options.module)
    found = peers_chosen(options, *copies)
    results = report.Results([p.name for p in found])
    if os.getloadavg()[0] > 0.5:
        tell("others use the processors (load average %.1f): the figures will be off"
             % os.getloadavg()[0])
    results.rounds = rounds
    started = time.monotonic()
    for number in range(1, rounds + 1):
        if number > sizes.counted_rounds:
            names = [name for name in names if name not in measures.COUNTS]
        for peer in random.sample(found, len(found)) if names else []:
            tell("%3d s: round %d of %d: %s" % (time.monotonic() - started, number, rounds,
                                                peer.name))
            peer_measure(bench, peer, names, results)
    results.minutes = (time.monotonic() - started) / 60
    return results, found


def write(results, head):
    """Puts the report and the chart where README and manual find them."""
    drawing = chart.chart(results)
    intro = ["![The main figures as a chart](benchmark.svg)", ""] if drawing else []
    folder = os.path.join(HERE, "..", "doc")
    with open(os.path.join(folder, "benchmark.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(head[:2] + intro + head[2:] + report.figures(results)
                          + [report.METHOD, ""]))
    if drawing:
        with open(os.path.join(folder, "benchmark.svg"), "w", encoding="utf-8") as f:
            f.write(drawing)


def main():
    options = options_read()
    places.enter()
    with places.Place() as place:
        results, found = measure(options, place)
        if options.keep and os.path.exists(options.keep):
            results.load(options.keep)
        if options.keep:
            results.save(options.keep)
        if options.write:
            write(results, report.head(found, results, options.quick))
        print("\n".join(report.figures(results)))


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit("bench: %s" % error)
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
