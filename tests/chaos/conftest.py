# SPDX-License-Identifier: MIT
"""Fixtures of the chaos tests; see chaos.py."""

import os
import resource
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "blackbox")]

import chaos  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def no_cores():
    """What aborts here does so because it was told to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture
def make_chaos():
    """make_chaos(...): a ChaosDaemon, not started; ended and looked over at the end."""
    made = []

    def make(**options):
        made.append(chaos.ChaosDaemon(**options))
        return made[-1]

    yield make
    trouble = []
    for daemon in made:
        try:
            daemon.close()
        except AssertionError as error:
            trouble.append(str(error))
    assert not trouble, "\n".join(trouble)
