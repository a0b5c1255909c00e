# SPDX-License-Identifier: MIT
"""The commands that ask and change: what they send, what they show, and what they make of answers that are wrong."""

import json
import re

import pytest
from client import RUN, amlctl, log_offset, on_terminal
from fake_daemon import record


def test_list_asks_and_shows(daemon):
    runs = [record("exp_2_b", "Failed", error={"code": "UserError", "message": "exit code 1\nTraceback"}),
            record("exp_1_a", display_name="tidy\nname", end_time_utc=None, start_time_utc=None)]
    daemon.handle = lambda request: request.connection.json(runs)
    done = amlctl(daemon, "list", "-e", "a b", "--status", "Failed,Completed", "--tag", "k=v&w", "-n", "5")
    assert daemon.requests[0].target == \
        "/v1/runs?limit=5&experiment_name=a%20b&status=Failed%2CCompleted&tag=k%3Dv%26w"
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["RUN", "EXPERIMENT", "STATUS", "CREATED", "DURATION", "NAME", "/", "ERROR"]
    assert lines[1].startswith("exp_2_b  exp") and lines[1].endswith("UserError: exit code 1")
    assert "3 min 20 s" in lines[1]
    assert lines[2].endswith("tidy")
    assert json.loads(amlctl(daemon, "list", "-o", "json").stdout) == runs
    daemon.handle = lambda request: request.connection.json([])
    done = amlctl(daemon, "list")
    assert (done.stdout, done.stderr) == (b"", b"amlctl: no runs yet\n")


def test_list_fetches_as_many_as_asked(daemon):
    runs = [record(f"exp_{i:05}") for i in range(2500)]

    def handle(request):
        limit = int(re.search(r"limit=(\d+)", request.target).group(1))
        before = re.search(r"before=(\w+)", request.target)
        start = next(i for i, r in enumerate(runs) if r["run_id"] == before.group(1)) + 1 if before else 0
        request.connection.json(runs[start:start + limit])

    daemon.handle = handle
    assert len(json.loads(amlctl(daemon, "list", "-n", "2200", "-o", "json").stdout)) == 2200
    assert json.loads(amlctl(daemon, "list", "-n", "5000", "-o", "json").stdout) == runs


def test_a_terminal_gets_colour_and_lines_that_fit(daemon):
    daemon.handle = lambda request: request.connection.json([record(display_name="n" * 200)])
    _, out = on_terminal(daemon, "list", width=90)
    assert "\033[32mCompleted\033[0m" in out
    plain = re.sub(r"\033\[\d+m", "", out)
    assert max(map(len, plain.splitlines())) == 90 and "…" in plain
    assert b"\033" not in amlctl(daemon, "list").stdout


def test_show_tells_all_that_matters(daemon):
    shown = record(
        status="Failed", exit_code=1, display_name="first try",
        error={"code": "UserError", "message": "exit code 1\nTraceback\n  File \"x\""},
        interpreter={"path": "/usr/bin/python3", "version": "3.11.2"}, tags={"owner": "ana"},
        properties={"azureml.git.branch": "main", "azureml.git.commit": "0123456789abcdef",
                    "azureml.git.dirty": "True", "other": "x"},
        resources_used={"wall_seconds": 1, "user_cpu_seconds": 1.5, "system_cpu_seconds": 0.5,
                        "peak_memory_bytes": 1 << 20},
        warnings=["large"], run_definition={"source_directory": "/home/ana/m", "script": "train.py",
                                            "arguments": ["--name", "it's"], "max_run_duration_seconds": 3600})
    daemon.handle = lambda request: request.connection.json(shown)
    out = amlctl(daemon, "show", RUN).stdout.decode()
    for line in (f"Run:           {RUN}", "Status:        Failed (UserError)", "Cause:         exit code 1",
                 "               Traceback", "Exit code:     1", "Duration:      3 min 20 s",
                 "Script:        train.py --name 'it'\\''s'", "Interpreter:   /usr/bin/python3 (3.11.2)",
                 "Git:           main 0123456789ab (dirty)", "Tags:          owner=ana",
                 "Properties:    other=x", "Warnings:      large", "Time limit:    1 h 00 min",
                 "Used:          2.00 s CPU (1.50 user, 0.50 system), 1.0 MiB peak memory",
                 f"amlctl download {RUN}"):
        assert line in out.splitlines(), line + "\n" + out
    assert "(2026-11-22 20:00:00 UTC)" in out
    assert json.loads(amlctl(daemon, "show", RUN, "-o", "json").stdout) == shown


