#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the manual says: files that pass, options and keys that are there, texts as printed."""

import glob
import os
import re
import subprocess

from lib import tap
from lib.host import SRCDIR, once, privileged
from lib.tap import case, check, equal, matches, table


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as f:
        return f.read()


def found(*patterns):
    """Paths below the source folder, sorted."""
    paths = [p for x in patterns for p in glob.glob(os.path.join(SRCDIR, x))]
    return sorted(os.path.relpath(p, SRCDIR) for p in paths)


def section(page, title):
    """The text of one section of an mdoc page."""
    return matches(r"^\.Sh %s\n(.*?)(?=^\.Sh |\Z)" % re.escape(title), page, "section " + title,
                   re.M | re.S).group(1)


MANUAL = "doc/dispatch-host.8"
FORMAT = "doc/dispatch.yaml.5"
MODULE = "doc/dispatch-dante.8"
README = "README.md"


# ---- files ----

def displays(path):
    """The literal texts in a page, or the file itself."""
    text = read(path)
    if path.endswith(".md"):
        return re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
    if path.endswith(".yaml"):
        return [text]
    texts = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", text, re.M | re.S)
    return [x.replace(r"\e", "\\").replace(r"\&", "") for x in texts]


def complete(path):
    """The texts that are whole configurations: those with links."""
    return [x for x in displays(path) if re.search(r"^links:", x, re.M)]


PAGES = found(README, "doc/*.md", "doc/*.[58]", "examples/*.yaml")


@table("every complete file passes --check", [(p, p) for p in PAGES if complete(p)])
def passes(t, path):
    t.file("users", read("examples/users"))
    for text in complete(path):
        file = t.file("dispatch.yaml", text)
        run = privileged if "gateway:" in text else None
        status, out, err = once("--check", "-c", file, run=run)
        equal((status, out), (0, file + ": ok\n"), "exit status, standard output\n%s%s"
              % (text, err))


@case("there are complete files to check")
def there_are(t):
    del t
    for path in (README, FORMAT):
        check(len(complete(path)) >= 2, "examples in " + path)
    equal([p for p in found("examples/*.yaml") if not complete(p)], [], "examples without links")


# ---- options ----

def help_options():
    """What --help lists: [(option, text)]."""
    _status, out, _err = once("--help")
    options = []
    for line in out.splitlines():
        option = re.match(r" {2,6}(-\S.*?)(?: {2,}(\S.*))?$", line)
        if option:
            options.append([option.group(1), option.group(2)])
        elif options and options[-1][1] is None:
            options[-1][1] = line.strip()
    return [tuple(x) for x in options]


@case("dispatch-host.8 has the options of --help, and no others")
def manual_options(t):
    del t
    items = re.findall(r"^\.It (Fl .*)$", section(read(MANUAL), "OPTIONS"), re.M)
    seen = [re.sub(r"Fl ", "-", x).replace(" ,", ",").replace("Ar ", "") for x in items]
    seen = [re.sub(r"Op (\S+)$", r"[\1]", x) for x in seen]
    equal(seen, [option for option, _text in help_options()], "options")


@case("README has the options of --help, in its words")
def readme_options(t):
    del t
    rows = re.findall(r"^\| `(-[^`]*)` \| (.*) \|$", read(README), re.M)
    equal(rows, help_options(), "options")


# ---- keys ----

