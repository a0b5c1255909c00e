# SPDX-License-Identifier: MIT
"""Faults that a reader of the code found, each as the test that would have found it."""

import contextlib
import os
import resource
import signal
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


def test_a_run_that_was_deleted_while_it_was_laid_out_leaves_nothing(make_chaos):
    daemon = make_chaos()
    # The delete's own clean-up is refused: what is laid out meanwhile would fail it now and then.
    daemon.launch("prepare.log=delay-1500,finish.clean_up=EBUSY")
    run = daemon.submit({"x": ""}, command="exec sleep 600")
    wait_for(lambda: daemon.record(run)["status"] == "Preparing", "it is laid out")
    assert daemon.ask("POST", f"/v1/runs/{run}/cancel").status == 202
    assert daemon.ask("DELETE", f"/v1/runs/{run}").status == 204
    wait_for(lambda: not (daemon.state / "runs" / run).exists(), "its folder goes")


def test_a_delete_that_could_not_remove_the_folder_goes_on_with_it(make_chaos):
    daemon = make_chaos()
    daemon.launch("finish.clean_up=EMFILE:2")
    run = daemon.submit({"x": ""}, command="exit 3")
    assert daemon.wait_ended(run)["exit_code"] == 3
    folder = daemon.state / "runs" / run
    wait_for(lambda: not (folder / "exit").exists(), "what is spent goes")
    assert daemon.ask("DELETE", f"/v1/runs/{run}").status == 204
    wait_for(lambda: not folder.exists(), "its folder goes")
    assert f"{run}: it was deleted, and its folder cannot be removed" in daemon.last_words()


def test_the_environment_goes_though_the_run_was_never_accepted_nor_started(make_chaos):
    daemon = make_chaos()
    daemon.launch("submit.accept=EIO")
    run = daemon.submit({"x": ""}, command="exec sleep 600", hold=True, submit_environment={"TOKEN": "secret-of-ana"})
    folder = daemon.state / "runs" / run
    assert b"secret-of-ana" in (folder / "unowed").read_bytes()
    assert daemon.ask("POST", f"/v1/runs/{run}/cancel").status == 202
    assert daemon.wait_ended(run)["status"] == "Canceled"
    wait_for(lambda: not os.listdir(folder), "what is spent goes")


def test_a_daemon_that_takes_its_time_to_end_is_waited_for(make_chaos):
    daemon = make_chaos()
    daemon.launch("finish.collect=delay-4000")
    run = daemon.submit({"x": ""}, command="true")
    wait_for(lambda: daemon.record(run)["status"] == "Finalizing", "its outputs are being collected")
    daemon.process.terminate()
    wait_for(lambda: "ending; runs go on" in daemon.last_words(), "it is ending")
    options = ("--socket", daemon.socket, "--state-dir", daemon.state)
    done = daemon.amlctl(*options, "run", "main.py", cwd=daemon.source("print('hello')"))
    try:
        assert (done.returncode, done.stdout) == (0, b"hello\n"), done
        assert b"waiting for amlagentd" in done.stderr, done
        words = (daemon.state / "amlagentd.log").read_text()
        assert f"waiting for the end of amlagentd (pid {daemon.process.pid})" in words, words
        assert daemon.process.wait(20) == 0
        daemon.process = None
        assert daemon.wait_ended(run)["status"] == "Completed"
    finally:
        next_one = daemon.json("status")["pid"]
        os.kill(next_one, signal.SIGTERM)
        wait_for(lambda: not alive(next_one), "it ends")
