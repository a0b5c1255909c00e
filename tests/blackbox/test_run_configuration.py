# SPDX-License-Identifier: MIT
"""`amlctl run -c`: run configurations in YAML and JSON, also those that are none."""

import json
import re

import pytest
from harness import PYTHON, one_line_error
from script_runs import DUMP, only_run

YAML = """\
# The script to run
script: main.py
arguments: [--lr, 0.1, "--flag", 7]
target: local
framework: Python
communicator: None
maxRunDurationSeconds: 1234
environment:
  name: mine
  environmentVariables:
    FROM_CONFIG: "yes"
    NUMBER: 2
  python:
    userManagedDependencies: true
    interpreterPath: /usr/bin/python3
  docker:
    enabled: false
    baseImage: mcr.microsoft.com/azureml/base:0.2.4
    arguments: []
history:
  outputCollection: true
  directoriesToWatch: [logs]
nodeCount: 1
"""


def config_source(daemon, text, name="train.runconfig"):
    return daemon.source({"main.py": DUMP, f".azureml/{name}": text})


@pytest.mark.parametrize("given", ["train", "train.runconfig"])
def test_a_run_configuration_in_yaml(shared, given):
    source = config_source(shared, YAML)
    done = shared.amlctl("run", "-c", given, cwd=source)
    assert done.returncode == 0, done
    seen = json.loads(done.stdout)
    assert seen["argv"] == ["--lr", "0.1", "--flag", "7"]
    assert (seen["env"]["FROM_CONFIG"], seen["env"]["NUMBER"]) == ("yes", "2")
    record = only_run(shared, source.name)
    assert record["run_definition"]["max_run_duration_seconds"] == 1234
    assert record["interpreter"]["path"] == PYTHON


def test_a_run_configuration_in_json(shared):
    text = json.dumps(
        {"script": "main.py", "arguments": ["--x", 1.5], "environment": {"python": {"interpreterPath": PYTHON}}}
    )
    done = shared.amlctl("run", "--run-configuration", "train", cwd=config_source(shared, text))
    assert done.returncode == 0 and json.loads(done.stdout)["argv"] == ["--x", "1.5"], done


def test_the_command_line_wins_over_the_run_configuration(shared):
    source = config_source(shared, YAML.replace("script: main.py", "script: absent.py"))
    done = shared.amlctl(
        "run", "-c", "train", "--max-run-duration", "77", "--set-env", "FROM_CONFIG=no", "main.py", "mine", cwd=source
    )
    assert done.returncode == 0, done
    seen = json.loads(done.stdout)
    assert seen["argv"] == ["mine"] and seen["env"]["FROM_CONFIG"] == "no"
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] == 77


def test_an_empty_max_run_duration_in_a_run_configuration_means_no_limit(shared):
    source = config_source(shared, YAML.replace("1234", ""))
    assert shared.amlctl("run", "-c", "train", cwd=source).returncode == 0
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] is None


@pytest.mark.parametrize(
    "text, line",
    [
        ("script: main.py\narguments: [1, 2\nenvironment: {}\n", None),
        ("script: main.py\n\targuments: []\n", 2),
        ('{"script": "main.py",\n "arguments": [1,\n  }}\n', 3),
        ("script: main.py\narguments: 5\n", 2),
        ("script: [main.py]\n", 1),
        ("script: main.py\nmaxRunDurationSeconds: soon\n", 2),
        ("- script\n- main.py\n", 1),
    ],
)
def test_a_malformed_run_configuration_is_refused_with_file_and_line(shared, text, line):
    source = config_source(shared, text)
    message = one_line_error(shared.amlctl("run", "-c", "train", cwd=source))
    assert "train.runconfig" in message, message
    found = re.search(r"(?::|line )(\d+)", message)
    assert found and (line is None or int(found[1]) == line), message
    assert shared.api("GET", f"/v1/runs?experiment_name={source.name}").json == []


@pytest.mark.parametrize("text", ["", "\0\0\0", "&a [*a]", "a: &a [*a, *a]\n", "{" * 50000, "[" * 50000, "---\n" * 9])
def test_a_hostile_run_configuration_is_an_error_not_a_crash(shared, text):
    done = shared.amlctl("run", "-c", "train", cwd=config_source(shared, text))
    assert done.returncode in (2, 125) and len(done.stderr) < 2000, done


def test_a_billion_laughs_are_not_laughed(shared):
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    done = shared.amlctl("run", "-c", "train", cwd=config_source(shared, text + "arguments: *a9\n"), timeout=20)
    assert done.returncode in (2, 125), done


def test_a_run_configuration_that_is_not_there_is_named(shared):
    message = one_line_error(shared.amlctl("run", "-c", "absent", "main.py", cwd=shared.source()))
    assert "absent" in message
