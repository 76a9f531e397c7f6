# SPDX-License-Identifier: MIT
"""What is measured, and how. A measure takes a peer that runs and returns its figures by name."""

import glob
import json
import os
import re
import subprocess
import time

import place as places
import rules
from peers import Peer, Running
from place import Failed


class Sizes:
    """How much of each, for a full run or a quick one."""

    def __init__(self, quick):
        self.rounds = 2 if quick else 5
        self.bulk_s = 0.3 if quick else 1.5
        self.conns = {1: 500, 64: 2000, 512: 2000} if quick else {1: 3000, 64: 10000, 512: 10000}
        self.msg_s = 0.4 if quick else 2.0
        self.msg_rate = 10000
        self.requests = 2000 if quick else 10000
        self.request_rate = 2000  # what all can do, those too that keep no connection
        self.document = 20 << 20 if quick else 100 << 20
        self.lookup_rounds = 5 if quick else 20
        self.first = 300 if quick else 1000
        self.idle = (500, 1500) if quick else (1000, 3000)
        self.counted = (20, 70) if quick else (50, 150)  # under strace and callgrind
        self.counted_rounds = 1 if quick else 2  # they hardly vary


class Bench:
    """What the measures share: the place, the load generator and the sizes."""

    def __init__(self, place, load, sizes):
        self.place, self.load_program, self.sizes = place, load, sizes

    def load_start(self, peer, run, server_port=places.SERVER_PORT, speak=None, **options):
        """Starts the load generator; an option `name` is its --name. `speak` is what it says to the
        peer, if that can do several."""
        server = "%s:%d" % (places.SERVER, server_port)
        through = "%s:%d" % (places.PROXY, places.PROXY_PORT) if peer.words else server
        words = [self.load_program, run, "--server", server, "--server-ns", "/run/netns/server",
                 "--through", through]
        speak = speak or peer.speaks[0]
        words += ["--" + speak] if speak != "tcp" else []
        for key, value in options.items():
            words += ["--" + key, str(value)]
        return self.place.popen("client", words, self.place.load_cpu, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @staticmethod
    def load_end(running, proc):
        """Its figures. Anything wrong, and there are none."""
        out, err = proc.communicate(b"\n")
        if proc.returncode != 0:
            text = err.decode(errors="replace").strip().replace("\n", "; ")
            raise Failed(text + running.said())
        return json.loads(out.splitlines()[-1])

    def load(self, running, run, **options):
        """Runs the load generator; returns its figures, and as `used` the processor seconds of
        the peer, None if there is none."""
        before = running.settle()
        figures = self.load_end(running, self.load_start(running.peer, run, **options))
        figures["used"] = running.settle() - before if running.proc else None
        return figures


def costs(seen, count, scale=1e6):
    """Processor time of the peer for one of `count`; without a peer that of the load generator,
    which sends, receives and compares."""
    if seen["used"] is None:
        return {"load": seen["cpu"] / count * scale}
    return {"cpu": seen["used"] / count * scale}


# ---- processor time and speed ----

def bulk(streams, way, speak=None):
    def measure(bench, running):
        seen = bench.load(running, "bulk", speak=speak, streams=streams, way=way,
                          seconds=bench.sizes.bulk_s)
        return {"speed": seen["bytes"] * 8e-9 / seen["seconds"],
                **costs(seen, seen["bytes"], 1e9)}
    return measure


def connections(at_once, speak=None):
    def measure(bench, running):
        seen = bench.load(running, "conn", speak=speak, streams=at_once,
                          count=bench.sizes.conns[at_once])
        return {"speed": seen["count"] / seen["seconds"], "p50": seen["p50_us"],
                **costs(seen, seen["count"])}
    return measure


def messages(streams, flat):
    def measure(bench, running):
        seen = bench.load(running, "msg", streams=streams, seconds=bench.sizes.msg_s,
                          rate=0 if flat else bench.sizes.msg_rate)
        return {"speed": seen["count"] / seen["seconds"], **costs(seen, seen["count"]),
                "p50": seen["p50_us"], "p99": seen["p99_us"], "p999": seen["p999_us"]}
    return measure


def first_byte(bench, running):
    seen = bench.load(running, "conn", streams=1, count=bench.sizes.first)
    return {"p50": seen["p50_us"], "p99": seen["p99_us"]}


# ---- plain HTTP ----

def requests(streams, flat):
    """On connections that are kept. Who keeps none is asked by a new one each time."""
    def measure(bench, running):
        sizes = bench.sizes
        rate = 0 if flat else sizes.request_rate
        if running.peer.keeps:
            seen = bench.load(running, "msg", speak="get", streams=streams, rate=rate,
                              seconds=sizes.msg_s)
        else:
            seen = bench.load(running, "conn", speak="get", streams=streams, rate=rate,
                              count=round(rate * sizes.msg_s) or sizes.requests)
        return {"speed": seen["count"] / seen["seconds"], **costs(seen, seen["count"]),
                "p50": seen["p50_us"], "p99": seen["p99_us"]}
    return measure


def documents(at_once):
    """Big ones, so that nothing but their bytes counts: a gigabyte or so in all."""
    def measure(bench, running):
        size = bench.sizes.document
        seen = bench.load(running, "conn", speak="get", streams=at_once, count=8, body=size)
        return {"speed": seen["count"] * size * 8e-9 / seen["seconds"],
                **costs(seen, seen["count"] * size, 1e9)}
    return measure


# ---- memory ----

def kernel_kib():
    """What the kernel holds for sockets, descriptors, threads and address spaces, of the whole
    machine: slabs, stacks and page tables."""
    with open("/proc/meminfo", encoding="ascii") as f:
        rows = dict(line.split(":") for line in f)
    return sum(int(rows[key].split()[0]) for key in ("Slab", "KernelStack", "PageTables"))


def user_kib(pids):
    """Proportional set size: what processes share is counted once."""
    total = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            total += int(re.search(r"^Pss: +(\d+)", f.read(), re.M)[1])
    return total


def held(bench, running, proc):
    """What one more idle connection takes: kernel memory, user memory and descriptors, by the
    growth from one number of connections to another, so that what there is at the start drops
    out. The connections stay until proc is told to go on."""
    seen = []
    for number in bench.sizes.idle:
        if seen:
            proc.stdin.write(b"\n")
            proc.stdin.flush()
        if proc.stdout.readline() != b"held %d\n" % number:
            break  # it has failed, and load_end() says how
        time.sleep(0.3)
        pids = running.pids()
        seen.append((kernel_kib(), user_kib(pids),
                     sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in pids)))
    if len(seen) < 2:
        bench.load_end(running, proc)
    first, second = bench.sizes.idle
    return [(b - a) / (second - first) for a, b in zip(*seen)]


