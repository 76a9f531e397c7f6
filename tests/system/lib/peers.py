# SPDX-License-Identifier: MIT
"""Real peers: sshd and ssh -D, microsocks, danted, squid, tinyproxy, dnsmasq, nginx."""

import os
import subprocess

from . import tap, world
from .host import SRCDIR


def _as_outer_user():
    """Without real root, daemons cannot become another user, and think they must if they see
    themselves as root: they run as whoever started the test."""
    uid, gid = tap.outer_ids()
    if uid == 0:
        return []
    return [tap.tool("unshare"), "--user", "--map-user=%d" % uid, "--map-group=%d" % gid]


class Ssh:
    """An sshd in a namespace, with keys of its own; tunnel() starts an `ssh -D` to it."""

    def __init__(self, t, w, ns, addr):
        self.t, self.world, self.ns, self.addr = t, w, ns, addr
        self.dir = t.dir
        self.port = world.free_port(addr, ns)
        self.key = os.path.join(t.dir, "client-key")
        host_key = os.path.join(t.dir, "host-key-" + ns)
        for path in (self.key, host_key):
            if not os.path.exists(path):
                world.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        with open(self.key + ".pub", encoding="ascii") as f:
            allowed = t.file("authorized", f.read(), 0o600)
        conf = t.file("sshd-%s.conf" % ns, "\n".join([
            "ListenAddress %s" % addr, "Port %d" % self.port, "HostKey %s" % host_key,
            "AuthorizedKeysFile %s" % allowed, "StrictModes no", "UsePAM no", "PidFile none",
            "PasswordAuthentication no", "PermitRootLogin yes", "AllowTcpForwarding yes",
            "MaxSessions 1000", "MaxStartups 1000", "UseDNS no", "LogLevel VERBOSE", ""]))
        self.as_user = _as_outer_user()
        self.sshd = w.popen(ns, self.as_user + [tap.tool("sshd"), "-D", "-e", "-f", conf])
        tap.wait_for("sshd listens", lambda: world.accepts(addr, self.port, ns))
        if self.as_user:
            self._try()

    def _try(self):
        """Not everybody may log in: the likes of nobody may not."""
        done = subprocess.run([tap.tool("ip"), "netns", "exec", self.ns, *self.words(), "true"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode and "not allowed because" in self.sshd.said():
            raise tap.Skip("sshd does not let in who runs this test")
        tap.equal(done.returncode, 0, "ssh: " + done.stdout.decode(errors="replace"))

    def words(self, *options):
        """Those of an ssh to it; a command may follow."""
        return self.as_user + [
            tap.tool("ssh"), "-F", "none", *options, "-p", str(self.port), "-i", self.key,
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
            "root@" + self.addr if tap.real_root() else self.addr]

    def tunnel(self):
        """Starts ssh -D here; returns the process, whose .port is the SOCKS port."""
        port = world.free_port()
        proc = self.world.popen(None, self.words("-N", "-D", "127.0.0.1:%d" % port,
                                                 "-o", "ExitOnForwardFailure=yes"))
        proc.port = port
        tap.wait_for("ssh -D listens", lambda: world.accepts("127.0.0.1", port), 20)
        return proc


def microsocks(w, ns, addr, *args, resolv=None):
    """A microsocks; returns its port. `resolv`: the text of its own resolv.conf."""
    port = world.free_port(addr, ns)
    words = [tap.tool("microsocks"), "-i", addr, "-p", str(port), *args]
    if resolv is not None:
        path = w.t.file("resolv-microsocks", resolv)
        words = [tap.tool("unshare"), "--mount", "sh", "-c",
                 'mount --bind "$0" "$(realpath /etc/resolv.conf)" && exec "$@"', path] + words
    w.popen(ns, words)
    tap.wait_for("microsocks listens", lambda: world.accepts(addr, port, ns))
    return port


def danted(w, ns, addr, external):
    """A danted without authentication; returns its port."""
    port = world.free_port(addr, ns)
    conf = w.t.file("danted.conf", "\n".join([
        "logoutput: stderr", "internal: %s port = %d" % (addr, port), "external: %s" % external,
        "socksmethod: none", "clientmethod: none",
        "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }",
        "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 protocol: tcp }", ""]))
    w.popen(ns, ["danted", "-f", conf], env=dict(os.environ, TMPDIR=w.t.dir))
    tap.wait_for("danted listens", lambda: world.accepts(addr, port, ns), 20)
    return port


# The login of squid and tinyproxy, and as htpasswd writes it.
USER, PASSWORD = "me", "s3cr.et-7"
HTPASSWD = "me:$apr1$dispatch$ERXoeq/4T1xYWd2XTa6ng1\n"


class Daemon(int):
    """A port, and the process that listens there."""

    def kill(self):
        self.proc.kill()
        self.proc.wait()


def _daemon(w, ns, addr, port, words):
    daemon = Daemon(port)
    daemon.proc = w.popen(ns, words)
    tap.wait_for(words[-1] + " is served", lambda: world.accepts(addr, port, ns), 20)
    return daemon


def _mounted(what):
    """Words before those of a daemon that sees one more mount than others."""
    return [tap.tool("unshare"), "--mount", "sh", "-c", "mount %s && exec \"$@\"" % what, "sh"]


def _hosts(w, names):
    return w.t.file("hosts", "".join("%s %s\n" % (addr, name) for name, addr in names.items()))


def squid(w, ns, addr, login=False, only_port=None, hosts=None):
    """A squid that connects to all ports, or one; returns its port. `hosts`: names it knows."""
    port = world.free_port(addr, ns)
    access = ["http_access deny !there"] if only_port else []
    if login:
        ncsa = "/usr/lib/squid/basic_ncsa_auth"
        if not os.path.exists(ncsa):
            raise tap.Skip("not installed: " + ncsa)
        access = ["auth_param basic program %s %s" % (ncsa, w.t.file("htpasswd", HTPASSWD)),
                  "acl known proxy_auth REQUIRED", "http_access deny !known"] + access
    conf = w.t.file("squid-%d.conf" % port, "\n".join([
        "http_port %s:%d" % (addr, port), "pid_filename none", "cache_log /dev/null",
        "access_log none", "cache deny all", "cache_mem 1 MB", "max_filedescriptors 1024",
        "netdb_filename none", "coredump_dir none", "hosts_file " + _hosts(w, hosts or {}),
        "acl there port %d" % (only_port or 1), *access, "http_access allow all", ""]))
    # In /dev/shm all of them have files of the same names, and leave them there.
    return _daemon(w, ns, addr, port, _mounted("-t tmpfs -o mode=1777 none /dev/shm") +
                   _as_outer_user() + [tap.tool("squid"), "-N", "-f", conf])


def tinyproxy(w, ns, addr, login=False, only_port=None, hosts=None):
    """The same with a tinyproxy. `hosts` stands in the way of the system's hosts file."""
    port = world.free_port(addr, ns)
    conf = w.t.file("tinyproxy-%d.conf" % port, "\n".join([
        "Listen " + addr, "Port %d" % port, "Timeout 60", "MaxClients 100", "LogLevel Error",
        *(["BasicAuth %s %s" % (USER, PASSWORD)] if login else []),
        *(["ConnectPort %d" % only_port] if only_port else []), ""]))
    words = _as_outer_user() + [tap.tool("tinyproxy"), "-d", "-c", conf]
    if hosts:
        words = _mounted("--bind %s /etc/hosts" % _hosts(w, hosts)) + words
    return _daemon(w, ns, addr, port, words)


def dnsmasq(w, ns, addr, *records):
    """A dnsmasq that knows `records` (`--host-record=...`), and says each query."""
    w.by_ns[ns].beyond("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
    proc = w.popen(ns, _as_outer_user() + [
        tap.tool("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
        "--no-hosts", "--port=53", "--listen-address=" + addr, "--bind-interfaces",
        "--log-queries", "--log-facility=-", "--local=/test/",
        *(["--user=root"] if tap.real_root() else []), *records])
    tap.wait_for("dnsmasq listens", lambda: world.accepts(addr, 53, ns))
    return proc


def nginx(w, ns, addr, root, more=""):
    """An nginx that serves the files of a folder, with `more` in its server; returns its port."""
    port = world.free_port(addr, ns)
    folder = os.path.join(w.t.dir, "nginx-" + ns)
    os.makedirs(folder, exist_ok=True)
    conf = os.path.join(folder, "nginx.conf")
    temp = "".join("%s_temp_path %s/%s; " % (x, folder, x)
                   for x in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(conf, "w", encoding="ascii") as f:
        f.write("user root; daemon off; master_process off; pid %s/pid; error_log stderr;\n"
                "events { worker_connections 512; }\n"
                "http { access_log off; %s server { listen %s:%d; root %s; %s } }\n"
                % (folder, temp, "[%s]" % addr if ":" in addr else addr, port, root, more))
    w.popen(ns, ["nginx", "-c", conf, "-p", folder, "-e", "stderr"])
    tap.wait_for("nginx listens", lambda: world.accepts(addr, port, ns))
    return port


def build_plugin(t, kind_and_name, source, into=None, include=None):
    """Compiles C into KIND-NAME.so; returns its path. The compiler's complaint fails the case."""
    cc = os.environ.get("CC", "cc").split()
    if not tap.tool(cc[0]):
        raise tap.Skip("no compiler")
    if not os.path.exists(source):
        source = t.file("source-%s.c" % kind_and_name, source)
    into = into or os.path.join(t.dir, "plugins")
    os.makedirs(into, mode=0o755, exist_ok=True)
    path = os.path.join(into, kind_and_name + ".so")
    include = include or os.path.join(SRCDIR, "core", "plugin")
    done = subprocess.run([*cc, "-std=c11", "-O1", "-fPIC", "-shared", "-I" + include, "-o", path,
                           source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise AssertionError("%s: %s" % (source, done.stdout.decode(errors="replace")))
    os.chmod(path, 0o755)
    return path
