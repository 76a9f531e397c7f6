# SPDX-License-Identifier: MIT
"""The program under test: started without any privilege, watched, stopped."""

import contextlib
import functools
import os
import re
import signal
import subprocess
import time

from . import shim, tap, world

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
SRCDIR = os.environ.get("SRCDIR", ROOT)
TICKS = os.sysconf("SC_CLK_TCK")

# Set by run-test.sh: one allocation in so many fails in each host, whatever becomes of the cases,
# and a host that crashes or hangs is reported in this folder.
FAIL_EVERY = int(os.environ.get("DISPATCH_FAIL_EVERY") or 0)
REPORTS = os.environ.get("DISPATCH_REPORTS")
CRASHES = {-x for x in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL,
                        signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS)}


def program():
    """The host's path, from DISPATCH_HOST or where builds lie."""
    given = os.environ.get("DISPATCH_HOST")
    if given:
        return os.path.realpath(given)
    for folder in ("build", "."):
        path = os.path.join(SRCDIR, folder, "host", "dispatch-host")
        if os.access(path, os.X_OK):
            return path
    raise AssertionError("no dispatch-host; set DISPATCH_HOST")


def environment(more=None):
    """The test's own, with the plugins that were built beside the host."""
    env = dict(os.environ)
    if not os.environ.get("DISPATCH_HOST"):
        built = os.path.join(os.path.dirname(program()), "..", "plugins", ".libs")
        env.setdefault("DISPATCH_PLUGIN_PATH", os.path.realpath(built))
    env.update(more or {})
    return env


def link_lines(links):
    return ["  %s: {%s%s}" % (name, keys, "" if "slow-start" in keys else ", slow-start: 0")
            for name, keys in links.items()]


def config(links, pool="balancer: rr", listen="127.0.0.1:PORT", listener="", more=""):
    """A file with one listener, one pool of all `links` (name: keys as text), and `more`. A link
    that is back has its whole share at once, unless its keys say otherwise."""
    lines = ["listeners:", '  main: {listen: "%s", pool: all%s}' % (listen, listener), "links:"]
    lines += link_lines(links)
    lines += ["pools:", "  all: {%s, links: [%s]}" % (pool, ", ".join(links))]
    return "\n".join(lines + [more] if more else lines) + "\n"


