# SPDX-License-Identifier: MIT
"""A strict reader of the OpenMetrics text format 1.0, as far as the daemon uses it: whatever the specification says MUST
be so is asserted here (github.com/prometheus/OpenMetrics, specification/OpenMetrics.md)."""

import re

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"(?P<name>{NAME})(?:\{{(?P<labels>.*)\}})? (?P<value>\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|NaN|[+-]?Inf")
# What follows the family's name in the names of its samples.
SUFFIXES = {"gauge": {""}, "counter": {"_total"}, "info": {"_info"}, "summary": {"_count", "_sum"}}


class Family:
    """One metric: type, unit ("" for none), help, and its samples: {frozenset of (label, value): number}."""

    def __init__(self, name, kind):
        self.name, self.type, self.unit, self.help = name, kind, None, None
        self.samples = {}

    def value(self, suffix=None, **labels):
        """The number of the sample with just these labels."""
        suffix = min(SUFFIXES[self.type]) if suffix is None else suffix
        return self.samples[self.name + suffix, frozenset(labels.items())]


def labels_of(text):
    found, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        assert match, f"a label that is none: {text[at:]!r}"
        assert match[1] not in found and not match[1].startswith("__"), text
        found[match[1]] = match[2].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
        at = match.end()
        assert match[3] == "" or at < len(text), f"a comma at the end: {text!r}"
    return frozenset(found.items())


def add_metadata(families, line):
    keyword, name, text = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.*)", line).groups()
    if keyword == "TYPE":
        assert text in SUFFIXES, line
        assert name not in families, f"{name} comes twice, or not in one piece"
        families[name] = Family(name, text)
        return
    family = families[name]
    assert family is list(families.values())[-1] and not family.samples, f"{line}: too late"
    field = keyword.lower()
    assert getattr(family, field) is None, f"{line}: twice"
    if keyword == "UNIT":
        assert family.type != "info" and name.endswith("_" + text), line
    else:
        assert text and not re.search(r'\\[^n\\"]', text), line
    setattr(family, field, text)


def add_sample(families, line):
    match = SAMPLE.fullmatch(line)
    assert match, f"neither a sample nor metadata: {line!r}"
    family = list(families.values())[-1]
    suffixes = {family.name + suffix for suffix in SUFFIXES[family.type]}
    assert match["name"] in suffixes, f"{line!r} is no sample of {family.name}"
    assert NUMBER.fullmatch(match["value"]), line
    value = float(match["value"])
    if family.type == "counter":
        assert value >= 0, line
    if family.type == "info":
        assert value == 1, line
    key = match["name"], labels_of(match["labels"] or "")
    assert key not in family.samples, f"{line}: twice"
    family.samples[key] = value


def parse(text):
    """{name: Family}; AssertionError where the text breaks a rule."""
    assert text.endswith("\n# EOF\n") and text.count("# EOF") == 1
    assert "\r" not in text and "\t" not in text
    families = {}
    for line in text.removesuffix("# EOF\n").splitlines():
        assert line and line == line.strip(), f"{line!r}: blanks"
        (add_metadata if line.startswith("#") else add_sample)(families, line)
    names = [name for family in families.values() for name, _ in family.samples]
    clashes = set(families) & {name for name in names if name not in families}
    assert not clashes, clashes
    for family in families.values():
        assert family.help and family.samples, f"{family.name} says nothing"
        family.unit = family.unit or ""
    return families
