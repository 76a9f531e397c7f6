#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# Runs alone: what it measures is time.
"""A listener with users: who is let in by which protocol, and who is not; logins beside a transfer,
a file that changes, addresses that guess."""

import base64
import collections
import os
import select
import statistics
import subprocess
import threading
import time

from lib import client, servers, tap
from lib.client import Client
from lib.host import Host, config, once
from lib.shim import FailMalloc
from lib.tap import case, check, equal, matches, table, wait_for, within
from lib.world import TARGET, World

TWO = {"a": "interface: a0", "b": "interface: b0"}

# "correct horse", as mkpasswd makes them; yescrypt is what Debian's passwords are.
YESCRYPT = "$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$CbmXE/O/0bCHlsAzIaBSSe6Q31ZVeM4OxkjSOnAQ3C6"
EMPTY = "$5$rounds=1000$salt$oacEarljCLl1hnwSHaKByNaFLSC8faCZtGSPISXgwZ."  # of no password
BCRYPT = "$2b$06$abcdefghijklmnopqrstuud/5IuQmqhVO0kfNEbHJM.fJkPiliBzC"


def sha(password, kind="-6"):
    return subprocess.run(["openssl", "passwd", kind, password], stdout=subprocess.PIPE,
                          check=True).stdout.decode().strip()


class Place:
    def __init__(self, t):
        self.world = World(t)
        self.told = self.world.serve(servers.tell)
        self.echoed = self.world.serve(servers.tell_and_echo)
        self.web = self.world.serve(web)
        self.users = "\n".join([
            "# who may", "", "bob:" + sha("secret"), "ann:%s:only-b" % sha("pass word", "-5"),
            "yes:" + YESCRYPT, "bcr:" + BCRYPT, "t\u00e4st:" + sha("p\u00e4ss:w\u00f6rd"),
            "none:" + EMPTY, "long:" + sha("x" * 255)]) + "\n"


def web(sock, _link, _peer):
    """An HTTP server of one answer."""
    with sock:
        got = b""
        while b"\r\n\r\n" not in got:
            some = sock.recv(4096)
            if not some:
                return
            got += some
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


place = tap.shared(Place)


def text(listener="", more="", users="who"):
    """A configuration with users; those of `ann` have a pool of their own."""
    return config(TWO, pool="links: [a]", more="  only-b: {links: [b]}\n" + more,
                  listener=", users-file: %s%s" % (users, listener)).replace(
                      "{links: [a], links: [a, b]}", "{links: [a]}")


def start(t, users=None, **keywords):
    p = place(t)
    t.file("who", p.users if users is None else users)
    return p, Host(t, text(), **keywords)


def socks5(host, user, password, port, **keywords):
    """STATUS of the login, and REP of the request to TARGET; None: it did not come so far."""
    with Client(host.addr, **keywords) as c:
        equal(c.greet(b"\2"), 2, "method")
        c.send(client.login(user, password))
        ver, status = c.take(2)
        equal(ver, 1, "VER of the answer")
        if status:
            equal(c.ended(3)[0], "fin", "and then")
            return status, None
        c.send(client.request(TARGET, port))
        return status, c.reply().rep


def connect(host, port, credentials=None, more=b"", **keywords):
    """A CONNECT to TARGET: the client, and its answer's status."""
    c = Client(host.addr, **keywords)
    head = b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n%s" % (TARGET.encode(), port, more)
    if credentials is not None:
        head += b"Proxy-Authorization: Basic %s\r\n" % base64.b64encode(credentials)
    c.send(head + b"\r\n")
    return c, http_answer(c)


def http_answer(c):
    """Reads a head, and a body if it has a length; returns status and fields."""
    lines = []
    while not lines or lines[-1] != "\r":
        lines.append(c.line())
    fields = dict(line.rstrip("\r").lower().split(": ", 1) for line in lines[1:-1])
    c.take(int(fields.get("content-length", 0)))
    return int(lines[0].split()[1]), fields


