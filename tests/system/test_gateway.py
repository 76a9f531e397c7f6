#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two routers behind one card: links with a gateway, a table or a mark."""

import os
import signal
import subprocess

from lib import client, dns, servers, tap, world
from lib.host import Host, config, once, privileged
from lib.tap import case, check, equal, matches, table, wait_for
from lib.world import TARGET, TARGET6, run

NEEDS = ("ip", "sysctl", "setpriv")
CARD = "lan0"
OWN = {4: "192.168.7.5/24", 6: "fd00:7::5/64"}


class Router:
    """A way out of the LAN, with the targets behind it."""

    def __init__(self, name, number):
        self.name, self.ns = name, "router-" + name
        self.addr, self.addr6 = "192.168.7.%d" % number, "fe80::%d" % number

    def make(self, switch):
        run("ip", "netns", "add", self.ns)
        run("ip", "link", "add", "to-" + self.name, "netns", switch, "type", "veth", "peer", "name",
            "lan", "netns", self.ns)
        run("ip", "-n", switch, "link", "set", "to-" + self.name, "master", "switch", "up")
        for words in (["addr", "add", self.addr + "/24", "dev", "lan"],
                      ["addr", "add", self.addr6 + "/64", "dev", "lan", "nodad"],
                      ["addr", "add", TARGET + "/32", "dev", "lo"],
                      ["addr", "add", TARGET6 + "/128", "dev", "lo", "nodad"],
                      ["link", "set", "lo", "up"], ["link", "set", "lan", "up"],
                      ["route", "add", "fd00:7::/64", "dev", "lan"]):
            run("ip", "-n", self.ns, *words)


class Lan:
    """One card of this machine, and two routers on its network; the first is the machine's own way
    out, as DHCP would have it."""

    def __init__(self, t):
        self.t, self.a, self.b = t, Router("a", 1), Router("b", 2)
        self.routers = [self.a, self.b]
        t.defer(self._remove)
        run("ip", "netns", "add", "switch")
        run("ip", "-n", "switch", "link", "add", "switch", "up", "type", "bridge")
        run("ip", "link", "add", CARD, "type", "veth", "peer", "name", "plug", "netns", "switch")
        run("ip", "-n", "switch", "link", "set", "plug", "master", "switch", "up")
        run("ip", "addr", "add", OWN[4], "dev", CARD)
        for router in self.routers:
            router.make("switch")
        run("sysctl", "-qw", "net.ipv4.conf.%s.rp_filter=1" % CARD)
        run("ip", "rule", "flush", "proto", "209")  # left by the hosts of other cases
        run("ip", "-6", "rule", "flush", "proto", "209")
        self.up()

    @staticmethod
    def _remove():
        ip = tap.tool("ip")
        for words in (["link", "del", CARD], ["netns", "del", "switch"],
                      ["netns", "del", "router-a"], ["netns", "del", "router-b"]):
            subprocess.run([ip, *words], stderr=subprocess.DEVNULL, check=False)

    def up(self):
        run("ip", "link", "set", CARD, "up")
        run("ip", "addr", "replace", OWN[6], "dev", CARD, "nodad")
        run("ip", "route", "replace", "default", "via", self.a.addr, "dev", CARD)
        run("ip", "-6", "route", "replace", "default", "via", self.a.addr6, "dev", CARD)
        wait_for("a link-local address", lambda: "tentative" not in run(
            "ip", "-6", "addr", "show", "dev", CARD))

    def serve(self, target=TARGET, handler=servers.tell):
        return world.Service(self.t, handler, [(r.name, r.ns, target) for r in self.routers])


def start(t, links, **keywords):
    return Host(t, config(links, **keywords), prefix=privileged(), own=True)


def both(lan, **more):
    """Keys of links by the two routers."""
    return {r.name: ", ".join(["interface: " + CARD, "gateway: %s" % r.addr]
                              + ["%s: %s" % x for x in more.items()]) for r in lan.routers}


def both6(lan):
    return {r.name: "interface: %s, gateway: [%s, \"%s\"]" % (CARD, r.addr, r.addr6)
            for r in lan.routers}


def rules():
    """All that a link can leave behind."""
    return run("ip", "rule") + run("ip", "-6", "rule") + run(
        "ip", "-4", "route", "show", "table", "all", "proto", "209") + run(
            "ip", "-6", "route", "show", "table", "all", "proto", "209")


