# SPDX-License-Identifier: MIT
"""Fixtures of the tests of amlctl; see client.py, fake_daemon.py and patient.py."""

import contextlib
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "blackbox")]

import harness  # noqa: E402
from fake_daemon import FakeDaemon  # noqa: E402
from patient import Patient, make_patient  # noqa: E402


@pytest.fixture
def daemon(tmp_path):
    fake = FakeDaemon(tmp_path / "s.sock")
    yield fake
    fake.close()
    assert not fake.failures


@pytest.fixture
def ill():
    """Daemons and mounts of a test, ended and undone."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def patient(ill):
    return make_patient(ill)


@pytest.fixture
def scratch_state(ill):
    """A state folder that is not there."""
    daemon = harness.Daemon()
    ill.callback(daemon.close)
    daemon.state.rmdir()
    return Patient(daemon)
