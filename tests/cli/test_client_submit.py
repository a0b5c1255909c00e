# SPDX-License-Identifier: MIT
"""amlctl run: what it sends, and what becomes of a submit whose answer is late, cut or an error."""

import re

import pytest
from client import RUN, amlctl, environment, serve_run, submitted
from fake_daemon import record


def test_a_request_says_what_to_run_and_where(daemon, tmp_path):
    body, _ = submitted(daemon, "-e", "mnist", "--display-name", "first", "--tag", "a=b", "--tag", "c==",
                        "--cpus", "2", "--max-run-duration", "2h", "--set-env", "X=a=b",
                        "--python", "venv/bin/python", "sub/train.py", "--lr", "0.1", "-d", "--", "-e",
                        cwd=tmp_path)
    assert body["script"] == "sub/train.py"
    assert body["arguments"] == ["--lr", "0.1", "-d", "--", "-e"]
    assert body["source_directory"] == str(tmp_path)
    assert body["experiment_name"] == "mnist" and body["display_name"] == "first"
    assert body["tags"] == {"a": "b", "c": "="}
    assert body["resources"] == {"cpus": 2}
    assert body["max_run_duration_seconds"] == 7200
    assert body["environment"] == {
        "environment_variables": {"X": "a=b"},
        "python": {"user_managed_dependencies": True, "interpreter_path": str(tmp_path / "venv/bin/python")}}
    assert body["submit_environment"] == environment()
    assert "command" not in body and "priority" not in body


def test_what_is_not_given_is_left_to_the_daemon(daemon):
    body, _ = submitted(daemon, "--clean-env", "train.py")
    assert set(body) == {"script", "arguments", "source_directory", "environment", "tags"}
    assert body["environment"]["python"] == {"user_managed_dependencies": True}


def test_a_command_takes_the_place_of_a_script(daemon):
    body, _ = submitted(daemon, "--command", "python a.py && echo $X")
    assert body["command"] == "python a.py && echo $X"
    assert "script" not in body and "arguments" not in body


def test_links_in_the_source_directory_stay(daemon, tmp_path):
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/inner")
    assert submitted(daemon, "-C", "link", "a.py", cwd=tmp_path)[0]["source_directory"] == f"{tmp_path}/link"
    daemon.requests.clear()
    body, _ = submitted(daemon, "-C", "link/..", "a.py", cwd=tmp_path)
    assert body["source_directory"] == f"{tmp_path}/real"


def test_the_command_line_wins_over_the_run_configuration(daemon, tmp_path):
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml/mine.runconfig").write_text(
        "script: file.py\narguments: [--from, file]\nmaxRunDurationSeconds:\nodd: 1\n"
        "environment:\n  name: mine\n  environmentVariables: {A: file, B: file}\n"
        "  python: {userManagedDependencies: true, interpreterPath: ../env/bin/python}\n")
    body, done = submitted(daemon, "-c", "mine", cwd=tmp_path)
    assert (body["script"], body["arguments"]) == ("file.py", ["--from", "file"])
    assert body["max_run_duration_seconds"] is None
    assert body["environment"]["name"] == "mine"
    assert body["environment"]["python"]["interpreter_path"] == str(tmp_path.parent / "env/bin/python")
    assert b'mine.runconfig:4: the key "odd" is not known' in done.stderr
    daemon.requests.clear()
    body, _ = submitted(daemon, "-c", "mine", "--set-env", "A=line", "--python", "python3.11",
                        "--max-run-duration", "5", "other.py", "x", cwd=tmp_path)
    assert (body["script"], body["arguments"]) == ("other.py", ["x"])
    assert body["environment"]["environment_variables"] == {"A": "line", "B": "file"}
    assert body["environment"]["python"]["interpreter_path"] == "python3.11"
    assert body["max_run_duration_seconds"] == 5


def test_a_broken_run_configuration_is_named_with_its_line(daemon, tmp_path):
    (tmp_path / "bad.yml").write_text("script: a.py\n  arguments: [\n")
    done = amlctl(daemon, "run", "-c", "bad.yml", cwd=tmp_path)
    assert done.returncode == 125
    assert re.match(rb"amlctl: .*bad\.yml:\d+:\d+: ", done.stderr)
    assert not daemon.requests


def test_what_is_not_utf8_is_named(daemon):
    done = amlctl(daemon, "run", "a.py", "ok", b"\xff\xfe")
    assert done.returncode == 2 and b"argument 2 is not UTF-8" in done.stderr
    body, done = submitted(daemon, "a.py", env={**environment(), b"BAD": b"\xff", b"GOOD": "é".encode()})
    assert body["submit_environment"]["GOOD"] == "é"
    assert "BAD" not in body["submit_environment"]
    assert done.stderr.count(b"BAD") == 1


# what is answered

def test_warnings_of_the_record_are_said(daemon):
    serve_run(daemon, lambda request: request.connection.bytes(b""),
              post=record(status="Queued", warnings=["the snapshot is large\x1b[31m"]))
    done = amlctl(daemon, "run", "a.py")
    assert b"amlctl: warning: the snapshot is large\\033[31m\n" in done.stderr


def test_errors_of_the_api_are_shown_in_one_line(daemon):
    daemon.handle = lambda request: request.connection.error(400, "BadRequest", "script: no such file", "script")
    done = amlctl(daemon, "run", "a.py")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"amlctl: script: no such file\n"


def test_a_submit_whose_answer_is_cut_is_not_sent_again(daemon):
    daemon.handle = lambda request: request.connection.cut()
    done = amlctl(daemon, "run", "a.py")
    assert done.returncode == 125 and b"amlctl list" in done.stderr
    assert len(daemon.requests) == 1


@pytest.mark.parametrize("how", ["close", "shutdown"])
@pytest.mark.parametrize("size", [10, 1000000])  # what a socket's buffer holds, and what it does not
def test_a_submit_that_was_not_read_is_sent_again(daemon, how, size):
    daemon.unread = [how] * 3
    daemon.handle = lambda request: request.connection.json(record(), 201)
    done = amlctl(daemon, "run", "-d", "a.py", *["x" * 100] * (size // 100))
    assert (done.returncode, done.stdout, done.stderr) == (0, RUN.encode() + b"\n", b"")
    assert len(daemon.requests) == 1 and not daemon.unread


def test_a_submit_that_is_never_read_is_given_up_and_not_in_doubt(daemon):
    daemon.unread = ["close"] * 50
    done = amlctl(daemon, "run", "-d", "a.py")
    assert done.returncode == 125 and b"connection to amlagentd broke" in done.stderr
    assert b"not known" not in done.stderr and not daemon.requests