# Section of the page: source, table in it, and a file around one line of that section.
SMALLEST = "links: {wifi: {interface: wlan0}, lte: {interface: wwan0}}\n"
SECTIONS = {
    "TOP LEVEL": ("config.c", "top_opts", SMALLEST + "%s\n"),
    "LINKS": ("link.c", "link_opts",
              "links:\n  wifi: {interface: wlan0}\n  tun: {%s, %s}\n"),
    "POOLS": ("pool.c", "pool_opts", SMALLEST + "pools: {all: {%s}}\n"),
    "LISTENERS": ("listener.c", "listener_opts", SMALLEST + "listeners: {main: {%s}}\n"),
    "RULES": ("rules.c", "rule_opts", SMALLEST + "rules: [{%s}]\n"),
    "TIMEOUTS": ("config.c", "timeout_opts", SMALLEST + "timeouts: {%s}\n"),
    "STICKY": ("pool.c", "sticky_opts", SMALLEST + "pools: {all: {sticky: {%s}}}\n"),
    "HEALTH CHECKS": ("check.c", "check_opts", SMALLEST + "health-check: {%s}\n"),
    "DANTE": ("dante.c", "dante_opts", SMALLEST + "dante: {%s}\n"),
}
SOCKS = "dialer: socks, server: 127.0.0.1:1080"
SAMPLES = {
    "links": None, "pools": "{all: {}}", "listeners": "{main: {}}", "timeouts": "{}",
    "dante": "{anchors: 127.0.0.2}",
    "workers": "auto", "plugin-path": "[plugins, /nowhere]",
    "dialer": "iface", "weight": "3", "max-connections": "200", "via": "wifi",
    "dns": "[192.0.2.53, \"[2001:db8::53]:5353\"]",
    "balancer": "leastconn", "retries": "0", "sticky": "{by: client}",
    "by": "[client, host]", "ttl": "1m",
    "listen": "127.0.0.1:0", "pool": "all", "protocols": "[socks5]", "allow": "[127.0.0.0/8]",
    "open": "no", "early-reply": "yes", "users-file": "users",
    "max-connections-per-client": "40", "max-request-body": "10MB", "fast-open": "yes",
    "mode": "0660, listen: unix:main.sock",
    "proxy-protocol": "[192.0.2.1, \"::1\"]",
    "send-proxy": "v2",
    "on-down": "keep", "health-check": "{tcp: \"192.0.2.1:443\"}", "tcp": "\"[2001:db8::1]:443\"",
    "http": "\"http://example.com:8080/a?b\"", "status": "204", "interval": "1m",
    "timeout": "500ms", "rise": "1", "fall": "5",
    "slow-start": "0", "max-per-destination": "4", "backup": "[lte]", "when-all-down": "refuse",
    "rules": "[{port: 25, action: deny}]", "action": "direct",
    "host": "\"*.example.com\"", "domain": "example.com", "network": "[10.0.0.0/8]",
    "host-file": SRCDIR + "/tests/conf/names.list",
    "domain-file": SRCDIR + "/tests/conf/names.list",
    "network-file": SRCDIR + "/tests/conf/networks.list",
    "port": "[25, 6000-6010]", "client": "\"::1\"", "user": "me", "listener": "main",
    "protocol": "[http, socks5]",
    "handshake": "5s", "connect": "1m", "attempt": "250ms", "idle": "0", "drain": "0",
    "anchors": "[127.0.0.2, \"fd00:dead::1\"]", "state": "dante.state",
}


def documented(title):
    """The keys of a section of the page: {key: its line of type, range and default}."""
    items = re.findall(r"^\.It Ic (\S+)\n(.*?)(?=^\.br$)", section(read(FORMAT), title),
                       re.M | re.S)
    return {key: re.sub(r"^\.\w\w ", "", text, flags=re.M).replace("\n", " ").replace(" ,", ",")
            .strip() for key, text in items}


def bound(title):
    """The keys that core/config binds there: (those that are, those of a later version)."""
    source, name, _file = SECTIONS[title]
    rows = matches(r"^static const struct dp_opt %s\[\] = \{\n(.*?)^\};" % name,
                   read("core/config/" + source), "table " + name, re.M | re.S).group(1)
    now, later = set(), set()
    for row in re.split(r"\n(?= {4}[{TL])", rows):
        key = matches(r'\.name = "([^"]*)"|(?:TIMEOUT|LIST)\("?([\w-]+)"?,', row, "a key").group(1, 2)
        (later if "OPTION_LATER" in row else now).add(key[0] or key[1])
    return now, later


def with_key(title, key, value):
    """A file with this key in that section."""
    line = "%s: %s" % (key, value)
    needed = {"DANTE": ("anchors", "127.0.0.2"), "STICKY": ("by", "client"),
              "RULES": ("action", "deny")}.get(title)
    if title == "HEALTH CHECKS" and key not in ("tcp", "http", "dns"):
        needed = ("http", "\"http://example.com/\"")
    if needed and key not in (needed[0], "pool" if title == "RULES" else ""):
        line += ", %s: %s" % needed
    if title != "LINKS":
        return SECTIONS[title][2] % line
    rest = "interface: wwan0" if key == "dialer" else SOCKS
    return SECTIONS[title][2] % (line, rest)


