# SPDX-License-Identifier: MIT
"""amlctl doctor and amlagentd --check-state on all that is around a state folder: what is well is left alone, and every
fault is made for real and must be found."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import harness
import pytest
from patient import OUTPUTS, Patient, make_patient, tree

ROOT = os.geteuid() == 0
NOBODY = 65534


# healthy ones


def test_a_healthy_folder_has_no_problems(patient):
    checks = patient.checks(status=0)
    assert len(checks) >= 14
    assert "2 runs" in checks["database"]["found"] and checks["database"]["result"] == "ok"
    assert checks["blobs"]["result"] == "ok" and "0 (0 B) that no run refers to" in checks["blobs"]["found"]
    assert checks["socket"]["result"] == "note"
    report, problems = patient.findings()
    assert not problems and report["blobs"]["compared"] == report["blobs"]["count"] > 3
    assert report["database"]["runs"] == 2 and report["database"]["newest_run_utc"] and not report["in_use"]


def test_a_table_for_people_ends_with_a_summary(patient):
    before = tree(patient.state)
    lines = patient.doctor().stdout.decode().splitlines()
    assert tree(patient.state) == before
    assert lines[-1] == "no problems found"
    starts = {line.split("  ")[0] for line in lines if line and line[0] != " "}
    assert {"programs", "state folder", "database", "blobs"} <= starts
    words = {line[line.index("  "):].split()[0] for line in lines[:-1] if line[0] != " "}
    assert words <= {"OK", "note"} and "OK" in words
    assert not [line for line in lines if harness.ESCAPE.decode() in line]
    patient.artifact()[1].unlink()
    done = patient.doctor()
    assert done.returncode == 1 and done.stdout.decode().splitlines()[-1] == "1 problem"
    assert "PROBLEM" in done.stdout.decode() and "    -> " in done.stdout.decode()


def test_on_a_terminal_lines_fit_and_have_colour(patient):
    text = patient.daemon.on_terminal("--state-dir", patient.state, "doctor", columns=90)
    plain = text.decode().replace("\033[32m", "").replace("\033[33m", "").replace("\033[0m", "").replace("\r", "")
    assert "\033[32mOK\033[0m" in text.decode() and "\033" not in plain, text
    assert max(map(len, plain.splitlines())) <= 90, plain


def test_a_folder_that_is_not_there_yet_is_fine(ill, scratch_state):
    patient = scratch_state
    checks = patient.checks(status=0)
    assert "not there yet" in checks["state folder"]["found"]
    done = patient.check_state()
    assert done.returncode == 0 and "not there yet" in done.stdout and not patient.state.exists()


def test_a_daemon_that_was_killed_leaves_no_problem_and_its_log_is_not_touched(patient):
    patient.daemon.start()
    patient.daemon.finish(OUTPUTS.format(text="third"))
    patient.daemon.kill()
    assert (patient.state / "history.db-wal").stat().st_size > 0
    report, problems = patient.findings()
    assert not problems and report["database"]["runs"] == 3  # the third is in the log alone
    patient.checks(status=0)
    (patient.state / "history.db-shm").unlink()
    report, problems = patient.findings()
    assert not problems and report["database"]["runs"] == 3
    assert not (patient.state / "history.db-shm").exists()


def test_a_running_daemon_under_load_has_no_problems(patient):
    daemon = patient.daemon.start()
    gate = harness.Gate(daemon.root, "end")
    done = threading.Event()
    failures = []

    def submit():
        source = str(daemon.source(OUTPUTS.format(text="load")))
        try:
            while not done.is_set():
                run = daemon.submit(source_directory=source)
                record = daemon.ended(run)
                assert record["status"] == "Completed", record
                assert daemon.api("DELETE", f"/v1/runs/{run}").status < 300
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=submit) for _ in range(3)]
    long = daemon.submit({"main.py": f"import gate\n{gate.code}\n", "gate.py": harness.GATE_MODULE})
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            answer = patient.doctor("-o", "json")
            assert answer.returncode == 0, answer
            report = json.loads(patient.check_state("-o", "json").stdout)
            assert report["in_use"] and not report["problems"], report
            assert report["database"]["live_runs"] >= 1
    finally:
        done.set()
        gate.open()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert daemon.ended(long)["status"] == "Completed"
    checks = {check["name"]: check for check in json.loads(patient.doctor("-o", "json").stdout)["checks"]}
    assert checks["socket"]["result"] == "ok" and f"pid {daemon.process.pid}" in checks["socket"]["found"]
    assert "the daemon that runs" in checks["programs"]["found"]


# the state folder


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_a_folder_that_others_may_look_into_is_found(patient, mode):
    patient.state.chmod(mode)
    assert "chmod 700" in patient.problem("state folder", f"mode {mode:04o}")["advice"]


def test_a_file_in_place_of_the_folder_is_found(scratch_state):
    scratch_state.state.write_text("")
    done = scratch_state.doctor("-o", "json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and "is not a folder" in checks["state folder"]["found"]
    assert scratch_state.check_state().returncode == 125


@pytest.mark.skipif(not ROOT, reason="needs root to be two users")
def test_another_users_folder_is_found_and_not_looked_into(ill):
    top = Path(tempfile.mkdtemp(prefix="doctor-", dir="/var/tmp"))  # that every user can reach
    ill.callback(shutil.rmtree, top)
    top.chmod(0o755)
    patient = make_patient(ill)
    patient.state = Path(shutil.copytree(patient.state, top / "state"))
    env = {name: str(top) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")}
    done = patient.doctor("-o", "json", user=NOBODY, cwd="/", env=env)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1, done
    assert "belongs to uid 0" in checks["state folder"]["found"]
    assert "cannot look" in checks["database"]["found"]
    os.chown(patient.state, NOBODY, NOBODY)
    patient.note("state folder", f"belongs to uid {NOBODY}")


@contextlib.contextmanager
def mounted(target, *arguments):
    subprocess.run(["mount", *arguments, str(target)], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True, timeout=20)


def patient_on(stack, *mount):
    """A state folder that is a mount of its own."""

    daemon = harness.Daemon(config={"stop_grace_seconds": 1})
    stack.callback(daemon.close)
    stack.enter_context(mounted(daemon.state, *mount))
    daemon.state.chmod(0o700)
    daemon.start()
    assert daemon.finish(OUTPUTS.format(text="first"))["status"] == "Completed"
    assert daemon.terminate() == 0
    return Patient(daemon)


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_a_folder_in_memory_is_found(ill):
    patient = patient_on(ill, "-t", "tmpfs", "-o", "size=2g", "none")
    check = patient.problem("state folder", "on tmpfs", "lost at the next reboot")
    assert "--state-dir" in check["advice"]


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_a_full_folder_is_found_and_can_still_be_looked_into(ill):
    patient = patient_on(ill, "-t", "tmpfs", "-o", "size=24m", "none")
    with open(patient.state / "ballast", "wb") as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 65536):
            file.flush()
    check = patient.problem("free space", "only ", others=["state folder", "file system"])
    assert "make room" in check["advice"]
    checks = patient.checks(status=1)
    assert checks["database"]["result"] == checks["blobs"]["result"] == "ok"


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_no_inodes_left_is_found(ill):
    patient = patient_on(ill, "-t", "tmpfs", "-o", "size=2g,nr_inodes=2000", "none")
    with contextlib.suppress(OSError):
        for i in range(2000):
            (patient.state / f"ballast{i}").touch()
    patient.problem("free space", "inodes", others=["state folder", "file system"])


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_a_read_only_folder_is_found(patient, ill):
    ill.enter_context(mounted(patient.state, "--bind", str(patient.state)))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(patient.state)], check=True, timeout=20)
    check = patient.problem("state folder", "cannot be written to", others=["file system"])
    assert "read-only" in check["advice"]


@pytest.mark.skipif(not ROOT, reason="needs root to mount")
def test_a_containers_layer_is_a_note(ill):
    daemon = harness.Daemon()
    ill.callback(daemon.close)
    for name in ("lower", "upper", "work"):
        (daemon.root / name).mkdir()
    layers = ",".join(f"{name}dir={daemon.root / name}" for name in ("lower", "upper", "work"))
    ill.enter_context(mounted(daemon.state, "-t", "overlay", "-o", layers, "none"))
    daemon.state.chmod(0o700)
    Patient(daemon).note("state folder", "on overlay")


# programs, configuration, socket, machine


@pytest.fixture
def installed(tmp_path):
    """install("amlagentd", ...): a folder with amlctl and links to these; a text is a script."""

    def install(*names, **scripts):
        shutil.copy(harness.AMLCTL, tmp_path / "amlctl")
        for name in names:
            shutil.copy(harness.BUILD / name, tmp_path / name)
        for name, text in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        return str(tmp_path / "amlctl")

    return install


def doctor_of(amlctl, patient, env=None):
    done = subprocess.run(
        [amlctl, "--state-dir", patient.state, "doctor", "-o", "json"], capture_output=True, timeout=60, cwd="/",
        env={**patient.daemon.env, **(env or {})}, stdin=subprocess.DEVNULL,
    )
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


INSTALLED = any(Path(prefix, "libexec/amlagent").exists() for prefix in ("/usr", "/usr/local"))


@pytest.mark.skipif(INSTALLED, reason="amlagent is installed here")
def test_programs_that_are_missing_are_found(patient, installed):
    status, checks = doctor_of(installed(), patient)
    assert status == 1 and "amlagentd is not found" in checks["programs"]["found"]
    assert "cannot look" in checks["database"]["found"]
    status, checks = doctor_of(installed("amlagentd"), patient)
    assert status == 1 and "amlagent-supervisor is not found" in checks["programs"]["found"]
    status, checks = doctor_of(installed("amlagentd", "amlagent-supervisor"), patient)
    assert status == 0 and "git" in checks["programs"]["found"] and checks["programs"]["result"] == "note"


def test_programs_of_two_versions_are_a_note(patient, installed):
    real = f"test \"$1\" = --version && echo amlagentd 9.8.7 || exec {shlex.quote(harness.AMLAGENTD)} \"$@\""
    status, checks = doctor_of(installed("amlagent-supervisor", "amlagent-git-info", amlagentd=real), patient)
    assert status == 0 and checks["programs"]["result"] == "note" and "9.8.7" in checks["programs"]["found"]


def test_a_daemon_that_cannot_be_started_is_found(patient, installed):
    broken = "echo amlagentd: error while loading shared libraries >&2; exit 127"
    status, checks = doctor_of(installed("amlagent-supervisor", amlagentd=broken), patient)
    assert status == 1 and "does not run" in checks["programs"]["found"]


def test_a_look_that_fails_is_no_verdict(patient, installed):
    version = f'test "$1" = --version && exec {shlex.quote(harness.AMLAGENTD)} --version'
    blind = f'{version}\necho \'{{"error": "the disk is asleep"}}\'\nexit 125'
    programs = installed("amlagent-supervisor", "amlagent-git-info", amlagentd=blind)
    status, checks = doctor_of(programs, patient)
    assert status == 125 and "the disk is asleep" in checks["database"]["found"]


def test_a_wrong_configuration_is_found(patient):
    config = patient.daemon.root / "wrong.conf"
    config.write_text("max_running_runs = many\n")
    assert "wrong.conf:1" in patient.problem("configuration", options=["--config", config])["found"]


def test_a_file_in_place_of_the_socket_is_found(patient):
    Path(patient.daemon.socket).unlink()
    Path(patient.daemon.socket).write_text("")
    patient.problem("socket", "in the place of the socket")


def test_a_socket_folder_that_others_can_write_to_is_found(patient):
    patient.daemon.root.chmod(0o777)
    patient.problem("socket", "others can write to")


def test_a_daemon_that_hangs_is_found(patient):
    daemon = patient.daemon.start()
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        done = patient.doctor("-o", "json")
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and "does not answer within" in checks["socket"]["found"], done
    assert checks["database"]["result"] == "ok", checks["database"]


@pytest.mark.skipif(not ROOT, reason="needs root to be two users")
def test_a_socket_of_another_user_is_found(patient):
    daemon = patient.daemon.start()
    for path in (daemon.root, daemon.state):
        path.chmod(0o711)
    os.chmod(daemon.socket, 0o666)
    checks = {check["name"]: check for check in json.loads(patient.doctor("-o", "json").stdout)["checks"]}
    assert "others can connect" in checks["socket"]["found"] and checks["socket"]["result"] == "note"
    os.chown(daemon.socket, NOBODY, NOBODY)
    done = patient.doctor("-o", "json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and "another user" in checks["socket"]["found"]


def test_a_daemon_of_another_state_folder_is_found(patient, ill):
    other = harness.Daemon()
    ill.callback(other.close)
    other.start()
    done = other.amlctl("--state-dir", patient.state, "--socket", other.socket, "doctor", "-o", "json", "--quick")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and str(other.state) in checks["socket"]["found"], checks["socket"]


def test_without_a_python_there_is_a_note(patient):
    patient.note("python", "neither python nor python3", env={"PATH": "/nonexistent"})
    folder = patient.daemon.root / "bin"
    harness.write_tree(folder, {"python": ("#!/bin/sh\nexit 1\n", 0o755)})
    patient.note("python", "does not answer", env={"PATH": str(folder)})


def test_a_clock_before_the_newest_run_is_found(patient):
    patient.sql("UPDATE runs SET created_us = 32503680000000000")  # the year 3000
    patient.problem("clock", "before the newest run", "3000-01-01")


def test_few_open_files_are_a_note(patient):
    limited = subprocess.run(
        ["prlimit", "--nofile=256:256", harness.AMLCTL, "--state-dir", patient.state, "doctor", "-o", "json"],
        capture_output=True, timeout=60, env=patient.daemon.env, stdin=subprocess.DEVNULL,
    )
    checks = {check["name"]: check for check in json.loads(limited.stdout)["checks"]}
    assert limited.returncode == 0 and checks["limits"]["result"] == "note" and "256" in checks["limits"]["found"]


# how it is asked


def test_no_daemon_is_started_and_none_is_waited_for(patient):
    Path(patient.daemon.socket).unlink()
    patient.checks(status=0)
    assert harness.processes_below(patient.state) == []
    assert not Path(patient.daemon.socket).exists()


def test_the_trial_of_the_file_system_leaves_nothing(patient):
    before = sorted(os.listdir(patient.state))
    checks = patient.checks(status=0)
    assert checks["file system"]["result"] in ("ok", "note") and sorted(os.listdir(patient.state)) == before


@pytest.mark.parametrize("options, word", [
    (["--quick"], "go with --check-state"), (["-o", "json"], "go with --check-state"),
    (["--check-state", "-o", "yaml"], "yaml"), (["--check-state", "more"], "more"),
])
def test_wrong_usage_of_check_state_is_refused(options, word):
    done = subprocess.run([harness.AMLAGENTD, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and word in done.stderr, done


@pytest.mark.parametrize("options", [["--chaos", "0"], ["--chaos", "x"], ["more"], ["-o", "yaml"]])
def test_wrong_usage_of_doctor_is_refused(options):
    done = subprocess.run([harness.AMLCTL, "doctor", *options], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and done.stderr, done
