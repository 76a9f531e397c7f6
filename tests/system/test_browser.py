#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What a browser needs: WebSocket through the port, and Chromium itself, by /proxy.pac and by
--proxy-server."""

import base64
import contextlib
import os
import subprocess
import threading

from lib import client, dns, http, tap
from lib.host import Host, config
from lib.tap import check, equal, matches, table
from lib.world import TARGET, World

PARTS = 30
PAGE = """<!DOCTYPE html><title>dispatch</title><p id=said></p>
<script>
let parts = 0;
const told = new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/chat`), said = [];
    socket.onerror = reject;
    socket.onmessage = m => {
        if (said.push(m.data) === 1) socket.send("an echo");
        else { socket.close(); resolve(said); }
    };
});
const posted = fetch("/post", {method: "POST", body: "x".repeat(300000)}).then(r => r.text());
Promise.all([posted, told]).then(
    ([post, [first, second]]) => `a fetch of ${post} bytes, ${first}, ${second}`, e => `failed: ${e}`
).then(text => {
    document.getElementById("said").textContent = text;
    return fetch("/said");
});
</script>
%s<img src="/last">
<script>onload = () => { document.title = `${parts} parts`; };</script>
""" % "".join('<script async src="/part%d.js"></script>\n' % i for i in range(PARTS))


# ---- WebSocket (RFC 6455) ----

def frame(payload, masked):
    """One of text, of up to 64 KiB."""
    size = len(payload)
    head = bytes([0x81, (128 if masked else 0) | (size if size < 126 else 126)])
    head += b"" if size < 126 else size.to_bytes(2, "big")
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(x ^ mask[i % 4] for i, x in enumerate(payload))


def unframe(reader):
    """The payload of the next text; None: the other side closes."""
    first, size = reader.take(2)
    if first == 0x88:
        return None
    equal(first, 0x81, "a whole text")
    masked, size = size & 128, size & 127
    size = int.from_bytes(reader.take(2), "big") if size == 126 else size
    mask = reader.take(4) if masked else bytes(4)
    return bytes(x ^ mask[i % 4] for i, x in enumerate(reader.take(size)))


def chat(request):
    """Greets at once, then echoes."""
    fields, reader = request.fields, request.raw
    equal(http.value(fields, "Upgrade"), "websocket", "what is asked for")
    equal(http.value(fields, "Connection").lower(), "upgrade", "the connection")
    reader.sock.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
                         % http.websocket_accept(http.value(fields, "Sec-WebSocket-Key"))).encode() +
                        frame(b"a greeting", False))
    with contextlib.suppress(EOFError):
        while (text := unframe(reader)) is not None:
            reader.sock.sendall(frame(text, False))


# ---- a link, and a host before it ----

class Place:
    def __init__(self, t):
        w = World(t, "a")
        self.names = dns.NameServer(t, [("a", w.a.ns, w.a.gw)], {"v4.test": [TARGET]})
        self.origin = http.Origin(w, {"/chat": chat})
        self.host = Host(t, config({"a": "interface: a0, dns: [%s]" % w.a.gw}))
        self.proxy = "127.0.0.1:%d" % self.host.port


place = tap.shared(Place)


@table("WebSocket", [("by CONNECT", True), ("by a plain upgrade", False)])
def websocket(t, tunnel):
    p = place(t)
    to = "v4.test:%d" % p.origin.port
    key = base64.b64encode(os.urandom(16)).decode()
    with client.Client(p.host.addr) as c:
        reader = http.Reader(c.sock)
        if tunnel:
            c.send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (to, to)).encode())
            matches(r"\AHTTP/1\.1 200 ", reader.line().decode(), "the tunnel")
            reader.fields()
        c.send(("GET %s/chat HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
                % ("" if tunnel else "http://" + to, to, key)).encode())
        got = http.answer(reader)
        equal((got.status, http.value(got.fields, "Sec-WebSocket-Accept")),
              (101, http.websocket_accept(key)), "the answer")
        equal(unframe(reader), b"a greeting", "what the server says first")
        for size in (0, 5, 126, 60000):
            payload = os.urandom(size)
            c.send(frame(payload, True))
            check(unframe(reader) == payload, "the echo of %d bytes" % size)


# ---- Chromium ----

def browse(t, url, how):
    """The page as it is when all of it has been loaded. Root needs --no-sandbox."""
    command = [tap.tool("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-background-networking", "--disable-dev-shm-usage",
               "--user-data-dir=" + os.path.join(t.dir, "profile"), *how, "--dump-dom", url]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, HOME=t.dir), check=False)
    t.report(lambda: "chromium said:\n" + done.stderr.decode(errors="replace")[-2000:])
    return done.stdout.decode(errors="replace")


@table("chromium", [
    ("by PAC", "--proxy-pac-url=http://%s/proxy.pac", True),
    ("by SOCKS5", "--proxy-server=socks5://%s", True),
    ("by SOCKS4", "--proxy-server=socks4://%s", False),
    ("by HTTP", "--proxy-server=http://%s", True),
], needs=["chromium"], long=True)
def chromium(t, option, names):
    """The browser's load event comes behind /last, and that when it has told what it heard."""
    p = place(t)
    said = threading.Event()
    pages = p.origin.pages
    pages["/page"] = http.ok(PAGE.encode(), "Content-Type: text/html")
    pages["/post"] = lambda r: http.ok(b"%d" % len(r.body))
    pages["/said"] = lambda r: said.set() or http.ok(b"")
    pages["/last"] = lambda r: said.wait(20) and http.ok(b"")
    for i in range(PARTS):
        pages["/part%d.js" % i] = http.ok(b"parts++;", "Content-Type: text/javascript")
    before, asked = len(p.origin.heads()), len(p.host.log())
    url = p.origin.url("/page", host="v4.test" if names else TARGET)
    dom = browse(t, url, [option % p.proxy])
    matches("<p id=.?said.?>a fetch of 300000 bytes, a greeting, an echo</p>", dom, "what it heard")
    matches("<title>%d parts</title>" % PARTS, dom, "the parts")
    seen = p.origin.heads()[before:]
    for path in ["GET /page", "POST /post", "GET /chat", "GET /last"] + [
            "GET /part%d.js" % i for i in range(PARTS)]:
        equal(seen.count(path), 1, path)
    matches("dest=%s:%d link=a code=00" % ("v4.test" if names else TARGET, p.origin.port),
            p.host.log()[asked:], "the host's log")


if __name__ == "__main__":
    tap.main()
