# SPDX-License-Identifier: MIT
"""Debian's danted as it is: started, watched by role of its processes, told to reload, ended; and
the same with our module in it."""

import collections
import contextlib
import os
import re
import signal
import subprocess

from . import host, tap, world

ANCHOR, ANCHOR6 = "127.0.0.2", "fd00:dead::1"

# A `tcp/connect [` line of the log: the process, the link side and the destination as (address,
# port). By way of an upstream of danted's own the link side is the one it told of.
Connect = collections.namedtuple("Connect", "pid source dest")

# What --dante-state prints of a link, and all of it.
Link = collections.namedtuple("Link", "state active dialing picks fails rtt rx tx")
State = collections.namedtuple("State", "links sessions")


def users():
    """Whose rights its processes have: where there is real root, its children drop theirs."""
    if not tap.real_root():
        return ""
    return "user.privileged: root\nuser.unprivileged: nobody\n"


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def _stat(pid):
    """(state, session) of a process, or None."""
    fields = _read("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return (fields[0], int(fields[3])) if fields else None


def _title(pid):
    """What a process of Dante's calls itself: `monitor-child`, `negotiate-child: 0/96`,
    `request-child: 1/1` (it has a request), `io-child: ...`. A mother has no title."""
    title = _read("/proc/%d/cmdline" % pid)
    return title[len("danted: "):] if title.startswith("danted: ") else "mother"


class Danted:
    """A danted with the configuration `conf`, in which PORT stands for a free port and LOG for
    its log file. `args` are more options, as `-N 2`; with `-D` it goes to the background."""

    def __init__(self, t, conf, args=(), env=None, wait=True):
        self.t = t
        self.port = world.free_port()
        self.addr = ("127.0.0.1", self.port)
        self.background = "-D" in args
        self.file = os.path.join(t.dir, "danted-%d.conf" % self.port)
        self.log_path = os.path.join(t.dir, "danted-%d.log" % self.port)
        self.said_path = self.log_path + ".said"
        self.pid_path = os.path.join(t.dir, "danted-%d.pid" % self.port)
        self.write(conf)
        temp = os.path.join(t.dir, "danted-%d.tmp" % self.port)
        os.mkdir(temp)
        os.chmod(temp, 0o777)  # its children may have become nobody
        with open(self.said_path, "wb") as said:
            self.proc = subprocess.Popen(
                [tap.tool("danted"), "-f", self.file, "-p", self.pid_path, *args],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=dict(os.environ, TMPDIR=temp, **(env or {})), start_new_session=True)
        self.pid = self.proc.pid
        t.defer(self.end)
        t.report(lambda: "--- danted's log\n%s\n--- danted said\n%s"
                 % (self.log()[-6000:], self.said()[-2000:]))
        if wait:
            tap.wait_for("danted listens", self._ready, 20)

    def write(self, conf):
        """Writes the configuration."""
        text = conf.replace("PORT", str(self.port)).replace("LOG", self.log_path)
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(self.file + ".new", self.file)

    def _ready(self):
        status = self.proc.poll()
        if status is not None and (not self.background or status != 0):
            raise AssertionError("danted ended with %d:\n%s" % (status, self.said()))
        if self.background:
            pid = _read(self.pid_path).strip()
            if status is None or not pid:
                return False
            self.pid = int(pid)
        # Before a mother has said so, a SIGHUP would end it.
        running = re.findall(r"Dante/server\[\d+/(\d+)\] \S+ running", self.log())
        return running and len(running) == int(running[0]) and world.accepts(*self.addr)

    def log(self):
        return _read(self.log_path)

    def said(self):
        """What it printed itself: mistakes found at the start."""
        return _read(self.said_path)

    def wait_log(self, pattern, limit_s=10, after=0):
        """Waits for a line; text before `after` (a position in log()) is not looked at."""
        return tap.wait_for("danted logs /%s/" % pattern,
                            lambda: re.search(pattern, self.log()[after:], re.M), limit_s)

    def connects(self):
        """Each connection in the log."""
        number = r"([0-9a-f.:]+)\.(\d+)"
        dest = r"([\w.:-]+)\.(\d+)$"
        seen = []
        for pid, line in re.findall(r"danted\[(\d+)\]: .*tcp/connect \[: .* -> (.*)$", self.log(),
                                    re.M):
            chained = re.search(r"\[%s\] %s" % (number, dest), line)
            found = chained or re.search(r"^%s %s" % (number, dest), line)
            if not found:
                raise AssertionError("not understood: " + line)
            addr, port, to, to_port = found.groups()
            seen.append(Connect(int(pid), (addr, int(port)), (to, int(to_port))))
        return seen

    def pids(self, title=""):
        """Its living processes whose titles begin so. One session has them all, and no others."""
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            stat = _stat(pid)
            if stat and stat[0] != "Z" and stat[1] == self.pid and _title(pid).startswith(title):
                found.append(pid)
        return sorted(found)

    def alive(self):
        return self.pid in self.pids()

    def hup(self):
        os.kill(self.pid, signal.SIGHUP)

    def wait(self, limit_s=5):
        """Its exit status."""
        try:
            return self.proc.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("danted still runs after %.1f s" % limit_s) from None

    def end(self):
        """Ends all of its processes, kindly first."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            tap.wait_for("danted's processes end", lambda: not self.pids(), 2)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc.wait()


# ---- the module ----

CONF = """logoutput: LOG
USERSinternal: 127.0.0.1 port = PORT
EXTERNAL
clientmethod: none
socksmethod: none
client pass {
    from: 0/0 to: 0/0
}
socks pass {
    from: 0/0 to: 0/0
    log: connect error
}
"""


def conf(*external):
    """A danted.conf that serves everybody, with these external addresses."""
    return CONF.replace("USERS", users()).replace(
        "EXTERNAL", "\n".join("external: " + x for x in external or (ANCHOR,)))


def anchor6_add(t):
    """Sets up the IPv6 anchor as dispatch-dante.8 has it."""
    rule = ("from", ANCHOR6, "prohibit")
    world.run("ip", "addr", "add", ANCHOR6 + "/128", "dev", "lo", "nodad")
    t.defer(world.run, "ip", "addr", "del", ANCHOR6 + "/128", "dev", "lo")
    world.run("ip", "-6", "rule", "add", *rule)
    t.defer(world.run, "ip", "-6", "rule", "del", *rule)


def module():
    """The module's path, from DISPATCH_DANTE or where builds lie."""
    given = os.environ.get("DISPATCH_DANTE")
    built = os.environ.get("BUILDDIR") or os.path.join(os.path.dirname(host.program()), "..")
    path = os.path.realpath(given or os.path.join(built, "host/dante/.libs/dispatch-dante.so"))
    if not os.path.exists(path):
        raise AssertionError("no dispatch-dante.so; set DISPATCH_DANTE")
    return path


def config(links, pool="balancer: rr", more="", anchors=(ANCHOR,)):
    """A file with one pool of all `links` (name: keys as text), for danted. STATE stands for the
    state file."""
    lines = ["links:"]
    lines += host.link_lines(links)
    lines += ["pools:", "  all: {%s, links: [%s]}" % (pool, ", ".join(links))]
    lines += ["dante: {anchors: [%s], pool: all, state: STATE}"
              % ", ".join('"%s"' % x for x in anchors)]
    return "\n".join(lines + [more] if more else lines) + "\n"


def environment(yaml_path):
    """What puts the module into danted, behind the runtime of the sanitizers it was built with.
    These are not to look for leaks: danted has its own."""
    env = dict(host.environment(), LD_PRELOAD=module(), DISPATCH_CONFIG=yaml_path)
    if host.sanitized():
        needed = world.run("readelf", "-d", module())
        env["LD_PRELOAD"] = " ".join(re.findall(r"\[(lib\w+san\.so[.\d]*)\]", needed) + [module()])
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    return env


class Balanced(Danted):
    """danted with the module: `yaml` is its dispatch.yaml, `text` its own configuration."""

    def __init__(self, t, yaml, text=None, args=(), wait=True):
        self.yaml_path = os.path.join(t.dir, "dispatch.yaml")
        self.state_path = os.path.join(t.dir, "dante.state")
        self.write_yaml(yaml)
        t.report(self._report_state)
        super().__init__(t, text or conf(), args, environment(self.yaml_path), wait)

    def write_yaml(self, yaml):
        """Writes dispatch.yaml, whole, as an editor does: beside it, then renamed. danted's
        unprivileged processes may not read it."""
        with open(self.yaml_path + ".new", "w", encoding="utf-8") as f:
            f.write(yaml.replace("STATE", self.state_path))
        os.chmod(self.yaml_path + ".new", 0o600)
        os.rename(self.yaml_path + ".new", self.yaml_path)

    def state_text(self):
        status, out, err = host.once("--dante-state", self.state_path)
        if status != 0:
            raise AssertionError("--dante-state: %d %s" % (status, err))
        return out

    def _report_state(self):
        return "--- state\n" + self.state_text() if os.path.exists(self.state_path) else ""

    def state(self):
        lines = self.state_text().splitlines()
        tap.equal(lines[0].split(), "LINK STATE ACTIVE DIALING PICKS FAILS RTT RX TX".split(),
                  "the heads of the columns")
        links = {}
        for line in lines[1:-1]:
            name, state, active, dialing, picks, fails, rtt, rx, tx = line.split()
            links[name] = Link(state, int(active), int(dialing), int(picks), int(fails), rtt, rx,
                               tx)
        found = tap.matches(r"^sessions (\d+)$", lines[-1], "the last line")
        return State(links, int(found.group(1)))

    def active(self):
        """How many connections each link has: {name: number}."""
        return {name: link.active for name, link in self.state().links.items()}

    def wait_active(self, limit_s=5.0, **wanted):
        """Waits until it is so, and no claim is left beside these."""

        def look():
            state = self.state()
            seen = {name: link.active for name, link in state.links.items()}
            return seen == wanted and state.sessions == sum(wanted.values())

        tap.wait_for("active is %r" % wanted, look, limit_s)

    def reload(self, yaml=None):
        """HUP, once danted has read its own configuration again."""
        if yaml is not None:
            self.write_yaml(yaml)
        before = len(self.log())
        self.hup()
        self.wait_log(r"SIGHUP \]: config reloaded", after=before)