def test_names_of_runs_are_encoded(daemon):
    daemon.handle = lambda request: request.connection.error(404, "NotFound", "no such run")
    assert amlctl(daemon, "show", "a/../b?c d").returncode == 125
    assert daemon.requests[0].target == "/v1/runs/a%2F..%2Fb%3Fc%20d"


def test_logs_print_a_part_or_follow(daemon):
    text = b"".join(b"line %d\n" % i for i in range(300000))

    def handle(request):
        if "/logs/" not in request.target:
            request.connection.json(record("real_id", log_files={"a": "/v1/a"}))
            return
        assert request.target.startswith("/v1/runs/real_id/logs/")
        request.connection.bytes(text[log_offset(request):] + (b"end\n" if "follow=1" in request.target else b""))

    daemon.handle = handle
    assert amlctl(daemon, "logs", "latest").stdout == text
    assert amlctl(daemon, "logs", "latest", "--tail", "2").stdout == b"line 299998\nline 299999\n"
    assert amlctl(daemon, "logs", "latest", "--tail", "1", "-f").stdout == b"line 299999\nend\n"
    assert amlctl(daemon, "logs", "latest", "--tail", "400000").stdout == text
    amlctl(daemon, "logs", "latest", "logs/a b.txt")
    assert daemon.requests[-1].target == "/v1/runs/real_id/logs/logs/a%20b.txt?offset=0"
    assert json.loads(amlctl(daemon, "logs", "latest", "-o", "json").stdout) == {"a": "/v1/a"}


def test_wait_asks_again_until_the_run_has_ended(daemon):
    def handle(request):
        waits = len([r for r in daemon.requests if "wait=" in r.target])
        request.connection.json(record(status="Completed" if waits > 2 else "Running"))

    daemon.handle = handle
    done = amlctl(daemon, "wait", RUN)
    assert (done.returncode, done.stdout.decode()) == (0, f"{RUN} Completed\n")


def test_wait_for_many_ends_as_the_first_that_did_not_complete(daemon):
    ends = {"a": record("a"), "b": record("b", "Failed", exit_code=3, error={"code": "UserError", "message": "m"}),
            "c": record("c", "Canceled", error={"code": "CanceledByUser", "message": "m"})}
    daemon.handle = lambda request: request.connection.json(ends[request.target[9]])
    assert amlctl(daemon, "wait", "a", "c", "b").returncode == 130
    done = amlctl(daemon, "wait", "a", "b", "c", "-o", "json")
    assert done.returncode == 3
    assert json.loads(done.stdout) == list(ends.values())
    assert json.loads(amlctl(daemon, "wait", "a", "-o", "json").stdout) == ends["a"]


GONE = "amlctl: run {} has been deleted; how it ended is not known"


@pytest.mark.parametrize("gone, status", [("a", 125), ("b", 125), ("c", 3)])
def test_wait_goes_on_when_one_of_the_runs_is_deleted(daemon, gone, status):
    ends = {"a": record("a"), "b": record("b", "Failed", exit_code=3, error={"code": "UserError", "message": "m"}),
            "c": record("c")}

    def handle(request):
        run = request.target[9]
        if run == gone and "wait=" in request.target:
            request.connection.error(404, "NotFound", f'no run "{run}"')
        else:
            request.connection.json(ends[run])

    daemon.handle = handle
    done = amlctl(daemon, "wait", "a", "b", "c")
    assert done.returncode == status, done
    assert done.stdout.decode().splitlines() == [f"{run} {ends[run]['status']}" for run in ends if run != gone]
    assert GONE.format(gone) in done.stderr.decode().splitlines()
    assert json.loads(amlctl(daemon, "wait", "a", "b", "c", "-o", "json").stdout) == [
        ends[run] for run in ends if run != gone]
    assert len(json.loads(amlctl(daemon, "wait", "a" if gone != "a" else "b", gone, "-o", "json").stdout)) == 1
    alone = amlctl(daemon, "wait", gone, "-o", "json")
    assert (alone.returncode, alone.stdout, alone.stderr.decode()) == (125, b"", GONE.format(gone) + "\n")


