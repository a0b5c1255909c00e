# SPDX-License-Identifier: MIT
"""`amlctl doctor --chaos`: it finds nothing where nothing is wrong, and every kind of fault where there is one.

The faults are made by stand-ins: a folder with amlctl, and with programs beside it that do what the real ones do and
then something that they must not.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest
from harness import AMLCTL, BUILD, PYTHON, describe, end_all, processes_below, remove, scratch, wait_for

LIMIT = 150  # seconds: for a machine that has other things to do
pytestmark = pytest.mark.timeout(2 * LIMIT + 30)  # two of them, and a look

FAULTS = (
    "lost", "wrong", "started_twice", "left_over_processes", "logs_damaged", "outputs_damaged", "slots_held", "stuck",
    "daemon_failures", "damaged_states",
)  # fmt: skip
KILLS = ("daemon", "in_mid_submit", "while_starting", "restart", "supervisor", "both")


class Place:
    """A folder for all that a chaos run makes, and for stand-ins."""

    def __init__(self):
        self.root = scratch()
        self.temp = self.root / "tmp"
        self.programs = self.root / "bin"
        self.temp.mkdir()
        self.children = []

    def environment(self, seed):
        return {**os.environ, "TMPDIR": str(self.temp), "AMLAGENT_CHAOS_SEED": str(seed)}

    def start(self, rounds, *options, seed=1, amlctl=AMLCTL):
        """As a child in a process group of its own, for signals as a terminal sends them."""
        child = subprocess.Popen(
            [amlctl, "doctor", "--chaos", str(rounds), *options],
            env=self.environment(seed), cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.children.append(child)
        return child

    def run(self, rounds, *options, seed=1, amlctl=AMLCTL):
        """(exit status, stdout, stderr)"""
        child = self.start(rounds, *options, seed=seed, amlctl=amlctl)
        out, err = child.communicate(timeout=LIMIT)
        return child.returncode, out, err

    def run_json(self, rounds, seed=1, amlctl=AMLCTL):
        status, out, err = self.run(rounds, "-o", "json", seed=seed, amlctl=amlctl)
        assert status in (0, 1), (status, out, err)
        return status, json.loads(out)

    def stand_in(self, name, script):
        """amlctl in a folder of its own, `name` beside it being a Python script; `real` is what it stands for."""
        self.programs.mkdir()
        for program in ("amlctl", "amlagentd", "amlagent-supervisor", "amlagent-git-info"):
            shutil.copy(BUILD / program, self.programs / program)
        real = self.programs / f"real-{name}"
        (self.programs / name).rename(real)
        body = textwrap.dedent(script)
        (self.programs / name).write_text(
            f"#!{PYTHON} -S\nimport os, signal, sys\nreal = {str(real)!r}\nonce = {str(self.root / 'once')!r}\n"
            f"{body}\nos.execv(real, [real, *sys.argv[1:]])\n"
        )
        (self.programs / name).chmod(0o755)
        return str(self.programs / "amlctl")

    def wait_for_runs(self):
        def is_at_work():
            return any("job.sh" in describe(pid) for pid in processes_below(self.temp))

        wait_for(is_at_work, "a run of the chaos run is there", timeout=60)

    def release(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            child.stdout.close()
            child.stderr.close()
        left = processes_below(self.root)
        told = [describe(pid) for pid in left]
        end_all(left)
        remove(self.root)
        assert not told, told


def remove_cgroups(folder):
    """Those of runs whose supervisors we have killed, and no daemon comes any more."""
    for launch in folder.glob("*/state-*/runs/*/launch"):
        for line in launch.read_bytes().split(b"\0"):
            if line.startswith(b"cgroup=/") and line.endswith(os.fsencode(launch.parent.name)):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(line.removeprefix(b"cgroup="))


@pytest.fixture
def place():
    here = Place()
    yield here
    here.release()


def assert_found(result, status, fault):
    assert status == 1, result
    assert result["counts"][fault] > 0, result["faults"]
    assert any(entry["fault"] == fault and entry["evidence"] for entry in result["faults"])
    assert Path(result["kept_directory"]).is_dir()


# -- nothing is wrong -----------------------------------------------------------------------------


def test_a_healthy_daemon_loses_nothing(place):
    status, result = place.run_json(25, seed=11)
    assert status == 0, result["faults"]
    assert result["faults"] == [] and set(result["counts"]) == set(FAULTS)
    assert not any(result["counts"].values())
    assert result["kills"]["total"] == 25 == sum(result["kills"][kind] for kind in KILLS)
    assert 0 < result["runs_in_flight"]["median"] <= result["runs_in_flight"]["max"] <= result["runs"]["acknowledged"]
    runs = result["runs"]
    ended = sum(sum(count for key, count in row.items() if key != "run") for row in result["verdicts"])
    assert runs["acknowledged"] > 0 and ended == runs["acknowledged"] + runs["unanswered_accepted"]
    assert result["recovery"]["restarts"] > 0
    assert 0 < result["recovery"]["median_seconds"] <= result["recovery"]["max_seconds"]
    assert result["seed"] == 11 and result["kept_directory"] is None and result["interrupted"] is False
    assert list(place.temp.iterdir()) == []
    assert processes_below(place.root) == []


def test_people_get_a_table_and_the_seed(place):
    status, out, err = place.run(3, seed=12)
    assert (status, err) == (0, ""), (out, err)
    lines = out.splitlines()
    assert lines[0].startswith("kills tried 3 (daemon ")
    assert re.fullmatch(r"runs in flight when a kill struck \(waiting or running\) median \d+, max [1-9]\d*", lines[1]), out
    assert "lost 0 · wrong 0 · started twice 0 · left-over processes 0" in out
    assert "seed 12" in out and "recovery median" in out
    assert any(line.startswith("RUN ") and "SUPERVISOR KILLED" in line for line in lines)


def test_the_seed_decides_on_the_kills(place):
    kills = [place.run_json(8, seed=seed)[1]["kills"] for seed in (13, 13)]
    assert kills[0]["while_starting"] == kills[1]["while_starting"]
    assert kills[0]["in_mid_submit"] == kills[1]["in_mid_submit"]
    assert kills[0]["restart"] == kills[1]["restart"]


def test_a_seed_that_is_no_number_is_refused(place):
    status, out, err = place.run(1, seed="tomorrow")
    assert status == 125 and out == ""
    assert "AMLAGENT_CHAOS_SEED must be a whole number" in err
    assert list(place.temp.iterdir()) == []


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(place, number):
    child = place.start(100000, "-o", "json")
    place.wait_for_runs()
    os.killpg(child.pid, number)
    out, err = child.communicate(timeout=LIMIT)
    assert child.returncode == 130, (child.returncode, out, err)
    result = json.loads(out)
    assert result["interrupted"] is True and result["faults"] == []
    assert list(place.temp.iterdir()) == []
    assert processes_below(place.root) == []


def test_when_it_is_killed_the_daemon_ends_too(place):
    child = place.start(100000)
    place.wait_for_runs()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    def is_there():
        return [pid for pid in processes_below(place.temp) if "amlagentd" in describe(pid)]

    wait_for(lambda: not is_there(), "the daemon has ended", timeout=20)

    def are_left():  # runs end by themselves, but not today; one that was just being started comes later
        left = processes_below(place.temp)
        end_all(left)
        return left

    wait_for(lambda: not are_left(), "the runs have ended")
    remove_cgroups(place.temp)


# -- faults, each made by a stand-in --------------------------------------------------------------

STATE = """
state = sys.argv[sys.argv.index("--state-dir") + 1]
runs = [os.path.join(state, "runs", name) for name in os.listdir(os.path.join(state, "runs"))] if os.path.isdir(
    os.path.join(state, "runs")) else []
