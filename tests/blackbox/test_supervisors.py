# SPDX-License-Identifier: MIT
"""Supervisors that die, or live and do not move: what becomes of their runs, which hold slots all the while."""

import contextlib
import os
import signal
import subprocess
import time

import pytest
from harness import PYTHON, REPO, alive, end_with_parent, process_stat, wait_for

pytestmark = pytest.mark.timeout(90)
TICKS = os.sysconf("SC_CLK_TCK")
WITHOUT_CGROUPS = {"cgroup_parent": "none", "stop_grace_seconds": 1, "max_running_runs": 1}


def status_of(daemon, run):
    """The run folder's `status`, once the command runs."""
    path = daemon.state / "runs" / run / "status"

    def read():
        entries = path.read_bytes().split(b"\0") if path.exists() else []
        found = dict(entry.decode().split("=", 1) for entry in entries if entry)
        return found if int(found.get("child_pid", 0)) else None

    return wait_for(read, "its command runs")


def test_somebody_who_cannot_be_asked_holds_the_slot_of_a_lost_run_for_a_while_and_not_for_ever(make_daemon):
    """He may be between two programs, and of the run; or he has thrown his arguments away, and stays like that."""
    daemon = make_daemon(config=WITHOUT_CGROUPS)
    run = daemon.submit({}, script=None, command="sleep 1000")
    supervisor = int(status_of(daemon, run)["supervisor_pid"])
    command = [PYTHON, "-I", REPO / "tests/zoo/between.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    somebody = subprocess.Popen(command, start_new_session=True, preexec_fn=end_with_parent, **pipes)
    try:
        if not somebody.stdout.readline():
            pytest.skip("this kernel lets nobody look like that")
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        os.kill(supervisor, signal.SIGKILL)
        assert daemon.ended(run, timeout=40)["error"]["code"] == "Lost"
        assert time.clock_gettime(time.CLOCK_BOOTTIME) - began >= 10
        assert somebody.poll() is None, "nothing proves that he is of the run"
    finally:
        somebody.kill()
        somebody.communicate()


@pytest.mark.parametrize("command", ["exec env -i /bin/sleep 1000", "exec env -i setsid -w /bin/sleep 1000"])
def test_a_command_without_environment_does_not_outlive_its_supervisor(make_daemon, command):
    """No cgroup, no variable that tells: the record has the command's number and when it began."""
    daemon = make_daemon(config=WITHOUT_CGROUPS)
    run = daemon.submit({}, script=None, command=command)
    status = status_of(daemon, run)
    child = int(status["child_pid"])
    wait_for(lambda: b"sleep" in open(f"/proc/{child}/cmdline", "rb").read(), "it has thrown its environment away")
    os.kill(int(status["supervisor_pid"]), signal.SIGKILL)
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert not alive(child), "its slot is free only when it is gone"
    assert daemon.finish("print('next')")["status"] == "Completed"


def test_a_number_that_is_somebody_elses_by_now_is_not_signalled(make_daemon):
    """The record names a process that is there and began at another time."""
    daemon = make_daemon(config=WITHOUT_CGROUPS)
    run = daemon.submit({}, script=None, command="sleep 1000")
    status = status_of(daemon, run)
    path = daemon.state / "runs" / run / "status"
    wait_for(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS > int(status["child_start"]) + 1, "another tick")
    bystander = subprocess.Popen(["sleep", "1000"], preexec_fn=end_with_parent)
    try:
        told = path.read_bytes()
        changed = told.replace(b"child_pid=%d" % int(status["child_pid"]), b"child_pid=%d" % bystander.pid)
        assert changed != told and int(status["child_start"]) > 0
        path.write_bytes(changed)
        os.kill(int(status["supervisor_pid"]), signal.SIGKILL)
        assert daemon.ended(run)["error"]["code"] == "Lost"
        assert bystander.poll() is None
        assert not alive(int(status["child_pid"])), "its environment tells"
    finally:
        bystander.kill()
        bystander.wait()


def stop(pid, start):
    with contextlib.suppress(ProcessLookupError):
        if alive(pid, start):
            os.kill(pid, signal.SIGSTOP)


def test_a_supervisor_that_was_stopped_goes_on_and_holds_the_limit(daemon):
    run = daemon.submit("import time\ntime.sleep(1000)", max_run_duration_seconds=5)
    supervisor = int(status_of(daemon, run)["supervisor_pid"])
    os.kill(supervisor, signal.SIGSTOP)
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "MaxRunDurationExceeded"), record
    assert "somebody has stopped its supervisor" in daemon.log.read_text()


def test_a_supervisor_that_was_stopped_hears_the_cancel_and_says_that_the_limit_was_first(daemon):
    run = daemon.submit("import time\ntime.sleep(1000)", max_run_duration_seconds=5)
    supervisor = int(status_of(daemon, run)["supervisor_pid"])
    start = process_stat(supervisor)[2]
    passed = time.monotonic() + 5.1

    def limit_has_passed():
        """Stopped all the while: the daemon tells it to go on."""
        stop(supervisor, start)
        return time.monotonic() > passed

    wait_for(limit_has_passed, "the limit has passed")
    assert daemon.api("POST", f"/v1/runs/{run}/cancel").status == 202
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "MaxRunDurationExceeded"), record


def test_a_supervisor_that_is_stopped_again_and_again_is_ended_and_its_run_with_it(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run = daemon.submit("import time\ntime.sleep(1000)")
    status = status_of(daemon, run)
    supervisor = int(status["supervisor_pid"])
    start = process_stat(supervisor)[2]

    def over():
        stop(supervisor, start)
        return daemon.record(run)["status"] == "Failed"

    wait_for(over, "it is ended", 60)
    record = daemon.record(run)
    assert record["error"]["code"] == "Lost", record
    assert not alive(int(status["child_pid"]))
    assert daemon.finish("print('next')")["status"] == "Completed"


TAKES_THE_LOCK = """
import fcntl, os, signal, struct, time
folder = os.path.dirname(os.getcwd())
lock = os.open(folder + "/mine", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
os.rename(folder + "/mine", folder + "/lock")
print("mine", flush=True)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(1000)
"""


def test_a_lock_that_its_script_holds_keeps_no_run_alive(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run = daemon.submit(TAKES_THE_LOCK)
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert daemon.std_log(run) == b"mine\n"
    assert daemon.finish("print('next')")["status"] == "Completed"
