# SPDX-License-Identifier: MIT
"""Formats last: what an older build left opens, what a newer one left is refused and not touched, and a supervisor of
the old format is adopted. tests/samples/README.md says how the kept sample was made."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import tarfile

import harness
import pytest
from harness import GATE_MODULE, Gate, alive, process_stat, wait_for

SAMPLES = harness.REPO / "tests" / "samples"
VERSION = 3  # of the run history, as this build writes it


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request):
    """Of the sample: every version that there ever was."""
    return request.param


@pytest.fixture
def sample(make_daemon, version):
    """(a daemon that is not started yet, on a copy of the sample; what the old one said of its runs)"""
    # The sample's runs are of a day in the past, and what failed then is to be looked at here for ever.
    daemon = make_daemon(start=False, config={"stop_grace_seconds": 1, "max_running_runs": 1, "keep_work_days": 36500})
    with tarfile.open(SAMPLES / f"state-v{version}.tar.gz") as tar:
        tar.extraction_filter = lambda member, _: member  # its FIFOs, too; it is ours
        tar.extractall(daemon.state)
    with open(SAMPLES / f"state-v{version}.json") as file:
        return daemon, json.load(file)


def tree(folder):
    """Every name below with its kind, mode and bytes."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(base, name)
            info = os.lstat(path)
            content = None
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            found[os.path.relpath(path, folder)] = (info.st_mode, content)
    return found


def refused(daemon):
    """It does not start, says why in one line, and leaves all as it was: the line."""
    before = tree(daemon.state)
    with pytest.raises(AssertionError, match="not ready"):
        daemon.start()
    assert daemon.process.wait(20) == 1
    daemon.process = None
    after = tree(daemon.state)
    assert sorted(before) == sorted(after)
    assert [name for name in before if before[name] != after[name]] == []
    words = daemon.last_words()
    assert len(words.strip().splitlines()) == 1, words
    return words


def execute(daemon, *statements):
    """On the history, which is closed as an orderly end closes it."""
    with contextlib.closing(sqlite3.connect(daemon.state / "history.db")) as db:
        for statement in statements:
            rows = db.execute(statement).fetchall()
        db.commit()
    return rows


def check_state(daemon):
    return subprocess.run(
        [harness.AMLAGENTD, "--check-state", "--state-dir", daemon.state], env=daemon.env, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )


def by_name(expected):
    return {name: entry["record"]["run_id"] for name, entry in expected.items()}


# -- an older build's -----------------------------------------------------------------------------


def test_a_state_folder_of_an_older_version_opens_with_all_that_was_in_it(sample):
    daemon, expected = sample
    daemon.start()
    ids = by_name(expected)
    listed = [run["run_id"] for run in daemon.api("GET", "/v1/runs").json]
    assert listed == [ids[name] for name in ("queued", "running", "canceled", "failed", "completed")]
    for name in ("completed", "failed", "canceled"):
        old, new = expected[name]["record"], daemon.record(ids[name])
        assert {key: new[key] for key in old} == old
        artifacts = daemon.artifacts(ids[name])
        assert list(artifacts.values()) == expected[name]["artifacts"]
        for path in artifacts:
            assert len(daemon.artifact(ids[name], path)) == artifacts[path]["size"]
    assert daemon.artifact(ids["completed"], "outputs/model.bin") == bytes(range(256))
    assert daemon.std_log(ids["completed"]) == b"hello\n"
    for name in ids:
        record = daemon.record(ids[name])
        assert (record["shared"], record["held_by"], record["after"]) == (False, None, []), record
    assert daemon.api("GET", f"/v1/runs/{ids['completed']}/snapshot").status == 200
    assert {run["run_id"] for run in daemon.json("list", "--tag", "owner=ana")} == {ids["completed"]}
    assert (daemon.work(ids["failed"]) / "outputs/part").read_text() == "part", "kept for a look"


def test_its_live_runs_come_to_their_right_end(sample):
    daemon, expected = sample
    ids = by_name(expected)
    daemon.start()
    lost = daemon.ended(ids["running"])
    assert (lost["status"], lost["error"]["code"], lost["exit_code"]) == ("Failed", "Lost", None), lost
    assert "restarted" in lost["error"]["message"], lost
    assert daemon.artifact(ids["running"], "outputs/so-far") == b"so far" and daemon.std_log(ids["running"]) == b"up\n"
    ran = daemon.ended(ids["queued"])
    assert ran["status"] == "Completed" and ran["tags"] == {"k": "v"}, ran
    assert daemon.std_log(ids["queued"]) == b"ran /home/ana\n"
    assert daemon.artifact(ids["queued"], "outputs/late") == b"late"
    assert ran["created_utc"] == expected["queued"]["record"]["created_utc"]