def happens_once(what):
    # True for the first who asks: a folder is made by one only.
    try:
        os.mkdir(once + what)
    except FileExistsError:
        return False
    return True
"""


def test_finds_a_supervisor_killed_unasked(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
for run in runs:
    fields = {}
    try:
        text = open(os.path.join(run, "status")).read()
        fields = dict(line.split("=", 1) for line in text.split("\\0") if "=" in line)
    except FileNotFoundError:
        continue
    pid = int(next(value for key, value in fields.items() if "supervisor" in key))
    try:
        command = open(f"/proc/{pid}/cmdline").read()
    except FileNotFoundError:
        continue
    if run in command and not os.path.exists(os.path.join(run, "exit")):
        os.kill(pid, signal.SIGKILL)
        break
""",
    )
    status, result = place.run_json(30, seed=21, amlctl=amlctl)
    assert_found(result, status, "lost")
    assert any("Lost" in entry["evidence"] and entry["run_id"] for entry in result["faults"])


def test_finds_a_byte_added_to_a_log(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
for run in runs:
    log = os.path.join(run, "std_log.txt")
    if os.path.exists(log) and os.path.exists(os.path.join(run, "status")) and happens_once("log"):
        open(log, "a").write("x")
""",
    )
    status, result = place.run_json(30, seed=22, amlctl=amlctl)
    assert_found(result, status, "logs_damaged")


def test_finds_an_output_that_was_changed(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
for base, folders, files in os.walk(os.path.join(state, "blobs", "sha256")):
    for name in files:
        path = os.path.join(base, name)
        text = open(path, "rb").read()
        if text.startswith(b"the result of run"):
            os.chmod(path, 0o600)
            open(path, "wb").write(text.upper())
import glob
for path in glob.glob(os.path.join(state, "runs", "*", "work", "outputs", "result.txt")):
    os.chmod(path, 0o600)
    open(path, "w").write("another result")
""",
    )
    status, result = place.run_json(30, seed=23, amlctl=amlctl)
    assert_found(result, status, "outputs_damaged")


