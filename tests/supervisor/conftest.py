# SPDX-License-Identifier: MIT
"""What the tests of amlagent-supervisor share: made once, and nothing of it stays.

The escape programs of tests/zoo are compiled here, with $CC or cc. Cgroups are made in a folder of our own in the
cgroup v2 mount, where that can be had, and removed.
"""

import os
import pathlib
import shutil
import tempfile

import pytest
from supervised import Run, Zoo, kill_all, remove_cgroup


@pytest.fixture(scope="session")
def zoo():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="amlagent-zoo-"))
    one = Zoo(folder)
    yield one
    kill_all(one.members)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def cgroups():
    """A cgroup below which this session's runs have theirs."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    if not points:
        pytest.skip("no cgroup v2 mount")
    folder = pathlib.Path(points[0]) / f"amlagent-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    yield folder
    remove_cgroup(folder)


@pytest.fixture
def make_run():
    top = pathlib.Path(tempfile.mkdtemp(prefix="amlagent-sup-"))
    made = []

    def make():
        made.append(Run(top / f"run {len(made)}"))
        return made[-1]

    yield make
    for one in made:
        one.close()
    shutil.rmtree(top)


@pytest.fixture
def run(make_run):
    return make_run()
