# SPDX-License-Identifier: MIT
"""A virtual machine for all tests of this folder. Where none can be had they are skipped, but not in CI."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "systemd"), str(HERE.parent / "blackbox")]

import pytest  # noqa: E402
import virtual_machine  # noqa: E402

CONFIG = """
max_running_runs = 8
cpus = 8
stop_grace_seconds = 2
max_processes_per_run = 40
"""


@pytest.fixture(scope="session")
def machine():
    """A machine that has all controllers, with the system service."""
    why = virtual_machine.why_not()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    made = virtual_machine.VirtualMachine(CONFIG)
    try:
        yield made.boot()
    finally:
        made.close()
