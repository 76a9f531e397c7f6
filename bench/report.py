# SPDX-License-Identifier: MIT
"""The figures of a run as Markdown: medians, spreads, ratios."""

import statistics


class Results:
    def __init__(self, peers, measures):
        self.peers, self.measures = peers, measures
        self.values = {}  # (peer, measure, figure) -> one value for each round
        self.failures = {}  # (peer, measure) -> why there are none

    def add(self, peer, measure, figures):
        for key, value in figures.items():
            if value is not None:
                self.values.setdefault((peer, measure, key), []).append(value)

    def fail(self, peer, measure, why):
        self.failures[peer, measure] = why

    def median(self, peer, measure, figure):
        seen = self.values.get((peer, measure, figure))
        return statistics.median(seen) if seen else None


def table(results, found, rounds, took_s):
    lines = []
    keys = sorted({k[1:] for k in results.values}, key=lambda k: (results.measures.index(k[0]), k[1]))
    for key in keys:
        lines.append(" ".join(["%-20s" % " ".join(key)] + ["%12s" % ("%.4g" % results.median(p, *key) if results.median(p, *key) is not None else "-") for p in results.peers]))
    return "\n".join([" "*20 + " ".join("%12s" % p for p in results.peers)] + lines)
