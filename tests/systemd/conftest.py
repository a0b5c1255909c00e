# SPDX-License-Identifier: MIT
"""Machines of the tests' own, with a real systemd; where none can be had the tests say why they are skipped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pytest  # noqa: E402
import systemd_machine  # noqa: E402

CONFIG = "max_running_runs = 8\nstop_grace_seconds = 10\nadmin_group = amlagent-admin\n"


@pytest.fixture(scope="session")
def possible():
    why = systemd_machine.why_not()
    if why:
        pytest.skip(why)


@pytest.fixture(scope="module")
def machine(possible):
    """A machine with the system service, for all tests of a file."""
    made = systemd_machine.Machine(CONFIG)
    try:
        made.boot()
        made.systemctl("start", "amlagentd.socket", "amlagentd.service")
        yield made
    finally:
        made.close()


@pytest.fixture
def own_machine(possible):
    """The same, for one test that ends it."""
    made = systemd_machine.Machine(CONFIG)
    try:
        made.boot()
        made.systemctl("start", "amlagentd.socket", "amlagentd.service")
        yield made
    finally:
        made.close()
