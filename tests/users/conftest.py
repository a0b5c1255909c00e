# SPDX-License-Identifier: MIT
"""Fixtures of the tests with real users; see lab.py and users_harness.py."""

import contextlib
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "blackbox")]

import harness  # noqa: E402
from lab import Lab  # noqa: E402
from users_harness import Service  # noqa: E402


def pytest_collection_modifyitems(config, items):
    if os.geteuid() == 0:
        return
    for item in items:
        if str(item.fspath).startswith(HERE + os.sep):
            item.add_marker(pytest.mark.skip(reason="only root can make users of this machine"))


@pytest.fixture(scope="session")
def lab():
    """The users: ana and ben do research (and are in one group), eva is an admin, otto is in no group at all."""
    made = Lab()
    try:
        ana, ben, eva, _ = (made.user(role) for role in ("ana", "ben", "eva", "otto"))
        made.research = made.group("research", ana, ben)
        made.admins = made.group("admins", eva)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def ana(lab):
    return lab.users["ana"]


@pytest.fixture(scope="session")
def ben(lab):
    return lab.users["ben"]


@pytest.fixture(scope="session")
def eva(lab):
    return lab.users["eva"]


@pytest.fixture(scope="session")
def otto(lab):
    return lab.users["otto"]


@pytest.fixture
def make_user(lab):
    """make_user(role): one more user, who may go away during the test."""
    made = []

    def make(role):
        made.append(lab.user(role))
        return made[-1]

    yield make
    for user in made:
        user.remove()
        del lab.users[user.role]


def ended(services, lab):
    """Services that are over, and nothing of anybody's runs left."""
    trouble = []
    for service in services:
        try:
            service.close()
        except AssertionError as error:
            trouble.append(str(error))
    with contextlib.suppress(AssertionError):
        harness.wait_for(lambda: not lab.strays(), "what was killed is gone")
    left = lab.strays()
    if left:
        trouble.append("processes of users left over: " + "; ".join(map(harness.describe, left)))
        harness.end_all(left)
    assert not trouble, "\n".join(trouble)


@pytest.fixture
def make_service(lab):
    """make_service(config={...}): a started service, ended and looked over at the end."""
    made = []

    def make(start=True, **options):
        made.append(Service(lab, **options))
        return made[-1].start() if start else made[-1]

    yield make
    ended(made, lab)


@pytest.fixture(scope="module")
def service(lab):
    """A service for all tests of a file that do not mind the runs of others."""
    made = Service(lab)
    try:
        made.start()
    except BaseException:
        made.close()
        raise
    yield made
    ended([made], lab)


@pytest.fixture
def secret(lab):
    """The bytes that nobody but root may ever see."""
    return lab.secret.read_bytes().strip()


@pytest.fixture
def safe(service, secret):
    """The service lives, and the secret is nowhere, when the test is over."""
    yield service
    assert service.process.poll() is None, service.last_words()
    assert service.files_with(secret) == []


@pytest.fixture
def desk(safe, ana):
    """What ana sees of a service that must keep the secret."""
    return safe.desk(ana)
