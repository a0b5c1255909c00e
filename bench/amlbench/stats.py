# SPDX-License-Identifier: MIT
"""Figures, ratios and their spread."""

import random
import statistics

FEW = 10  # below this many rounds the spread is min..max, from here on the quartiles


class Spread:
    """A median and how far the rounds lie apart."""

    def __init__(self, values, name=None):
        ordered = sorted(values)
        self.median = statistics.median(ordered)
        if len(ordered) < FEW:
            self.low, self.high, self.name = ordered[0], ordered[-1], name or "min..max"
        else:
            self.low, _, self.high = statistics.quantiles(ordered, n=4, method="inclusive")
            self.name = name or "quartiles"

    def as_json(self):
        return {"median": self.median, "low": self.low, "high": self.high, "spread": self.name}


def paired_ratio(ours, peer):
    """Ratio round by round: both were measured within the same moment's noise."""
    return Spread([a / b for a, b in zip(ours, peer) if b > 0])


def ratio_of_medians(ours, peer, draws=2000):
    """For differences of a few milliseconds, where a single round's ratio says little: the ratio of the
    medians, with the quartiles of what other samples of the same rounds would have given."""
    dice = random.Random(0)
    rounds = range(min(len(ours), len(peer)))
    ratios = []
    for _ in range(draws):
        picked = [dice.choice(rounds) for _ in rounds]
        below = statistics.median(peer[i] for i in picked)
        if below > 0:
            ratios.append(statistics.median(ours[i] for i in picked) / below)
    if not ratios or statistics.median(peer) <= 0:
        return None
    spread = Spread(ratios, "quartiles of resampled medians")
    spread.median = statistics.median(ours) / statistics.median(peer)
    return spread


class Aim:
    """What the figure should be: a ratio to the peer, or a value of ours; at most or at least."""

    def __init__(self, text, ratio_at_most=None, at_most=None, at_least=None):
        self.text, self.ratio_at_most, self.at_most, self.at_least = text, ratio_at_most, at_most, at_least

    def met(self, ours, ratio):
        if self.ratio_at_most is not None:
            return None if ratio is None else ratio.median <= self.ratio_at_most
        if ours is None:
            return None
        return ours.median <= self.at_most if self.at_most is not None else ours.median >= self.at_least


class Line:
    """One line of the table: a series of ours against one of a peer's, perhaps with an aim."""

    def __init__(self, title, ours, peer=None, aim=None, ratio=paired_ratio):
        self.title, self.ours, self.peer, self.aim, self.ratio = title, ours, peer, aim, ratio


class Figure:
    """What one row's measurement gave: named series of samples, and the lines to make of them."""

    def __init__(self, key, title, unit):
        self.key, self.title, self.unit = key, title, unit
        self.series = {}  # name -> one sample per round, all of the same rounds
        self.units = {}  # name -> unit, where it is another one
        self.lines = []
        self.notes = []  # in words: what else was seen
        self.absent = {}  # name -> why it was not measured
        self.failed = False  # one of ours could not be measured

    def spread(self, name):
        values = self.series.get(name)
        return Spread(values) if values else None

    def ratio(self, line):
        ours, peer = self.series.get(line.ours), self.series.get(line.peer)
        return line.ratio(ours, peer) if ours and peer else None

    def minus(self, name, base, result):
        """A new series: name less base, round by round."""
        if self.series.get(name) and self.series.get(base):
            self.series[result] = [a - b for a, b in zip(self.series[name], self.series[base])]
        elif name in self.absent:
            self.absent[result] = self.absent[name]

    def as_json(self):
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "units": self.units,
            "series": self.series,
            "medians": {name: self.spread(name).as_json() for name in self.series if self.series[name]},
            "lines": [self._line_as_json(line) for line in self.lines],
            "not_measured": self.absent,
            "notes": self.notes,
        }

    def _line_as_json(self, line):
        ratio, ours = self.ratio(line), self.spread(line.ours)
        return {
            "title": line.title,
            "ours": line.ours,
            "peer": line.peer,
            "ratio": ratio and ratio.as_json(),
            "aim": line.aim and line.aim.text,
            "met": line.aim.met(ours, ratio) if line.aim else None,
        }
