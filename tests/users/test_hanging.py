# SPDX-License-Identifier: MIT
"""Files of one user that hang, and helpers that he stops, hold up nobody else."""

import contextlib
import ctypes
import json
import os
import signal
import time

import fuse_folder
import harness
import pytest
from harness import PYTHON, read_when_there, wait_for
from lab import processes_of
from users_harness import Racer, unfinished, until_ended

LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def hanging_folder(user):
    """A FUSE folder whose server never answers: whoever of the user's processes looks into it waits for ever."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    point = user.home / f"hanging{next(harness.Daemon.counter)}"
    point.mkdir()
    user.own(point)
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40755,user_id={user.uid},group_id={user.gid}".encode()
    try:
        if LIBC.mount(b"amlt", os.fsencode(point), b"fuse", 6, options) != 0:
            pytest.skip(f"mounting FUSE: {os.strerror(ctypes.get_errno())}")
        try:
            yield point
        finally:
            LIBC.umount2(os.fsencode(point), 2)  # MNT_DETACH
    finally:
        os.close(fuse)  # and who waits is told that it is over


def measured(desk, rounds=5):
    """Seconds that a user's run takes from submit to end, and a GET: the medians."""
    runs, reads = [], []
    for _ in range(rounds):
        began = time.monotonic()
        assert desk.finish("pass", environment={"python": {"interpreter_path": PYTHON}})["status"] == "Completed"
        runs.append(time.monotonic() - began)
        began = time.monotonic()
        desk.status()
        reads.append(time.monotonic() - began)
    return sorted(runs)[rounds // 2], sorted(reads)[rounds // 2]


HANGS = {
    "source": lambda folder: {"source_directory": str(folder)},
    "interpreter": lambda folder: {"environment": {"python": {"interpreter_path": f"{folder}/bin/python"}}},
    "path": lambda folder: {"submit_environment": {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder)}},
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("where", HANGS)
def test_files_of_one_user_that_hang_hold_up_nobody_else(make_service, ana, ben, where):
    service = make_service(config={"max_running_runs": 4, "max_running_runs_per_user": 2})
    mine, theirs = service.desk(ana), service.desk(ben)
    before = measured(theirs)
    with hanging_folder(ana) as folder:
        sources = mine.source()
        connections = []
        for _ in range(12):
            fields = {"source_directory": str(sources), **HANGS[where](folder)}
            connection = mine.connect(timeout=200)
            connection.request("POST", "/v1/runs", body=json.dumps(mine.request(**fields)))
            connections.append(connection)
        during = measured(theirs)
        assert (
            during[0] < 5 * before[0] + 1
        ), f"ben's run: {before[0]:.3f} s before, {during[0]:.3f} s while ana's files hang"
        assert (
            during[1] < 20 * before[1] + 0.25
        ), f"ben's GET: {before[1]:.4f} s before, {during[1]:.4f} s while ana's files hang"
        assert mine.status(), "ana is answered too"
        service.desk(ana).runs()
    for connection in connections:
        with contextlib.suppress(OSError):
            answer = harness.Answer(connection.getresponse())
            assert answer.status in (201, 400, 503), answer
        connection.close()
    for record in mine.runs():
        if unfinished(record):
            mine.api("POST", f"/v1/runs/{record['run_id']}/cancel")
    until_ended(mine, [record["run_id"] for record in mine.runs()], 60)
    assert measured(mine, 1), "and ana's next run is as any other"


@pytest.mark.timeout(240)
def test_a_submit_from_a_folder_that_hangs_ends_with_words(make_service, ana):
    """The service gives up in time; and says which folder it was."""
    service = make_service()
    desk = service.desk(ana)
    with hanging_folder(ana) as folder:
        answer = desk.api("POST", "/v1/runs", desk.request(source_directory=str(folder)), timeout=150)
        assert answer.status in (400, 503), answer
        assert str(folder) in answer.error["message"] or answer.error["target"] == "source_directory", answer
        wait_for(lambda: not ana.strays(), "nothing of ana's waits there any more", 20)


@pytest.mark.timeout(240)
def test_a_client_that_leaves_a_hanging_submit_leaves_nothing_behind(make_service, ana, ben):
    service = make_service()
    desk = service.desk(ana)
    with hanging_folder(ana) as folder:
        for _ in range(4):
            connection = desk.connect()
            connection.request("POST", "/v1/runs", body=json.dumps(desk.request(source_directory=str(folder))))
            connection.close()
        assert service.desk(ben).finish()["status"] == "Completed"
        began = time.monotonic()
        service.terminate()
        assert time.monotonic() - began < 20, "and it does not keep the service from ending"
        wait_for(lambda: not ana.strays(), "its helpers end with it", 20)
    service.start()
    assert desk.finish()["status"] == "Completed"


def replaced(service):
    """Killed outright, with whatever its threads wait for: another one comes and serves."""
    service.kill()
    service.start()


@contextlib.contextmanager
def unread_folder(user, point, files):
    """A FUSE folder whose server takes every READ and answers none: who reads there cannot even be killed."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    point.mkdir(exist_ok=True)
    user.own(point)
    with fuse_folder.mounted(user.write(files), point, user.uid, user.gid, hang=("READ",)):
        yield point


@pytest.mark.timeout(240)
def test_files_whose_reads_never_end_hold_up_no_daemon(make_service, ana, ben):
    service = make_service()
    desk = service.desk(ana)
    with unread_folder(ana, ana.home / "unread", {"main.py": "print(1)"}) as folder:
        for _ in range(4):
            connection = desk.connect()
            connection.request("POST", "/v1/runs", body=json.dumps(desk.request(source_directory=str(folder))))
        assert service.desk(ben).finish()["status"] == "Completed"
        replaced(service)
        assert service.desk(ben).finish()["status"] == "Completed"
        began = time.monotonic()
        service.terminate()
        assert time.monotonic() - began < 20
        service.start()
    wait_for(lambda: not ana.strays(), "what was killed in there ends with the mount")
    assert desk.finish()["status"] == "Completed"


@pytest.mark.timeout(240)
def test_a_log_whose_reads_never_end_is_not_followed(make_service, ana, ben):
    service = make_service()
    desk = service.desk(ana)
    run = desk.submit("import os, time; os.mkdir('logs/mnt'); open('logs/own.txt', 'w').write('own'); time.sleep(200)")
    work = service.state / "runs" / run / "work"
    read_when_there(work / "logs/own.txt")
    with unread_folder(ana, work / "logs/mnt", {"x.txt": "hello"}):
        for route in ("logs/logs/mnt/x.txt?follow=1", "artifacts/logs/mnt/x.txt"):
            answer = desk.api("GET", f"/v1/runs/{run}/{route}", timeout=40)
            assert answer.status in (404, 503), answer
            assert "Connection" not in answer.error["message"], "its file system, not ours, did not answer"
        assert desk.api("GET", f"/v1/runs/{run}/logs/logs/own.txt").body == b"own"
        assert service.desk(ben).finish()["status"] == "Completed"
        replaced(service)
        assert service.desk(ben).finish()["status"] == "Completed"
        desk.cancel(run)
        record = desk.ended(run, 100)
        assert record["status"] == "Canceled", record
        assert any("outputs" in warning for warning in record["warnings"]), record
    assert (work / "logs/own.txt").read_text() == "own", "what could not be stored stays in the run's folder"


def test_outputs_that_lead_into_a_folder_that_hangs_are_not_followed(make_service, ana, ben):
    service = make_service()
    desk = service.desk(ana)
    with hanging_folder(ana) as folder:
        record = desk.finish(
            f"import os; os.symlink({str(folder)!r}, 'outputs/there'); os.symlink({str(folder / 'x')!r}, 'outputs/x')"
        )
        assert record["status"] == "Completed", record
        assert service.desk(ben).finish()["status"] == "Completed"


def test_a_helper_that_is_stopped_by_its_user_holds_up_nobody_else(make_service, ana, ben):
    """ana stops every process of hers that the service starts, again and again."""
    service = make_service(config={"max_running_runs": 4, "max_running_runs_per_user": 2})
    desk, theirs = service.desk(ana), service.desk(ben)
    before = measured(theirs)
    folder = str(ana.write({"main.py": "print(1)"}))
    connections = [desk.connect() for _ in range(6)]
    for connection in connections:
        connection.connect()
    with Racer(
        ana,
        "me = os.getpid(), os.getppid()\nwhile go():\n"
        "    for entry in os.listdir('/proc'):\n        if entry.isdigit() and int(entry) not in me:\n"
        "            with contextlib.suppress(OSError):\n                os.kill(int(entry), 19)\n",
    ):
        for connection in connections:
            connection.request("POST", "/v1/runs", body=json.dumps(desk.request(source_directory=folder)))
        during = measured(theirs)
    for pid in processes_of(ana.uid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert during[0] < 5 * before[0] + 1, (before, during)
    for connection in connections:
        connection.close()
    for record in desk.runs():
        if unfinished(record):
            desk.api("POST", f"/v1/runs/{record['run_id']}/cancel")
    for record in desk.runs():
        desk.ended(record["run_id"])
    assert read_when_there(service.log)