def test_finds_a_command_started_twice(place):
    amlctl = place.stand_in(
        "amlagent-supervisor",
        """
import subprocess
run = sys.argv[1]
text = open(os.path.join(run, "launch"), "rb").read().split(b"\\0")
argv = [line.split(b"=", 1)[1] for line in text if line.startswith(b"arg")]
env = dict(line.split(b"=", 1)[1].split(b"=", 1) for line in text if line.startswith(b"env"))
if any(b"job.sh exit " in word for word in argv):
    subprocess.run(argv, env=env, cwd=os.path.join(run, "work"), stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
""",
    )
    status, result = place.run_json(6, seed=24, amlctl=amlctl)
    assert_found(result, status, "started_twice")


def test_finds_a_run_dropped_from_history(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
import sqlite3
database = os.path.join(state, "history.db")
if os.path.exists(database):
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA foreign_keys = on")
        row = connection.execute("SELECT seq FROM runs WHERE state = 'Completed' ORDER BY seq DESC LIMIT 1").fetchone()
        if row and happens_once("row"):
            connection.execute("DELETE FROM runs WHERE seq = ?", row)
""",
    )
    status, result = place.run_json(30, seed=25, amlctl=amlctl)
    assert_found(result, status, "lost")
    assert any("GET answers 404" in entry["evidence"] for entry in result["faults"])


def test_finds_a_verdict_that_changed(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
import sqlite3
database = os.path.join(state, "history.db")
if os.path.exists(database):
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE runs SET exit_code = exit_code + 1 WHERE cause = 'UserError'")
""",
    )
    status, result = place.run_json(20, seed=26, amlctl=amlctl)
    assert_found(result, status, "wrong")


def test_finds_a_process_that_outlives_its_run(place):
    amlctl = place.stand_in(
        "amlagent-supervisor",
        """
run = sys.argv[1]
text = open(os.path.join(run, "launch"), "rb").read().split(b"\\0")
env = dict(line.split(b"=", 1)[1].split(b"=", 1) for line in text if line.startswith(b"env"))
# A grandchild of ours is a child of whoever started the chaos run, and not of the supervisor.
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 64)
        os.execve("/bin/sleep", ["sleep", "300"], env)
    os._exit(0)
os.wait()
""",
    )
    status, result = place.run_json(3, seed=27, amlctl=amlctl)
    assert_found(result, status, "left_over_processes")
    assert any("sleep 300" in entry["evidence"] for entry in result["faults"])


def test_finds_a_daemon_that_ends_by_itself(place):
    amlctl = place.stand_in(
        "amlagentd",
        STATE
        + """
if runs and happens_once("end"):
    sys.stderr.write("no more today\\n")
    sys.exit(9)
""",
    )
    status, result = place.run_json(10, seed=28, amlctl=amlctl)
    assert_found(result, status, "daemon_failures")
    evidence = [entry["evidence"] for entry in result["faults"]]
    assert any("exited with code 9" in text and "no more today" in text for text in evidence), evidence


def test_names_each_fault_for_people_and_keeps_the_folder(place):
    amlctl = place.stand_in("amlagentd", STATE + 'if runs and happens_once("end"):\n    sys.exit(9)\n')
    status, out, _ = place.run(6, seed=29, amlctl=amlctl)
    assert status == 1
    assert "daemon failures 1" in out
    assert "\ndaemon failures: amlagentd ended before it was ready: exited with code 9" in out
    kept = out.splitlines()[-1].removeprefix("the folder is kept for a look: ")
    assert Path(kept).parent == place.temp and (Path(kept) / "amlagentd.log").exists()


def test_a_daemon_that_is_not_installed_is_said(place):
    place.programs.mkdir()
    shutil.copy(BUILD / "amlctl", place.programs / "amlctl")
    status, out, err = place.run(1, amlctl=str(place.programs / "amlctl"))
    if Path("/usr/local/libexec/amlagent").exists() or shutil.which("amlagentd"):
        pytest.skip("an installed amlagentd is found")
    assert status == 125 and out == "" and "amlagentd" in err, (status, out, err)
    assert list(place.temp.iterdir()) == []


def test_somebody_who_only_looks_into_its_folder_is_left_alone(place):
    child = place.start(5, seed=28)
    log = wait_for(lambda: next(place.temp.glob("amlagent-chaos-*/amlagentd.log"), None), "the daemon's log", timeout=60)
    reader = subprocess.Popen(["tail", "-f", str(log)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        out, err = child.communicate(timeout=LIMIT)
        assert child.returncode == 0, out + err
        assert reader.poll() is None
    finally:
        reader.kill()
        reader.wait()
