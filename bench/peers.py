# SPDX-License-Identifier: MIT
"""Who is measured, and how each is set up.

All run as an ordinary user with one worker, log errors only, and otherwise have the defaults they
are packaged with. In words and files {listen} and {port} stand for where the peer listens, {target}
and {target-port} for where a forwarder leads, {checked-port} for what health checks connect to there,
{address} and {device} for the way out, {config} and {dir} for its configuration and a folder it may
write to.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time

import place as places
from place import Failed

DISPATCH_YAML = """\
listeners:
  main: {listen: "{listen}:{port}", open: yes}
links:
  out: {interface: {device}}
"""

# The same with what keeps an eye on links and remembers where clients were.
LIVING_YAML = DISPATCH_YAML + """\
health-check: {tcp: "{target}:{checked-port}"}
pools:
  all: {links: [out], sticky: {by: [client, host], ttl: 10m}}
"""

LOOKUPS = "lookups"  # looks up rules, with the same code as dispatch-host
MODULE, MODULE_CONFIG = "dispatch-dante.so", "dante.yaml"

# The same way out by the module: danted knows the anchor only.
ANCHOR = "127.0.0.2"
MODULE_YAML = """\
links:
  out: {interface: %s}
dante: {anchors: %s}
""" % (places.OUT_DEVICE, ANCHOR)

DANTED_CONF = """\
errorlog: stderr
internal: {listen} port = {port}
external: {address}
clientmethod: none
socksmethod: none
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
"""

NGINX_CONF = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
events { worker_connections 8192; }
stream {
    server {
        listen {listen}:{port};
        proxy_pass {target}:{target-port};
    }
}
"""

# Nothing is cached or logged, nothing is added to what passes, and nothing is kept on disk.
SQUID_CONF = """\
http_port {listen}:{port}
http_access allow all
cache deny all
via off
forwarded_for delete
access_log none
cache_log /dev/null
pid_filename none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
coredump_dir {dir}
"""

# Its own limit is 100 clients.
TINYPROXY_CONF = """\
Listen {listen}
Port {port}
MaxClients 4096
Timeout 60
LogLevel Critical
DisableViaHeader Yes
"""

HAPROXY_CFG = """\
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen main
    bind {listen}:{port}
    server target {target}:{target-port}
"""


class Peer:
    """A program under test, or (no words) the way without one."""

    def __init__(self, name, words=(), config="", version=(), speaks=("socks",), keeps=True,
                 quiet=False, env=None, measures=None, lookups=None):
        self.name, self.words, self.config = name, list(words), config
        self.version_words = list(version)
        self.speaks = speaks  # of tcp (it passes on what it gets), socks, connect and get (HTTP)
        self.keeps = keeps  # a client's connection, after a request of plain HTTP
        self.quiet = quiet  # its log cannot be turned down: it goes to /dev/null
        self.env = dict(os.environ, **(env or {}))
        self.measures = measures  # these only; None: all
        self.lookups = lookups  # its program that looks up rules

    def missing(self):
        """The program, or what is preloaded into it, that would have to be installed."""
        needed = self.words[:1] + [path for path in [self.env.get("LD_PRELOAD")] if path]
        return next((name for name in needed if not places.tool(name)), None)

    def version(self):
        """What it says of itself, as the first number with a dot in it."""
        if not self.version_words:
            return ""
        done = subprocess.run([places.tool(self.version_words[0]), *self.version_words[1:]],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env,
                              check=False)
        for word in done.stdout.decode(errors="replace").replace("/", " ").split():
            word = word.strip("v,;")
            if word[:1].isdigit() and "." in word:
                return word
        return ""


def known(host, plugins):
    """All peers, in the order of the table."""
    module = {"LD_PRELOAD": os.path.join(plugins, MODULE), "DISPATCH_PLUGIN_PATH": plugins,
              "DISPATCH_CONFIG": os.path.join(plugins, MODULE_CONFIG)}
    danted = ["dpkg-query", "-Wf${Version}", "dante-server"]
    return [
        Peer("direct", speaks=("tcp", "get")),
        Peer("dispatch-host", [host, "-q", "-c", "{config}"], DISPATCH_YAML, [host, "--version"],
             speaks=("socks", "connect", "get"), env={"DISPATCH_PLUGIN_PATH": plugins},
             lookups=os.path.join(plugins, LOOKUPS)),
        Peer("dispatch-host+living", [host, "-q", "-c", "{config}"], LIVING_YAML,
             env={"DISPATCH_PLUGIN_PATH": plugins},
             measures=("calls", "instructions", "instructions-name")),
        Peer("microsocks", ["microsocks", "-i", "{listen}", "-p", "{port}"],
             version=["dpkg-query", "-Wf${Version}", "microsocks"], quiet=True),
        Peer("danted", ["danted", "-f", "{config}"], DANTED_CONF, danted),
        Peer("danted+module", ["danted", "-f", "{config}"],
             DANTED_CONF.replace("{address}", ANCHOR), danted, env=module,
             measures=("conn-64", "ttfb", "calls", "dante")),
        Peer("nginx", ["nginx", "-c", "{config}", "-p", "{dir}", "-e", "stderr"], NGINX_CONF,
             ["nginx", "-v"], speaks=("tcp",)),
        Peer("haproxy", ["haproxy", "-q", "-db", "-f", "{config}"], HAPROXY_CFG,
             ["haproxy", "-v"], speaks=("tcp",)),
        Peer("tinyproxy", ["tinyproxy", "-d", "-c", "{config}"], TINYPROXY_CONF,
             ["tinyproxy", "-v"], speaks=("connect", "get"), keeps=False),
        Peer("squid", ["squid", "-N", "-f", "{config}"], SQUID_CONF, ["squid", "-v"],
             speaks=("connect", "get")),
    ]


