# SPDX-License-Identifier: MIT
"""The run record: every field, for every way to end."""

import datetime
import json
import os
import pwd
import time

import pytest
from harness import GATE_MODULE, PYTHON, RUN_ID, UTC, Gate

KEYS = {
    "run_id", "experiment_name", "display_name", "status", "target", "submitted_by", "created_utc", "queued_utc",
    "start_time_utc", "end_time_utc", "exit_code", "signal", "error", "warnings", "snapshot_id", "tags", "properties",
    "run_definition", "resources_used", "interpreter", "log_files", "parent_run_id", "shared", "held_by", "after",
    "queue_position", "waiting_for", "resources_granted",
}  # fmt: skip
TIMES = ("created_utc", "queued_utc", "start_time_utc", "end_time_utc")
DEFINITION = {
    "experiment_name", "display_name", "source_directory", "script", "arguments", "command", "compute_target",
    "environment", "distributed_job_config", "max_run_duration_seconds", "resources", "priority", "share", "hold", "after", "tags",
    "properties",
}  # fmt: skip


def check(record):
    """What holds for every record."""
    assert set(record) == KEYS, set(record) ^ KEYS
    assert RUN_ID.match(record["run_id"]) and record["run_id"].startswith(record["experiment_name"] + "_")
    assert record["target"] == "local"
    assert record["submitted_by"] == pwd.getpwuid(os.getuid()).pw_name
    for key in TIMES:
        assert record[key] is None or UTC.match(record[key]), (key, record[key])
    known = [record[key] for key in TIMES if record[key] is not None]
    assert known == sorted(known), known
    assert isinstance(record["warnings"], list) and all(isinstance(w, str) for w in record["warnings"])
    assert isinstance(record["tags"], dict) and isinstance(record["properties"], dict)
    assert record["error"] is None or set(record["error"]) == {"code", "message"}
    assert DEFINITION <= set(record["run_definition"]), DEFINITION - set(record["run_definition"])
    assert "submit_environment" not in record["run_definition"]
    assert record["parent_run_id"] is None
    seconds = int(record["run_id"].split("_")[-2])
    assert abs(seconds - time.time()) < 3600
    return record


def utc(text):
    return datetime.datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=datetime.timezone.utc).timestamp()


def test_the_record_of_a_run_that_completed(shared):
    began = time.time()
    run = shared.submit("print('x')", tags={"a": "b"}, properties={"p": "q"}, display_name="my run")
    record = check(shared.ended(run))
    assert (record["status"], record["exit_code"], record["signal"], record["error"]) == ("Completed", 0, None, None)
    assert record["tags"] == {"a": "b"} and record["properties"] == {"p": "q"}
    assert record["display_name"] == "my run" and record["warnings"] == []
    assert all(record[key] for key in TIMES)
    assert began - 0.1 <= utc(record["created_utc"]) <= utc(record["end_time_utc"]) <= time.time() + 0.1
    assert record["interpreter"]["path"] and record["interpreter"]["version"]
    assert record["snapshot_id"].startswith("sha256:")


def test_the_record_of_a_run_that_failed(shared):
    record = check(shared.finish("print('context')\nraise ValueError('the cause of it all')"))
    assert (record["status"], record["exit_code"], record["signal"]) == ("Failed", 1, None)
    assert record["error"]["code"] == "UserError"
    assert "ValueError: the cause of it all" in record["error"]["message"]


def test_the_record_of_a_run_that_was_killed(shared):
    record = check(shared.finish("import os; os.kill(os.getpid(), 11)"))
    assert (record["status"], record["exit_code"], record["signal"]) == ("Failed", None, 11)
    assert record["error"]["code"] == "Killed"
    assert "11" in record["error"]["message"] or "SEGV" in record["error"]["message"]


def test_the_record_of_a_run_that_could_not_be_set_up(shared):
    record = check(shared.finish("", environment={"python": {"interpreter_path": "/nowhere/python"}}))
    assert (record["status"], record["exit_code"], record["signal"]) == ("Failed", None, None)
    assert record["error"]["code"] == "SetupError" and "/nowhere/python" in record["error"]["message"]
    assert record["created_utc"] and record["queued_utc"] and record["end_time_utc"]
    assert record["start_time_utc"] is None
    assert record["snapshot_id"]


