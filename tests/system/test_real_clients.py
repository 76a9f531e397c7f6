#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Programs as people use them, all by way of one port: apt, git, ssh, wget, aria2, and those that
make other programs use a proxy: ncat, nc, proxychains, socksify, Dante."""

import hashlib
import http.server
import os
import ssl
import subprocess
import threading

from lib import client, dns, http as http1, peers, servers, tap, world
from lib.dante import Danted, users
from lib.host import Host, config
from lib.tap import check, equal, table
from lib.world import TARGET

BIG = 20 << 20
PAGE = "<p>dispatch</p>\n"
HOME = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_NO_VERIFY": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b"}


class Place:
    """A link, servers of files, git repositories and a shell behind it, a host before it."""

    def __init__(self, t):
        self.t = t
        self.world = w = world.World(t, "a")
        self.ns = w.a.ns
        dns.NameServer(t, [("a", self.ns, w.a.gw)], {"v4.test": [TARGET]})
        self.cert, self.key = self._certificate()
        self.root = os.path.join(t.dir, "www")
        self.data = b"".join(servers.Pattern.pieces(BIG))
        t.file("www/big.bin", self.data)
        t.file("www/page.html", PAGE)
        t.file("www/slow/big.bin", self.data)
        self.secure = world.free_port(TARGET, self.ns)
        self.seen = os.path.join(t.dir, "access.log")
        both = "access_log %s; location /slow { limit_rate 4m; }" % self.seen
        self.port = peers.nginx(w, self.ns, TARGET, self.root, (
            "%s } server { listen %s:%d ssl; root %s; ssl_certificate %s; ssl_certificate_key %s; "
            "%s" % (both, TARGET, self.secure, self.root, self.cert, self.key, both)))
        self.host = Host(t, config({"a": "interface: a0, dns: [%s]" % w.a.gw}))
        self.proxy = "127.0.0.1:%d" % self.host.port
        self.home = t.file("home/.keep", b"")[:-len("/.keep")]

    def _certificate(self):
        key, cert = (os.path.join(self.t.dir, "tls." + x) for x in ("key", "pem"))
        world.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                  "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days",
                  "2", "-subj", "/CN=v4.test")
        return cert, key

    def url(self, path="/page.html", host="v4.test", secure=False):
        scheme, port = ("https", self.secure) if secure else ("http", self.port)
        return "%s://%s:%d%s" % (scheme, host, port, path)

    def requests(self):
        with open(self.seen, encoding="ascii") as f:
            return f.read()

    def run(self, *words, env=None, cwd=None, stdin=None):
        """What a program prints; without the test's own settings for proxies."""
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        clean.update(HOME, HOME=self.home, **(env or {}))
        done = subprocess.run([tap.tool(words[0]), *words[1:]], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=clean, cwd=cwd, timeout=30, check=False,
                              stdin=stdin or subprocess.DEVNULL)
        out = done.stdout.decode(errors="replace")
        check(done.returncode == 0, "%s: status %d" % (" ".join(words), done.returncode), out)
        return out


place = tap.shared(Place)


def file_of(path):
    with open(path, "rb") as f:
        return f.read()


# ---- files ----

@table("wget", [("http", False), ("https", True)], needs=["wget", "nginx", "openssl"])
def wget(t, secure):
    p = place(t)
    env = {"http_proxy": "http://" + p.proxy, "https_proxy": "http://" + p.proxy}
    out = os.path.join(t.dir, "out")
    p.run("wget", "-q", "--no-check-certificate", "-O", out, p.url("/big.bin", secure=secure),
          env=env)
    check(file_of(out) == p.data, "the file")


@table("aria2 by 16 connections", [
    ("http", False, "get"), ("http by CONNECT", False, "tunnel"), ("https", True, "get"),
], needs=["aria2c", "nginx", "openssl"])
def aria2(t, secure, method):
    p = place(t)
    before = p.requests().count(" 206 ")
    p.run("aria2c", "-q", "--no-conf", "-x16", "-s16", "-k1M", "--check-certificate=false",
          "--file-allocation=none", "--async-dns=false", "--all-proxy=http://" + p.proxy,
          "--proxy-method=" + method, "-d", t.dir, "-o", "out",
          p.url("/slow/big.bin", host=TARGET, secure=secure))
    check(file_of(os.path.join(t.dir, "out")) == p.data, "the file")
    check(p.requests().count(" 206 ") - before >= 16, "in pieces", p.requests()[-2000:])


# ---- apt ----

