# SPDX-License-Identifier: MIT
"""The main figures of a run as a drawing (SVG) that follows the reader's light or dark."""

import statistics
from xml.sax.saxutils import escape

from report import OURS, number

CAPTION = "What each costs: less is better. nginx and haproxy only pass on TCP, without SOCKS."

# (title, unit, the figures that are added up)
PANELS = [
    ("CPU per gigabyte, 8 streams down", "s", [("gb-8-down", "cpu")]),
    ("CPU per connection, 64 at once", "µs", [("conn-64", "cpu")]),
    ("CPU per 64-byte exchange, 100 connections", "µs", [("msg-100", "cpu")]),
    ("Time to first byte", "µs", [("ttfb", "p50")]),
    ("Memory of an idle connection", "KiB", [("idle", "user"), ("idle", "kernel")]),
    ("System calls per connection", "", [("calls", "count")]),
    ("CPU per HTTP CONNECT, 64 at once", "µs", [("http-tunnel-64", "cpu")]),
    ("CPU per plain HTTP request, 100 connections", "µs", [("http-get-100-flat", "cpu")]),
]

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.value { font-size: 12px; fill: #59636e }
.ours { font-weight: 600 }
rect { fill: #afb8c1 }
rect.ours { fill: #0969da }
path { stroke: #ffffff; stroke-width: 3; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .value { fill: #9198a1 }
  rect { fill: #656c76 }
  rect.ours { fill: #4493f8 }
  path { stroke: #0d1117 }
}
"""

PANEL_W, BAR_X, BAR_W, ROW_H, HEAD_H, GAP = 440, 124, 220, 22, 34, 22
CAPTION_H = 40
CUT = 5  # a bar of more than so many times the median is cut short


def _values(results, panel):
    """[(peer, value)] of the peers that have one, in the order of the table."""
    found = []
    for peer in (p for p in results.peers if p != "direct"):
        medians = [results.median(peer, *figure) for figure in panel[2]]
        if all(m is not None for m in medians):
            found.append((peer, sum(medians)))
    return found


def _scale(values):
    """The value of a whole bar, so that one huge figure does not hide the others."""
    middle = statistics.median(value for _, value in values)
    kept = [value for _, value in values if value <= CUT * middle]
    return max(kept) if len(kept) == len(values) else max(kept) * 1.15


def _bar(peer, value, unit, whole, y):
    width = BAR_W * min(value / whole, 1)
    kind = "ours" if peer == OURS else "other"
    lines = ['<text class="%s" x="%d" y="%d" text-anchor="end">%s</text>'
             % (kind, BAR_X - 8, y + 13, escape(peer)),
             '<rect class="%s" x="%d" y="%d" width="%.1f" height="16" rx="2"/>'
             % (kind, BAR_X, y, width),
             '<text class="value" x="%.1f" y="%d">%s</text>'
             % (BAR_X + width + 6, y + 13, escape(("%s %s" % (number(value), unit)).strip()))]
    if value > whole:  # a gap says that it goes on
        x = BAR_X + width - 22
        lines.append('<path d="M%.1f %dl6 -9l-4 -4l6 -9"/>' % (x, y + 19))
    return lines


def _panel(results, panel, x, y):
    values = _values(results, panel)
    lines = ['<g transform="translate(%d %d)">' % (x, y),
             '<text class="title" x="8" y="16">%s</text>' % escape(panel[0])]
    whole = _scale(values)
    for i, (peer, value) in enumerate(values):
        lines += _bar(peer, value, panel[1], whole, HEAD_H - 6 + i * ROW_H)
    return lines + ["</g>"]


def chart(results):
    """The drawing as text; empty if nothing of it was measured."""
    panels = [p for p in PANELS if _values(results, p)]
    if not panels:
        return ""
    panel_h = HEAD_H + ROW_H * max(len(_values(results, p)) for p in panels) + GAP
    width, height = 2 * PANEL_W, CAPTION_H + panel_h * ((len(panels) + 1) // 2)
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
             'role="img" aria-labelledby="t">' % (width, height, width, height),
             '<title id="t">%s</title>' % CAPTION, "<style>%s</style>" % STYLE,
             '<text class="value" x="8" y="18">%s</text>' % CAPTION]
    for i, panel in enumerate(panels):
        lines += _panel(results, panel, PANEL_W * (i % 2), CAPTION_H + panel_h * (i // 2))
    return "\n".join(lines + ["</svg>", ""])
