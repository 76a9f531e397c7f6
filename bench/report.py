# SPDX-License-Identifier: MIT
"""The figures of a run as Markdown: medians, spreads, ratios."""

import json
import os
import platform
import statistics
import time

OURS = "dispatch-host"


class Group:
    """A table: rows of (title, measure, figure)."""

    def __init__(self, title, text, rows):
        self.title, self.text, self.rows = title, text, rows


def _ways(figure):
    return [("%d stream%s %s" % (n, "s" if n > 1 else "", way), "gb-%d-%s" % (n, way), figure)
            for n in (1, 8, 64) for way in ("down", "up", "both")]


def _at_once(figure):
    return [("%d at once" % n, "conn-%d" % n, figure) for n in (1, 64, 512)]


MESSAGES = [("100 connections, 10,000 a second", "msg-100"),
            ("1,000 connections, 10,000 a second", "msg-1000"),
            ("100 connections, flat out", "msg-100-flat"),
            ("1,000 connections, flat out", "msg-1000-flat")]

# What a proxy costs: less is better.
COSTS = [
    Group("CPU seconds per gigabyte", "", _ways("cpu")),
    Group("CPU µs per connection",
          "Connect, SOCKS5 handshake (not with the forwarders), 64 bytes each way, close.",
          _at_once("cpu")),
    Group("CPU µs per exchange", "64 bytes and their answer, on connections that stay open.",
          [(title, measure, "cpu") for title, measure in MESSAGES]),
    Group("Latency of an exchange, µs", "Counted from when each was due; flat out, from when the "
          "one before was answered.",
          [("%s: %s" % (title, label), measure, figure) for title, measure in MESSAGES
           for label, figure in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))]),
    Group("Time to first byte, µs", "From connect() to the first byte of the answer, one "
          "connection after another.", [("median", "ttfb", "p50"), ("p99", "ttfb", "p99")]),
    Group("An idle connection", "", [("user memory, KiB", "idle", "user"),
                                     ("kernel memory, KiB", "idle", "kernel"),
                                     ("descriptors", "idle", "fds")]),
    Group("HTTP CONNECT", "What a connection and a gigabyte cost that go by a tunnel.",
          [("CPU µs per connection, 1 at once", "http-tunnel-1", "cpu"),
           ("CPU µs per connection, 64 at once", "http-tunnel-64", "cpu"),
           ("time to first byte, 1 at once, µs", "http-tunnel-1", "p50"),
           ("CPU s per gigabyte, 1 stream down", "http-tunnel-gb-1", "cpu"),
           ("CPU s per gigabyte, 8 streams down", "http-tunnel-gb-8", "cpu")]),
    Group("Plain HTTP", "GET of 64 bytes on connections that are kept (tinyproxy keeps none: by a "
          "new one for each), and of big files.",
          [("CPU µs per request, 100 connections, 2,000 a second", "http-get-100", "cpu"),
           ("CPU µs per request, 100 connections, flat out", "http-get-100-flat", "cpu"),
           ("CPU µs per request, each by a new connection, 64 at once", "http-new-64", "cpu"),
           ("system calls per request, 1 connection", "http-get-calls", "count"),
           ("user instructions per request, 1 connection", "http-get-instructions", "count"),
           ("latency at 2,000 a second: p50, µs", "http-get-100", "p50"),
           ("latency at 2,000 a second: p99, µs", "http-get-100", "p99"),
           ("CPU s per gigabyte, 1 file at once", "http-get-gb-1", "cpu"),
           ("CPU s per gigabyte, 8 files at once", "http-get-gb-8", "cpu")]),
    Group("A look-up in rules", "One rule has a file of 100,000 names (`*.known1.example.com`), "
          "one a file of 100,000 networks.",
          [("%s, %s" % (title, label), "rules", "%s-%s" % (file, figure))
           for title, file in (("a name", "name-hit"), ("a name that is in none", "name-miss"),
                               ("an address", "network-hit"),
                               ("an address that is in none", "network-miss"))
           for label, figure in (("ns", "ns"), ("user instructions", "instructions"))]),
    Group("Counts per connection", "One at a time, under strace and callgrind.",
          [("system calls", "calls", "count"), ("user instructions", "instructions", "count"),
           ("user instructions, by name", "instructions-name", "count"),
           ("user instructions of danted's request child", "dante", "count")]),
]
# How fast it went: more is better.
SPEEDS = [
    Group("Gbit/s", "", _ways("speed")),
    Group("Connections per second", "", _at_once("speed")),
    Group("Exchanges per second", "",
          [(title, measure, "speed") for title, measure in MESSAGES if "flat" in measure]),
    Group("HTTP", "",
          [("tunnels per second, 64 at once", "http-tunnel-64", "speed"),
           ("tunnel, 1 stream down, Gbit/s", "http-tunnel-gb-1", "speed"),
           ("tunnel, 8 streams down, Gbit/s", "http-tunnel-gb-8", "speed"),
           ("requests per second, 100 kept connections", "http-get-100-flat", "speed"),
           ("requests per second, each by a new connection, 64 at once", "http-new-64", "speed"),
           ("1 file at once, Gbit/s", "http-get-gb-1", "speed"),
           ("8 files at once, Gbit/s", "http-get-gb-8", "speed")]),
    Group("The load generator itself", "Its processor time without a proxy: client and server.",
          [("a gigabyte by 8 streams, s", "gb-8-down", "load"),
           ("a connection, 64 at once, µs", "conn-64", "load"),
           ("an exchange, 100 connections, flat out, µs", "msg-100-flat", "load")]),
]


