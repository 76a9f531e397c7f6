#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Plugins that are missing, broken, foreign or malicious: one sentence with path and reason, exit
78 at the start, and at a reload the old set stays."""

import os
import re
import time

from lib import client, peers, servers, tap
from lib.host import Host, config, once
from lib.tap import case, check, equal, matches, table
from lib.world import TARGET, World

TEMPLATE = """
#include <dispatch-plugin.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
%(before)s
static int create(const struct dp_host *host, const void *conf, void **self)
{
    (void)host, (void)conf;
    *self = (void *)host;
    %(create)s
    return DP_OK;
}
static void destroy(void *self) { (void)self; %(destroy)s }
static uint32_t pick(const struct dp_pool *pool, const struct dp_flow *flow, uint32_t *seen)
{
    (void)seen;
    %(pick)s
    for (uint32_t i = 0; i < pool->view->n; i++)
        if (dp_allowed(pool, flow, i))
            return i;
    return DP_NONE;
}
static const struct dp_balancer_ops ops = {.create = create, .destroy = destroy, .pick = pick};
%(object)s
"""
OBJECT = """
__attribute__((visibility("default"))) const struct dp_plugin dp_plugin = {
    .size = sizeof dp_plugin, .abi = %(abi)s, .kind = %(kind)s, .ops_size = sizeof ops,
    .name = "%(name)s", .version = "1", .summary = "for a test", .ops = %(ops)s,
};
"""


def source(before="", create="", destroy="", pick="", obj=None, **fields):
    values = {"abi": "DP_ABI", "kind": "DP_BALANCER", "name": "mine", "ops": "&ops"}
    values.update(fields)
    return TEMPLATE % {"before": before, "create": create, "destroy": destroy, "pick": pick,
                       "object": OBJECT % values if obj is None else obj}


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)


place = tap.shared(Place)
TWO = {"a": "interface: a0", "b": "interface: b0"}
MINE = config(TWO, pool="balancer: mine")


def put(t, how):
    """The plugin of a case: C source, a function that makes the file, or nothing."""
    path = os.path.join(t.dir, "plugins", "balancer-mine.so")
    if callable(how):
        how(t, path)
    elif how is not None:
        peers.build_plugin(t, "balancer-mine", how)
    return path


def text_file(t, _path):
    t.file("plugins/balancer-mine.so", "#!/bin/sh\necho hello\n", 0o755)


def empty_file(t, _path):
    t.file("plugins/balancer-mine.so", "", 0o755)


def cut_file(t, path):
    peers.build_plugin(t, "balancer-mine", source())
    with open(path, "r+b") as f:
        f.truncate(1000)


def other_machine(t, path):
    """An ELF header that says 32 bits."""
    peers.build_plugin(t, "balancer-mine", source())
    with open(path, "r+b") as f:
        f.seek(4)
        f.write(b"\1")


def folder(_t, path):
    os.makedirs(path, mode=0o755)


def open_file(t, path):
    peers.build_plugin(t, "balancer-mine", source())
    os.chmod(path, 0o777)


def open_folder(t, path):
    peers.build_plugin(t, "balancer-mine", source())
    os.chmod(os.path.dirname(path), 0o777)


def foreign_file(t, path):
    if not tap.real_root():
        raise tap.Skip("needs a second user")
    peers.build_plugin(t, "balancer-mine", source())
    os.chown(path, 12345, 12345)


def dangling(_t, path):
    os.makedirs(os.path.dirname(path), mode=0o755)
    os.symlink("/nowhere/at/all.so", path)


BAD = [
    ("missing", None, "balancer-mine.so"),
    ("not ELF", text_file, "invalid ELF header|not a dispatch plugin|file too short"),
    ("empty", empty_file, "too short"),
    ("cut off", cut_file, "."),
    ("of another machine", other_machine, "ELF"),
    ("a folder", folder, "."),
    ("a link to nowhere", dangling, "."),
    ("writable by others", open_file, "written by others"),
    ("in a folder writable by others", open_folder, "written by others"),
    ("another user's", foreign_file, "another user"),
    ("with an unresolved symbol",
     source(before="int nobody_has_this(void);", create="return nobody_has_this();"),
     "nobody_has_this"),
    ("without its object", source(obj="int x;"), "dp_plugin"),
    ("of a later ABI", source(abi="DP_ABI + 1"), r"ABI.*\b2\b.*\b1\b|ABI.*\b1\b.*\b2\b"),
    ("of ABI 0", source(abi="0"), r"ABI"),
    ("of another kind", source(kind="DP_DIALER"), "."),
    ("of another name", source(name="yours"), "yours"),
    ("without ops", source(ops="0"), "."),
    ("without pick()", source().replace(", .pick = pick", "").replace(
        "static uint32_t pick", "static uint32_t __attribute__((unused)) pick"), "pick"),
    ("without create()", source().replace(".create = create, ", "").replace(
        "static int create", "static int __attribute__((unused)) create"), "create"),
    ("of a size that is none", source().replace(".size = sizeof dp_plugin", ".size = 8"), "."),
    ("whose create() fails", source(create='return host->fail(host, NULL, "no luck today");'),
     "no luck today"),
    ("whose create() fails without a word", source(create="return DP_ERR_LOCAL;"), "."),
    ("that crashes in create()", source(create="abort();"), "crashed"),
    ("that crashes when loaded",
     source(before="__attribute__((constructor)) static void c(void) { raise(SIGSEGV); }"),
     "crashed"),
    ("that ends the process in create()", source(create="exit(0);"), "."),
]


def told(err, path, pattern):
    """One clear message: the reason, and the plugin or where the file names it."""
    matches(pattern, err, "the reason")
    check(re.search(r'balancer-mine|\bmine\b|yaml:\d+:\d+: pool "all"', err),
          "the plugin, or its place in the file, is named", err, path)
    check(len(err) < 3000, "few words", err)


@table("a plugin", BAD)
def at_start(t, how, pattern):
    place(t)
    path = put(t, how)
    file = t.file("dispatch.yaml", MINE.replace("PORT", "9"))
    for more in (["--check"], []):
        started = time.monotonic()
        status, _out, err = once("-c", file, *more)
        equal(status, 78, "exit status of %r, which said %r" % (more, err))
        told(err, path, pattern)
        tap.within(5, started, "the answer")


@table("at a reload the old set stays, a plugin", BAD)
def at_reload(t, how, pattern):
    p = place(t)
    host = Host(t, config(TWO))
    path = put(t, how)
    said = host.reload(MINE, says=r"(?m)^error .*not reloaded")
    told(said, path, pattern)
    check(host.alive(), "the host lives")
    links = client.links_of(4, host.addr, TARGET, p.told.port)
    equal(links, "abab", "links")


@case("a plugin that hangs in create() is given up, and the host goes on", limit=90, long=True)
def hangs(t):
    p = place(t)
    host = Host(t, config(TWO))
    put(t, source(create="for (;;) pause();"))
    at = len(host.log())
    host.write(MINE)
    host.proc.send_signal(1)
    # Meanwhile clients are served.
    for _ in range(20):
        check(client.link_of(host.addr, TARGET, p.told.port) in "ab", "served")
    host.wait_log(r"(?m)^error .*not reloaded", 30, after=at)
    equal(client.link_of(host.addr, TARGET, p.told.port) in "ab", True, "served afterwards")


@case("a pick out of range is logged once, and the first allowed member serves")
def pick_out_of_range(t):
    p = place(t)
    put(t, source(pick="return 77;"))
    host = Host(t, MINE)
    equal(client.links_of(6, host.addr, TARGET, p.told.port), "aaaaaa", "links")
    lines = [x for x in host.log().splitlines() if "77" in x and "picked" in x]
    equal(len(lines), 1, "lines that say so: %r" % lines)


@case("a pick of none although there are some is a failure, not a crash")
def pick_none(t):
    p = place(t)
    put(t, source(pick="return DP_NONE;"))
    host = Host(t, MINE)
    check(client.ask(host.addr, TARGET, p.told.port) in (1, 3), "a failure is replied")
    check(host.alive(), "it lives")


@case("a plugin replaced on disk: the loaded one stays, and HUP says so")
def replaced(t):
    p = place(t)
    put(t, source())
    host = Host(t, MINE)
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "aa", "links")
    built = peers.build_plugin(t, "balancer-mine", source(pick="return 1;"),
                               into=os.path.join(t.dir, "new"))
    os.rename(built, os.path.join(t.dir, "plugins", "balancer-mine.so"))
    said = host.reload()
    matches(r"balancer-mine.*(replaced|next start)", said, "the host says so")
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "aa", "links: the old code")
    os.unlink(os.path.join(t.dir, "plugins", "balancer-mine.so"))
    equal(client.links_of(2, host.addr, TARGET, p.told.port), "aa", "links once it is removed")


@case("the first folder of plugin-path wins, an in-tree name included")
def first_wins(t):
    p = place(t)
    for folder_name, pick in (("one", "return 1;"), ("two", "return 0;")):
        peers.build_plugin(t, "balancer-mine", source(pick=pick),
                           into=os.path.join(t.dir, folder_name))
    host = Host(t, MINE + "plugin-path: [one, two]\n")
    equal(client.links_of(3, host.addr, TARGET, p.told.port), "bbb", "links")
    host.reload(MINE + "plugin-path: [none, two, one]\n")
    check(host.alive(), "it lives")


@case("--list-plugins lists a broken one with the reason, and the others")
def listed(t):
    place(t)
    put(t, source(abi="DP_ABI + 1"))
    peers.build_plugin(t, "balancer-good", source(name="good"))
    _status, out, err = once("--list-plugins", "-c",
                             t.file("dispatch.yaml", config(TWO).replace("PORT", "9")))
    matches(r"(?m)^balancer\s+good\s", out, "the good one")
    matches(r"mine.*ABI", out + err, "the broken one")
    matches(r"(?m)^balancer\s+rr\s", out, "ours")


@case("no path is searched for a name with a slash")
def slash(t):
    place(t)
    for name in ("../mine", "/etc/passwd", "", "x/../rr"):
        file = t.file("dispatch.yaml", config(TWO, pool='balancer: "%s"' % name).replace("PORT",
                                                                                     "9"))
        status, _out, err = once("--check", "-c", file)
        equal(status, 78, "exit status for %r: %s" % (name, err))
        matches(r"dispatch\.yaml:\d+:\d+: .*balancer", err, "the line")


if __name__ == "__main__":
    tap.main()
