#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""--run: one command by way of the links; a wrapper that nobody notices."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

from lib import peers, servers, tap, world
from lib.host import command, config, environment, once
from lib.tap import case, check, equal, matches, table, within
from lib.world import TARGET, World

NAMES = [x for name in ("all", "https", "http", "ftp", "no")
         for x in (name + "_proxy", name.upper() + "_PROXY")]
WORDS = ["10.0.1.1", "10.0.2.1"]
PATH = "/usr/local/bin:/usr/bin:/bin"  # folders that everybody may search
PYTHON = shutil.which("python3", path=PATH) or sys.executable


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.web = self.world.serve(answer)
        self.echoed = self.world.serve(servers.tell_and_echo)


def answer(conn, name, _peer):
    """HTTP, for curl: the link's name."""
    while b"\r\n\r\n" not in conn.recv(65536):
        pass
    conn.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n" + name.encode())


place = tap.shared(Place)


def env_of(more=None):
    """The environment of the host, without any proxy of whoever runs the tests."""
    env = {k: v for k, v in environment().items() if k not in NAMES}
    env["PATH"] = PATH
    env.update(more or {})
    return env


def run(*args, env=None, limit=30, **keywords):
    """dispatch-host with these words; returns (status, standard output, standard error)."""
    done = subprocess.run(command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=env_of(env), timeout=limit, check=False,
                          **{"stdin": subprocess.DEVNULL, **keywords})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def start(t, *args, **keywords):
    """The same in the background, its output in pipes; killed at the end."""
    proc = subprocess.Popen(command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=env_of(), **{"stdin": subprocess.DEVNULL, **keywords})

    def end():
        proc.kill()
        proc.communicate()

    t.defer(end)
    return proc


def url(p, path=""):
    return "http://%s:%d/%s" % (TARGET, p.web.port, path)


# ---- by the links ----

SOURCES = [
    ("words", lambda t: WORDS, "ab"),
    ("words and options in any order", lambda t: ["10.0.1.1", "-v", "10.0.2.1", "-q"], "ab"),
    ("words with weights", lambda t: ["10.0.1.1@2", "b0"], "aab"),
    ("--auto", lambda t: ["--auto"], "ab"),
    ("a file", lambda t: ["-c", t.file("dispatch.yaml", config(
        {"a": "interface: a0", "b": "interface: b0"}, listen="127.0.0.1:8080"))], "ab"),
    ("a file of several pools", lambda t: ["-c", t.file("dispatch.yaml", "\n".join([
        "listeners:", '  far: {listen: "10.0.1.1:8080", allow: [192.0.2.0/24], pool: one}',
        "  main: {listen: 127.0.0.1:8081, pool: two}",
        "links: {a: {interface: a0}, b: {interface: b0}}",
        "pools: {two: {links: [a, b]}, one: {links: [b]}}", ""]))], "bb"),
]


@table("curl goes by the links of", SOURCES, needs=["curl"])
def by_links(t, words, links):
    p = place(t)
    urls = [url(p) for _ in links]
    status, out, err = run(*words(t), "--run", "curl", "-sS", "--no-keepalive", *urls)
    equal((status, out), (0, links), "exit status, links; it said:\n" + err)


@case("wget, which speaks no SOCKS, goes by the links", needs=["wget"])
def no_socks(t):
    p = place(t)
    status, out, err = run("b0", "--run", "wget", "-qO-", url(p))
    equal((status, out), (0, "b"), "exit status, link; it said:\n" + err)


@case("a listener of one protocol: the command's port speaks them all", needs=["curl"])
def all_protocols(t):
    p = place(t)
    path = t.file("dispatch.yaml", config({"b": "interface: b0"}, listen="127.0.0.1:8080",
                                          listener=", protocols: [socks4]"))
    status, out, err = run("-c", path, "--run", "curl", "-sS", url(p))
    equal((status, out), (0, "b"), "exit status, link; it said:\n" + err)


@table("curl goes by the links for each kind of URL and variable",
       [(x, x) for x in ("all_proxy", "ALL_PROXY", "http_proxy")], needs=["curl"])