# ---- who is let in ----

RIGHT = [("SHA-512", b"bob", b"secret"), ("SHA-256 and a blank", b"ann", b"pass word"),
         ("yescrypt", b"yes", b"correct horse"), ("bcrypt", b"bcr", b"correct horse"),
         ("a colon, and beyond ASCII", "t\u00e4st".encode(), "p\u00e4ss:w\u00f6rd".encode()),
         ("no password", b"none", b""), ("255 bytes", b"long", b"x" * 255)]

WRONG = [("another", b"bob", b"secrets!"), ("a prefix", b"bob", b"secre"),
         ("longer", b"bob", b"secrett"), ("another case", b"bob", b"Secret"),
         ("none", b"bob", b""), ("a NUL and more", b"bob", b"secret\0junk"),
         ("a NUL", b"bob", b"secret\0"), ("of another user", b"bob", b"pass word"),
         ("254 bytes of 255", b"long", b"x" * 254), ("no such user", b"eve", b"secret"),
         ("a name in another case", b"Bob", b"secret"), ("a longer name", b"bob\0", b"secret"),
         ("no name", b"", b"secret"), ("nothing at all", b"", b""),
         ("the hash itself", b"yes", YESCRYPT.encode()), ("255 and 255", b"u" * 255, b"p" * 255)]


@table("let in", RIGHT)
def let_in(t, user, password):
    p, host = start(t)
    equal(socks5(host, user, password, p.told.port), (0, 0), "SOCKS5")
    for _ in range(2):  # the verdict is new, then known
        c, (status, fields) = connect(host, p.told.port, user + b":" + password)
        equal((status, c.line().split()[0]), (200, "b" if user == b"ann" else "a"), "CONNECT")
        check("transfer-encoding" not in fields and "content-length" not in fields, "a body?")
        c.close()
    check(password.decode() not in host.log() or not password, "the log knows the password")
    matches(r"user=\S+ dest=", host.log(), "but who it was")


@table("kept out", WRONG)
def kept_out(t, user, password):
    p, host = start(t)
    equal(socks5(host, user, password, p.told.port), (1, None), "SOCKS5")
    c, (status, fields) = connect(host, p.told.port, user + b":" + password)
    c.close()
    equal((status, fields.get("proxy-authenticate", "")[:22]), (407, 'basic realm="dispatch"'),
          "CONNECT")
    matches("gives a wrong user name or password", host.log(), "the log")
    check(len(password) < 5 or password.decode() not in host.log(), "the log knows the password")
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "others")


@table("no way round the login", [
    ("SOCKS5 without", b"\5\1\0", b"\5\xff"),
    ("SOCKS5 that offers both, and skips it", b"\5\2\0\2" + client.request(TARGET, 80),
     b"\5\2\1\1"),
    ("SOCKS5 with another version of it", b"\5\1\2" + b"\5\3bob\6secret", b"\5\2\1\1"),
    ("SOCKS4", b"\4\1\0\x50\x0a\0\0\1bob\0", b"\0\x5b\0\0\0\0\0\0"),
    ("SOCKS4a", b"\4\1\0\x50\0\0\0\1bob:secret\0x.example\0", b"\0\x5b\0\0\0\0\0\0"),
    ("CONNECT", b"CONNECT x:80 HTTP/1.0\r\n\r\n", b"HTTP/1.1 407 "),
    ("a plain request", b"GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
     b"HTTP/1.1 407 "),
    ("a plain request with a body", b"POST http://x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
     b"\r\nx", b"HTTP/1.1 407 "),
    ("an upgrade", b"GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: x\r\n"
     b"\r\n", b"HTTP/1.1 407 "),
    ("OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.1 407 "),
])
def no_way_round(t, says, hears):
    _p, host = start(t)
    with Client(host.addr) as c:
        c.send(says)
        how, got = c.ended(5)
    check(got.startswith(hears) and how == "fin", "another answer is expected", got)
    if hears[0] != ord("H"):
        equal(got, hears, "nothing more")
    check(" dest=" not in host.log(), "nothing is dialled", host.log())


