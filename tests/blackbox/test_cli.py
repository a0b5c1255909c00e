# SPDX-License-Identifier: MIT
"""amlctl besides run: help, output, tables, wrong usage."""

import json
import os
import re
import subprocess

import pytest
from harness import AMLAGENTD, AMLCTL, ESCAPE, GATE_MODULE, Gate, one_line_error, without_silence

COMMANDS = ["run", "list", "show", "logs", "wait", "cancel", "files", "download", "snapshot", "tag", "delete", "status",
            "version"]  # fmt: skip
OPTIONS = {
    "run": ["--experiment", "-e", "--source-directory", "-C", "--run-configuration", "-c", "--python", "--set-env",
            "--max-run-duration", "--cpus", "--tag", "--display-name", "--command", "--clean-env", "--detach", "-d"],
    "list": ["-e", "--status", "--tag", "-n", "--output", "-o"],
    "show": ["--output", "-o"],
    "logs": ["-f"],
    "wait": [],
    "cancel": [],
    "files": ["--output", "-o"],
    "download": ["-o"],
    "snapshot": ["-o"],
    "tag": [],
    "delete": [],
    "status": ["--output", "-o"],
    "version": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(shared):
    """A run of each end, oldest first: {name: id}"""
    made = {}
    made["completed"] = shared.finish("open('outputs/x', 'w').write('xx')", experiment_name="short", tags={"k": "v"})
    made["failed"] = shared.finish("print('oh')\nraise SystemExit(3)", experiment_name="a-rather-long-name-of-an-experiment")
    made["limit"] = shared.finish("import time; time.sleep(100)", max_run_duration_seconds=1, experiment_name="mid",
                                  display_name="Ünïcode 日本 name")  # fmt: skip
    made["setup"] = shared.finish("", environment={"python": {"interpreter_path": "/nowhere"}}, experiment_name="mid")
    return {name: record["run_id"] for name, record in made.items()}


# -- help and usage -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option(shared, command):
    done = shared.amlctl(command, "--help")
    assert done.returncode == 0 and done.stderr == b"", done
    text = done.stdout.decode()
    for option in OPTIONS[command]:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), (option, text)
    assert ESCAPE not in done.stdout
    assert all(len(line) <= 100 for line in text.splitlines()), text


def test_help_of_the_whole_names_every_command(shared):
    for arguments in (["--help"], ["-h"]):
        done = shared.amlctl(*arguments)
        assert done.returncode == 0, done
        for command in COMMANDS:
            assert re.search(rf"\b{command}\b", done.stdout.decode()), command


def test_help_and_version_need_no_daemon(scratch):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(scratch), "XDG_RUNTIME_DIR": str(scratch), "AMLAGENT_SOCKET": str(scratch / "s")}
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = subprocess.run([AMLCTL, *arguments], env=env, capture_output=True, timeout=20)
        assert done.returncode == 0 and done.stdout, done
    assert os.listdir(scratch) == []


@pytest.mark.parametrize(
    "arguments, hint",
    [(["lst"], "list"), (["nonsense"], "help"), (["list", "--nonsense"], "help"), (["show"], "help"),
     (["show", "a", "b"], "help"), (["tag", "latest"], "help"), (["list", "-o", "xml"], "json"),
     (["list", "-n", "x"], ""), (["list", "-n"], ""), (["wait"], "help"), (["--nonsense", "list"], "help"),
     (["status", "surplus"], "help"), (["tag", "latest", "novalue"], "")],
)  # fmt: skip
def test_wrong_usage_exits_with_2_and_a_hint(shared, runs, arguments, hint):
    done = shared.amlctl(*arguments)
    assert done.returncode == 2 and done.stdout == b"", done
    assert hint in done.stderr.decode() and len(done.stderr.splitlines()) <= 4, done


def test_version_says_the_version_of_both(shared):
    text = shared.ok("version")
    assert re.search(r"\d+\.\d+", text)
    assert subprocess.run([AMLAGENTD, "--version"], capture_output=True).stdout
    assert isinstance(shared.json("version"), dict)