def also(text):
    """One more SOCKS5 server, given as NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not name or not equals or not command:
        raise Failed("--also wants NAME=COMMAND, not %s" % text)
    return Peer(name, shlex.split(command), DISPATCH_YAML)


def copied(place, host, plugins, module):
    """A copy of the programs under test that any user can read, and that no build changes."""
    folder = os.path.join(place.dir, "dispatch")
    os.mkdir(folder, 0o755)
    program = shutil.copy(host, os.path.join(folder, "dispatch-host"))
    os.chmod(program, 0o755)
    for name in os.listdir(plugins):
        if name.endswith(".so"):
            os.chmod(shutil.copy(os.path.join(plugins, name), folder), 0o644)
    lookups = os.path.join(os.path.dirname(host), "..", "bench", LOOKUPS)
    if os.path.isfile(lookups):
        os.chmod(shutil.copy(lookups, folder), 0o755)
    if os.path.isfile(module):
        os.chmod(shutil.copy(module, os.path.join(folder, MODULE)), 0o755)
        place.file(os.path.join(folder, MODULE_CONFIG), MODULE_YAML)
    return program, folder


class Running:
    """A peer in fresh namespaces. `under`: words of a tool that it is to run under."""

    def __init__(self, place, peer, under=()):
        self.place, self.peer, self.under = place, peer, list(under)
        self.log = os.path.join(place.dir, peer.name + ".log")
        self.proc = None
        self._start()

    def _start(self):
        place, peer = self.place, self.peer
        place.renew()
        if not peer.words:
            return
        config = place.file(peer.name + ".conf", self._fill(peer.config))
        words = [self._fill(word, config) for word in peer.words]
        words[0] = places.tool(words[0])
        with open(os.devnull if peer.quiet else self.log, "wb") as log:
            self.proc = place.popen("proxy", places.unprivileged() + self.under + words,
                                    place.proxy_cpu, stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, env=peer.env)
        self._wait()

    def _fill(self, text, config=""):
        for key, value in (("listen", places.PROXY), ("port", places.PROXY_PORT),
                           ("target", places.SERVER), ("target-port", places.SERVER_PORT),
                           ("checked-port", places.CHECKED_PORT),
                           ("address", places.PROXY_OUT), ("device", places.OUT_DEVICE),
                           ("dir", self.place.scratch), ("config", config)):
            text = text.replace("{%s}" % key, str(value))
        return text

    def _listens(self):
        """Looks at the kernel's table: a connection as a probe would itself be served."""
        table = self.place.run_in("proxy", "cat", "/proc/net/tcp", "/proc/net/tcp6")
        port = ":%04X" % places.PROXY_PORT
        rows = [line.split() for line in table.splitlines()]
        return any(row[1].endswith(port) and row[3] == "0A" for row in rows)

    def _wait(self):
        end = time.monotonic() + 30
        while not self._listens():
            if self.proc.poll() is not None or time.monotonic() > end:
                text = self.said()
                self.stop()
                raise Failed("%s does not start%s" % (self.peer.name, text))
            time.sleep(0.02)
        self.settle()

    def said(self):
        """The last line of its log, as an addition to a message."""
        if self.peer.quiet or not self.proc:
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as f:
            line = f.read().strip().rpartition("\n")[2]
        return "; %s said: %s" % (self.peer.name, line) if line else ""

    def pids(self):
        return [pid for pid, _ in places.processes(self.proc.pid)] if self.proc else []

    def cpu_s(self):
        return places.cpu_s(self.proc.pid) if self.proc else 0.0

    def settle(self):
        """Waits until it does nothing more; returns its processor seconds."""
        last = self.cpu_s()
        for _ in range(40):
            time.sleep(0.025)
            now = self.cpu_s()
            if now - last < 0.0001:
                break
            last = now
        return now

    def restart(self):
        """After a failure: what is measured next must not find what it left."""
        self.stop()
        self._start()

    def stop(self):
        """Ends it, gently first, so that a tool it runs under can write its report."""
        if not self.proc:
            return
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            end = time.monotonic() + 10
            while self._alive() and time.monotonic() < end:
                time.sleep(0.01)
        self.proc.wait()
        with contextlib.suppress(ChildProcessError):  # orphans became children of this process
            while os.waitpid(-self.proc.pid, os.WNOHANG) != (0, 0):
                pass

    def _alive(self):
        return [pid for pid, fields in places.processes(self.proc.pid) if fields[0] != "Z"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