@case("what is no way out needs no login: the page, and the PAC")
def pages(t):
    _p, host = start(t)
    url = "http://127.0.0.1:%d" % host.port
    # Browsers cannot log in by SOCKS5.
    for path, word in (("/", b"dispatch"), ("/proxy.pac", b'return "PROXY 127.0.0.1:')):
        check(word in subprocess.run(["curl", "-sS", "--noproxy", "*", url + path], check=True,
                                     stdout=subprocess.PIPE).stdout, path)


@table("curl", [
    ("socks5h", "socks5h://bob:secret@127.0.0.1:%d", (), b"hello"),
    ("socks5", "socks5://127.0.0.1:%d", ("-U", "bob:secret"), b"hello"),
    ("http", "http://127.0.0.1:%d", ("-p", "-U", "bob:secret"), b"hello"),
    ("http that asks first", "http://127.0.0.1:%d", ("-p", "--proxy-anyauth", "-U", "bob:secret"),
     b"hello"),
    ("plain http", "http://127.0.0.1:%d", ("-U", "bob:secret"), b"hello"),
    ("plain http that asks first", "http://127.0.0.1:%d", ("--proxy-anyauth", "-U", "bob:secret"),
     b"hello"),
    ("a password beyond ASCII", "http://127.0.0.1:%d",
     ("-p", "-U", "t\u00e4st:p\u00e4ss:w\u00f6rd"), b"hello"),
], needs=["curl"])
def curls(t, proxy, options, body):
    p, host = start(t)
    url = "http://%s:%d/" % (TARGET, p.web.port)
    equal(client.curl(t, proxy % host.port, url, *options), body, "body")


@case("plain requests of one connection: each says who it is")
def each_request(t):
    p, host = start(t)
    ask = "GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n%s\r\n"
    right = "Proxy-Authorization: Basic %s\r\n" % base64.b64encode(b"bob:secret").decode()
    with Client(host.addr) as c:
        for more, status in ((right, 200), ("", 407), (right, 200),
                             (right.replace("Basic ", "Basic x"), 407), (right, 200)):
            c.send((ask % (TARGET, p.web.port, more)).encode())
            equal(http_answer(c)[0], status, more)


@case("a browser's way: asked, it says who it is by the same connection")
def the_same_connection(t):
    p, host = start(t)
    c, (status, fields) = connect(host, p.told.port)
    t.defer(c.close)
    equal((status, fields.get("connection")), (407, None), "asked, and the connection stays")
    head = b"CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n" % (TARGET.encode(), p.told.port)
    c.send(head + b"Proxy-Authorization: Basic %s\r\n\r\n" % base64.b64encode(b"bob:wrong"))
    equal(http_answer(c)[0], 407, "wrong")
    c.send(head + b"Proxy-Authorization: Basic %s\r\n\r\n" % base64.b64encode(b"bob:secret"))
    equal(http_answer(c)[0], 200, "right")
    equal(c.line().split()[0], "a", "the tunnel")


@case("any segmentation, and what is sent early")
def segments(t):
    p, host = start(t)
    whole = b"\5\1\2" + client.login(b"bob", b"secret") + client.request(TARGET, p.echoed.port)
    for piece in (0, 1, 2, 7):
        with Client(host.addr) as c:
            c.send(whole + b"early", piece)
            c.finish()
            equal(c.take(4), b"\5\2\1\0", "method and login")
            equal(c.reply().rep, 0, "REP")
            c.line()
            equal(c.take_all(), b"early", "what was sent early")


# ---- many at once ----

@table("50 logins at once: others hardly notice, and each is right",
       [("1 worker", 1), ("4 workers", 4)])