def idle(bench, running):
    """The client's and the server's sockets are held without the proxy first, and taken off the
    kernel's memory. At the end every connection is used once more."""
    if not running.proc:
        return {}
    steps = "%d,%d" % bench.sizes.idle
    direct = bench.load_start(Peer("direct"), "idle", places.SERVER_PORT + 1, steps=steps)
    try:
        own = held(bench, running, direct)
        proc = bench.load_start(running.peer, "idle", steps=steps)
        kernel, user, descriptors = held(bench, running, proc)
        bench.load_end(running, proc)
    finally:
        direct.kill()
        direct.wait()
    return {"user": user, "kernel": kernel - own[0], "fds": descriptors}


# ---- counts ----

def one_connection(number):
    """A run of the load generator: so many connections, one by one."""
    return "conn", {"count": number}


def one_request(peer):
    """The same of requests of plain HTTP, on one connection if the peer keeps it."""
    def run(number):
        if not peer.keeps:
            return "conn", {"speak": "get", "count": number}
        return "msg", {"speak": "get", "rate": 1000, "seconds": number / 1000}
    return run


def counted(bench, running, under, count_read, one=one_connection, **more):
    """The growth of a count from one number of connections, or what `one` is, to another, divided
    by their difference. The peer is started anew, under a tool that counts; count_read(path,
    number) is what a file of it says."""
    seen = []
    for number in bench.sizes.counted:
        for path in glob.glob(os.path.join(bench.place.scratch, "count*")):
            os.unlink(path)
        run, options = one(number)
        with Running(bench.place, running.peer, under) as again:
            bench.load_end(again, bench.load_start(again.peer, run, patience=30, **options, **more))
        seen.append(sum(count_read(path, number) for path in
                        glob.glob(os.path.join(bench.place.scratch, "count*"))))
    return (seen[1] - seen[0]) / (bench.sizes.counted[1] - bench.sizes.counted[0])


def strace_total(path, _number):
    with open(path, encoding="ascii") as f:
        return int(f.read().rstrip().rpartition("\n")[2].split()[3])