def test_the_daemon_has_help_and_checks_its_configuration(scratch):
    done = subprocess.run([AMLAGENTD, "--help"], capture_output=True, timeout=20)
    assert done.returncode == 0 and b"--state-dir" in done.stdout and b"--config" in done.stdout
    good, wrong = scratch / "good.conf", scratch / "wrong.conf"
    good.write_text("# fine\nmax_running_runs = 3\n\nstop_grace_seconds = 1m\n")
    assert subprocess.run([AMLAGENTD, "--check-config", "--config", good], capture_output=True, timeout=20).returncode == 0
    for line, name in (("max_running_runs = many", "max_running_runs"), ("unknown_key = 1", "unknown_key"), ("no equals", "wrong.conf")):
        wrong.write_text(f"# comment\n{line}\n")
        done = subprocess.run([AMLAGENTD, "--check-config", "--config", wrong], capture_output=True, timeout=20)
        assert done.returncode != 0 and b"wrong.conf:2" in done.stderr and name.encode() in done.stderr, done


# -- JSON -----------------------------------------------------------------------------------------


def test_json_is_the_apis_own(shared, runs):
    run = runs["completed"]
    assert shared.json("show", run) == shared.record(run)
    assert shared.json("list") == shared.api("GET", "/v1/runs").json
    assert shared.json("files", run) == shared.api("GET", f"/v1/runs/{run}/artifacts").json
    status, own = shared.json("status"), shared.api("GET", "/v1/status").json
    assert status == own
    mine = [record["run_id"] for record in shared.json("list", "-n", "1000") if record["run_id"] in runs.values()]
    assert mine == list(runs.values())[::-1]


def test_json_of_what_changes_something_is_the_record(shared):
    run = shared.finish("")["run_id"]
    assert shared.json("tag", run, "a=b", "c=d=e")["tags"] == {"a": "b", "c": "d=e"}
    told = shared.json("wait", run)
    assert (told[0] if isinstance(told, list) else told)["run_id"] == run
    live = shared.submit("import time; time.sleep(1000)")
    told = shared.json("cancel", live)
    assert (told[0] if isinstance(told, list) else told)["run_id"] == live
    shared.ended(live)
    assert shared.amlctl("delete", run, "-o", "json").returncode == 0


def test_options_may_stand_before_and_after_the_run(shared, runs):
    run = runs["completed"]
    assert shared.ok("show", "-o", "json", run) == shared.ok("show", run, "--output=json") == shared.ok("show", run, "-ojson")


def test_an_empty_list_is_an_empty_array(daemon):
    assert daemon.json("list") == []
    done = daemon.amlctl("list")
    assert done.returncode == 0


# -- tables ---------------------------------------------------------------------------------------


