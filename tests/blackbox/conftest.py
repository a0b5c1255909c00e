# SPDX-License-Identifier: MIT
"""Fixtures of the black-box tests; see harness.py."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402


def pytest_configure(config):
    for program in (harness.AMLCTL, harness.AMLAGENTD):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is not there: build first, or set AMLAGENT_BUILD_DIR", returncode=2)


@pytest.fixture
def make_daemon():
    """make_daemon(config={...}, user=UID, env={...}): a started Daemon, ended and looked over at the end."""
    made = []

    def make(start=True, **options):
        daemon = harness.Daemon(**options)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    trouble = []
    for daemon in made:
        try:
            daemon.close()
        except AssertionError as error:
            trouble.append(str(error))
    assert not trouble, "\n".join(trouble)


@pytest.fixture
def daemon(make_daemon):
    """A daemon for one test alone: it may be killed, and its list of runs is this test's."""
    return make_daemon(config={"stop_grace_seconds": 1})


@pytest.fixture(scope="module")
def shared():
    """A daemon for all tests of a file that do not mind the runs of others."""
    daemon = harness.Daemon(config={"stop_grace_seconds": 1, "max_running_runs": 4})
    try:
        daemon.start()
    except BaseException:
        daemon.close()
        raise
    yield daemon
    daemon.close()


@pytest.fixture
def scratch():
    folder = harness.scratch()
    yield folder
    left = harness.processes_below(folder)
    harness.end_all(left)
    harness.remove(folder)
