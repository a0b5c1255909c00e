# SPDX-License-Identifier: MIT
"""Folders of a real daemon's that somebody removes: the state folder, or that of a run that goes on."""

import errno
import os
import shutil
import signal

import harness
import pytest
from harness import alive, one_line_error, process_stat, wait_for
from script_runs import gate_script, run_folders, serves


def test_a_state_folder_that_is_removed_is_an_error_and_no_crash(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1})
    daemon.finish("print(1)")
    wait_for(lambda: not run_folders(daemon), "its folder is cleaned up")
    shutil.rmtree(daemon.state)
    answer = daemon.post("print(2)")
    assert answer.status >= 400 and answer.error["message"], answer
    assert str(daemon.state) in answer.error["message"] or os.strerror(errno.ENOENT) in answer.error["message"], answer
    assert one_line_error(daemon.amlctl("run", "main.py", cwd=daemon.source("print(3)")))
    assert daemon.api("GET", "/healthz").status == 200
    for path in ("/v1/runs", "/v1/status"):
        answer = daemon.api("GET", path, timeout=20)
        assert answer.status == 200 or answer.error["message"], answer
    assert daemon.process.poll() is None
    assert daemon.terminate() in (0, -signal.SIGTERM)
    daemon.state.mkdir(mode=0o700)
    daemon.start()
    assert daemon.finish("print(4)")["status"] == "Completed", "a new beginning"


def removed_run(daemon, text="import os\nprint(os.getpid(), os.getppid(), flush=True)\nWAIT\nprint('done')"):
    """A running run whose folder has been removed: (id, gate, (pid, start), supervisor)."""
    run, gate = gate_script(daemon, text)
    daemon.printed(run)
    pid, supervisor = map(int, daemon.std_log(run).split())
    folder = daemon.state / "runs" / run
    # The script may be writing what its import compiled.
    wait_for(lambda: harness.remove(folder) or not folder.exists(), "the folder has been removed")
    return run, gate, (pid, process_stat(pid)[2]), supervisor


@pytest.mark.parametrize("end", ["by itself", "canceled", "supervisor killed"])
def test_a_run_whose_folder_is_removed_comes_to_an_end(make_daemon, end):
    """Its verdict has nowhere to be: it is lost, when nothing of it is left."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run, gate, script, supervisor = removed_run(daemon)
    serves(daemon)
    if end == "supervisor killed":
        os.kill(supervisor, signal.SIGKILL)
    elif end == "canceled":
        assert daemon.api("POST", f"/v1/runs/{run}/cancel").status == 202
    if end != "supervisor killed":
        gate.open()
    record = daemon.ended(run, timeout=20)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert record["error"]["message"] and record["exit_code"] is None, record
    assert not alive(*script), "nothing of it goes on"
    assert daemon.finish("print('next')")["status"] == "Completed", "its slot is free"


def test_a_run_whose_folder_was_removed_while_no_daemon_was_there_is_lost(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run, gate, script, supervisor = removed_run(daemon)
    daemon.kill()
    daemon.start()
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    gate.open()
    wait_for(lambda: not alive(*script) and not alive(supervisor), "its processes have ended")
    assert daemon.finish("print('next')")["status"] == "Completed", "its slot is free"