def test_the_record_of_a_run_that_waits_and_of_one_that_runs(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    gate = Gate(daemon.root, "gate")
    first = daemon.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    record = check(daemon.running(first))
    assert record["start_time_utc"] and record["end_time_utc"] is None and record["exit_code"] is None
    assert record["error"] is None and record["interpreter"]["path"]
    record = check(daemon.record(daemon.submit("")))
    assert record["status"] == "Queued" and record["queued_utc"] and record["start_time_utc"] is None
    gate.open()
    daemon.ended(record["run_id"])


def test_the_answer_to_the_submit_is_the_record(shared):
    answer = shared.post("")
    assert answer.status == 201
    record = check(answer.json)
    assert record["status"] in ("NotStarted", "Queued", "Preparing", "Starting", "Running")
    shared.ended(record["run_id"])


def test_the_definition_is_the_request_with_its_defaults(shared):
    source = shared.source()
    record = shared.finish(
        source_directory=str(source), script="main.py", arguments=["--lr", 0.1, 7, -1, 1e-05, 10**15],
        submit_environment={"PATH": "/usr/bin", "SECRET": "x"}, environment={"environment_variables": {"A": "1"}},
    )  # fmt: skip
    definition = record["run_definition"]
    assert definition["script"] == "main.py" and definition["command"] is None
    assert definition["source_directory"] == str(source)
    assert definition["experiment_name"] == source.name
    assert definition["arguments"][:4] == ["--lr", "0.1", "7", "-1"]
    assert float(definition["arguments"][4]) == 1e-05 and float(definition["arguments"][5]) == 1e15
    assert definition["compute_target"] == "local" and definition["distributed_job_config"] is None
    assert definition["max_run_duration_seconds"] == 2592000 and definition["priority"] == 0
    assert definition["resources"] == {"cpus": 1, "gpus": 0, "memory_bytes": None}
    assert definition["environment"]["environment_variables"] == {"A": "1"}
    assert definition["tags"] == {} and definition["properties"] == {}


def test_the_definition_of_one_run_submits_another(shared):
    first = shared.finish("import sys; print(sys.argv)", arguments=["a", 1], tags={"k": "v"})
    answer = shared.api("POST", "/v1/runs", first["run_definition"])
    assert answer.status == 201, answer
    assert answer.json["run_definition"] == first["run_definition"]
    shared.ended(answer.json["run_id"])


def test_resources_used_are_plausible(shared):
    script = (
        "import os, time\nx = bytearray(150 << 20)\n"
        "end = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(0.3)\n"
    )
    used = shared.finish(script)["resources_used"]
    assert set(used) == {"wall_seconds", "user_cpu_seconds", "system_cpu_seconds", "peak_memory_bytes"}
    assert 0.8 <= used["wall_seconds"] < 20
    assert 0.3 <= used["user_cpu_seconds"] + used["system_cpu_seconds"] < 5
    assert 150 << 20 <= used["peak_memory_bytes"] < 400 << 20


def test_resources_used_count_child_processes(shared):
    script = (
        "import subprocess, sys\n"
        "code = 'import time\\nx = bytearray(100 << 20)\\nend = time.process_time() + 0.4\\n"
        "while time.process_time() < end: pass'\n"
        "subprocess.run([sys.executable, '-c', code])\n"
    )
    used = shared.finish(script)["resources_used"]
    assert used["user_cpu_seconds"] + used["system_cpu_seconds"] >= 0.4
    assert used["peak_memory_bytes"] >= 100 << 20


def test_resources_used_are_known_also_when_the_run_was_killed(shared):
    used = shared.finish("import time; time.sleep(1000)", max_run_duration_seconds=1)["resources_used"]
    assert 0.9 <= used["wall_seconds"] < 20


def test_log_files_name_the_log_and_its_route(shared):
    record = shared.finish("print('in the log')\nopen('logs/own.log', 'w').write('mine')")
    route = record["log_files"]["user_logs/std_log.txt"]
    answer = shared.api("GET", route)
    assert (answer.status, answer.body) == (200, b"in the log\n")
    for name, route in record["log_files"].items():
        assert shared.api("GET", route).status == 200, name
    assert shared.api("GET", f"/v1/runs/{record['run_id']}/logs/logs/own.log").body == b"mine"


def test_the_last_lines_of_the_log_are_in_the_message(shared):
    record = shared.finish("for i in range(10000): print('line', i)\nraise SystemExit(4)")
    assert record["exit_code"] == 4
    message = record["error"]["message"]
    assert "line 9999" in message and "line 9998" in message and "line 10\n" not in message
    assert len(message) < 20000


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.stdout.buffer.write(b'x' * (5 << 20)); sys.exit(1)",
        "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300); sys.exit(1)",
        "import sys; sys.stdout.buffer.write(b'\\xc3' * 70001); sys.exit(1)",
        "import sys; sys.stdout.buffer.write('é€😀'.encode() * 20000); sys.exit(1)",
        "import sys; sys.stdout.buffer.write(b'\\0' * 1000 + b'\\x1b[31mred\\x1b[0m'); sys.exit(1)",
        "raise SystemExit(1)",
    ],
)
def test_any_log_makes_a_message_of_modest_size_in_utf_8(shared, script):
    run = shared.finish(script)["run_id"]
    answer = shared.api("GET", f"/v1/runs/{run}")
    record = check(json.loads(answer.body.decode("utf-8", errors="strict")))
    assert record["error"]["code"] == "UserError" and len(answer.body) < 100000
    done = shared.amlctl("show", run)
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"\0" not in done.stdout, done.stdout[-500:]