class Results:
    """Values by peer, measure and figure, one for each round."""

    def __init__(self, peers):
        self.peers = peers
        self.values = {}
        self.failures = {}  # (peer, measure) -> why
        self.rounds, self.minutes = 0, 0

    def save(self, path):
        """For load()."""
        rows = {"values": list(self.values.items()), "failures": list(self.failures.items())}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(dict(vars(self), **rows), f)

    def load(self, path):
        """Adds what another run has saved, where this one has nothing."""
        with open(path, encoding="utf-8") as f:
            saved = json.load(f)
        mine = {key[:2] for key in self.values} | set(self.failures)
        for rows, own in ((saved["values"], self.values), (saved["failures"], self.failures)):
            own.update((tuple(key), row) for key, row in rows if tuple(key[:2]) not in mine)
        self.rounds = max(self.rounds, saved["rounds"])
        self.minutes += saved["minutes"]

    def add(self, peer, measure, figures):
        for figure, value in figures.items():
            if value is not None:
                self.values.setdefault((peer, measure, figure), []).append(value)

    def fail(self, peer, measure, why):
        self.failures.setdefault((peer, measure), why)

    def seen(self, peer, measure, figure):
        """The values of all rounds; none if one of them failed."""
        if (peer, measure) in self.failures:
            return []
        return self.values.get((peer, measure, figure), [])

    def median(self, peer, measure, figure):
        seen = self.seen(peer, measure, figure)
        return statistics.median(seen) if seen else None

    def ratio(self, peer, measure, figure):
        """Ours to the peer's."""
        ours, theirs = (self.median(p, measure, figure) for p in (OURS, peer))
        return ours / theirs if ours is not None and theirs else None


METHOD = """\
## How it is measured

Three network namespaces stand in a row, client, proxy and server, joined by two veth pairs. The
proxy is kept on one processor core, the load on another. In each round every peer is started in
fresh namespaces, measured and stopped, in random order. All run as an ordinary user, with one
worker (microsocks has a thread for each client, danted its processes), log errors only, and
otherwise have the defaults they are packaged with; microsocks cannot log less, so its log goes to
`/dev/null`. nginx and haproxy pass TCP on to one server: they are spared the SOCKS5 handshake.

- **Load.** One thread holds the client's and the server's end of every stream and compares every
  byte with what the other end sent. At the first wrong, missing or surplus byte, refused
  connection, or 5 s in which nothing moves, the measure has failed and says so instead of a figure.
- **CPU** is user and system time of all processes of the peer, children that have ended included,
  from the kernel's clocks for processes. What is sent into a veth pair is received by the kernel
  on the account of the sender: the figures hold that half of each transfer, for all peers alike,
  but for what the kernel leaves to a thread of its own.
- **A gigabyte** is 10^9 bytes, those of both directions counted.
- **Time.** Exchanges at a fixed rate are due at fixed times, and each counts from when it was due,
  also if the one before was late.
- **Memory.** What 2,000 more idle connections take (1,000 in a quick run): of user memory the
  growth of all processes' proportional set size, of kernel memory that of slabs, kernel stacks and
  page tables, less what the client's and the server's sockets take without a proxy. Afterwards
  every connection is used once more.
- **dispatch-host+living** is dispatch-host with stickiness by client and host, and a health
  check every ten seconds; only what a connection costs is counted of it.
- **danted+module** is danted with dispatch-dante(8) preloaded and one link, which leads the same way
  out; only what a connection costs is measured of it.
- **HTTP.** In plain HTTP the connections to the server are the proxy's own: a document's path and
  ETag name its stream and number, so an answer that went astray is found like a wrong byte. squid
  runs as one process (`-N`), caches nothing (`cache deny all`), logs nothing and adds nothing (`via
  off`, `forwarded_for delete`). tinyproxy logs and adds nothing either (`LogLevel Critical`,
  `DisableViaHeader`); its limit of 100 clients is raised. It has a thread for each client, and
  keeps no client's connection, so its requests come by a new one each. dispatch-host has no such
  relief: it adds Via, as RFC 9110 asks of a proxy. Big files are of 100 MiB (20 MiB in a quick
  run), 8 in all.
- **Look-ups** are timed by `bench/lookups`, which is built of the objects that dispatch-host is
  built of, by its own processor time. 100,000 destinations are asked for in no order, so their
  memory is cold, and each answer is counted: one missed or too many, and there is no figure.
- **Counts** come from strace and callgrind, by the growth from one number of connections to
  another, so that the start drops out; in the first rounds only, for they hardly vary. danted's
  request child is the process that makes the connections to servers, where the module works.

Ratios hold on other machines too, roughly; seconds do not."""