@table("the keys of dispatch.yaml.5 are the binder's", [(s, s) for s in SECTIONS])
def keys(t, title):
    t.file("users", read("examples/users").replace(":guests", ""))
    for key in documented(title):
        sample = {("POOLS", "links"): "[lte]",
                  ("HEALTH CHECKS", "dns"): "example.com"}.get((title, key), SAMPLES[key])
        if sample is None:
            continue
        text = with_key(title, key, sample)
        status, _out, err = once("--check", "-c", t.file("dispatch.yaml", text))
        equal(status, 0, "exit status of\n%s%s" % (text, err))
    equal(set(documented(title)), bound(title)[0], "keys")


@table("the ranges of dispatch.yaml.5 are the binder's", [(s, s) for s in SECTIONS])
def ranges(t, title):
    for key, line in documented(title).items():
        given = re.match(r"(number|duration|string) (\w+)\.\.(\w+)", line)
        if not given:
            continue
        kind, least, most = given.group(1, 2, 3)
        value = {"number": "99999999999", "duration": "99999d", "string": "x" * 5000}[kind]
        file = t.file("dispatch.yaml", with_key(title, key, value))
        err = once("--check", "-c", file)[2]
        matches(r"%s: must be %s to %s\b" % (key, least, most), err, "the range of " + key)


@case("the defaults of dispatch.yaml.5 are those of --dump-config")
def defaults(t):
    file = t.file("dispatch.yaml", "links: {wifi: {interface: wlan0}}\n")
    dump = once("--dump-config", "-c", file)[1].replace(t.dir + "/", "")
    file = t.file("sticky.yaml", with_key("STICKY", "by", "client"))
    dump += once("--dump-config", "-c", file)[1]
    file = t.file("check.yaml", with_key("HEALTH CHECKS", "http", SAMPLES["http"]))
    dump += once("--dump-config", "-c", file)[1]
    compared = set()
    for title in SECTIONS:
        for key, line in documented(title).items():
            default = re.search(r"default (\[.*\]|\S+)$", line)
            if default and key != "open":  # not printed where it changes nothing
                matches(r"^ *(?:sticky: \{.*)?\b%s: %s\}?$" % (key, re.escape(default.group(1))), dump,
                        "the default")
                compared.add(key)
    check(compared >= {"workers", "weight", "dialer", "balancer", "retries", "listen", "idle"},
          "they were compared", compared)


@table("keys of a later version are named and refused",
       [("TOP LEVEL", "TOP LEVEL")])
def later_keys(t, title):
    named = matches(r"^\.It %s\n\.Ic (.*)$" % title.lower(), section(read(FORMAT), "CAVEATS"),
                    "the list of " + title).group(1)
    equal(set(named.split(" , ")), bound(title)[1], "keys")
    for key in named.split(" , "):
        file = t.file("dispatch.yaml", with_key(title, key, "1"))
        status, _out, err = once("--check", "-c", file)
        equal(status, 78, "exit status with " + key)
        matches(r"\b%s: not in this version$" % key, err, "the message")


MISTAKES = """workers: 1
links:
  wifi: {interfac: wlan0, weight: 70000}
  lte: {interface: wwan0}
metrics: {}
pools: {all: {links: [wifi, lte]}}
timeouts: {idle: 10}
"""


@table("messages in the manual are printed so", [(p, p) for p in (MANUAL, FORMAT, MODULE)])
def messages(t, path):
    err = once("--check", "-c", t.file("dispatch.yaml", MISTAKES))[2].replace(t.dir + "/", "")
    lines = [x for text in displays(path) for x in text.splitlines()
             if x.startswith("dispatch.yaml:")]
    check(lines, "there are messages in it")
    for line in lines:
        check(line in err.splitlines(), "this line is printed: " + line, err)