def many(t, workers):
    names = ["user-%d" % i for i in range(50)]
    p = place(t)
    t.file("who", "".join("%s:%s\n" % (n, YESCRYPT) for n in names))
    host = Host(t, text(more="workers: %d" % workers))
    c = Client(host.addr)
    t.defer(c.close)
    equal(c.greet(b"\2"), 2, "method")
    c.send(client.login(b"user-0", b"correct horse") + client.request(TARGET, p.echoed.port))
    equal(c.take(2), b"\1\0", "login")
    equal(c.reply().rep, 0, "REP")
    c.line()

    def ping():
        started = time.monotonic()
        c.send(b"ping")
        equal(c.take(4), b"ping", "echo")
        return time.monotonic() - started

    results, trips = [], []
    crowd = threading.Thread(target=lambda: results.extend(client.together(
        50, lambda i: socks5(host, names[i].encode(), b"correct horse", p.told.port))))
    crowd.start()
    while crowd.is_alive():
        trips.append(ping())
        time.sleep(0.002)  # a pace, nothing depends on it
    crowd.join()
    equal(results, [(0, 0)] * 50, "logins")
    print("# %d round trips beside them: median %.1f ms, most %.1f ms"
          % (len(trips), 1e3 * statistics.median(trips), 1e3 * max(trips)))
    check(len(trips) >= 20, "there was time for some", len(trips))
    check(statistics.median(trips) < 0.02, "a look at a password takes longer", trips)


@table("an address that tries much at once holds up no other", [("1 worker", 1), ("4 workers", 4)])
def fair(t, workers):
    p = place(t)
    t.file("who", "yes:%s\n" % YESCRYPT)
    host = Host(t, text(more="workers: %d" % workers))
    crowd = [Client(host.addr) for _ in range(150)]
    t.defer(lambda: [c.close() for c in crowd])
    started = time.monotonic()
    for i, c in enumerate(crowd):
        c.send(b"CONNECT x:80 HTTP/1.0\r\nProxy-Authorization: Basic %s\r\n\r\n"
               % base64.b64encode(b"yes:%d" % i))
    equal(socks5(host, b"yes", b"correct horse", p.told.port, source="127.0.0.9"), (0, 0), "another")
    took_s = time.monotonic() - started
    open_still = len(crowd) - len(select.select([c.sock for c in crowd], [], [], 0)[0])
    check(open_still > 20, "he is looked at before most of them", open_still)
    seen = collections.Counter(c.ended(20)[1][9:12].decode() for c in crowd)
    check(64 <= seen["407"] <= 70 + 100 * took_s, "64 at once may wait to be looked at", seen)
    equal(seen["407"] + seen["503"], len(crowd), "the others are told to come again")


@case("who logs in again does not wait for the look again")
def known(t):
    p, host = start(t, users="yes:%s\n" % YESCRYPT)
    equal(socks5(host, b"yes", b"correct horse", p.told.port), (0, 0), "first")
    cpu = host.cpu_s()
    for _ in range(100):
        equal(socks5(host, b"yes", b"correct horse", p.told.port), (0, 0), "again")
    check(host.cpu_s() - cpu < 1.0, "100 looks take 2.5 s", host.cpu_s() - cpu)


@case("clients that leave while they are looked at")
def leavers(t):
    p, host = start(t, users="yes:%s\n" % YESCRYPT)
    for i in range(200):
        c = Client(host.addr)
        c.send(b"\5\1\2" + client.login(b"yes", b"%d" % i))
        if i % 2:
            c.reset()
        else:
            c.close()
    wait_for("all are gone", lambda: host.fds() <= host.fds_ready, 30)
    check(host.alive(), "it lives")
    wait_for("let in again", lambda: socks5(host, b"yes", b"correct horse", p.told.port) == (0, 0),
             30, 0.5)


@case("it ends while passwords are looked at")
def ends(t):
    _p, host = start(t, users="yes:%s\n" % YESCRYPT)
    crowd = [Client(host.addr) for _ in range(60)]
    t.defer(lambda: [c.close() for c in crowd])
    for i, c in enumerate(crowd):
        c.send(b"\5\1\2" + client.login(b"yes", b"%d" % i))
    host.term()
    equal(host.wait(8), 0, "exit status")