def callgrind_total(path, _number):
    with open(path, encoding="utf-8", errors="replace") as f:
        return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)[1])


def strace(bench, running, **options):
    if not running.proc:
        return {}
    running.stop()
    file = os.path.join(bench.place.scratch, "count")
    return {"count": counted(bench, running, [places.tool("strace"), "-fcqq", "-o", file],
                             strace_total, **options)}


def calls(bench, running):
    return strace(bench, running)


def request_calls(bench, running):
    return strace(bench, running, one=one_request(running.peer))


def callgrind_connecting(path, connections_n):
    """Only what the process has used that has connected each time: danted's first request child,
    as long as there is one client at a time. It starts with what its parent has used."""
    with open(path, encoding="utf-8", errors="replace") as f:
        text = f.read()
    name = re.search(r"fn=\((\d+)\) connect$", text, re.M)
    calls_n = re.findall(r"^cfn=\(%s\).*\ncalls=(\d+)" % name[1], text, re.M) if name else []
    return callgrind_total(path, 0) if sum(map(int, calls_n)) >= connections_n else 0


def callgrind(bench, running, count_read, **options):
    if not running.proc:
        return {}
    running.stop()
    file = os.path.join(bench.place.scratch, "count.%p")
    return {"count": counted(bench, running, [
        places.tool("valgrind"), "-q", "--tool=callgrind", "--callgrind-out-file=" + file],
        count_read, **options)}


def instructions(bench, running):
    return callgrind(bench, running, callgrind_total)


def instructions_name(bench, running):
    """By the server's name, which is in the hosts file."""
    if running.peer.speaks == ("tcp",):
        return {}
    return callgrind(bench, running, callgrind_total, host=places.SERVER_NAME)


def request_instructions(bench, running):
    return callgrind(bench, running, callgrind_total, one=one_request(running.peer))


def dante(bench, running):
    """Of danted's processes the request children only, where the module works."""
    if running.peer.words[:1] != ["danted"]:
        return {}
    return callgrind(bench, running, callgrind_connecting)


# ---- rules ----

def lookups(bench, running):
    return rules.measure(bench, running.peer, callgrind_total)


# ---- all of them ----

# Memory first, while the peer and its namespaces are fresh; last what starts the peer anew.
MEASURES = {"idle": idle}
MEASURES.update(("gb-%d-%s" % (n, way), bulk(n, way))
                for n in (1, 8, 64) for way in ("down", "up", "both"))
MEASURES.update(("conn-%d" % n, connections(n)) for n in (1, 64, 512))
MEASURES.update(("msg-%d%s" % (n, "-flat" if flat else ""), messages(n, flat))
                for n in (100, 1000) for flat in (False, True))
MEASURES.update({"ttfb": first_byte, "calls": calls, "instructions": instructions,
                 "instructions-name": instructions_name, "dante": dante})
MEASURES.update(("http-tunnel-%d" % n, connections(n, "connect")) for n in (1, 64))
MEASURES.update(("http-tunnel-gb-%d" % n, bulk(n, "down", "connect")) for n in (1, 8))
MEASURES.update(("http-get-100" + ("-flat" if flat else ""), requests(100, flat))
                for flat in (False, True))
MEASURES.update(("http-get-gb-%d" % n, documents(n)) for n in (1, 8))
MEASURES.update({"http-new-64": connections(64, "get"), "http-get-calls": request_calls,
                 "http-get-instructions": request_instructions, "rules": lookups})
COUNTS = ("calls", "instructions", "instructions-name", "dante", "http-get-calls",
          "http-get-instructions", "rules")


def fits(name, peer):
    """Whether the measure is one of those of the peer: it must speak what that takes."""
    if peer.measures is not None:
        return name in peer.measures
    if name == "rules":
        return peer.lookups is not None
    if not name.startswith("http-"):
        return bool({"tcp", "socks"} & set(peer.speaks))
    return ("connect" if name.startswith("http-tunnel") else "get") in peer.speaks


def chosen(words):
    """The measures whose names are, or begin with, one of these words."""
    for word in words:
        if not any((name + "-").startswith(word + "-") for name in MEASURES):
            raise Failed("there is no measure %s; there are: %s" % (word, ", ".join(MEASURES)))
    return [name for name in MEASURES
            if not words or any((name + "-").startswith(word + "-") for word in words)]
