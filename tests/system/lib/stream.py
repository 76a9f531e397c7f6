# SPDX-License-Identifier: MIT
"""Clients that come at a fixed rate whatever becomes of them, and sessions that talk all the
while."""

import threading
import time

from . import client, tap
from .world import TARGET

LIMIT_S = 0.6  # what no new connection may take


class Connection:
    """What became of one: when it began, how long until the proxy's answer, the link or the error.
    A link of "-" is one that was connected, and then lost its link before that said its name."""

    def __init__(self, host, port):
        self.began = time.monotonic()
        self.took, self.link, self.error = None, "-", None
        try:
            with client.connect(host.addr, TARGET, port, timeout=8) as c:
                self.took = time.monotonic() - self.began
                self.link = c.line().split()[0]
        except (OSError, EOFError, client.Refused) as error:
            if self.took is None:
                self.took, self.error = time.monotonic() - self.began, repr(error)

    def __repr__(self):
        return "%s in %.3f s" % (self.error or self.link, self.took)


class Stream:
    """So many connections a second to a `tell` server."""

    def __init__(self, t, host, port, rate=50):
        self.host, self.port, self.rate = host, port, rate
        self.all, self.threads = [], []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        t.defer(self._end)
        self.thread.start()

    def _run(self):
        due = time.monotonic()
        while not self.stop.is_set():
            thread = threading.Thread(target=self._one, daemon=True)
            thread.start()
            self.threads.append(thread)
            due += 1 / self.rate
            time.sleep(max(0, due - time.monotonic()))

    def _one(self):
        self.all.append(Connection(self.host, self.port))

    def _end(self):
        self.stop.set()
        self.thread.join()
        for thread in self.threads:
            thread.join()

    def links(self, since, until=float("inf")):
        """Those of the connections that began then, in that order."""
        seen = sorted((c for c in list(self.all) if since <= c.began < until),
                      key=lambda c: c.began)
        return "".join(c.link for c in seen)

    def await_link(self, link, since, limit_s):
        """Waits for a connection by `link` that began after `since`; returns how much later."""

        def after():
            return [c.began - since for c in list(self.all) if c.link == link and c.began >= since]

        tap.wait_for("link %s is used again" % link, after, limit_s + 2)
        first = min(after())
        tap.check(first <= limit_s, "it is used again within %d s" % limit_s, first)
        return first

    def end(self):
        """All of it: none has failed, none was slow. Returns the slowest's time."""
        self._end()
        tap.equal([c for c in self.all if c.error], [], "failed of %d" % len(self.all))
        slow = [c for c in self.all if c.took > LIMIT_S]
        tap.equal(slow, [], "slower than %.1f s, of %d" % (LIMIT_S, len(self.all)))
        return max(c.took for c in self.all)


class Talk:
    """A session in which something is under way in both directions, until its end: what is sent is
    echoed. `link` and `source` are where it left."""

    def __init__(self, t, host, port, every_s=0.02):
        self.client = client.connect(host.addr, TARGET, port)
        t.defer(self.stop)
        self.link, self.source = self.client.line().split()[:2]
        self.every_s = every_s
        self.said, self.silence, self.broken = 0, 0.0, None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over.wait(self.every_s):
            text = b"%08d" % self.said * 100
            asked = time.monotonic()
            try:
                self.client.send(text)
                tap.equal(self.client.take(len(text)), text, "the echo")
            except (OSError, EOFError, AssertionError) as error:
                self.broken = repr(error)
                return
            self.said += 1
            self.silence = max(self.silence, time.monotonic() - asked)

    def stop(self):
        self.over.set()
        self.client.close()

    def end(self):
        """All that was said came back, and soon."""
        self.over.set()
        self.thread.join()
        tap.equal(self.broken, None, "the session by %s, after %d echoes" % (self.link, self.said))
        tap.check(self.said > 10, "it was talking", self.said)
        tap.check(self.silence < LIMIT_S, "none of its echoes was late", self.silence)
        self.client.finish()
        tap.equal(self.client.ended(5), ("fin", b""), "its end")


def talks(t, host, port, links, each=2):
    """`each` sessions by every one of `links`, as lists by link."""
    by_link = {link: [] for link in links}
    for _ in range(8 * each * len(links)):
        if all(len(some) >= each for some in by_link.values()):
            return by_link
        talk = Talk(t, host, port)
        by_link[talk.link].append(talk)
    raise AssertionError("no sessions by each of %s: %r" % (links, by_link))