def by_variable(t, name):
    p = place(t)
    others = [x for k in NAMES if k != name for x in ("-u", k)]
    status, out, err = run("b0", "--run", "env", *others, "curl", "-sS", url(p))
    equal((status, out), (0, "b"), "exit status, link; it said:\n" + err)
    status, _out, _err = run("b0", "--run", "env", *others, name + "=socks5h://127.0.0.1:1",
                             "curl", "-sS", url(p))
    check(status != 0, "that variable decides")


@case("names go to the proxy, not to this machine's resolver", needs=["curl"])
def names(t):
    p = place(t)
    p.world.resolv_conf("nameserver 10.0.9.9\n")
    status, _out, err = run("b0", "-v", "--run", "curl", "-sS", "https://name.test:80/")
    equal(status, 56, "curl's exit status for what a proxy could not do: " + err)
    matches(r"session: .*dest=name\.test:80 .*code=04", err, "the name was asked of the proxy")


@case("-tunnel: the command speaks to the upstream proxy itself", needs=["curl", "microsocks"])
def tunnel(t):
    p = place(t)
    port = peers.microsocks(p.world, p.world.b.ns, p.world.b.gw)
    status, out, err = run("-tunnel", "%s:%d" % (p.world.b.gw, port), "--run", "curl", "-sS",
                           "http://%s:%d/" % (TARGET, p.web.port))
    equal((status, out), (0, "b"), "exit status, link; it said:\n" + err)


@case("several at once: each has a port of its own", needs=["curl"])
def at_once(t):
    place(t)
    code = 'echo "$ALL_PROXY"; read line'
    procs = [start(t, *WORDS, "--run", "sh", "-c", code) for _ in range(3)]
    said = {proc.stdout.readline() for proc in procs}
    equal(len(said), 3, "different proxies: %r" % said)


# ---- the environment ----

@case("the variables, and no other change of the environment")
def variables(t):
    place(t)
    given = {"HTTP_PROXY": "http://old.example:3128", "all_proxy": "", "LATER": "a=b c\nd"}
    status, out, _err = run(*WORDS, "--run", "env", "-0", env=given)
    equal(status, 0, "exit status")
    seen = dict(x.split("=", 1) for x in out.split("\0")[:-1])
    equal(len(seen), out.count("\0"), "each variable is there once")
    proxy = matches(r"\Asocks5h://(127\.0\.0\.1:\d+)\Z", seen["ALL_PROXY"], "the proxy")[1]
    wanted = env_of({"LATER": given["LATER"]})
    for name in NAMES:
        scheme = "http" if name.lower().startswith("http") else "socks5h"
        wanted[name] = "%s://%s" % (scheme, proxy)
    wanted["NO_PROXY"] = wanted["no_proxy"] = "localhost,127.0.0.1,::1"
    equal(seen, wanted, "the environment")


@table("who has said what is reached directly is left alone", [
    ("NO_PROXY", {"NO_PROXY": ".corp.example"}), ("no_proxy", {"no_proxy": ".corp.example"}),
    ("empty", {"no_proxy": ""}), ("both", {"no_proxy": "a.example", "NO_PROXY": "b.example"}),
])
def no_proxy(t, given):
    place(t)
    _status, out, _err = run(*WORDS, "--run", "env", env=given)
    seen = dict(re.findall(r"(?im)^(no_proxy)=(.*)$", out))
    equal(seen, given, "variables")


@case("words arrive as they are: spaces, empty ones, options, a second --run, --")
def words_whole(t):
    place(t)
    words = ["a b", "", "-c", "--run", "--version", "--", "-q", "*", "$HOME", "\t\n", "\xfc",
             "-lport"]
    status, out, _err = run("10.0.1.1", "-run", PYTHON, "-c",
                            "import sys; sys.stdout.write('|'.join(sys.argv[1:]))", *words)
    equal((status, out), (0, "|".join(words)), "exit status, words")


@case("standard input, output and error are the terminal's or whatever they were")
def streams(t):
    place(t)
    status, out, err = run(*WORDS, "--run", "sh", "-c", "cat; echo problem >&2", input=b"some text",
                           stdin=None)
    equal((status, out, err), (0, "some text", "problem\n"), "status, output, error")


