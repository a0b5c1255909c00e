# SPDX-License-Identifier: MIT
"""Descriptors or processes run out under a real daemon, and come back.

It answers what it can, says clearly what it cannot do, loses nothing that it acknowledged, and does not spin.
"""

import contextlib
import errno
import os
import resource
import subprocess
import time

import harness
import pytest
from harness import ENDED, wait_for
from script_runs import blocked, said_once, serves, waiting

OTHER_UID = 54321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="being another user needs root")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def limited(daemon, what, soft):
    """The soft limit of the running daemon, and back. As its own user: root may lack the capability for others."""

    def limit(value):
        subprocess.run(
            ["prlimit", f"--{what}={value}:", "--pid", str(daemon.process.pid)], check=True, cwd="/",
            user=daemon.user, group=daemon.user, extra_groups=None if daemon.user is None else [],
        )

    name = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}[what]
    before = resource.prlimit(daemon.process.pid, name)[0] if daemon.user is None else resource.getrlimit(name)[0]
    limit(soft)
    try:
        yield
    finally:
        if daemon.process.poll() is None:
            limit("unlimited" if before == resource.RLIM_INFINITY else before)


def ask_on(connection, method, path, body=None):
    connection.request(method, path, body=body)
    return harness.Answer(connection.getresponse())


# -- descriptors ----------------------------------------------------------------------------------


def test_with_few_descriptors_requests_are_refused_and_nothing_is_lost(make_daemon):
    """From as many as it uses to enough for a run: each submit is accepted or refused, what was accepted completes."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 2})
    daemon.finish("print('warm')")
    pid = daemon.process.pid
    used = len(os.listdir(f"/proc/{pid}/fd"))
    kept = []
    for room in range(1, 24):
        with limited(daemon, "nofile", used + room):
            with contextlib.suppress(OSError):  # not even a connection can be had
                answer = daemon.api("POST", "/v1/runs", daemon.request(f"print({room})"), timeout=5)
                assert answer.status in (201, 503), answer
                if answer.status == 201:
                    kept.append(answer.json["run_id"])
                else:
                    assert os.strerror(errno.EMFILE) in answer.error["message"], answer
        serves(daemon)
    assert kept, "with the most room a run is accepted"
    for run in kept:
        record = daemon.ended(run)
        assert record["status"] == "Completed", record
    listed = {run["run_id"] for run in daemon.api("GET", "/v1/runs").json}
    assert set(kept) < listed and all(daemon.ended(run)["status"] == "Completed" for run in listed)


def test_without_descriptors_open_connections_are_served_and_nothing_spins(make_daemon):
    """What cannot be looked at is not declared dead: the run that ends meanwhile ends when it can be looked at."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    blocker, gate = blocked(daemon)
    queued = daemon.submit("print('ran')")
    pid = daemon.process.pid
    connection = daemon.connect(timeout=20)
    assert ask_on(connection, "GET", "/healthz").status == 200
    with limited(daemon, "nofile", 3):
        knock = harness.socket.socket(harness.socket.AF_UNIX)
        knock.connect(daemon.socket)  # in the queue of the kernel: to be accepted when there is room
        gate.open()
        spent, began = cpu_seconds(pid), time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2, "two seconds of want")
        spent = cpu_seconds(pid) - spent
        assert spent < 1, f"{spent} s of CPU in {time.monotonic() - began} s"
        for run in (blocker, queued):
            assert ask_on(connection, "GET", f"/v1/runs/{run}").json["status"] not in ENDED
        answer = ask_on(connection, "POST", "/v1/runs", harness.json.dumps(daemon.request("print(1)")))
        assert answer.status == 503 and os.strerror(errno.EMFILE) in answer.error["message"], answer
    knock.close()
    connection.close()
    assert daemon.ended(blocker, timeout=45)["status"] == "Completed"
    assert daemon.ended(queued)["status"] == "Completed" and daemon.std_log(queued) == b"ran\n"


def test_a_daemon_that_starts_with_too_few_descriptors_says_so(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1})
    run, gate = blocked(daemon)
    daemon.kill()
    for number in range(4, 16, 2):
        done = subprocess.run(
            ["prlimit", f"--nofile={number}:{number}", harness.AMLAGENTD, "--user", "--state-dir", str(daemon.state),
             "--socket", daemon.socket, "--idle-exit", "1"],
            env=daemon.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done
        assert "open files" in done.stderr.decode(), done
    daemon.start()
    assert daemon.record(run)["status"] == "Running", "nothing was declared dead for want of a look"
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"


# -- processes ------------------------------------------------------------------------------------


@needs_root
def test_without_processes_a_run_waits_and_goes_on(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1}, user=OTHER_UID)
    assert daemon.finish("print('warm')")["status"] == "Completed"
    with limited(daemon, "nproc", 1):
        run = daemon.submit("print('ran')")
        record = waiting(daemon, run, os.strerror(errno.EAGAIN))
        assert record["start_time_utc"] is None
        serves(daemon)
    record = daemon.ended(run)
    assert (record["status"], daemon.std_log(run)) == ("Completed", b"ran\n"), record
    said_once(record, os.strerror(errno.EAGAIN))


@needs_root
def test_a_daemon_that_never_had_threads_survives_the_want_of_them(make_daemon):
    """Nothing was submitted before: all that it starts at the first submit cannot be started."""
    daemon = make_daemon(config={"stop_grace_seconds": 1}, user=OTHER_UID)
    with limited(daemon, "nproc", 1):
        answer = daemon.post("print('ran')")
        assert answer.status in (201, 503), answer
        serves(daemon)
    if answer.status == 201:
        assert daemon.ended(answer.json["run_id"])["status"] == "Completed"
    assert daemon.finish("print('more')")["status"] == "Completed"