def test_list_is_a_table_whose_columns_are_aligned(shared, runs):
    lines = shared.ok("list").rstrip("\n").split("\n")
    assert len(lines) == len(shared.json("list")) + 1
    header = lines[0]
    starts = [match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", header)]
    assert len(starts) >= 4
    for line in lines[1:]:
        cells = line.ljust(200)
        for start in starts[1:]:
            assert cells[start - 1] == " ", (start, header, line)
        assert any(status in line for status in ("Completed", "Failed", "Canceled")), line
        assert line == line.rstrip() and "\t" not in line
    assert all(run in "\n".join(lines) for run in runs.values())


def test_list_says_how_long_ago(shared, runs):
    assert re.search(r"\d+ ?(s|sec|seconds?|m|min|minutes?|h|d)\b|now|ago", shared.ok("list"))


def test_list_filters(shared, runs):
    assert [r["run_id"] for r in shared.json("list", "-e", "mid")] == [runs["setup"], runs["limit"]]
    assert [r["run_id"] for r in shared.json("list", "--status", "Canceled", "-e", "mid")] == [runs["limit"]]
    assert [r["run_id"] for r in shared.json("list", "--tag", "k=v", "-e", "short")] == [runs["completed"]]
    assert [r["run_id"] for r in shared.json("list", "-n", "1")] == [shared.json("list")[0]["run_id"]]
    assert len(shared.json("list", "-n", "1000")) >= 4
    assert shared.amlctl("list", "--status", "Nonsense").returncode in (2, 125)


def test_show_tells_what_matters(shared, runs):
    text = shared.ok("show", runs["failed"])
    for word in (runs["failed"], "Failed", "3", "oh", "UserError", "main.py"):
        assert word in text, (word, text)
    assert "/nowhere" in shared.ok("show", runs["setup"])
    assert "MaxRunDurationExceeded" in shared.ok("show", runs["limit"])


@pytest.mark.parametrize("command", ["list", "show", "files", "status"])
def test_no_escape_codes_where_there_is_no_terminal(shared, runs, command):
    arguments = [command] + ([runs["failed"]] if command in ("show", "files") else [])
    done = shared.amlctl(*arguments, env={"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    assert done.returncode == 0 and ESCAPE not in done.stdout + done.stderr and b"\r" not in done.stdout, done
    assert done.stdout


def test_on_a_terminal_the_same_is_said_with_colour_at_most(shared, runs):
    bare = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", shared.on_terminal("list"))
    assert b"\x1b" not in bare
    for run in runs.values():
        assert run.encode() in bare or run[:10].encode() in bare


def test_no_color_is_honoured(shared, runs):
    assert ESCAPE not in shared.on_terminal("list", env={"NO_COLOR": "1"})


def test_escape_codes_in_names_and_tags_do_not_reach_the_terminal(shared):
    evil = "\x1b]0;owned\x07\x1b[2Jname"
    run = shared.finish("raise SystemExit(1)", display_name=evil, tags={"t": evil})["run_id"]
    for arguments in (["list"], ["show", run]):
        done = shared.amlctl(*arguments)
        assert done.returncode == 0 and ESCAPE not in done.stdout and b"\x07" not in done.stdout, done
    bare = re.sub(rb"\x1b\[[0-9;]*m", b"", shared.on_terminal("list"))
    assert ESCAPE not in bare
    assert shared.json("show", run)["display_name"] == evil


def test_status_tells_about_the_daemon(shared, runs):
    text = shared.ok("status")
    assert str(shared.process.pid) in text and str(shared.state) in text


# -- logs and wait --------------------------------------------------------------------------------


def test_logs_prints_the_log_and_nothing_else(shared):
    run = shared.finish("import sys; sys.stdout.buffer.write(bytes(range(256)))")["run_id"]
    assert shared.amlctl("logs", run).stdout == bytes(range(256))
    assert shared.amlctl("logs", "-f", run).stdout == bytes(range(256))


def test_logs_of_a_running_run_ends_and_with_follow_goes_on(shared):
    gate = Gate(shared.root, "logs.gate")
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": f"print('one')\n{gate.code}\nprint('two')"})
    process = shared.popen("logs", "-f", run)
    assert process.stdout.readline() == b"one\n"
    done = shared.amlctl("logs", run)
    assert (done.returncode, done.stdout) == (0, b"one\n"), done
    gate.open()
    assert process.communicate(timeout=20)[0] == b"two\n" and process.returncode == 0


def test_logs_follow_does_not_exit_with_the_status_of_the_script(shared, runs):
    """Exit statuses of the script are for run and wait (section 3)."""
    assert shared.amlctl("logs", "-f", runs["failed"]).returncode == 0


def test_logs_of_a_run_that_never_started(shared, runs):
    done = shared.amlctl("logs", runs["setup"])
    assert done.stdout == b"" and done.returncode in (0, 125), done


def test_wait_exits_as_run_would(shared, runs):
    statuses = {name: shared.amlctl("wait", run).returncode for name, run in runs.items()}
    assert statuses == {"completed": 0, "failed": 3, "limit": 124, "setup": 125}


def test_wait_for_many(shared, runs):
    gates = [Gate(shared.root, f"many{i}") for i in range(2)]
    ids = [shared.submit({"gate.py": GATE_MODULE, "main.py": gate.code}) for gate in gates]
    process = shared.popen("wait", *ids)
    gates[0].open()
    shared.ended(ids[0])
    assert process.poll() is None
    gates[1].open()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert shared.amlctl("wait", ids[0], runs["failed"]).returncode != 0


# -- the small ones -------------------------------------------------------------------------------


def test_tag_adds_and_changes(shared):
    run = shared.finish("", tags={"a": "1"})["run_id"]
    shared.ok("tag", run, "a=2", "b=x y=z", "c=")
    assert shared.record(run)["tags"] == {"a": "2", "b": "x y=z", "c": ""}


def test_delete_takes_many_and_says_what_it_could_not(shared):
    runs = [shared.finish("")["run_id"] for _ in range(3)]
    assert shared.amlctl("delete", runs[0], runs[1]).returncode == 0
    message = one_line_error(shared.amlctl("delete", runs[0]))
    assert runs[0] in message
    live = shared.submit("import time; time.sleep(1000)")
    assert live in one_line_error(shared.amlctl("delete", live))
    shared.ok("cancel", live)
    shared.ended(live)
    assert shared.record(runs[2])


@pytest.mark.parametrize("command", ["show", "logs", "wait", "cancel", "files", "download", "snapshot", "delete"])
def test_a_run_that_is_not_there_is_named_in_one_line(shared, scratch, command):
    options = ["-o", scratch / "x"] if command in ("download", "snapshot") else []
    message = one_line_error(shared.amlctl(command, "no-such-run", *options))
    assert "no-such-run" in message
    assert not (scratch / "x").exists() or os.listdir(scratch / "x") == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", "%", "a b", "é", "x" * 5000, "latest/", "?", "#"])
def test_a_run_name_that_is_none_is_an_error_not_a_crash(shared, runs, name):
    done = shared.amlctl("show", name)
    assert done.returncode in (2, 125) and done.stderr and done.stdout == b"", done


def test_an_ambiguous_prefix_is_an_error(shared, runs):
    message = one_line_error(shared.amlctl("show", "mid_"))
    assert "mid_" in message


def test_a_full_disk_behind_stdout_is_an_error(shared, runs):
    with open("/dev/full", "wb") as full:
        process = shared.popen("list", stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 125 and without_silence(err).count(b"\n") == 1, (process.returncode, err)
    run = shared.finish("print('x' * 100000)")["run_id"]
    with open("/dev/full", "wb") as full:
        process = shared.popen("logs", run, stdout=full)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 125 and without_silence(err).count(b"\n") == 1, (process.returncode, err)


def test_a_reader_that_went_is_no_drama(shared, runs):
    run = shared.finish("print('x' * 3000000)")["run_id"]
    process = shared.popen("logs", run)
    process.stdout.read(1)
    process.stdout.close()
    process.wait(20)
    assert without_silence(process.stderr.read()) == b"" and process.returncode in (0, 141, -13)
    process.stderr.close()


def test_no_daemon_is_one_line_that_says_what_to_do(make_daemon):
    daemon = make_daemon(start=False)
    for command in COMMANDS:
        if command in ("version",):
            continue
        operand = {"list": [], "status": [], "run": ["main.py"], "tag": ["latest", "a=b"]}.get(command, ["latest"])
        one_line_error(daemon.amlctl("--no-autostart", command, *operand, cwd=daemon.source()))


def test_output_is_json_also_for_hostile_names(shared):
    run = shared.finish("raise SystemExit(1)", display_name='"\\\n\t\0'.replace("\0", "") + "é😀", tags={"\n": "\\"})["run_id"]
    record = json.loads(shared.ok("show", run, "-o", "json"))
    assert record["display_name"] == '"\\\n\té😀' and record["tags"] == {"\n": "\\"}