def repository(p):
    """A flat one, with one package of one file."""
    made = os.path.join(p.root, "repo")
    if os.path.isdir(made):
        return
    p.t.file("deb/DEBIAN/control", "Package: dispatch-probe\nVersion: 1.0\nArchitecture: all\n"
             "Maintainer: a <a@b>\nDescription: a probe\n")
    p.t.file("deb/usr/share/dispatch-probe", b"probe" * 1000)
    os.mkdir(made, 0o755)
    deb = os.path.join(made, "dispatch-probe_1.0_all.deb")
    p.run("dpkg-deb", "--root-owner-group", "--build", os.path.join(p.t.dir, "deb"), deb)
    data = file_of(deb)
    packages = (file_of(os.path.join(p.t.dir, "deb/DEBIAN/control")).decode() +
                "Filename: ./%s\nSize: %d\nSHA256: %s\n\n"
                % (os.path.basename(deb), len(data), hashlib.sha256(data).hexdigest())).encode()
    p.t.file("www/repo/Packages", packages)
    p.t.file("www/repo/Release", "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %s %d Packages\n"
             % (hashlib.sha256(packages).hexdigest(), len(packages)))


def apt_options(t, p, proxy):
    folder = os.path.join(t.dir, "apt")
    for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d",
                 "etc/preferences.d", "etc/sources.list.d", "etc/trusted.gpg.d"):
        os.makedirs(os.path.join(folder, name))
    t.file("apt/status", b"")
    return [part for option in (
        "Dir::State=%s/state" % folder, "Dir::State::status=%s/status" % folder,
        "Dir::Cache=%s/cache" % folder, "Dir::Etc=%s/etc" % folder, "Dir::Log=%s" % folder,
        "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::Retries=0",
        "Acquire::https::Verify-Peer=false", "Acquire::https::Verify-Host=false",
        "Acquire::http::Proxy=" + proxy, "Acquire::https::Proxy=" + proxy,
    ) for part in ("-o", option)]


@table("apt", [("http", "http", False), ("https", "http", True), ("socks5h", "socks5h", False)],
       needs=["apt-get", "dpkg-deb", "nginx", "openssl"])
def apt(t, scheme, secure):
    p = place(t)
    repository(p)
    options = apt_options(t, p, "%s://%s" % (scheme, p.proxy))
    t.file("apt/etc/sources.list", "deb [trusted=yes] %s ./\n" % p.url("/repo", secure=secure))
    p.run("apt-get", *options, "update", "--error-on=any")
    p.run("apt-get", *options, "download", "dispatch-probe", cwd=t.dir)
    equal(file_of(os.path.join(t.dir, "dispatch-probe_1.0_all.deb")),
          file_of(os.path.join(p.root, "repo", "dispatch-probe_1.0_all.deb")), "the package")


# ---- git ----

