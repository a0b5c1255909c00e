# SPDX-License-Identifier: MIT
"""The examples, run as their README says, from a git work tree."""

import importlib.util
import json
import os
import shutil
import subprocess

import pytest
from harness import PYTHON, REPO, files_of


def checkout(daemon, name):
    """The example in a git work tree of its own, in a folder with a space."""
    top = daemon.root / "my project"
    shutil.copytree(REPO / "examples" / name, top / name, dirs_exist_ok=True)
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", name]):
        subprocess.run(["git", *identity, *arguments], cwd=top, env=env, check=True)
    return top / name


def numpy_for(python):
    return subprocess.run([python, "-c", "import sklearn"], capture_output=True).returncode == 0


def test_the_example_of_the_standard_library(shared):
    folder = checkout(shared, "stdlib")
    done = shared.amlctl(
        "run", "-e", "stdlib", "--max-run-duration", "10m", "-C", folder, "train.py", "--epochs", "3", "--seed", "1"
    )
    assert done.returncode == 0, done
    lines = done.stdout.decode().splitlines()
    assert len([line for line in lines if "loss" in line]) >= 3, lines
    record = shared.api("GET", "/v1/runs?experiment_name=stdlib").json[0]
    assert record["status"] == "Completed" and record["properties"]["azureml.git.dirty"] == "False"
    assert record["properties"]["azureml.git.branch"] == "main"
    paths = set(shared.artifacts(record["run_id"]))
    assert {"logs/train.log", "outputs/model.json", "outputs/sample.txt", "outputs/metrics.json", "user_logs/std_log.txt"} <= paths
    assert len([path for path in paths if path.startswith("outputs/checkpoints/")]) == 3
    assert shared.std_log(record["run_id"]) == done.stdout
    json.loads(shared.artifact(record["run_id"], "outputs/metrics.json"))
    assert not (folder / "outputs").exists()


def test_the_same_seed_gives_the_same_bytes(shared):
    folder = checkout(shared, "stdlib") if not (shared.root / "my project/stdlib").exists() else shared.root / "my project/stdlib"
    models = []
    for _ in range(2):
        assert shared.amlctl("run", "-e", "twice", "-C", folder, "train.py", "--epochs", "1").returncode == 0
        models.append(shared.artifacts("latest")["outputs/model.json"]["digest"])
    assert models[0] == models[1]


@pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None and not numpy_for(PYTHON), reason="python3-sklearn is not installed"
)
def test_the_digits(shared):
    folder = checkout(shared, "digits")
    done = shared.amlctl(
        "run", "-e", "digits", "--max-run-duration", "10m", "-C", folder, "--python", PYTHON, "train.py", "--epochs", "2",
        "--hidden", "32",
    )  # fmt: skip
    assert done.returncode == 0, done
    assert done.stdout.count(b"loss") >= 2
    record = shared.api("GET", "/v1/runs?experiment_name=digits").json[0]
    assert record["interpreter"]["path"] == PYTHON
    assert record["run_definition"]["max_run_duration_seconds"] == 600
    target = shared.root / "digits-out"
    shared.ok("download", record["run_id"], "outputs/", "-o", target)
    names = {name.decode() for name in files_of(target)}
    assert {"outputs/model.joblib", "outputs/confusion_matrix.csv", "outputs/metrics.json",
            "outputs/checkpoints/epoch-01.joblib", "outputs/checkpoints/epoch-02.joblib"} <= names  # fmt: skip
    rows = (target / "outputs/confusion_matrix.csv").read_text().splitlines()
    assert len(rows) == 11
    log = shared.artifact(record["run_id"], "logs/train.log")
    assert log.count(b"loss") >= 2


@pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None and not numpy_for(PYTHON), reason="python3-sklearn is not installed"
)
def test_the_digits_stopped_by_the_limit_leave_a_model(make_daemon):
    """The limit comes long after the script is ready for it, and the grace is enough for the epoch at hand."""
    daemon = make_daemon(config={"stop_grace_seconds": 60})
    folder = checkout(daemon, "digits")
    done = daemon.amlctl(
        "run", "-e", "stopped", "--max-run-duration", "10", "-C", folder, "--python", PYTHON, "train.py", "--epochs", "100000",
        "--hidden", "16", timeout=110,
    )  # fmt: skip
    assert done.returncode == 124, done
    record = daemon.api("GET", "/v1/runs?experiment_name=stopped").json[0]
    assert record["error"]["code"] == "MaxRunDurationExceeded"
    assert "outputs/model.joblib" in daemon.artifacts(record["run_id"]), done.stdout[-500:]
    assert not os.path.exists(folder / "outputs")