def test_it_is_brought_up_to_date_once_and_for_all(sample, version):
    daemon, expected = sample
    canceled_by = 0 if version == 1 else 1  # only since version 2
    for _ in range(2):
        daemon.start()
        for run in by_name(expected).values():
            daemon.ended(run)
        new = daemon.finish("print('new')")
        assert new["status"] == "Completed"
        assert daemon.terminate() in (0, -signal.SIGTERM)
        assert execute(daemon, "PRAGMA user_version") == [(VERSION,)]
        assert execute(daemon, "PRAGMA integrity_check") == [("ok",)]
    assert execute(daemon, "SELECT count(*), count(canceled_by) FROM runs") == [(7, canceled_by)]


def test_what_its_runs_had_asked_for_is_known_from_their_definitions(sample):
    daemon, expected = sample
    daemon.start()
    ids = by_name(expected)
    for run in ids.values():
        daemon.ended(run)
    assert daemon.terminate() in (0, -signal.SIGTERM)
    rows = execute(daemon, "SELECT run_id, cpus, gpus, memory_bytes, priority FROM runs")
    found = {run_id: rest for run_id, *rest in rows}
    for name, entry in expected.items():
        asked = entry["record"]["run_definition"]
        resources = asked["resources"]
        wanted = [resources["cpus"], resources["gpus"], resources["memory_bytes"] or 0, asked["priority"]]
        assert found[ids[name]] == wanted, name


def test_it_is_looked_at_by_check_state_before_and_after(sample, version):
    """Damage is none; the older format is named, and is gone once a daemon was there."""
    daemon, expected = sample
    before = tree(daemon.state)
    done = check_state(daemon)
    assert done.returncode == 0, done
    assert f"format {version}" in done.stdout and str(VERSION) in done.stdout, done.stdout
    assert tree(daemon.state) == before, "a look changes nothing"
    daemon.start()
    for run in by_name(expected).values():
        daemon.ended(run)
    assert daemon.terminate() in (0, -signal.SIGTERM)
    done = check_state(daemon)
    assert done.returncode == 0 and f"format {VERSION}" in done.stdout, done


def test_a_daemon_killed_in_the_middle_of_its_first_start_loses_nothing(sample):
    """The migration is one transaction: it is there or it is not."""
    daemon, expected = sample
    for _ in range(5):
        with contextlib.suppress(AssertionError):
            daemon.start()
        daemon.kill()
    daemon.start()
    ids = by_name(expected)
    assert daemon.ended(ids["running"])["error"]["code"] == "Lost"
    assert daemon.ended(ids["queued"])["status"] in ("Completed", "Failed")
    assert daemon.record(ids["completed"])["status"] == "Completed"


# -- a newer build's ------------------------------------------------------------------------------


def test_a_newer_history_is_refused_and_left_as_it_is(sample):
    daemon, _ = sample
    (daemon.state / "blobs/tmp/unfinished").write_text("of the newer version")
    execute(daemon, f"PRAGMA user_version = {VERSION + 1}")
    words = refused(daemon)
    assert "newer version" in words and "history.db" in words and "--state-dir" in words, words


@pytest.mark.parametrize("name", ["status", "exit"])
def test_a_run_of_a_newer_format_is_refused_and_left_as_it_is(sample, name):
    daemon, expected = sample
    folder = daemon.state / "runs" / by_name(expected)["running"]
    text = (folder / "status").read_bytes()
    assert text.startswith(b"format=1\0")
    (folder / name).write_bytes(text.replace(b"format=1", b"format=2", 1))
    with pytest.raises(AssertionError, match="not ready"):
        daemon.start()  # the history is brought up to date, and that is all
    assert daemon.process.wait(20) == 1
    daemon.process = None
    daemon.log.write_text("")
    words = refused(daemon)
    assert "newer version" in words and folder.name in words and "--state-dir" in words, words
    (folder / name).unlink()
    (folder / "status").write_bytes(text)
    daemon.start()
    assert daemon.ended(folder.name)["error"]["code"] == "Lost"


# -- a supervisor of format 1 ---------------------------------------------------------------------

