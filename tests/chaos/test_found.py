# SPDX-License-Identifier: MIT
"""Faults that a reader of the code found, each as the test that would have found it."""

import contextlib
import os
import resource
import time

import pytest
from harness import alive, process_stat, wait_for


def status_of(daemon, run):
    """What the supervisor wrote into `status`: {key in bytes: value in bytes}."""
    text = (daemon.state / "runs" / run / "status").read_bytes()
    return dict(entry.split(b"=", 1) for entry in text.split(b"\0") if entry)


@contextlib.contextmanager
def no_more_descriptors(pid, spare=0):
    """The process can open no more than so many files while this lasts."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = [number for number in range(len(taken) + spare + 1) if number not in taken]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[spare], before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("spare", (0, 1, 2))
def test_a_lost_run_is_not_over_while_nobody_can_look_for_its_processes(make_chaos, spare):
    daemon = make_chaos(cgroup_parent="none")
    daemon.launch()
    run = daemon.submit({"x": ""}, command="exec sleep 600")
    daemon.running(run)
    wait_for(lambda: status_of(daemon, run)[b"child_pid"] != b"0", "status names the command")
    status = status_of(daemon, run)
    supervisor, child = int(status[b"supervisor_pid"]), int(status[b"child_pid"])
    start = process_stat(child)[2]
    with no_more_descriptors(daemon.process.pid, spare):
        os.kill(supervisor, 9)
        wait_for(lambda: not alive(supervisor), "the supervisor is gone")
        time.sleep(0.6)  # no wait for anything: time enough for a daemon to come to a wrong conclusion
    record = daemon.wait_ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert not alive(child, start)


def test_a_run_is_running_though_its_status_could_not_be_read_at_once(make_chaos):
    daemon = make_chaos(cgroup_parent="none")
    daemon.launch("child.start=delay-5000")
    run = daemon.submit({"x": ""}, command="exec sleep 600")
    path = daemon.state / "runs" / run / "status"
    wait_for(lambda: path.exists() and status_of(daemon, run)[b"child_pid"] == b"0", "the supervisor has begun")
    with no_more_descriptors(daemon.process.pid):
        wait_for(lambda: status_of(daemon, run)[b"child_pid"] != b"0", "the command runs")
    daemon.running(run)


def test_a_cancel_that_was_acknowledged_on_a_full_disk_is_not_forgotten(make_chaos):
    daemon = make_chaos()
    daemon.launch("stop.write=ENOSPC:1:0,history.update=ENOSPC:2:0")
    run = daemon.submit({"x": ""}, command="exec sleep 600")
    daemon.running(run)
    answer = daemon.ask("POST", f"/v1/runs/{run}/cancel")
    daemon.kill()
    daemon.launch()
    if answer.status == 202:
        assert daemon.wait_ended(run)["error"]["code"] == "CanceledByUser"
    else:
        assert answer.status == 507, answer


def test_the_environment_goes_though_the_first_clean_up_failed(make_chaos):
    daemon = make_chaos()
    daemon.launch("finish.clean_up=EMFILE")
    run = daemon.submit({"x": ""}, command="exit 3", submit_environment={"PATH": "/usr/bin:/bin", "TOKEN": "secret"})
    assert daemon.wait_ended(run)["exit_code"] == 3
    folder = daemon.state / "runs" / run
    wait_for(lambda: not (folder / "exit").exists(), "what is spent goes")
    assert set(os.listdir(folder)) <= {"work", "std_log.txt", "supervisor.log"}


def test_a_run_whose_first_attempt_found_no_room_runs_once(make_chaos):
    daemon = make_chaos()
    daemon.launch("child.start=EAGAIN")
    witness = daemon.root / "witness"
    run = daemon.submit({"x": ""}, command=f"echo begun >> {witness}")
    wait_for(lambda: daemon.record(run)["warnings"], "it waits for room")
    daemon.kill()
    daemon.launch()
    assert daemon.wait_ended(run)["status"] == "Completed"
    assert witness.read_text() == "begun\n"
