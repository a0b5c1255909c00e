# SPDX-License-Identifier: MIT
"""The package, built once for all tests of this folder, in whichever worker comes first."""

import fcntl
import os
import pickle

import pytest

import package_harness


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package as `make deb` makes it, in a copy of the project without git, in a path with a space."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "a package"
    shared.mkdir(exist_ok=True)
    made = shared / "made"
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_bytes(pickle.dumps(package_harness.Package(shared / "a clone" / "of amlagent")))
    return pickle.loads(made.read_bytes())