STAND_IN = r'''#!/usr/bin/python3 -I
"""A supervisor that speaks format 1 and not a word more: what the first one wrote, in its order."""
import fcntl, os, resource, select, signal, struct, sys, time

def write(name, fields, sync=False):
    data = b"".join(f"{key}={value}".encode() + b"\0" for key, value in [("format", 1), *fields])
    fd = os.open(name + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, data)
    if sync:
        os.fsync(fd)
    os.close(fd)
    os.rename(name + ".tmp", name)

def now():
    return time.time_ns() // 1000

run_dir = os.path.abspath(sys.argv[1])
os.chdir(run_dir)
lock = fcntl.fcntl(3, fcntl.F_DUPFD_CLOEXEC, 4)
assert os.path.samestat(os.fstat(lock), os.stat("lock")), "descriptor 3 is the lock"
os.closerange(3, lock)
fields = [record.split(b"=", 1) for record in open("launch", "rb").read().split(b"\0")[:-1]]
assert fields[0] == [b"format", b"1"], fields[0]
values = lambda key: [value for name, value in fields if name == key]
env = dict(entry.split(b"=", 1) for entry in values(b"env"))
env[b"AMLAGENT_RUN_DIR"] = run_dir.encode()
boot_id = open("/proc/sys/kernel/random/boot_id").read().strip()
control = os.open("control", os.O_RDWR | os.O_NONBLOCK)
ended, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGCHLD, lambda *_: None)
write("status", [("supervisor_pid", os.getpid()), ("child_pid", 0), ("start_us", 0), ("boot_id", boot_id)])
log = os.open("std_log.txt", os.O_WRONLY | os.O_APPEND)
start_us, began, stop_us, stopped = now(), time.monotonic_ns(), 0, 0
child = os.fork()
if child == 0:
    os.setsid()
    os.chdir(values(b"cwd")[0])
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execve(values(b"arg")[0], values(b"arg"), env)
write("status", [("supervisor_pid", os.getpid()), ("child_pid", child), ("start_us", start_us), ("boot_id", boot_id)])
while True:
    pid, status, used = os.wait4(child, os.WNOHANG)
    if pid:
        break
    if control in select.select([control, ended], [], [], 1)[0]:
        os.read(control, 4096)
        if os.path.exists("stop") and not stopped:
            stopped, stop_us = 2, now()
            os.killpg(child, signal.SIGTERM)
wall_us, end_us = (time.monotonic_ns() - began) // 1000, now()
write("exit", [
    ("stopped", stopped), ("exit_code", os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1),
    ("signal", os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), ("exec_errno", 0), ("oom", 0), ("leftovers", 0),
    ("start_us", start_us), ("end_us", end_us), ("gone_us", end_us), ("stop_us", stop_us), ("wall_us", wall_us),
    ("user_us", int(used.ru_utime * 1e6)), ("system_us", int(used.ru_stime * 1e6)),
    ("peak_bytes", used.ru_maxrss * 1024), ("end", "")], sync=True)
'''


@pytest.fixture
def old_daemon(make_daemon, monkeypatch):
    """A daemon whose supervisor is the stand-in; the next one that it starts is the present build, whole."""
    daemon = make_daemon(start=False, config={"stop_grace_seconds": 1, "max_running_runs": 4})
    programs = daemon.root / "old"
    programs.mkdir()
    for name in ("amlagentd", "amlagent-git-info"):
        shutil.copy(harness.BUILD / name, programs / name)
    (programs / "amlagent-supervisor").write_text(STAND_IN)
    (programs / "amlagent-supervisor").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(harness, "AMLAGENTD", str(programs / "amlagentd"))
        daemon.start()
    return daemon


def started(daemon, end="print('more')\nraise SystemExit(5)"):
    """A run under the stand-in that has printed its pid: (id, gate, (pid, start time), supervisor)."""
    gate = Gate(daemon.root, f"gate{next(daemon.counter)}")
    text = "import os\nopen('outputs/o', 'w').write('kept')\nprint(os.getpid(), os.getppid(), flush=True)\n"
    text += f"{gate.code}\n{end}"
    run = daemon.submit({"gate.py": GATE_MODULE, "main.py": text})
    daemon.printed(run)
    pid, supervisor = map(int, daemon.std_log(run).split())
    assert "python3" in harness.describe(supervisor), "it is the stand-in's"
    return run, gate, (pid, process_stat(pid)[2]), supervisor


def test_a_supervisor_of_format_1_is_adopted_and_its_verdict_taken(old_daemon):
    daemon = old_daemon
    run, gate, _, _ = started(daemon)
    good, good_gate, _, _ = started(daemon, end="")
    daemon.kill()
    daemon.start()
    assert daemon.record(run)["status"] == "Running"
    gate.open()
    good_gate.open()
    record = daemon.ended(run)
    assert (record["status"], record["exit_code"], record["error"]["code"]) == ("Failed", 5, "UserError"), record
    assert record["resources_used"]["wall_seconds"] > 0 and record["resources_used"]["peak_memory_bytes"] > 0
    assert daemon.std_log(run).endswith(b"more\n") and daemon.artifact(run, "outputs/o") == b"kept"
    assert daemon.ended(good)["status"] == "Completed" and daemon.artifact(good, "outputs/o") == b"kept"
    assert daemon.finish("print('new')")["status"] == "Completed", "with the present supervisor"


def test_one_that_ended_while_no_daemon_was_there(old_daemon):
    daemon = old_daemon
    run, gate, _, supervisor = started(daemon)
    daemon.kill()
    gate.open()
    wait_for(lambda: not alive(supervisor), "it has ended")
    daemon.start()
    record = daemon.ended(run)
    assert (record["exit_code"], record["error"]["code"]) == (5, "UserError"), record


def test_one_that_is_adopted_can_be_canceled(old_daemon):
    daemon = old_daemon
    run, _, script, _ = started(daemon)
    daemon.kill()
    daemon.start()
    daemon.ok("cancel", run)
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "CanceledByUser"), record
    assert not alive(*script)


def test_one_that_is_killed_leaves_a_lost_run_and_no_process(old_daemon):
    daemon = old_daemon
    run, _, script, supervisor = started(daemon)
    daemon.kill()
    daemon.start()
    os.kill(supervisor, signal.SIGKILL)
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert not alive(*script), "stopped before it is called lost"
