# SPDX-License-Identifier: MIT
"""Fixtures of the tests of amlctl; see client.py and fake_daemon.py."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "blackbox")]

from fake_daemon import FakeDaemon  # noqa: E402


@pytest.fixture
def daemon(tmp_path):
    fake = FakeDaemon(tmp_path / "s.sock")
    yield fake
    fake.close()
    assert not fake.failures