@case("how long an answer takes does not tell who has an account")
def no_oracle(t):
    p, host = start(t, users="yes:%s\n" % YESCRYPT)

    def took(user, i):
        started = time.monotonic()
        equal(socks5(host, user, b"%d" % i, p.told.port, source="127.0.1.%d" % i), (1, None),
              "a wrong password")
        return time.monotonic() - started

    known_s, unknown_s = [], []
    for i in range(1, 20, 2):
        known_s.append(took(b"yes", i))
        unknown_s.append(took(b"nobody", i + 1))
    a, b = statistics.median(known_s), statistics.median(unknown_s)
    print("# known %.1f ms, unknown %.1f ms" % (1e3 * a, 1e3 * b))
    check(b > 0.01 and 0.5 < a / b < 2, "one look each", known_s, unknown_s)


@case("each allocation fails once in a login")
def no_memory(t):
    names = [b"user-%d" % i for i in range(100)]
    shim = FailMalloc(t)
    p, host = start(t, users="".join("%s:%s\n" % (n.decode(), YESCRYPT) for n in names),
                    env=shim.env)
    outcomes = []
    for number, name in enumerate(names, 1):
        shim.fail_only(number)
        try:
            outcomes.append(socks5(host, name, b"correct horse", p.told.port))
        except (OSError, EOFError):
            outcomes.append("closed")
        over = shim.failed() == 0
        shim.fail_only(0)
        equal(socks5(host, name, b"correct horse", p.told.port), (0, 0), "after number %d" % number)
        if over:
            break
    print("# " + " ".join(str(o) for o in outcomes))
    equal(outcomes[-1], (0, 0), "with nothing that failed")
    check(len(outcomes) > 4 and set(outcomes) <= {(0, 0), (0, 1), (1, None), "closed"}, outcomes)


# ---- the file ----

@case("a reload changes a password, takes a user away, and gives one a pool")
def reloads(t):
    p, host = start(t, users="bob:%s\neve:%s\n" % (sha("old"), sha("eve")))
    equal(socks5(host, b"bob", b"old", p.told.port), (0, 0), "before")
    equal(socks5(host, b"eve", b"eve", p.told.port), (0, 0), "before")
    t.file("who", "bob:%s:only-b\n" % sha("new"))
    matches("info config: reloaded", host.reload(), "what it says")
    equal(socks5(host, b"bob", b"old", p.told.port), (1, None), "the old password")
    equal(socks5(host, b"eve", b"eve", p.told.port), (1, None), "the user taken away")
    c, (status, _fields) = connect(host, p.told.port, b"bob:new")
    equal((status, c.line().split()[0]), (200, "b"), "the new password, and the pool")
    c.close()


@case("a reload with a bad file changes nothing, and says what is wrong; so does the start")
def bad_file(t):
    p, host = start(t, users="bob:%s\n" % sha("secret"))
    path = t.file("who", "# now\nbob:secret\n")
    said = host.reload()
    matches(r"error config: .*who:2: the second field is no hash", said, "what it says")
    check("secret" not in said, "a password in the log", said)
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "the old file")
    status, _out, err = once("--check", "-c", host.file)
    equal(status, 78, "exit status of --check")
    equal(err, path + ":2: the second field is no hash of crypt(5) by yescrypt, SHA-512, SHA-256 "
          "or bcrypt, as `openssl passwd -6` prints one\n", "the message")
    t.file("who", "bob:%s:nowhere\n" % sha("secret"))
    matches(r'who:1: pool: there is no pool "nowhere"', once("--check", "-c", host.file)[2], "pool")
    os.chmod(path, 0o666)
    matches(r"users-file: cannot read .*/who: everybody may write to it",
            once("--check", "-c", host.file)[2], "mode")


