#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What is wrong fails closed: nothing leaves by a way that nobody chose, and the start says why.
And the module does nothing in any other program."""

import os
import re
import subprocess

from lib import client, dante, servers, tap
from lib.bind_udp import Udp, UdpTell
from lib.dante import ANCHOR, ANCHOR6, Balanced, Danted, config
from lib.host import once, sanitized
from lib.tap import case, check, equal, matches, table, wait_for
from lib.world import TARGET, TARGET6, Service, World, run

NEEDS = ["danted"]
EQUAL = {"a": "interface: a0", "b": "interface: b0"}


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)

    def nobody_reached(self, d):
        """Requests fail, and no server sees anything of them."""
        for _ in range(4):
            check(client.ask(d.addr, TARGET, self.told.port) != 0, "a request fails")
        equal(self.told.order, [], "connections the servers saw")


def stopped(t, yaml, *args, text=None):
    """Starts a danted that must end by itself; returns (status, what it printed)."""
    d = Balanced(t, yaml, text, args=args, wait=False)
    status = d.wait()
    wait_for("all of its processes have ended", lambda: not d.pids())
    return status, d.said() + d.log()


# ---- the start ----

@case("no module: the anchor reaches nobody", needs=NEEDS)
def no_module(t):
    p = Place(t)
    p.nobody_reached(Danted(t, dante.conf()))


@case("no module: nor does the IPv6 one, set up as the manual says, for TCP or UDP", needs=NEEDS)
def no_module6(t):
    p = Place(t)
    dante.anchor6_add(t)
    for link in p.world.links:
        p.told.add(link.name, link.ns, TARGET6)
    tell = UdpTell(t, p.world, TARGET6)
    d = Danted(t, dante.conf(ANCHOR6))
    check(client.ask(d.addr, TARGET6, p.told.port) != 0, "a request fails")
    d.wait_log(r"tcp/connect .*fd00:dead::1")
    udp = Udp(d.addr)
    t.defer(udp.close)
    udp.silent(TARGET6, tell.port)
    equal((p.told.order, tell.asked), ([], []), "what the servers saw")


BROKEN = [
    ("broken YAML", "links: {a: [\n", r"dispatch\.yaml:\d+:\d+: "),
    ("an unknown key", config(EQUAL).replace("interface: a0", "interfac: a0"),
     r'dispatch\.yaml:2:\d+: link "a": unknown key "interfac"; did you mean "interface"\?'),
    ("no such plugin", config(EQUAL, pool="balancer: nosuch"), r"dispatch\.yaml:5:\d+: .*nosuch"),
    ("no such pool", config(EQUAL).replace("pool: all", "pool: al"), r"dispatch\.yaml:6:\d+: "),
    ("no section dante", config(EQUAL).split("dante:")[0], r"dispatch\.yaml.*dante"),
    ("an anchor that is no address", config(EQUAL).replace(ANCHOR, "localhost"),
     r"dispatch\.yaml:6:\d+: "),
    ("a state file that cannot be made", config(EQUAL).replace("STATE", "/proc/nowhere/state"),
     r"/proc/nowhere/state"),
] + [
    ("a link with " + key,
     config({"a": "interface: a0, %s: %s" % (key, value), "b": "interface: b0"}),
     r'dispatch\.yaml: link "a": %s: not in danted' % key)
    for key, value in (("gateway", "10.0.1.2"), ("table", "7"), ("mark", "7"))
]


@table("the start ends with 78 and the message", BROKEN, needs=NEEDS)
def start(t, yaml, message):
    status, said = stopped(t, yaml)
    equal(status, 78, "exit status; it said:\n" + said)
    matches(message, said, "the message")


@table("danted -V checks the file too", BROKEN[:3], needs=NEEDS)
def verify(t, yaml, message):
    status, said = stopped(t, yaml, "-V")
    equal(status, 78, "exit status; it said:\n" + said)
    matches(message, said, "the message")


@case("danted -V finds nothing in a good one, and serves nobody", needs=NEEDS)
def verify_good(t):
    World(t)
    equal(stopped(t, config(EQUAL), "-V")[0], 0, "exit status")


@case("no such file", needs=NEEDS)
def no_file(t):
    d = Danted(t, dante.conf(), env=dante.environment("/nowhere/dispatch.yaml"), wait=False)
    equal(d.wait(), 78, "exit status")
    matches(r"/nowhere/dispatch\.yaml", d.said(), "the message")


@case("an anchor that is an internal address too is refused", needs=NEEDS)
def internal(t):
    World(t)
    text = dante.conf().replace("internal: 127.0.0.1", "internal: " + ANCHOR)
    status, said = stopped(t, config(EQUAL), text=text)
    equal(status, 78, "exit status; it said:\n" + said)
    matches(re.escape(ANCHOR), said, "the message names it")


# ---- links that are not there ----

@case("a device that is not there: nothing leaves, and it is used once it is there", needs=NEEDS)
def no_device(t):
    p = Place(t)
    d = Balanced(t, config({"x": "interface: none0"}))
    p.nobody_reached(d)
    d.wait_active(x=0)
    p.world.a.down()
    run("ip", "link", "set", "a0", "name", "none0")
    t.defer(run, "ip", "link", "del", "none0")  # now: the next case's has the same index
    run("ip", "link", "set", "none0", "up")
    run("ip", "route", "replace", "default", "via", p.world.a.gw, "dev", "none0")
    equal(client.until_served(d.addr, TARGET, p.told.port, 15), "a", "link")


@case("one of two devices is not there: all by the other", needs=NEEDS)
def one_device(t):
    p = Place(t)
    d = Balanced(t, config({"x": "interface: none0", "b": "interface: b0"}))
    equal(client.links_of(8, d.addr, TARGET, p.told.port), "b" * 8, "links")


@case("upstreams that refuse: nothing goes past them", needs=NEEDS)
def upstreams_refuse(t):
    p = Place(t)
    d = Balanced(t, config({"up": "dialer: socks, server: 10.0.1.2:9"}))
    p.nobody_reached(d)
    d.wait_active(up=0)


@case("this machine's own loopback is not reached by a link", needs=NEEDS)
def loopback(t):
    World(t)
    here = Service(t, servers.tell, [("here", None, "127.0.0.1")])
    d = Balanced(t, config(EQUAL))
    check(client.ask(d.addr, "127.0.0.1", here.port) != 0, "a request fails")
    equal(here.order, [], "connections the server saw")


@table("external.rotation that knows no anchor: nothing leaves",
       [("route", "route"), ("same-same", "same-same")], needs=NEEDS)
def rotation(t, how):
    p = Place(t)
    p.nobody_reached(Balanced(t, config(EQUAL), "external.rotation: %s\n%s" % (how, dante.conf())))


# ---- the state ----

@case("--dante-state says what is wrong with a file", needs=NEEDS)
def state(t):
    World(t)
    for path, message in (("/nowhere/state", "No such file"), ("/dev/null", "not a state file"),
                          (t.file("text", "LINK\n" * 9000), "not a state file")):
        status, out, err = once("--dante-state", path)
        equal((status, out), (1, ""), "exit status, standard output for " + path)
        check(message in err and path in err, "the message", err)
    d = Balanced(t, config(EQUAL))
    d.end()
    status, out, err = once("--dante-state", d.state_path)
    equal(status, 1, "exit status once danted has ended")
    matches(r"^a +up .*\nb +up .*\nsessions 0$", out, "how it was left")
    check("has ended" in err, "the message", err)


# ---- what is not ours ----

@case("an external address that is no anchor is left alone", needs=NEEDS)
def no_anchor(t):
    p = Place(t)
    d = Balanced(t, config({"b": "interface: b0"}), dante.conf("a0"))
    equal(client.links_of(4, d.addr, TARGET, p.told.port), "aaaa", "links: danted's own way")
    equal(d.state().links["b"].picks, 0, "picks")


def preloaded(t, *words):
    """Runs a program with the module and a broken file; returns (status, stdout, stderr)."""
    done = subprocess.run(words, env=dante.environment(t.file("bad.yaml", "links: {a: [\n")),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=20, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@table("with the module, and a file that is broken,", [
    ("sh -c prints what it did", ["sh", "-c", "echo one; echo two >&2; exit 3"],
     (3, "one\n", "two\n")),
    ("so does a pipe of programs", ["sh", "-c", "printf 'b\\na\\n' | sort | tr a-z A-Z"],
     (0, "A\nB\n", "")),
])
def inert(t, words, wanted):
    equal(preloaded(t, *words), wanted, "status, standard output, standard error")


@case("sh -c with the module makes the system calls that it makes without it", needs=["strace"])
def no_calls(t):
    """After the program and its libraries are loaded, that is: the files it opens are compared
    from the first line it reads on."""
    if sanitized():
        raise tap.Skip("a sanitizer makes calls of its own")

    def calls(preload):
        path = os.path.join(t.dir, "trace-%d" % bool(preload))
        words = ["strace", "-f", "-o", path, "-e", "trace=%network,openat,open,pipe2,memfd_create,"
                 "clone,clone3,fork,vfork,kill,unlink,rename,ftruncate", "-E",
                 "DISPATCH_CONFIG=" + t.file("bad.yaml", "links: {a: [\n")]
        words += ["-E", "LD_PRELOAD=" + preload] if preload else []
        subprocess.run(words + ["sh", "-c", "true < /dev/null; (exit 0)"], check=True, timeout=20,
                       stdin=subprocess.DEVNULL)
        with open(path, encoding="utf-8") as f:
            lines = [re.sub(r"^\d+ +", "", line) for line in f]
        lines = [x for x in lines
                 if not re.search(r"\.so|/proc/|/etc/ld|/etc/ssl|--- |\+\+\+ |^<\.\.\. ", x)]
        lines = [re.sub(r"^(clone3?)\(.*", r"\1", x) for x in lines]  # it may come in two parts
        return [re.sub(r"0x[0-9a-f]+|\b\d{2,}\b", "N", x) for x in lines]

    equal(calls(dante.module()), calls(None), "system calls")


if __name__ == "__main__":
    tap.main()