@case("the command inherits no descriptor, no signal mask, no handlers, no limit of ours")
def inherited(t):
    place(t)
    look = ("import os, resource, signal\n"
            "fds = [int(x) for x in os.listdir('/proc/self/fd')"
            " if os.path.exists('/proc/self/fd/' + x)]\n"
            "state = dict(x.split() for x in open('/proc/self/status') if x[:3] == 'Sig')\n"
            "internal = 3 << 31  # glibc's own two\n"
            "print(sorted(fds), resource.getrlimit(resource.RLIMIT_NOFILE),\n"
            "      '%x' % int(state['SigBlk:'], 16),\n"
            "      '%x' % (int(state['SigIgn:'], 16) & ~internal))\n")
    limited = [tap.tool("prlimit"), "--nofile=200:4000"]

    def seen(words):
        return subprocess.run(limited + words + [PYTHON, "-c", look], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, env=env_of(), check=True).stdout

    alone = seen([])
    matches(rb"\A\[0, 1, 2\] \(200, 4000\)", alone, "what the test itself gives")
    equal(seen(command(*WORDS, "--run")), alone, "descriptors, limit, signals")


# ---- the end ----

STATUSES = [
    ("0", ["true"], 0), ("1", ["false"], 1), ("255", ["sh", "-c", "exit 255"], 255),
    ("killed", ["sh", "-c", "kill -KILL $$"], 137), ("by SIGTERM", ["sh", "-c", "kill $$"], 143),
    ("not found", ["no-such-command"], 127), ("no such path", ["/no/such/command"], 127),
    ("a file that is no program", ["/etc/passwd"], 126), ("a folder", ["/"], 126),
    ("an empty word", [""], 127),
]


@table("exit status", STATUSES)
def statuses(t, words, wanted):
    place(t)
    status, out, err = run(*WORDS, "--run", *words)
    equal((status, out), (wanted, ""), "exit status, standard output; it said: " + err)
    if wanted in (126, 127):
        matches(r"\Adispatch-host: cannot run %s: .+\n\Z" % re.escape(words[0]), err, "the message")
    else:
        equal(err, "", "standard error")


@table("a signal is passed on, and the command's end is waited for",
       [(x.name, x) for x in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)])
def passed_on(t, sig):
    place(t)
    code = ("import signal, sys, time\n"
            "def got(number, _):\n"
            "    print('got', number, flush=True); sys.stdin.readline(); sys.exit(42)\n"
            "signal.signal(%d, got); print('ready', flush=True)\n"
            "while True: signal.pause()\n" % sig)
    proc = start(t, *WORDS, "--run", PYTHON, "-c", code, stdin=subprocess.PIPE)
    equal(proc.stdout.readline(), b"ready\n", "it runs")
    proc.send_signal(sig)
    equal(proc.stdout.readline(), b"got %d\n" % sig, "it has got the signal")
    equal(proc.poll(), None, "the host waits for it")
    proc.stdin.write(b"\n")
    proc.stdin.flush()
    equal(proc.wait(10), 42, "exit status")


@case("a command that dies by the signal that was passed on")
def dies_of_it(t):
    place(t)
    proc = start(t, *WORDS, "--run", "sh", "-c", "echo ready; exec sleep 60")
    equal(proc.stdout.readline(), b"ready\n", "it runs")
    proc.terminate()
    equal(proc.wait(10), 143, "exit status")


@case("what nohup(1) or a shell has had ignored stays ignored")
def ignored(t):
    place(t)
    code = ("import signal, time; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,"
            " flush=True); time.sleep(3)")
    proc = start(t, *WORDS, "--run", PYTHON, "-c", code,
                 preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    equal(proc.stdout.readline(), b"True\n", "is SIGHUP ignored by the command")
    proc.send_signal(signal.SIGHUP)
    time.sleep(0.2)  # for what must not happen
    equal(proc.poll(), None, "it lives")


@case("^C in a terminal reaches the command once, and the host waits for it")
def terminal(t):
    place(t)
    code = ("import signal, sys, time\n"
            "count = []\n"
            "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
            "print('ready', sys.stdin.isatty(), flush=True)\n"
            "signal.pause(); time.sleep(0.5); print('times', len(count), flush=True)\n"
            "sys.exit(9)\n")
    pid, fd = pty.fork()
    if pid == 0:
        words = command(*WORDS, "--run", PYTHON, "-c", code)
        os.execve(words[0], words, env_of())
    t.defer(os.close, fd)
    seen = b""
    while b"ready True" not in seen:
        seen += os.read(fd, 4096)
    os.write(fd, b"\x03")
    while b"times" not in seen or not seen.endswith(b"\n"):
        seen += os.read(fd, 4096)
    matches(rb"times 1\r", seen, "how often")
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 9, "exit status")