@case("users come to a listener that had none, and go again")
def come_and_go(t):
    p = place(t)
    t.file("who", p.users)
    host = Host(t, text().replace(", users-file: who", ""))
    equal(client.ask(host.addr, TARGET, p.told.port), 0, "without")
    host.reload(text())
    with Client(host.addr) as c:
        equal(c.greet(b"\0"), 0xff, "a login is wanted")
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "with")
    host.reload(text().replace(", users-file: who", ""))
    equal(client.ask(host.addr, TARGET, p.told.port), 0, "without, again")


@case("an address that others can reach needs no `allow` where one logs in")
def exposed(t):
    p = place(t)
    t.file("who", p.users)
    host = Host(t, text().replace("127.0.0.1:PORT", "0.0.0.0:PORT"))
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "a login")
    dump = once("--dump-config", "-c", host.file)[1]
    matches(r"^    users-file: .*/who$", dump, "the file in --dump-config")
    equal(once("--check", "-c", t.file("again.yaml", dump))[0], 0, "and again")


@case("rules by user")
def rules(t):
    p = place(t)
    t.file("who", p.users)
    host = Host(t, text(more="rules:\n  - {user: [bob, eve], action: deny}\n"
                        "  - {user: yes, pool: only-b}\n".replace("yes", '"yes"')))
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 2), "denied")
    c, (status, _fields) = connect(host, p.told.port, b"yes:correct horse")
    equal((status, c.line().split()[0]), (200, "b"), "by another pool")
    c.close()


# ---- guessing ----

@case("balancer hash by user: each has a link, spread over both")
def hash_by_user(t):
    p = place(t)
    users = ["user%d" % i for i in range(12)]
    one = sha("secret", "-5")
    t.file("who", "".join("%s:%s\n" % (user, one) for user in users))
    host = Host(t, config(TWO, pool="balancer: hash, hash-on: user",
                          listener=", users-file: who"))

    def links():
        got = ""
        for user in users:
            c, (status, _fields) = connect(host, p.told.port, user.encode() + b":secret")
            equal(status, 200, user)
            got += c.line()[0]
            c.close()
        return got

    first = links()
    equal(set(first), {"a", "b"}, "links of 12 users")
    equal([links(), links()], [first, first], "again")


@case("an address that guesses waits longer and longer, others do not", limit=90)
def guessing(t):
    p, host = start(t)
    for i in range(5):
        started = time.monotonic()
        equal(socks5(host, b"bob", b"guess-%d" % i, p.told.port), (1, None), "a guess")
        within(0.9, started, "one of the first five")
    took = []
    for i in range(3):
        started = time.monotonic()
        equal(socks5(host, b"bob", b"more-%d" % i, p.told.port), (1, None), "another guess")
        took.append(time.monotonic() - started)
    check(took[0] > 0.5 and took[1] > 1.5 and took[2] > 3.0, "longer and longer", took)
    started = time.monotonic()
    equal(socks5(host, b"bob", b"secret", p.told.port, source="127.0.0.9"), (0, 0), "another")
    within(0.9, started, "another address")
    started = time.monotonic()
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "the right one, in its turn")
    check(time.monotonic() - started > 3, "in its turn", time.monotonic() - started)
    started = time.monotonic()
    equal(socks5(host, b"bob", b"secret", p.told.port), (0, 0), "and then")
    within(0.9, started, "what was right makes all forgotten")


@case("guesses at once are no way to make more of them")
def guesses_at_once(t):
    p, host = start(t, users="bob:%s\n" % sha("secret"))
    for i in range(5):
        connect(host, p.told.port, b"bob:%d" % i)[0].close()

    def guess(i):
        c, (status, _fields) = connect(host, p.told.port, b"bob:guess-%d" % i,
                                       b"Connection: close\r\n")
        c.close()
        return status

    seen = client.together(60, guess, 60)
    looked_at = seen.count(407)
    check(1 <= looked_at <= 10, "about one a second is looked at, for 10 s", seen)
    equal(looked_at + seen.count(429), 60, "the others are told to wait")
    matches("has given wrong passwords too often", host.log(), "the log")


tap.main()