def made():
    """How many rules and routes."""
    return rules().count("proto 209"), rules().count("default via")


@case("ten connections go five by each router, and TERM leaves no trace", needs=NEEDS)
def split(t):
    lan, before = Lan(t), rules()
    port = lan.serve().port
    host = start(t, both(lan))
    equal(host.status("CapEff"), ["%016x" % (1 << 12)], "capabilities: CAP_NET_ADMIN")
    equal(client.links_of(10, host.addr, TARGET, port), "ab" * 5, "links")
    equal(made(), (6, 2), "rules and routes of two links:\n" + rules())
    host.term()
    equal(host.wait(), 0, "exit status")
    equal(rules(), before, "rules and routes afterwards")


@case("IPv6 by routers with link-local addresses; without one a link is none for IPv6", needs=NEEDS)
def ipv6(t):
    lan = Lan(t)
    port, port6 = lan.serve().port, lan.serve(TARGET6).port
    host = start(t, both6(lan))
    equal(client.links_of(10, host.addr, TARGET6, port6), "ab" * 5, "links to IPv6")
    equal(client.links_of(10, host.addr, TARGET, port), "ab" * 5, "links to IPv4")
    links = both6(lan)
    links["a"] = both(lan)["a"]
    host.reload(config(links))
    equal(client.links_of(4, host.addr, TARGET6, port6), "bbbb", "links to IPv6, by one")
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links to IPv4, by both")


@case("names are asked for by the link's own router", needs=NEEDS)
def names(t):
    lan = Lan(t)
    port = lan.serve().port
    asked = dns.NameServer(t, [(r.name, r.ns, TARGET) for r in lan.routers],
                           {"name.test": [TARGET]})
    host = start(t, both(lan, dns=TARGET))
    equal(client.links_of(4, host.addr, "name.test", port), "abab", "links")
    for router in lan.routers:
        check(asked.count(router.name) > 0, "%s was asked" % router.name, asked.asked)


@case("the card's own network needs no router", needs=NEEDS)
def near(t):
    lan = Lan(t)
    port = world.Service(t, servers.tell, [(r.name, r.ns, "192.168.7.2") for r in [lan.b]]).port
    host = start(t, {"a": both(lan)["a"]})
    run("ip", "netns", "exec", lan.a.ns, "nft", "add table ip f; add chain ip f c { type filter "
        "hook prerouting priority 0; policy drop; }")
    equal(client.links_of(2, host.addr, "192.168.7.2", port), "bb", "straight to the neighbour")


@case("killed: the next start finds what was left, and takes it away at its end", needs=NEEDS)
def killed(t):
    lan, before = Lan(t), rules()
    port, port6 = lan.serve().port, lan.serve(TARGET6).port
    for _ in range(3):
        host = start(t, both6(lan))
        equal(client.links_of(4, host.addr, TARGET, port), "abab", "links")
        equal(client.links_of(4, host.addr, TARGET6, port6), "abab", "links to IPv6")
        host.kill()
        equal(made(), (12, 4), "what is left:\n" + rules())
    host = start(t, {"b": both(lan)["b"]})
    equal(client.links_of(2, host.addr, TARGET, port), "bb", "links")
    equal(made(), (3, 1), "what the one link needs, and nothing else:\n" + rules())
    host.term()
    host.wait()
    equal(rules(), before, "rules and routes afterwards")


@case("two hosts with the same links: the end of one is nothing to the other", needs=NEEDS)
def two_hosts(t):
    lan = Lan(t)
    port, echo = lan.serve().port, lan.serve(handler=servers.tell_and_echo)
    first, second = start(t, both(lan)), start(t, both(lan))
    for host in (first, second):
        equal(client.links_of(4, host.addr, TARGET, port), "abab", "links")
    held = [client.connect(second.addr, TARGET, echo.port) for _ in range(2)]
    equal([c.line().split()[0] for c in held], ["a", "b"], "links of those that are held")
    first.term()
    first.wait()
    for c in held:
        c.send(b"still there")
        equal(c.take(11), b"still there", "a connection of the second")
        c.close()
    equal(client.links_of(10, second.addr, TARGET, port), "ab" * 5, "links of the second")


