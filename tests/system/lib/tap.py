# SPDX-License-Identifier: MIT
"""A small TAP runner: cases in the order written, each with a deadline, clean-up, and the
host's log when it fails. The file re-executes itself in namespaces of its own first."""

import contextlib
import faulthandler
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

CASE_LIMIT_S = 60  # generous: the machine may be noisy
INSIDE = "DISPATCH_TEST_INSIDE"

_cases = []
_shared = []  # the Case of each fixture made so far


class Skip(Exception):
    """The case cannot be run here; its text says why."""


class Late(Exception):
    """The case took longer than its limit."""


class Case:
    """What one case may ask for; everything it was given is taken back at its end."""

    def __init__(self, name):
        self.name = name
        self.stack = contextlib.ExitStack()
        self.reporters = []  # functions that return lines to print on failure
        self._dir = None

    def defer(self, func, *args):
        self.stack.callback(func, *args)

    def report(self, func):
        self.reporters.append(func)

    @property
    def dir(self):
        """A folder of the case's own, readable by everybody, writable by nobody else."""
        if self._dir is None:
            self._dir = tempfile.mkdtemp(prefix="dispatch-test-")
            os.chmod(self._dir, 0o755)
            self.defer(shutil.rmtree, self._dir, True)
        return self._dir

    def file(self, name, data, mode=0o644):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        os.chmod(path, mode)
        return path


def case(name, limit=CASE_LIMIT_S, needs=(), long=False):
    """Registers a case. `needs`: programs without which it is skipped. A `long` one is for the whole
    matrix (make check-all), which sets DISPATCH_LONG."""

    def register(func):
        if not long or os.environ.get("DISPATCH_LONG"):
            _cases.append((name, func, limit, needs))
        return func

    return register


def table(name, rows, long=(), **keywords):
    """Registers one case for each row; the row's first item ends the name, the rest are passed. Those
    named in `long` are long cases."""

    def register(func):
        for row in rows:
            def one(t, row=row):
                func(t, *row[1:])
            case("%s: %s" % (name, row[0]), long=long is True or row[0] in (long or ()),
                 **keywords)(one)
        return func

    return register


def shared(func):
    """A fixture made at its first use and kept for the rest of the file: func(t) -> anything."""
    made = []

    def get(t):
        if not made:
            whole = Case("shared")
            _shared.append(whole)
            made.append(func(whole))
            made.append(whole)
        t.reporters.extend(made[1].reporters)
        return made[0]

    return get


def fail(text):
    raise AssertionError(text)


def check(condition, text, *seen):
    if not condition:
        raise AssertionError(text + "".join("\nseen: %r" % (s,) for s in seen))


def equal(seen, wanted, text):
    if seen != wanted:
        raise AssertionError("%s\nseen:   %r\nwanted: %r" % (text, seen, wanted))


def matches(pattern, text, what, flags=re.M):
    found = re.search(pattern, text, flags)
    if not found:
        raise AssertionError("%s\nwanted: /%s/\nseen:   %s" % (what, pattern, text))
    return found


def within(limit_s, started, what):
    took = time.monotonic() - started
    if took > limit_s:
        raise AssertionError("%s took %.2f s, at most %.2f s wanted" % (what, took, limit_s))
    return took


def wait_for(what, func, limit_s=10.0, step_s=0.02):
    """Calls func() until it returns something true; fails after limit_s."""
    end = time.monotonic() + limit_s
    while True:
        got = func()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited %.1f s in vain: %s\nlast seen: %r" % (limit_s, what, got))
        time.sleep(step_s)


def tool(name):
    """The path of a program, also one that lies in sbin; None if it is not installed."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def _diag(text):
    for line in text.rstrip("\n").split("\n"):
        print("# " + line)


def _alarm(_signal, _frame):
    raise Late("the case took too long")


def _skip_all(why):
    print("1..0 # SKIP " + why)
    sys.exit(0)


def _enter():
    """Re-executes this program in namespaces of its own. Real root keeps its user ids, so that
    the host can be run as nobody; anybody else becomes root of a new user namespace. The process
    namespace takes every stray daemon along when the test ends."""
    if os.environ.get(INSIDE):
        return
    if not os.path.exists("/proc/self/ns/user") or not tool("unshare") or not tool("ip"):
        _skip_all("no namespaces here (unshare, ip)")
    kinds = ["--net", "--mount", "--pid", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        kinds = ["--user", "--map-root-user"] + kinds
        built = os.environ.get("DISPATCH_PLUGIN_PATH", ".")
        if os.stat(built).st_uid != os.geteuid():  # there, root's would be nobody's, too
            _skip_all("the plugins are another user's, who must run this: " + built)
    base = [tool("unshare")] + kinds
    probe = subprocess.run(base + ["true"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           check=False)
    if probe.returncode != 0:
        _skip_all("unshare: " + probe.stderr.decode(errors="replace").strip())
    env = dict(os.environ)
    env[INSIDE] = "%d:%d" % (os.getuid(), os.getgid())
    os.execvpe(base[0], base + [sys.executable, "-u"] + sys.argv, env)


def outer_ids():
    """The user and group that started the test, before it became root of its own namespace."""
    uid, gid = os.environ[INSIDE].split(":")
    return int(uid), int(gid)


def real_root():
    return outer_ids()[0] == 0


def _setup():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o022)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _alarm)
    # A hang that no exception can end (a join in clean-up) shows where it was, then dies.
    faulthandler.enable()
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run([tool("ip"), "link", "set", "lo", "up"], check=True)


def _run_one(name, func, limit, needs):
    """Returns "ok", "skip" with why, or "not ok" with the text to print."""
    missing = [n for n in needs if not tool(n)]
    if missing:
        return "skip", "not installed: " + ", ".join(missing)
    t = Case(name)
    try:
        signal.alarm(limit)
        func(t)
        return "ok", ""
    except Skip as why:
        return "skip", str(why)
    except (Exception, KeyboardInterrupt):  # pylint: disable=broad-except
        signal.alarm(0)
        lines = [traceback.format_exc()]
        for reporter in t.reporters:
            try:
                text = reporter()
                if text:
                    lines.append(text)
            except Exception:  # pylint: disable=broad-except
                lines.append(traceback.format_exc())
        return "not ok", "\n".join(lines)
    finally:
        signal.alarm(0)
        faulthandler.dump_traceback_later(limit, exit=True)
        t.stack.close()
        faulthandler.cancel_dump_traceback_later()


def main():
    """Runs all cases, or those whose names contain one of the words given."""
    _enter()
    _setup()
    words = sys.argv[1:]
    chosen = [c for c in _cases if not words or any(w in c[0] for w in words)]
    print("1..%d" % len(chosen))
    failed = 0
    for number, (name, func, limit, needs) in enumerate(chosen, 1):
        started = time.monotonic()
        result, text = _run_one(name, func, limit, needs)
        took = time.monotonic() - started
        if result == "skip":
            print("ok %d - %s # SKIP %s" % (number, name, text))
        else:
            print("%s %d - %s (%.1f s)" % (result, number, name, took))
        if result == "not ok":
            failed += 1
            _diag(text)
        sys.stdout.flush()
    for whole in _shared:
        whole.stack.close()
    # Daemon threads of servers may still wait in a system call: leave without asking them.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