def test_times_are_those_of_the_script(shared):
    record = shared.finish("import time; print(time.time()); time.sleep(0.4); print(time.time())")
    first, last = map(float, shared.std_log(record["run_id"]).split())
    assert utc(record["start_time_utc"]) <= first < last <= utc(record["end_time_utc"]) + 0.05
    assert first - utc(record["start_time_utc"]) < 20


def test_exit_status_of_a_script_that_closed_its_output(shared):
    assert shared.finish("import os; os.close(1); os.close(2); os._exit(5)")["exit_code"] == 5


def test_a_script_that_removes_its_own_working_directory(shared):
    record = shared.finish("import shutil, os; shutil.rmtree(os.getcwd())")
    check(record)
    assert record["status"] in ("Completed", "Failed"), record
    if record["status"] == "Failed":
        assert record["error"]["code"] == "OutputError", record


def test_outputs_that_cannot_be_stored_are_an_output_error(shared):
    record = shared.finish("import os; os.rmdir('outputs'); open('outputs', 'w').write('a file')")
    check(record)
    assert record["status"] in ("Completed", "Failed")
    if record["status"] == "Failed":
        assert record["error"]["code"] == "OutputError", record


def test_records_survive_a_restart_to_the_letter(daemon):
    runs = [daemon.finish("print(1)", tags={"é": "ü\n"})["run_id"], daemon.finish("raise SystemExit(3)")["run_id"]]
    before = [daemon.record(run) for run in runs]
    assert daemon.terminate() == 0
    daemon.start()
    assert [daemon.record(run) for run in runs] == before
    assert [record["run_id"] for record in daemon.api("GET", "/v1/runs").json] == runs[::-1]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_daemon_of_another_user_runs_scripts_as_that_user(make_daemon):
    daemon = make_daemon(user=65534)
    record = daemon.finish("import os; print(os.getuid(), os.getgid(), os.getgroups())")
    assert record["status"] == "Completed", record
    assert daemon.std_log(record["run_id"]) == b"65534 65534 []\n"
    assert record["submitted_by"] in ("nobody", "root")


def test_the_interpreter_of_the_record_is_the_one_that_ran(shared):
    record = shared.finish("import sys; print('%d.%d.%d' % sys.version_info[:3])",
                           environment={"python": {"interpreter_path": PYTHON}})  # fmt: skip
    assert shared.std_log(record["run_id"]).decode().strip() == record["interpreter"]["version"]