@case("a reload keeps the ways of links that stay, and takes away those of others", needs=NEEDS)
def reload(t):
    lan = Lan(t)
    port, echo = lan.serve().port, lan.serve(handler=servers.tell_and_echo)
    host = start(t, both(lan))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    held = [client.connect(host.addr, TARGET, echo.port) for _ in range(2)]
    equal(sorted(c.line().split()[0] for c in held), ["a", "b"], "links of those that are held")
    before = rules()
    host.reload(config(both(lan), pool="balancer: leastconn"))
    equal(rules(), before, "rules after a reload that keeps both")
    host.reload(config({"b": both(lan)["b"]}))
    for c in held:
        c.send(b"still there")
        equal(c.take(11), b"still there", "a connection that was there before")
        c.close()
    wait_for("the other's rules are gone", lambda: made() == (3, 1))
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")


@case("forty at once, by four workers: one way for each link", needs=NEEDS)
def at_once(t):
    lan = Lan(t)
    port = lan.serve().port
    host = start(t, both(lan), more="workers: 4")
    links = client.together(40, lambda _: client.link_of(host.addr, TARGET, port))
    equal(sorted(map(str, links)), ["a"] * 20 + ["b"] * 20, "links")
    equal(made(), (6, 2), "rules and routes:\n" + rules())


@case("USR2: the old process takes away what is its own, when its connections have ended",
      needs=NEEDS)
def upgraded(t):
    lan, before = Lan(t), rules()
    port, echo = lan.serve().port, lan.serve(handler=servers.tell_and_echo)
    host = start(t, both(lan))
    held = [client.connect(host.addr, TARGET, echo.port) for _ in range(2)]
    equal([c.line().split()[0] for c in held], ["a", "b"], "links of those that are held")
    host.proc.send_signal(signal.SIGUSR2)
    new = int(host.wait_log(r"process (\d+) serves from now on").group(1))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links of the new process")
    equal(made(), (12, 4), "the ways of both:\n" + rules())
    for c in held:
        c.send(b"still there")
        equal(c.take(11), b"still there", "a connection of the old process")
        c.close()
    host.wait()
    equal(made(), (6, 2), "the ways of the new one:\n" + rules())
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "its links")
    os.kill(new, signal.SIGTERM)
    wait_for("nothing is left", lambda: rules() == before)


@table("the way is made again", [
    ("the card goes down and up", lambda lan: (run("ip", "link", "set", CARD, "down"), lan.up())),
    ("others have removed all rules", lambda lan: run("ip", "rule", "flush", "proto", "209")),
    ("others have removed the routes",
     lambda lan: run("ip", "route", "flush", "table", "all", "proto", "209")),
], needs=NEEDS)
def again(t, what):
    lan = Lan(t)
    port = lan.serve().port
    host = start(t, both(lan))
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links before")
    what(lan)
    client.until_served(host.addr, TARGET, port)
    wait_for("both links", lambda: client.links_of(4, host.addr, TARGET, port) in ("abab", "baba"))


@case("no other default route: the ways are there before the first connection", needs=NEEDS)
def no_default(t):
    lan = Lan(t)
    port = lan.serve().port
    run("ip", "route", "del", "default")
    run("sysctl", "-qw", "net.ipv4.conf.%s.rp_filter=0" % CARD)  # which asks the main table
    host = start(t, both(lan))
    wait_for("the routes", lambda: rules().count("default via") == 2)
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links")
    run("ip", "link", "set", CARD, "down")
    host.wait_log("link: b: down")
    check("default via" not in rules(), "the kernel takes the routes of a card that is down")
    run("ip", "link", "set", CARD, "up")
    wait_for("the routes are back", lambda: rules().count("default via") == 2)
    equal(client.links_of(4, host.addr, TARGET, port), "abab", "links")


@case("a gateway that is none of the card's network: the link fails, and says why", needs=NEEDS)
def wrong_gateway(t):
    lan = Lan(t)
    port = lan.serve().port
    links = both(lan)
    links["a"] = "interface: %s, gateway: 10.1.2.3" % CARD
    host = start(t, links)
    equal(client.links_of(4, host.addr, TARGET, port), "bbbb", "links")
    host.wait_log(r"warn a: no way out by lan0: Network is unreachable")


