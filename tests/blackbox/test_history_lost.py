# SPDX-License-Identifier: MIT
"""History is gone, empty, damaged, or an older one than the folders: nothing that a run has left is removed for that."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from harness import AMLAGENTD, GATE_MODULE, Gate, alive, wait_for

PRECIOUS = {"command": "echo precious > outputs/model; exit 3"}


def databases(daemon):
    return sorted(daemon.state.glob("history.db*"))


def precious(daemon):
    """A run that failed, and what is left of it."""
    record = daemon.finish({"x": ""}, **PRECIOUS)
    assert record["exit_code"] == 3, record
    folder = daemon.state / "runs" / record["run_id"]
    wait_for(lambda: not (folder / "exit").exists(), "its folder is cleaned up")
    assert (folder / "work/outputs/model").read_text() == "precious\n"
    return record["run_id"], folder


def copy_databases(daemon, place):
    place.mkdir()
    for path in databases(daemon):
        shutil.copy2(path, place)


def put_back(daemon, place):
    for path in databases(daemon):
        path.unlink()
    for path in place.iterdir():
        shutil.copy2(path, daemon.state)


def check_state(daemon):
    return subprocess.run([AMLAGENTD, "--check-state", "--state-dir", daemon.state], capture_output=True, text=True,
                          timeout=60, env=daemon.env, stdin=subprocess.DEVNULL)  # fmt: skip


def lose(daemon, how, older):
    if how == "older":
        put_back(daemon, older)
    elif how == "missing":
        for path in databases(daemon):
            path.unlink()
    else:
        os.truncate(daemon.state / "history.db", 0)


@pytest.mark.parametrize("how", ["missing", "emptied", "older"])
def test_what_a_run_left_stays_when_its_history_is_lost(daemon, how):
    first = daemon.finish({"x": ""}, command="true")["run_id"]
    daemon.terminate()
    copy_databases(daemon, daemon.root / "older")
    daemon.start()
    run, folder = precious(daemon)
    daemon.terminate()
    copy_databases(daemon, daemon.root / "right")
    lose(daemon, how, daemon.root / "older")
    begin = daemon.log.stat().st_size
    for _ in range(2):
        daemon.start()
        assert daemon.finish({"x": ""}, command="true")["status"] == "Completed"
        assert daemon.api("GET", f"/v1/runs/{run}").status == 404
        assert daemon.api("GET", f"/v1/runs/{first}").status == (200 if how == "older" else 404)
        daemon.terminate()
        assert (folder / "work/outputs/model").read_text() == "precious\n"
    words = daemon.log.read_text()[begin:]
    assert words.count("history does not know the runs of 1 folders") == 2, "once at each start"
    assert run in words and "restore" in words
    assert words.count("history.db was missing or empty") == (0 if how == "older" else 1)
    done = check_state(daemon)
    assert done.returncode == 1 and f"runs/{run} is of a run that is not in history" in done.stdout, done
    put_back(daemon, daemon.root / "right")
    daemon.start()
    assert daemon.record(run)["exit_code"] == 3
    assert daemon.artifact(run, "outputs/model") == b"precious\n"


def test_a_history_that_is_not_there_is_told_before_a_daemon_begins_a_new_one(daemon):
    run, _ = precious(daemon)
    daemon.terminate()
    for path in databases(daemon):
        path.unlink()
    done = check_state(daemon)
    assert done.returncode == 1 and "history.db is missing, and there are" in done.stdout, done
    assert "1 run folders" in done.stdout and "restore history.db" in done.stdout, done
    (daemon.state / "history.db").touch(0o600)
    done = check_state(daemon)
    assert done.returncode == 1 and "history.db is empty, and there are" in done.stdout, done


def test_the_first_start_of_all_says_nothing_of_a_lost_history(daemon):
    assert "history.db was missing" not in daemon.log.read_text()
    assert "history does not know" not in daemon.log.read_text()


def test_a_run_that_goes_on_and_is_in_no_history_is_told_with_how_to_end_it(daemon):
    gate = Gate(daemon.root, "unknown.gate")
    script = f"import os\nprint(os.getpid(), os.getppid(), flush=True)\n{gate.code}"
    run = daemon.submit({"gate.py": GATE_MODULE, "main.py": script})
    daemon.printed(run)
    pid, supervisor = map(int, daemon.std_log(run).split())
    daemon.kill()
    for path in databases(daemon):
        path.unlink()
    daemon.start()
    told = rf"the run in \S+/{run} goes on, and history does not know it: .* `kill {supervisor}`"
    assert re.search(told, daemon.log.read_text()), daemon.last_words()
    done = check_state(daemon)
    assert done.returncode == 1 and f"runs/{run} is of a run that goes on and is not in history" in done.stdout, done
    os.kill(supervisor, signal.SIGTERM)
    wait_for(lambda: not alive(pid) and not alive(supervisor), "it ends in order")
    assert (daemon.state / "runs" / run / "exit").exists()


def test_a_submission_that_was_never_accepted_goes_and_one_that_was_does_not(make_daemon):
    """What a crash in mid-submit leaves (by hand here; tests/chaos has the crashes)."""
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    gate = Gate(daemon.root, "hold.gate")
    holder = daemon.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    daemon.running(holder)
    queued = daemon.submit({"x": ""}, command="test $TOKEN = mine", submit_environment={"TOKEN": "mine", "PATH": os.environ["PATH"]})
    runs = daemon.state / "runs"
    assert not (runs / queued / "unowed").exists()
    daemon.kill()
    for name in ("x_1700000000_0123abcd", "x_1700000000_0123abce"):
        (runs / name).mkdir(0o700)
        (runs / name / "environment").write_bytes(b"TOKEN=secret\0")
    (runs / "x_1700000000_0123abcd" / "unowed").touch()
    (runs / queued / "environment").rename(runs / queued / "unowed")  # the crash came right after the commit
    daemon.start()
    wait_for(lambda: not (runs / "x_1700000000_0123abcd").exists(), "the folder of no run goes")
    assert (runs / "x_1700000000_0123abce" / "environment").exists(), "it may be a queued run's of another history"
    wait_for((runs / queued / "environment").exists, "history knows it")
    assert not (runs / queued / "unowed").exists()
    gate.open()
    assert daemon.ended(queued)["status"] == "Completed"
    shutil.rmtree(runs / "x_1700000000_0123abce")


def test_a_damaged_page_in_the_middle_is_told_with_what_to_do(daemon):
    tags = {f"k{i}": "v" * 200 for i in range(20)}
    for _ in range(10):
        daemon.submit({"x": ""}, command="exit 3", tags=tags)
    wait_for(lambda: {run["status"] for run in daemon.api("GET", "/v1/runs").json} == {"Failed"}, "all end")
    daemon.terminate()
    with open(daemon.state / "history.db", "r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 3 * 4096)
    with pytest.raises(AssertionError, match="not ready"):
        daemon.start()
    assert daemon.process.wait(20) != 0
    daemon.process = None
    last = daemon.last_words().strip().splitlines()[-1]
    assert "history.db is damaged (" in last and "restore it from a copy" in last, last
    done = check_state(daemon)
    assert done.returncode == 1 and not done.stderr, done
    assert re.search(r"PROBLEM: database: (?!\*).*\n    -> .*\.recover", done.stdout), done.stdout
    assert re.search(r"blobs: [1-9].*, compared[^$]*runs: 10 folders", done.stdout), "what can be looked at is"
