# SPDX-License-Identifier: MIT
"""The package, built once for all tests of this folder."""

import pytest

import package_harness


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The package as `make deb` makes it, in a copy of the project without git, in a path with a space."""
    return package_harness.Package(tmp_path_factory.mktemp("a clone") / "of amlagent")
