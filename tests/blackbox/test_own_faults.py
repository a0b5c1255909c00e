# SPDX-License-Identifier: MIT
"""What fails in the daemon's own folders is no fault of the one who asked: a 5xx, and never a 4xx."""

import contextlib
import os
import shutil
import sqlite3
import threading

import pytest
from harness import ENDED

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starts a daemon of another user: root alone can")
NOBODY = 65534


def fault(answer, status=500):
    assert answer.status == status, answer
    assert answer.error["code"] == {500: "InternalError", 503: "Unavailable"}[status], answer
    return answer.error["message"]


@contextlib.contextmanager
def closed(path):
    """Nobody but root gets in."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(mode)


def test_a_snapshot_whose_manifest_is_missing(daemon):
    record = daemon.finish("print(1)")
    name = record["snapshot_id"].split(":")[1]
    (daemon.state / "blobs/sha256" / name[:2] / name).unlink()
    assert "snapshot" in fault(daemon.api("GET", f"/v1/runs/{record['run_id']}/snapshot"))


def test_bytes_that_cannot_be_put_into_the_store(daemon):
    run = daemon.finish("print(1)")["run_id"]
    shutil.rmtree(daemon.state / "blobs/tmp")
    assert "store" in fault(daemon.api("PUT", f"/v1/runs/{run}/artifacts/outputs/x", b"bytes"))


def test_a_run_that_has_nowhere_to_be(daemon):
    runs = daemon.state / "runs"
    runs.rmdir()
    assert str(runs) in fault(daemon.post("print(1)"))
    runs.write_text("a file")
    assert str(runs) in fault(daemon.post("print(2)"))
    runs.unlink()
    runs.mkdir(mode=0o700)
    assert daemon.finish("print(3)")["status"] == "Completed"


@needs_root
def test_folders_of_the_state_that_the_daemon_may_not_enter(make_daemon):
    daemon = make_daemon(user=NOBODY)
    record = daemon.finish("open('outputs/x', 'w').write('bytes')\nraise SystemExit(1)")
    run = record["run_id"]
    with closed(daemon.state / "runs"):
        assert str(daemon.state / "runs") in fault(daemon.post("print(2)"))
    with closed(daemon.state / "runs" / run):
        fault(daemon.api("DELETE", f"/v1/runs/{run}"))
    with closed(daemon.state / "blobs/tmp"):
        fault(daemon.api("PUT", f"/v1/runs/{run}/artifacts/outputs/y", b"bytes"))
    with closed(daemon.state / "blobs/sha256"):
        fault(daemon.api("GET", f"/v1/runs/{run}/artifacts/outputs/x"))
        fault(daemon.api("GET", f"/v1/runs/{run}/snapshot"))
    assert "result=denied" not in daemon.log.read_text()
    assert daemon.artifact(run, "outputs/x") == b"bytes"
    assert daemon.api("DELETE", f"/v1/runs/{run}").status == 204


def test_a_history_that_somebody_else_has_locked(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    ended = daemon.finish("print(1)")["run_id"]
    queued = daemon.submit("print(2)", hold=True)
    request = daemon.request("print(3)")
    asked = [
        ("POST", "/v1/runs", request, 201),
        ("PATCH", f"/v1/runs/{ended}", {"tags": {"a": "b"}}, 200),
        ("PUT", f"/v1/runs/{ended}/artifacts/outputs/x", b"bytes", 201),
        ("POST", f"/v1/runs/{queued}/release", None, 200),
        ("DELETE", f"/v1/runs/{ended}", None, 204),
    ]
    answers = [None] * len(asked)

    def ask(at):
        answers[at] = daemon.api(*asked[at][:3])

    lock = sqlite3.connect(daemon.state / "history.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(asked))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    for answer in answers:
        fault(answer, 503)
    assert daemon.record(queued)["status"] not in ENDED
    for method, path, body, status in asked:
        assert daemon.api(method, path, body).status == status, (method, path)