def _processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def head(peers, results, quick):
    """The beginning of the report: what, when, where, who."""
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    versions = ", ".join("%s %s" % (p.name, p.version()) for p in peers if p.version())
    return ["# Benchmark", "",
            "What dispatch-host costs beside SOCKS5 servers, HTTP proxies and plain TCP forwarders.",
            "`direct` is the same way without a proxy. A figure is the median of %d rounds, with"
            % results.rounds, "the least and the largest in brackets.", "",
            "- Measured on %s in %.0f minutes with `bench/run%s`"
            % (time.strftime("%Y-%m-%d"), results.minutes, " --quick" if quick else ""),
            "- Machine: %d processors (%s), Linux %s" % (os.cpu_count(), _processor(), kernel),
            "- Peers: " + versions, ""]


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    digits = 2
    while abs(value) >= 10 ** (3 - digits) and digits > 0:
        digits -= 1
    if abs(value) < 1:
        digits = 3 if abs(value) < 0.1 else 2
    return "{:,.{}f}".format(value, digits)


def _cell(results, peer, row):
    if (peer, row[1]) in results.failures:
        return "fails"
    seen = results.seen(peer, *row[1:])
    if not seen:
        return "–"
    middle, least, most = (number(f(seen)) for f in (statistics.median, min, max))
    return middle if least == most else "%s (%s–%s)" % (middle, least, most)


def _ratio_cell(results, peer, row):
    ratio = results.ratio(peer, *row[1:])
    return "–" if ratio is None else number(ratio)


def _table(head, rows):
    """A Markdown table, also readable as it is."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join([cells[0].ljust(widths[0])]
                                 + [c.rjust(w) for c, w in zip(cells[1:], widths[1:])]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return [line(head), rule] + [line(row) for row in rows]


def _group(results, group, peers, cell, text):
    """A group as lines; none if nothing of it was measured."""
    rows = [row for row in group.rows if any(cell(results, p, row) != "–" for p in peers)]
    peers = [p for p in peers if any(cell(results, p, row) != "–" for row in rows)]
    if not rows:
        return []
    lines = ["### " + group.title, ""]
    lines += [text, ""] if text else []
    cells = [[row[0]] + [cell(results, p, row) for p in peers] for row in rows]
    return lines + _table([""] + peers, cells) + [""]


def _section(title, text, groups):
    lines = [line for group in groups for line in group]
    return ["## " + title, "", *([text, ""] if text else []), *lines] if lines else []


def figures(results):
    """All that was measured, as lines of Markdown."""

    def values(groups):
        return [_group(results, group, results.peers, _cell, group.text) for group in groups]

    others = [p for p in results.peers if p not in (OURS, "direct")]
    ratios = [_group(results, group, others, _ratio_cell, "") for group in COSTS]
    lines = _section("Costs", "Less is better.", values(COSTS))
    lines += _section("Speed", "More is better. Where `direct` is no faster, the load generator is "
                      "at its limit, not the proxy.", values(SPEEDS))
    lines += _section("Ratios", "The median of %s divided by that of the other; less is better."
                      % OURS, ratios)
    if results.failures:
        lines += ["## Failures", ""]
        lines += ["- %s, %s: %s" % (*key, why) for key, why in results.failures.items()] + [""]
    return lines
