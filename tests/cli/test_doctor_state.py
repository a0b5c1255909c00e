# SPDX-License-Identifier: MIT
"""amlctl doctor and amlagentd --check-state on what is in a state folder: every fault is made for real in a throw-away
one, must be found, and nothing may be changed by looking."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess

import harness
import pytest
from patient import flip, make_patient, tree


# the database


def test_a_damaged_page_is_found(patient):
    with contextlib.closing(sqlite3.connect(patient.database)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'runs_by_state'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with open(patient.database, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    check = patient.problem("database")
    assert ".recover" in check["advice"] and "backup" in check["advice"]


def test_a_database_whose_head_is_gone_is_found(patient):
    with open(patient.database, "r+b") as file:
        file.write(b"\0" * 100)
    patient.problem("database", "is damaged")


def test_a_database_that_was_cut_is_found(patient):
    os.truncate(patient.database, patient.database.stat().st_size // 2)
    patient.problem("database", others=["blobs"])


def test_a_newer_format_is_found_and_its_blobs_are_still_read(patient):
    run, blob = patient.artifact()
    patient.sql("PRAGMA user_version = 99")
    check = patient.problem("database", "newer version", "99")
    assert "install that version again" in check["advice"]
    flip(blob)
    assert patient.problem("blobs", blob.name, "is damaged", others=["database"])


def test_an_older_format_is_a_note(patient):
    patient.sql("ALTER TABLE runs DROP COLUMN canceled_by", "PRAGMA user_version = 1")
    patient.note("database", "older version", "format 1")


def test_rows_that_belong_to_nothing_are_found(patient):
    patient.sql("INSERT INTO tags VALUES (999, 'a', 'b')")
    patient.problem("database", "a row of tags belongs to no row of runs")


def test_an_unknown_state_is_found(patient):
    patient.sql("UPDATE runs SET state = 'Levitating' WHERE seq = 1")
    patient.problem("database", "state that this version does not know")


def test_another_database_is_found(patient):
    patient.database.unlink()
    patient.sql("CREATE TABLE recipes (name TEXT)")
    patient.problem("database", "no run history", others=["runs"])


def test_a_missing_database_is_found_when_there_are_blobs(patient):
    patient.database.unlink()
    patient.problem("database", "history.db is missing")


def test_a_change_that_was_interrupted_is_no_verdict_and_is_not_taken_back(patient):
    """A rollback journal is hot: SQLite would have to write."""
    script = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for s in ('PRAGMA journal_mode = DELETE', 'PRAGMA cache_spill = 1', 'PRAGMA cache_size = 1',\n"
        "          'BEGIN IMMEDIATE', 'CREATE TABLE x (a)'):\n"
        "    db.execute(s)\n"
        "for i in range(200):\n"
        "    db.execute('INSERT INTO x VALUES (?)', ('y' * 4000,))\n"
        "os._exit(0)\n"
    )
    subprocess.run([harness.PYTHON, "-c", script, patient.database], check=True, timeout=60)
    assert (patient.state / "history.db-journal").stat().st_size > 0
    before = tree(patient.state)
    done = patient.check_state()
    assert done.returncode == 125 and "was interrupted" in done.stderr, done
    assert patient.check_state("-o", "json").returncode == 125
    assert tree(patient.state) == before
    checks = patient.checks(status=125)
    assert "cannot look" in checks["database"]["found"]
    with contextlib.closing(sqlite3.connect(patient.database)) as db:
        db.execute("SELECT count(*) FROM runs").fetchone()  # which takes it back
    assert patient.check_state().returncode == 0


# blobs


def test_a_flipped_bit_is_found_and_who_needs_it_is_named(patient):
    run, blob = patient.artifact()
    flip(blob)
    check = patient.problem("blobs", blob.name, "is damaged", f"outputs/model.bin of run {run}")
    assert "restore it" in check["advice"]
    assert patient.checks("--quick", status=0)["blobs"]["found"].count("not read")


def test_a_damaged_snapshot_is_found_without_reading_the_rest(patient):
    run, blob = patient.snapshot()
    flip(blob)
    for options in ([], ["--quick"]):
        report, problems = patient.findings(*options)
        assert [problem["part"] for problem in problems] == ["blobs"], report
        assert f"the snapshot of run {run}" in problems[0]["found"] and "is damaged" in problems[0]["found"]


@pytest.mark.parametrize("quick", [False, True])
def test_a_missing_blob_is_found(patient, quick):
    run, blob = patient.artifact()
    blob.unlink()
    _, problems = patient.findings(*["--quick"] * quick)
    assert len(problems) == 1 and blob.name in problems[0]["found"] and "is missing" in problems[0]["found"]
    assert run in problems[0]["found"]
    patient.problem("blobs", "is missing")


def test_a_missing_file_of_a_snapshot_is_found(patient):
    with contextlib.closing(sqlite3.connect(f"file:{patient.database}?mode=ro", uri=True)) as db:
        known = {digest.lower() for (digest,) in db.execute("SELECT hex(digest) FROM artifacts")}
        known |= {s.removeprefix("sha256:") for (s,) in db.execute("SELECT snapshot_id FROM runs")}
    sources = [path for path in patient.state.glob("blobs/sha256/*/*") if path.name not in known]
    assert len(sources) == 2
    sources[0].unlink()
    patient.problem("blobs", "main.py in the snapshot of run", "is missing")


def test_a_missing_snapshot_is_found(patient):
    run, blob = patient.snapshot()
    blob.unlink()
    patient.problem("blobs", f"the snapshot of run {run}", "is missing")


def test_a_blob_that_was_cut_is_found_without_reading(patient):
    run, blob = patient.artifact()
    blob.chmod(0o644)
    os.truncate(blob, 10)
    blob.chmod(0o444)
    _, problems = patient.findings("--quick")
    assert len(problems) == 1 and "has not the size" in problems[0]["found"]
    patient.problem("blobs", "is damaged")


def test_all_blobs_gone_is_one_readable_report(patient):
    shutil.rmtree(patient.state / "blobs")
    report, problems = patient.findings()
    assert len(problems) >= 4 and all("is missing" in problem["found"] for problem in problems)


def test_a_damaged_blob_that_nobody_needs_is_found(patient):
    content = b"nobody's"
    blob = patient.blob(hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    blob.chmod(0o444)
    report, problems = patient.findings()
    assert not problems and report["blobs"]["unreferenced"] == 1 and report["blobs"]["unreferenced_bytes"] == 8
    flip(blob)
    assert "no run refers to it" in patient.problem("blobs", blob.name, "is damaged")["found"]


def test_a_blob_that_its_owner_may_not_read_is_found(patient):
    _, blob = patient.artifact()
    blob.chmod(0o000)
    for options in ([], ["--quick"]):
        _, problems = patient.findings(*options)
        assert problems and "cannot be read" in problems[0]["found"] and blob.name in problems[0]["found"]


def test_what_does_no_harm_in_the_store_is_a_note(patient):
    _, blob = patient.artifact()
    blob.chmod(0o644)
    patient.note("blobs", "can be written to")
    blob.chmod(0o444)
    (patient.state / "blobs/sha256/ab/README").write_text("what is this?")
    patient.note("blobs", "ab/README is no blob")
    (patient.state / "blobs/sha256/ab/README").unlink()
    (patient.state / "blobs/tmp/7").write_bytes(b"half")
    patient.note("blobs", "blobs/tmp")


def test_many_faults_are_counted_and_a_few_named(patient):
    digests = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(120)]
    for digest in digests:
        patient.blob(digest).write_bytes(b"not that")
    done = patient.check_state()
    assert done.returncode == 1 and done.stdout.count("PROBLEM") <= 60
    assert "more of blobs" in done.stdout and done.stdout.splitlines()[-1] == "120 problems"


# run folders


def test_a_live_run_without_its_folder_is_found(ill):
    patient = make_patient(ill, max_running_runs=1)
    daemon = patient.daemon.start()
    gate = harness.Gate(daemon.root, "end")
    first = daemon.submit({"main.py": f"import gate\n{gate.code}\n", "gate.py": harness.GATE_MODULE})
    daemon.running(first)
    second = daemon.submit()
    daemon.kill()
    try:
        report, problems = patient.findings()
        assert not problems and report["database"]["live_runs"] == 2
        shutil.rmtree(patient.state / "runs" / second)
        patient.problem("runs", f"run {second} is Queued and has no folder")
    finally:
        gate.open()
        harness.wait_for(lambda: not harness.processes_below(daemon.root), "the run has ended")


def test_the_folder_of_a_run_that_history_does_not_know_is_found(patient):
    folder = patient.state / "runs" / "exp_1700000000_deadbeef"
    folder.mkdir()
    patient.note("runs", "not accepted")
    (folder / "launch").write_bytes(b"format=1\0")
    patient.problem("runs", "exp_1700000000_deadbeef", "not in history")