class GitServer(http.server.BaseHTTPRequestHandler):
    """What `git http-backend` says, with requests and answers in chunks."""

    protocol_version = "HTTP/1.1"
    root = None

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _body(self):
        if self.headers["Transfer-Encoding"]:
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def do_GET(self):
        path, _, query = self.path.partition("?")
        body = self._body()
        env = dict(os.environ, **HOME, GIT_PROJECT_ROOT=self.root, GIT_HTTP_EXPORT_ALL="1",
                   REMOTE_USER="a", PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, CONTENT_LENGTH=str(len(body)),
                   CONTENT_TYPE=self.headers["Content-Type"] or "",
                   HTTP_CONTENT_ENCODING=self.headers["Content-Encoding"] or "")
        done = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE,
                              check=True)
        head, _, said = done.stdout.partition(b"\r\n\r\n")
        fields = dict(x.split(": ", 1) for x in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for field in fields.items():
            self.send_header(*field)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(http1.chunked(*(said[i:i + 1000] for i in range(0, len(said), 1000))))

    do_POST = do_GET


def git_serve(t, p, secure):
    """Serves the repositories of a folder; returns the port."""

    class Handler(GitServer):
        root = t.dir

    with world.inside(p.ns):
        server = http.server.ThreadingHTTPServer((TARGET, 0), Handler)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(p.cert, p.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    t.defer(server.server_close)
    t.defer(server.shutdown)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server.server_port


@table("git clone and push", [
    ("http", "http", "http"), ("https", "https", "http"), ("https by SOCKS", "https", "socks5h"),
], needs=["git", "openssl"])
def git(t, scheme, proxy):
    p = place(t)
    port = git_serve(t, p, scheme == "https")
    bare, work = (os.path.join(t.dir, x) for x in ("repo.git", "work"))
    p.run("git", "init", "-q", "--bare", "-b", "main", bare)
    p.run("git", "-C", bare, "config", "http.receivepack", "true")
    through = ["-c", "http.proxy=%s://%s" % (proxy, p.proxy), "-c", "http.postBuffer=65536"]
    url = "%s://v4.test:%d/repo.git" % (scheme, port)
    p.run("git", *through, "clone", "-q", url, work)
    data = os.urandom(300000)
    t.file("work/blob", data)
    p.run("git", "-C", work, "add", "blob")
    p.run("git", "-C", work, "commit", "-q", "-m", "blob")
    p.run("git", *through, "-C", work, "push", "-q", "origin", "HEAD:main")
    again = os.path.join(t.dir, "again")
    p.run("git", *through, "clone", "-q", "-b", "main", url, again)
    equal(hashlib.sha1(file_of(os.path.join(again, "blob"))).digest(), hashlib.sha1(data).digest(),
          "what was pushed")


# ---- ssh ----

@tap.shared
def sshd(t):
    made = place(t)
    return peers.Ssh(made.t, made.world, made.ns, TARGET)


SSH = [("nc -X %s" % x, "nc", "nc -X %s -x PROXY %%h %%p" % x) for x in ("connect", "5", "4")]
SSH += [("ncat --proxy-type %s" % x, "ncat", "ncat --proxy PROXY --proxy-type %s %%h %%p" % x)
        for x in ("http", "socks5", "socks4")]


@table("ssh by", SSH, needs=["ssh", "sshd"])
def ssh(t, program, command):
    if not tap.tool(program):
        raise tap.Skip("not installed: " + program)
    p, server = place(t), sshd(t)
    words = server.words("-o", "ProxyCommand=" + command.replace("PROXY", p.proxy)) + ["sha1sum"]
    data = p.data[:1 << 20]
    with open(t.file("data", data), "rb") as f:
        equal(p.run(*words, stdin=f).split()[0], hashlib.sha1(data).hexdigest(), "the sum")


# ---- programs that know of no proxy ----

PLAIN = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "15"]


@table("proxychains4", [("socks5", "socks5"), ("socks4", "socks4"), ("http", "http")],
       needs=["proxychains4", "curl", "nginx", "openssl"])
def proxychains(t, kind):
    p = place(t)
    conf = t.file("proxychains.conf", "strict_chain\nproxy_dns\n[ProxyList]\n"
                  "%s 127.0.0.1 %d\n" % (kind, p.host.port))
    for host in (TARGET, "v4.test"):
        equal(p.run("proxychains4", "-q", "-f", conf, *PLAIN, p.url(host=host)), PAGE, "a page")


def route(kind, port, more):
    return ("route {\n    from: 0/0 to: 0/0 via: 127.0.0.1 port = %d\n"
            "    proxyprotocol: %s\n    %s\n}\n" % (port, kind, more))


KINDS = [(x, x) for x in ("socks_v4", "socks_v5", "http")]


@table("socksify", KINDS, needs=["socksify", "curl", "nginx", "openssl"])
def socksify(t, kind):
    p = place(t)
    conf = t.file("socks.conf", "resolveprotocol: fake\n" + route(kind, p.host.port,
                                                                  "protocol: tcp"))
    for host in (TARGET,) if kind == "socks_v4" else (TARGET, "v4.test"):  # it does not know 4a
        equal(p.run("socksify", *PLAIN, p.url(host=host), env={"SOCKS_CONF": conf}),
              PAGE, "a page")


@table("danted with a route of", KINDS, needs=["danted", "nginx", "openssl"])
def danted(t, kind):
    p = place(t)
    d = Danted(t, "logoutput: LOG\n%sinternal: 127.0.0.1 port = PORT\nexternal: 127.0.0.1\n"
               "clientmethod: none\nsocksmethod: none\nroute.maxfail: 0\n"
               "client pass {\n    from: 0/0 to: 0/0\n}\n"
               "socks pass {\n    from: 0/0 to: 0/0\n    command: connect\n}\n%s"
               % (users(), route(kind, p.host.port, "command: connect")))
    for host in (TARGET, "v4.test"):
        equal(client.curl(t, "socks5h://127.0.0.1:%d" % d.port, p.url(host=host)),
              PAGE.encode(), "a page")
    check(client.curl(t, "socks5h://127.0.0.1:%d" % d.port, p.url("/big.bin")) == p.data, "a file")


if __name__ == "__main__":
    tap.main()