@case("the columns in dispatch-dante.8 are those of --dante-state")
def columns(t):
    del t
    header = matches(r'printf\(COLUMNS, ("LINK".*?)\);', read("host/dante_state.c"), "the header",
                     re.S).group(1)
    names = re.findall(r'"(\w+)"', header)
    shown = [x.splitlines()[0].split() for x in displays(MODULE) if x.startswith("LINK ")]
    equal(shown, [names], "columns shown")
    explained = re.findall(r"^\.It ([A-Z]+(?: , [A-Z]+)*)$", read(MODULE), re.M)
    equal([x for row in explained if row not in ("CONNECT", "BIND") for x in row.split(" , ")],
          names[1:], "columns explained")


# ---- quickstart ----

@case("README shows what ./quickstart prints")
def demo(t):
    del t
    script, readme = read("quickstart"), read(README)
    said = [re.sub(r"\\\$\w+", r"\\S+", re.escape(x))
            for x in re.findall(r'\bsay "([^"]*)"', script)]

    def printed(line):
        return any(re.fullmatch(x, line) for x in said)

    shown = [x for x in displays(README) if "connection 1" in x]
    equal(len(shown), 1, "demonstrations shown")
    lines = shown[0].splitlines()
    equal([x for x in lines if not printed(x)], [], "lines that it does not print")
    links = re.findall(r"^connection \d: left by 127\.0\.0\.(\d)$", shown[0], re.M)
    check('[ "$seen" = %s ]' % "".join(links) in script, "the split is the one it asks for", links)
    curl = [x.strip() for x in displays(README) if x.startswith("curl ")]
    check(curl and printed(curl[0]), "the curl line is the one it prints", curl)
    check("ready" in said and "`ready`" in readme, "it says ready")
    for command in ("./quickstart ", "./quickstart test "):
        check(command in readme and command in script, "the command is in both: " + command)


# ---- the pages themselves ----

@table("mandoc finds nothing in", [(p, p) for p in found("doc/*.[1-8]", "plugins/*/*.[1-8]")],
       needs=["mandoc"])
def lint(t, path):
    del t
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", os.path.join(SRCDIR, path)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
    equal(done.stdout.decode(), "", "findings")


OURS = "core|host|plugins|tests|doc|examples|m4"


@table("every file that is named is there", [(p, p) for p in PAGES if p.endswith(".md")])
def paths(t, page):
    del t
    named = re.findall(r"`((?:%s)/[\w./+-]+)`" % OURS, read(page))
    equal([p for p in named if not os.path.exists(os.path.join(SRCDIR, p))], [], "missing")


@case("manual pages that are referred to are there, in their section")
def references(t):
    del t
    pages = found("doc/*.[1-8]", "plugins/*/*.[1-8]")
    names = {os.path.basename(p) for p in pages}
    for page in pages:
        for name, number in re.findall(r"\bXr (dispatch\S*) (\d)", read(page)):
            check("%s.%s" % (name, number) in names, "%s names %s(%s)" % (page, name, number))
    for name, number in re.findall(r"\b(dispatch[\w.-]*)\((\d)\)", read(README)):
        check("%s.%s" % (name, number) in names, "README names %s(%s)" % (name, number))


# What only Linux has, or not every system.
LINUX = ["accept4", "SOCK_NONBLOCK", "MSG_NOSIGNAL", "SO_BINDTODEVICE", "IP_BIND_ADDRESS_NO_PORT",
         "TCP_KEEPIDLE", "SIOCG", "rtnetlink", "libmnl", "getifaddrs", "getauxval", "RTLD_NODELETE",
         "st_mtim", "MAP_NORESERVE", "MAP_ANONYMOUS", "explicit_bzero", "memrchr", "sem_init",
         "getopt_long_only", "posix_spawn", "epoll", "eventfd", "signalfd", "splice(", "sendfile(",
         "prctl(", "crypt_r", "MADV_"]


@case("porting.md names every file that uses what only Linux has")
def porting(t):
    del t
    page = read("doc/porting.md")
    for path in found("core/*/*.c", "host/*.c", "host/*/*.c", "plugins/*/*.c"):
        source = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
        used = [x for x in LINUX if x in source]
        check(not used or path in page, "%s uses %s" % (path, ", ".join(used)))


if __name__ == "__main__":
    tap.main()
