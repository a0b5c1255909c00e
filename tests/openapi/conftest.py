# SPDX-License-Identifier: MIT
"""The fixtures are those of the black-box tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "blackbox"))

from harness import Daemon  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def make_daemon():
    """make_daemon(start=True, config={...}): a throw-away daemon, ended and looked over at the end."""
    made = []

    def make(start=True, **options):
        made.append(Daemon(**options))
        return made[-1].start() if start else made[-1]

    yield make
    for daemon in made:
        daemon.close()