@case("a table of the administrator's: a rule leads there, and nowhere else", needs=NEEDS)
def own_table(t):
    lan, before = Lan(t), rules()
    port = lan.serve().port
    for number, router in enumerate(lan.routers, 71):
        run("ip", "route", "add", "default", "via", router.addr, "dev", CARD, "table", str(number))
    host = start(t, {"a": "interface: %s, table: 71" % CARD, "b": "interface: %s, table: 72" % CARD})
    equal(client.links_of(10, host.addr, TARGET, port), "ab" * 5, "links")
    run("ip", "route", "flush", "table", "72")
    equal(client.links_of(4, host.addr, TARGET, port), "aaaa", "links without the one table")
    host.term()
    host.wait()
    check("default via" in run("ip", "route", "show", "table", "71"), "the table stays")
    equal(rules(), before, "rules afterwards")


@case("marks for rules of the administrator's; names too", needs=NEEDS)
def own_rules(t):
    lan = Lan(t)
    port = lan.serve().port
    asked = dns.NameServer(t, [(r.name, r.ns, TARGET) for r in lan.routers],
                           {"name.test": [TARGET]})
    run("ip", "route", "add", "default", "via", lan.b.addr, "dev", CARD, "table", "72")
    run("ip", "rule", "add", "fwmark", "0x48", "lookup", "72")
    t.defer(run, "ip", "rule", "del", "fwmark", "0x48")
    host = start(t, {"a": "interface: %s, dns: %s" % (CARD, TARGET),
                     "b": "interface: %s, mark: 72, dns: %s" % (CARD, TARGET)})
    equal(client.links_of(10, host.addr, TARGET, port), "ab" * 5, "links")
    equal(client.links_of(4, host.addr, "name.test", port), "abab", "links of a name")
    check(asked.count("b") > 0, "the router of the mark was asked", asked.asked)


@table("without the privilege the start says what to do",
       [(key, key, value) for key, value in
        (("gateway", "192.168.7.1"), ("table", "7"), ("mark", "7"))], needs=NEEDS)
def unprivileged(t, key, value):
    del t
    text = config({"a": "interface: lo, %s: %s" % (key, value)})
    path = "/run/unprivileged.yaml"
    with open(path, "w", encoding="ascii") as f:
        f.write(text.replace("PORT", "0"))
    status, out, err = once("-c", path)
    equal((status, out), (78, ""), "exit status and output: " + err)
    matches(r"^/run/unprivileged.yaml:\d+:\d+: link \"a\": %s: needs the capability CAP_NET_ADMIN: "
            r".*AmbientCapabilities.*setcap.*dispatch-dialer-iface\(7\)" % key, err, "the error")
    equal(err.count("\n"), 1, "lines")


@case("what the manual offers instead: two addresses, and rules by source", needs=NEEDS)
def by_source(t):
    lan = Lan(t)
    port = lan.serve().port
    run("ip", "addr", "add", "192.168.7.6/24", "dev", CARD)
    run("ip", "route", "add", "default", "via", lan.b.addr, "dev", CARD, "table", "72")
    run("ip", "rule", "add", "from", "192.168.7.6", "lookup", "72")
    t.defer(run, "ip", "rule", "del", "from", "192.168.7.6")
    host = Host(t, config({"a": "interface: %s, address: 192.168.7.5" % CARD,
                           "b": "interface: %s, address: 192.168.7.6" % CARD}))
    equal(client.links_of(10, host.addr, TARGET, port), "ab" * 5, "links")


@case("--check changes nothing", needs=NEEDS + ("stdbuf",))
def checked(t):
    lan, before = Lan(t), rules()
    path = t.file("check.yaml", config(both6(lan)).replace("PORT", "0"))
    seen = os.path.join(t.dir, "seen")
    with open(seen, "wb") as out:
        watch = subprocess.Popen([tap.tool("stdbuf"), "-oL", tap.tool("ip"), "monitor", "rule",
                                  "route"], stdout=out)
    t.defer(watch.wait)
    t.defer(watch.kill)
    status, _out, err = once("--check", "-c", path, run=privileged)
    equal(status, 0, "exit status: " + err)
    equal(rules(), before, "rules and routes")
    run("ip", "rule", "add", "fwmark", "99", "lookup", "99")  # the last that can be seen
    run("ip", "rule", "del", "fwmark", "99")
    wait_for("the watcher has seen a rule", lambda: os.path.getsize(seen) > 0)
    with open(seen, encoding="ascii") as f:
        check("proto 209" not in f.read(), "nothing was made for a moment")


if __name__ == "__main__":
    tap.main()