def test_cancel_of_a_run_that_has_ended_is_no_error(daemon):
    def handle(request):
        if request.target.endswith("/cancel"):
            request.connection.error(409, "Conflict", "has ended")
        else:
            request.connection.json(record())

    daemon.handle = handle
    done = amlctl(daemon, "cancel", "latest")
    assert (done.returncode, done.stderr.decode()) == (0, f"amlctl: run {RUN} has ended: Completed\n")


def test_cancel_can_wait_for_the_end(daemon):
    def handle(request):
        if request.target.endswith("/cancel"):
            request.connection.json(record(status="CancelRequested"), 202)
        else:
            request.connection.json(record(status="Canceled" if "wait=" in request.target else "Running"))

    daemon.handle = handle
    assert b"cancel requested" in amlctl(daemon, "cancel", RUN).stderr
    assert b"has ended: Canceled" in amlctl(daemon, "cancel", "--wait", RUN).stderr


def test_tag_sets_and_removes(daemon):
    daemon.handle = lambda request: request.connection.json(record())
    assert amlctl(daemon, "tag", RUN, "a=b=c", "empty=", "--remove", "gone").returncode == 0
    assert daemon.requests[0].method == "PATCH"
    assert daemon.requests[0].json == {"tags": {"a": "b=c", "empty": "", "gone": None}}


def test_delete_resolves_every_name_first(daemon):
    def handle(request):
        if request.method == "DELETE":
            request.connection.head(204)
        elif request.target.endswith("none"):
            request.connection.error(404, "NotFound", "no run \"none\"")
        else:
            request.connection.json(record(request.target[9:] + "_full"))

    daemon.handle = handle
    assert amlctl(daemon, "delete", "a", "none").returncode == 125
    assert not [r for r in daemon.requests if r.method == "DELETE"]
    assert amlctl(daemon, "delete", "a", "b", "a").stdout == b"a_full\nb_full\n"
    assert [r.target for r in daemon.requests if r.method == "DELETE"] == ["/v1/runs/a_full", "/v1/runs/b_full"]
    assert json.loads(amlctl(daemon, "delete", "a", "-o", "json").stdout) == ["a_full"]


def test_delete_goes_on_when_somebody_else_was_quicker(daemon):
    def handle(request):
        if request.method != "DELETE":
            request.connection.json(record(request.target[9:]))
        elif request.target.endswith("/b"):
            request.connection.error(404, "NotFound", 'no run "b"')
        else:
            request.connection.head(204)

    daemon.handle = handle
    done = amlctl(daemon, "delete", "a", "b", "c")
    assert (done.returncode, done.stdout) == (0, b"a\nc\n"), done
    assert done.stderr == b"amlctl: run b has been deleted already\n"
    assert json.loads(amlctl(daemon, "delete", "a", "b", "c", "-o", "json").stdout) == ["a", "c"]


def test_status_and_version_show_the_daemon(daemon):
    status = {"version": "0.1.0", "pid": 7, "uid": 0, "user": "root", "state_directory": "/s",
              "started_utc": "2026-11-22T20:00:00.000000Z", "max_running_runs": 2, "running": 1, "queued": 3,
              "runs": {"Completed": 5, "Failed": 0}}
    daemon.handle = lambda request: request.connection.json(status)
    out = amlctl(daemon, "status").stdout.decode()
    assert "Running:  1 of at most 2\n" in out and "History:  5 Completed\n" in out and "Failed" not in out
    assert json.loads(amlctl(daemon, "status", "-o", "json").stdout) == status
    assert b"amlagentd 0.1.0 (pid 7)\n" in amlctl(daemon, "version").stdout
    assert json.loads(amlctl(daemon, "version", "-o", "json").stdout)["daemon"] == "0.1.0"


# answers that are wrong

@pytest.mark.parametrize("answer,message", [
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", b"HTTP status 500"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops", b"not JSON"),
    (b"SSH-2.0-OpenSSH_9\r\n", b"does not speak HTTP/1.1"),
])
def test_answers_that_make_no_sense_are_said_so(daemon, answer, message):
    daemon.handle = lambda request: (request.connection.raw(answer), request.connection.cut())
    done = amlctl(daemon, "show", RUN)
    assert done.returncode == 125 and message in done.stderr


def test_a_reading_request_that_is_cut_is_sent_again(daemon):
    def handle(request):
        if len(daemon.requests) < 4:
            request.connection.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            request.connection.cut()
        else:
            request.connection.json(record())

    daemon.handle = handle
    assert json.loads(amlctl(daemon, "show", RUN, "-o", "json").stdout) == record()
