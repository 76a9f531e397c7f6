# SPDX-License-Identifier: MIT
"""Where is measured: three network namespaces in a row, and a processor core for each side.

    client 10.1.0.1 ---- 10.1.0.2 proxy 10.2.0.1 ---- 10.2.0.2 server
                  c0      c1            s0      s1
"""

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile

INSIDE = "DISPATCH_BENCH_INSIDE"

CLIENT, PROXY, PROXY_OUT, SERVER = "10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2"
PROXY_PORT, SERVER_PORT, CHECKED_PORT = 1080, 5000, 5002
SERVER_NAME = "www.static.example.co.uk"  # in the hosts file
OUT_DEVICE = "s0"
SPACES = ("client", "proxy", "server")


class Failed(Exception):
    """Something could not be measured; the text says why."""


def tool(name):
    """The path of a program, also of one that lies in sbin; None if it is not installed."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(*words):
    """Runs a command of the system's to its end."""
    done = subprocess.run([tool(words[0]) or words[0], *words[1:]], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Failed("%s: %s" % (" ".join(words), done.stdout.decode(errors="replace").strip()))
    return done.stdout.decode(errors="replace")


def enter():
    """Re-executes this program in namespaces of its own, which take every process and device
    along when it ends. Root stays root; anybody else becomes root of a new user namespace."""
    if os.environ.get(INSIDE):
        run("mount", "-t", "tmpfs", "none", "/run")  # `ip netns` keeps its files there
        hosts = "/run/hosts"
        with open(hosts, "w", encoding="ascii") as f:
            f.write("127.0.0.1 localhost\n%s %s\n" % (SERVER, SERVER_NAME))
        run("mount", "--bind", hosts, os.path.realpath("/etc/hosts"))
        return
    kinds = ["--net", "--mount", "--pid", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        kinds = ["--user", "--map-root-user"] + kinds
    words = [tool("unshare") or "unshare", *kinds]
    if not tool("ip") or subprocess.run([*words, "true"], check=False).returncode != 0:
        sys.exit("bench: no namespaces here: unshare and ip are needed, and root or user "
                 "namespaces")
    os.environ[INSIDE] = "yes"
    os.execv(words[0], words + [sys.executable, "-B", *sys.argv])


NOBODY = 65534


def _nobody_exists():
    """Root of a user namespace may be nobody else."""
    with open("/proc/self/uid_map", encoding="ascii") as f:
        ranges = [[int(n) for n in line.split()] for line in f]
    return any(first <= NOBODY < first + count for first, _, count in ranges)


def unprivileged():
    """Words before a peer's own, so that none is spared the limits of an ordinary user."""
    if _nobody_exists():
        return [tool("setpriv"), "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return [tool("unshare"), "--user", "--map-user=%d" % NOBODY, "--map-group=%d" % NOBODY]


def cores():
    """Two processors that do not share a core, if there are such: the load's, the proxy's."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Failed("two processors are needed, one for the proxy and one for the load")
    for other in allowed[1:]:
        if other not in _siblings(allowed[0]):
            return allowed[0], other
    return allowed[0], allowed[1]


def _siblings(cpu):
    path = "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % cpu
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as f:
        ranges = [r.split("-") for r in f.read().strip().split(",")]
        return {n for r in ranges for n in range(int(r[0]), int(r[-1]) + 1)}
    return set()


# What health checks connect to: the load generator would miss a message.
CHECKED = """
import socket
server = socket.create_server((%r, %d))
while True:
    server.accept()[0].close()
""" % (SERVER, CHECKED_PORT)


class Place:
    """The three namespaces, made anew for each peer, so that none inherits another's closed
    connections, and a folder that everybody can read."""

    def __init__(self):
        self.load_cpu, self.proxy_cpu = cores()
        os.sched_setaffinity(0, {self.load_cpu})
        self.dir = tempfile.mkdtemp(prefix="dispatch-bench-")
        os.chmod(self.dir, 0o755)
        self.scratch = os.path.join(self.dir, "scratch")  # where peers may write
        os.mkdir(self.scratch)
        os.chmod(self.scratch, 0o1777)
        self.checked = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._checked_end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _checked_end(self):
        if self.checked:
            self.checked.kill()
            self.checked.wait()

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def renew(self):
        """Makes the namespaces, after taking down those that are there."""
        self._checked_end()
        for name in SPACES:
            if self.checked:
                run("ip", "netns", "del", name)
            run("ip", "netns", "add", name)
        run("ip", "-n", "client", "link", "add", "c0", "type", "veth", "peer", "name", "c1",
            "netns", "proxy")
        run("ip", "-n", "proxy", "link", "add", "s0", "type", "veth", "peer", "name", "s1",
            "netns", "server")
        for ns, dev, addr in (("client", "c0", CLIENT), ("proxy", "c1", PROXY),
                              ("proxy", "s0", PROXY_OUT), ("server", "s1", SERVER)):
            run("ip", "-n", ns, "addr", "add", addr + "/24", "dev", dev)
            run("ip", "-n", ns, "link", "set", dev, "up")
        for ns in SPACES:
            run("ip", "-n", ns, "link", "set", "lo", "up")
            # Room for the ports that closed connections keep for a minute.
            self.run_in(ns, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65535",
                        "net.ipv4.tcp_tw_reuse=1")
        # The way without a proxy: its namespace passes packets on.
        self.run_in("proxy", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "-n", "client", "route", "add", "default", "via", PROXY)
        run("ip", "-n", "server", "route", "add", "default", "via", PROXY_OUT)
        self.checked = self.popen("server", [sys.executable, "-c", CHECKED], self.load_cpu)

    @staticmethod
    def run_in(ns, *words):
        return run("ip", "netns", "exec", ns, *words)

    def popen(self, ns, words, cpu, **keywords):
        """Starts a program in a namespace, on one processor, as leader of a session."""

        def prepare():
            os.sched_setaffinity(0, {cpu})
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

        return subprocess.Popen([tool("ip"), "netns", "exec", ns, *words], start_new_session=True,
                                preexec_fn=prepare, cwd=self.dir, **keywords)


def processes(session):
    """The processes of a session, children of children included."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/stat" % name, encoding="utf-8",
                                                    errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
                if int(fields[3]) == session:
                    found.append((int(name), fields))
    return found


_TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


def _process_cpu_s(pid):
    """To the nanosecond, threads that have ended included: /proc counts in ticks of 10 ms."""
    clock, now = ctypes.c_int(), _Timespec()
    if _libc.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return 0.0
    if _libc.clock_gettime(clock, ctypes.byref(now)) != 0:
        return 0.0
    return now.s + now.ns / 1e9


def cpu_s(session):
    """Processor seconds, user and system, that a session's processes have used, with their
    children that have ended."""
    return sum(_process_cpu_s(pid) + (int(fields[13]) + int(fields[14])) / _TICKS
               for pid, fields in processes(session))
