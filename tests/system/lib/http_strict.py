# SPDX-License-Identifier: MIT
"""What a proxy sends to a server, read so that nothing is left to interpretation: what any server
could read otherwise is Ambiguous. It shares no code with what it judges."""

import collections
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
LINE = re.compile(rb"(%s) (/[!-~]*|\*) HTTP/1\.1" % TOKEN)
FIELD = re.compile(rb"(%s): ((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)" % TOKEN)
TRAILER = re.compile(rb"(%s):([\t -~\x80-\xff]*)" % TOKEN)
HOST = re.compile(rb"(?:[0-9A-Za-z!$&'()*+,;=._~-]+|\[[0-9A-Fa-f:.]+\])(?::[1-9][0-9]{0,4})?")
LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
CHUNK = re.compile(rb"0|[1-9A-Fa-f][0-9A-Fa-f]{0,15}")
HOP_BY_HOP = {b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te"}
FRAMING = {b"content-length", b"transfer-encoding"}

Request = collections.namedtuple("Request", "method target fields body")


class Ambiguous(Exception):
    """Servers may differ about this."""


def need(condition, text, *seen):
    if not condition:
        raise Ambiguous("%s: %r" % (text, seen))


def line(reader):
    """Up to CRLF; with nothing else in it that somebody could take for an end."""
    while b"\n" not in reader.held:
        if not reader.more():
            raise EOFError("in a line")
    text, reader.held = reader.held.split(b"\n", 1)
    need(text.endswith(b"\r"), "a line without CR", text)
    need(not re.search(rb"[\0\r\v\f]", text[:-1]), "a byte that may end a line", text)
    return text[:-1]


def fields(reader, form=FIELD):
    """[(name in lower case, value)] up to the empty line."""
    found = []
    while True:
        text = line(reader)
        if not text:
            return found
        field = form.fullmatch(text)
        need(field, "not a field", text)
        found.append((field.group(1).lower(), field.group(2)))


def only(found, name):
    values = [v for n, v in found if n == name]
    need(len(values) < 2, "several of it", name, values)
    return values[0] if values else None


def cgi(name):
    """All signs in a name are the same to gateways."""
    return re.sub(rb"[^a-z0-9]", b"-", name)


def framing(found):
    """(length or None, chunked?), said in one way only."""
    for name, _ in found:
        need(name in FRAMING or cgi(name) not in FRAMING, "nearly a framing field", name)
    length, coding = only(found, b"content-length"), only(found, b"transfer-encoding")
    need(length is None or coding is None, "a length and a coding")
    need(length is None or LENGTH.fullmatch(length), "not a length", length)
    need(coding in (None, b"chunked"), "not chunked", coding)
    return None if length is None else int(length), coding is not None


def chunks(reader):
    data = b""
    while True:
        text = line(reader)
        need(CHUNK.fullmatch(text), "not the size of a chunk", text)
        size = int(text, 16)
        if size == 0:
            break
        data += reader.take(size)
        need(reader.take(2) == b"\r\n", "no end of a chunk")
    for name, value in fields(reader, TRAILER):
        need(cgi(name) not in FRAMING | {b"host"}, "framing in a trailer", name)
        need(name not in HOP_BY_HOP, "hop by hop, in a trailer", name, value)
    return data


def request(reader):
    """The next request of `reader` (lib.http.Reader); EOFError: it is not whole."""
    first = LINE.fullmatch(line(reader))
    need(first, "not a request line", reader.held[:99])
    found = fields(reader)
    host = only(found, b"host")
    need(host is not None and HOST.fullmatch(host), "not a host", host)
    need(not HOP_BY_HOP & {name for name, _ in found}, "hop by hop", found)
    connection, upgrade = only(found, b"connection"), only(found, b"upgrade")
    need((connection, upgrade is None) in ((None, True), (b"upgrade", False)), "Connection", found)
    length, chunked = framing(found)
    need(upgrade is None or (not length and not chunked), "an upgrade with a body", found)
    body = chunks(reader) if chunked else reader.take(length or 0)
    return Request(first.group(1), first.group(2), found, body)