@case("open connections end with the command; the drain is not awaited")
def open_connections(t):
    p = place(t)
    code = ("import os, socket, struct, time\n"
            "port = int(os.environ['ALL_PROXY'].split(':')[2])\n"
            "s = socket.create_connection(('127.0.0.1', port))\n"
            "s.sendall(b'\\5\\1\\0\\5\\1\\0\\1' + socket.inet_aton('%s')"
            " + struct.pack('>H', %d))\n"
            "while b'a ' not in s.recv(100): pass\n"
            "if os.fork() == 0:\n"  # it holds the connection, and is left behind
            "    os.write(1, b'%%d\\n' %% os.getpid())\n"
            "    for fd in range(3): os.close(fd)\n"
            "    time.sleep(60)\n"
            "os._exit(5)\n" % (TARGET, p.echoed.port))
    started = time.monotonic()
    proc = start(t, "10.0.1.1", "--run", PYTHON, "-c", code)
    left = int(proc.stdout.readline())
    t.defer(os.kill, left, signal.SIGKILL)
    equal(proc.wait(10), 5, "exit status")
    within(2.5, started, "until the host has ended")  # the drain alone would be 3 s
    os.kill(left, 0)  # it does live


@case("the proxy is gone with the command")
def gone(t):
    place(t)
    _status, out, _err = run(*WORDS, "--run", "sh", "-c", "echo $ALL_PROXY")
    port = int(out.rsplit(":", 1)[1])
    equal(world.accepts("127.0.0.1", port), False, "does anybody listen there")


# ---- what is said ----

@case("the log is quiet, and -v is not", needs=["curl"])
def quiet(t):
    p = place(t)
    equal(run(*WORDS, "--run", "curl", "-sS", url(p))[2], "", "standard error")
    p.world.a.carrier_off()
    t.defer(p.world.a.carrier_on)
    status, out, err = run(*WORDS, "--run", "curl", "-sS", url(p))
    equal((status, out, err), (0, "b", ""), "status, link, error when a link is broken")
    err = run(*WORDS, "-v", "--run", "curl", "-sS", url(p))[2]
    matches(r"^info session: .*link=10\.0\.2\.1 code=00", err, "the log with -v")
    matches(r"^info listener: main: listening on 127\.0\.0\.1:\d+ ", err, "the log with -v")


@case("a proxy that cannot start: its message and status, and the command is not run")
def not_started(t):
    place(t)
    os.chmod(t.dir, 0o777)
    mark = os.path.join(t.dir, "mark")
    bad = t.file("dispatch.yaml", "links: {a: {interfac: a0}}\n")
    for words, wanted in ((["-c", bad], 78), (["10.0.1.999"], 78), (["-c", "/no/file"], 78)):
        status, _out, err = run(*words, "--run", "touch", mark)
        equal(status, wanted, "exit status of %r" % words)
        check(err, "a message")
    check(not os.path.exists(mark), "the command was not run")
    equal(run(*WORDS, "--run", "touch", mark)[0], 0, "exit status with a proxy")
    check(os.path.exists(mark), "then it is run")


USAGE = [
    ("no command", ["10.0.1.1", "--run"], "--run needs a command"),
    ("-lport", ["-lport", "9", "10.0.1.1", "--run", "true"], "leave out -lhost and -lport"),
    ("-lhost", ["-lhost", "::1", "10.0.1.1", "--run", "true"], "leave out -lhost and -lport"),
    ("--check", ["--check", "10.0.1.1", "--run", "true"], "leave out options that only print"),
    ("-list", ["-list", "--run", "true"], "leave out options that only print"),
    ("-c and links", ["-c", "x.yaml", "10.0.1.1", "--run", "true"], "-c FILE says it all"),
]


@table("usage", USAGE)
def usage(t, words, text):
    place(t)
    status, out, err = once(*words)
    equal((status, out), (2, ""), "exit status, standard output")
    check(text in err, "the message", err)


if __name__ == "__main__":
    tap.main()