def _unprivileged():
    """Real root becomes nobody; root of a namespace can be nobody else, but loses every
    capability as well."""
    words = [tap.tool("setpriv"), "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return words + (["--reuid=nobody", "--clear-groups"] if tap.real_root() else [])


def privileged(*command):
    """The words that run a command as an ordinary user who may change routes and mark packets."""
    words = [tap.tool("setpriv"), "--bounding-set=-all,+net_admin", "--no-new-privs"]
    if tap.real_root():
        words += ["--reuid=nobody", "--clear-groups", "--inh-caps=-all,+net_admin",
                  "--ambient-caps=-all,+net_admin"]
    return words + list(command)


@functools.lru_cache
def sanitized():
    with open(program(), "rb") as f:
        data = f.read()
    return b"__asan_init" in data or b"__tsan_init" in data


def command(*args):
    """The words that run the host without any privilege."""
    return _unprivileged() + [program(), *args]


def once(*args, limit=20, env=None, run=None):
    """Runs the host to its end; returns (status, standard output, standard error). `run` is
    `privileged`, or nothing."""
    words = run(program(), *args) if run else command(*args)
    done = subprocess.run(words, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit,
                          env=environment(env), check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(
        errors="replace")


def processes(path):
    """All that run this program's file, the oldest first."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.readlink("/proc/%s/exe" % pid)
            with open("/proc/%s/stat" % pid, encoding="ascii") as f:
                stat = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if exe.split(" (deleted)")[0] == path and stat[0] != "Z":
            found.append((int(stat[19]), int(pid)))
    return [pid for _start, pid in sorted(found)]


def _end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Host:
    """A running host. Give it `args`, or `yaml` in which PORT stands for a free port."""

    def __init__(self, t, yaml=None, args=None, ready=r"listening on|server started at",
                 prefix=(), name="dispatch.yaml", port=None, listen="127.0.0.1", wait=True,
                 env=None, stderr=None, own=False, path=None):
        self.t = t
        self.port = port or world.free_port(listen)
        self.addr = (listen, self.port)
        self.file = None
        if yaml is not None:
            self.file = os.path.join(t.dir, name)
            self.write(yaml)
            args = ["-c", self.file]
        args = [str(a).replace("PORT", str(self.port)) for a in args]
        if FAIL_EVERY and not env:
            env = shim.FailMalloc(t, FAIL_EVERY, seed=self.port).env
        self.log_path = os.path.join(t.dir, "host-%d.log" % time.monotonic_ns())
        self.out_path = self.log_path + ".out"
        with open(self.log_path, "wb") as log, open(self.out_path, "wb") as out:
            self.proc = subprocess.Popen(
                list(prefix) + ([] if own else _unprivileged()) + [path or program(), *args],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log if stderr is None else stderr,
                env=environment(env))
        t.defer(self.kill)
        t.report(lambda: "--- host %s\n%s" % (" ".join(args), self.log()[-6000:]))
        if wait:
            self.wait_log(ready)
            self.fds_ready = self.fds()

    def write(self, yaml):
        """Writes the configuration, whole, as an editor does: beside it, then renamed."""
        data = yaml if isinstance(yaml, bytes) else yaml.encode()
        data = data.replace(b"PORT", b"%d" % self.port)
        with open(self.file + ".new", "wb") as f:
            f.write(data)
        os.rename(self.file + ".new", self.file)

    def log(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode(errors="replace")

    def out(self):
        with open(self.out_path, "rb") as f:
            return f.read().decode(errors="replace")

    def wait_log(self, pattern, limit_s=15, after=0):
        """Waits for a line; text before `after` (a position in log()) is not looked at."""

        def look():
            found = re.search(pattern, self.log()[after:], re.M)
            if not found and self.proc.poll() is not None:
                raise AssertionError("the host ended with %s before it said /%s/:\n%s"
                                     % (self.proc.returncode, pattern, self.log()))
            return found

        return tap.wait_for("the host says /%s/" % pattern, look, limit_s)

    def reload(self, yaml=None, says=r"(?m)^(info|error) .*reloaded"):
        """HUP; waits until the host has said something about it; returns what it said."""
        before = len(self.log())
        if yaml is not None:
            self.write(yaml)
        self.proc.send_signal(signal.SIGHUP)
        self.wait_log(says, after=before)
        return self.log()[before:]

    def upgrade(self):
        """USR2; returns the new process, which is ended with the case."""
        self.proc.send_signal(signal.SIGUSR2)
        pid = int(self.wait_log(r"process (\d+) serves from now on").group(1))
        tap.check(pid != self.proc.pid, "a new process", pid)
        self.t.defer(_end, pid)
        return pid

    def term(self):
        self.proc.send_signal(signal.SIGTERM)

    def wait(self, limit_s=10):
        """Its exit status."""
        try:
            return self.proc.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("the host still runs after %.1f s" % limit_s) from None

    def alive(self):
        return self.proc.poll() is None

    def _judge(self):
        """Has it crashed? Does it end when it is told to?"""
        self.proc.send_signal(signal.SIGCONT)
        for _ in range(2):  # the second ends it at once
            if self.alive():
                self.term()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.proc.wait(5)
        if self.alive() or self.proc.returncode in CRASHES:
            what = "hangs" if self.alive() else "ended with %d" % self.proc.returncode
            with open(os.path.join(REPORTS, "host.%d" % time.monotonic_ns()), "w",
                      encoding="utf-8") as f:
                f.write("%s: %s\n%s\n" % (" ".join(self.proc.args), what, self.log()[-4000:]))

    def kill(self):
        if REPORTS and FAIL_EVERY:
            self._judge()
        if self.alive():
            self.proc.kill()
        self.proc.wait()

    def _proc(self, name):
        return "/proc/%d/%s" % (self.proc.pid, name)

    def fds(self):
        """How many descriptors it has open."""
        return len(os.listdir(self._proc("fd")))

    def cpu_s(self):
        """Seconds of processor time used so far."""
        with open(self._proc("stat"), encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status(self, key):
        """A line of /proc/PID/status: `VmRSS` in KiB, `CapEff`, `Uid`."""
        with open(self._proc("status"), encoding="ascii") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return line.split(":", 1)[1].split()
        raise AssertionError("no %s in status" % key)

    def rss_kib(self):
        """Resident memory; always 0 under a sanitizer, which has uses of its own for it."""
        return 0 if sanitized() else int(self.status("VmRSS")[0])
