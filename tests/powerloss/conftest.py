# SPDX-License-Identifier: MIT
"""Finds the harness, and adds the figures of all scenarios up at the end."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "blackbox")]

FIGURES = ("steps", "flushes", "prefixes", "states", "distinct", "tried", "violations")


def pytest_terminal_summary(terminalreporter):
    """One line that a note can quote. With xdist, name this folder: the controller reads no other conftest.py."""
    total, scenarios = dict.fromkeys(FIGURES, 0), 0
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", []):
                if name == "powerloss" and report.when == "call":
                    scenarios += 1
                    for key in FIGURES:
                        total[key] += value[key]
    if scenarios:
        words = ", ".join(f"{key} {total[key]}" for key in FIGURES)
        terminalreporter.write_line(f"power loss: scenarios {scenarios}, {words}")
