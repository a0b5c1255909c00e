# SPDX-License-Identifier: MIT
"""amlctl on the wire: what it sends, and what it makes of answers that are late, cut or wrong."""

import contextlib
import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest
from client import AMLCTL, LIMIT, RUN, amlctl, command, environment, log_offset, on_terminal, serve_run, submitted
from fake_daemon import record
from harness import files_of, quote, tree_of, without_silence

ROOT = Path(__file__).resolve().parents[2]


# run: what it sends

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


# run: what comes back

def test_stdout_is_the_log_and_the_status_is_the_scripts(daemon):
    log = bytes(range(256)) * 1000
    serve_run(daemon, lambda request: request.connection.chunked(log[:7], log[7:70000], log[70000:]),
              record(status="Failed", exit_code=7, error={"code": "UserError", "message": "exit code 7; the log ends with:\nlast line"}))
    done = amlctl(daemon, "run", "a.py")
    assert done.returncode == 7
    assert done.stdout == log
    assert done.stderr.decode().splitlines() == [
        f"amlctl: run {RUN}",
        f"amlctl: run {RUN}: Failed (UserError): exit code 7; `amlctl show {RUN}` tells more"]
    # A log that is late may be asked about on another.
    kept = [r for r in daemon.requests if r.method == "POST" or "/logs/" in r.target or "wait=" in r.target]
    assert len(kept) >= 3 and len({r.connection for r in kept}) == 1


ENDINGS = [
    ("Completed", 0, None, None, 0),
    ("Failed", 3, None, "UserError", 3),
    ("Failed", None, 9, "Killed", 137),
    ("Failed", None, 9, "OutOfMemory", 137),
    ("Failed", 0, None, "OutputError", 125),
    ("Failed", None, None, "SetupError", 125),
    ("Failed", None, None, "Lost", 125),
    ("Failed", None, None, "SomethingNew", 125),
    ("Failed", 0, None, None, 125),
    ("Canceled", None, 15, "MaxRunDurationExceeded", 124),
    ("Canceled", 0, None, "CanceledByUser", 130),
]


@pytest.mark.parametrize("status,exit_code,signal_number,code,expected", ENDINGS)
def test_exit_status_tells_what_ended_the_run(daemon, status, exit_code, signal_number, code, expected):
    error = {"code": code, "message": "why"} if code else None
    final = record(status=status, exit_code=exit_code, signal=signal_number, error=error)
    serve_run(daemon, lambda request: request.connection.bytes(b""), final)
    assert amlctl(daemon, "run", "a.py").returncode == expected
    assert amlctl(daemon, "wait", RUN).returncode == expected


def test_a_run_without_a_log_still_tells_its_end(daemon):
    serve_run(daemon, lambda request: request.connection.error(404, "NotFound", "no such log"),
              record(status="Failed", exit_code=None, error={"code": "SetupError", "message": "no python at /x"}))
    done = amlctl(daemon, "run", "a.py")
    assert done.returncode == 125 and b"no python at /x" in done.stderr
    assert b"no such log" not in done.stderr


def test_a_run_that_was_deleted_while_it_was_followed_does_not_go_on(daemon):
    def handle(request):
        if request.method == "POST":
            request.connection.json(record(status="Queued"), 201)
        elif "/logs/" in request.target:
            request.connection.bytes(b"hello\n")
        else:
            request.connection.error(404, "NotFound", f'no run "{RUN}"; `amlctl list` shows what there is', "run_id")

    daemon.handle = handle
    done = amlctl(daemon, "run", "a.py")
    assert (done.returncode, done.stdout) == (125, b"hello\n"), done
    assert done.stderr.decode().splitlines() == [
        f"amlctl: run {RUN}", f"amlctl: run {RUN} has been deleted; how it ended is not known"]


def test_warnings_of_the_record_are_said(daemon):
    serve_run(daemon, lambda request: request.connection.bytes(b""),
              post=record(status="Queued", warnings=["the snapshot is large\x1b[31m"]))
    done = amlctl(daemon, "run", "a.py")
    assert b"amlctl: warning: the snapshot is large\\033[31m\n" in done.stderr


def test_no_byte_is_lost_or_repeated_when_connections_break(daemon):
    log = os.urandom(300_000)
    cuts = iter([0, 1, 17, 65536, 100_000, 250_000])

    def answer(request):
        start = log_offset(request)
        stop = next(cuts, None)
        piece = log[start:stop]
        request.connection.chunked(*([piece] if piece else []), end=stop is None)
        if stop is not None:
            request.connection.cut()

    serve_run(daemon, answer)
    done = amlctl(daemon, "run", "a.py")
    assert done.returncode == 0
    assert done.stdout == log


def test_a_chunk_cut_in_its_middle_is_not_repeated(daemon):
    log = bytes(range(200))

    def answer(request):
        start = log_offset(request)
        request.connection.head(200, "Transfer-Encoding: chunked")
        request.connection.raw(b"%x\r\n%s" % (len(log) - start, log[start:start + 60]))
        if start + 60 < len(log):
            request.connection.cut()
        else:
            request.connection.raw(b"\r\n0\r\n\r\n")

    serve_run(daemon, answer)
    assert amlctl(daemon, "run", "a.py").stdout == log


def test_a_daemon_that_is_away_for_a_moment_is_waited_for(daemon):
    state = {"cut": False}

    def answer(request):
        if state["cut"]:
            request.connection.chunked(b"second")
            return
        state["cut"] = True
        request.connection.chunked(b"first ", end=False)
        daemon.close()
        request.connection.cut()

    serve_run(daemon, answer)
    process = subprocess.Popen(command(daemon, "--no-autostart", "run", "a.py"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment())
    while not state["cut"] or os.path.exists(daemon.path):
        time.sleep(0.01)
    time.sleep(0.4)
    daemon.listen()
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (0, b"first second"), err


# a daemon that is silent

def start(daemon, *args):
    return subprocess.Popen(command(daemon, "--no-autostart", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=environment())


def next_line(process):
    """Of stderr, past those that say which run it is."""
    while (line := process.stderr.readline().decode()).startswith("amlctl: run "):
        pass
    return line


def silence_of(daemon):
    return f"amlctl: amlagentd does not answer at {daemon.path}; waiting for it\n"


def refuse_all(daemon):
    """All connections break, as if it had been killed."""
    daemon.close()
    for request in daemon.requests:
        with contextlib.suppress(OSError):
            request.connection.cut()


@pytest.mark.parametrize("args", [("logs", "-f", RUN), ("wait", RUN), ("run", "a.py"), ("show", RUN)])
def test_one_who_waits_for_a_daemon_that_is_gone_is_told_and_goes_on(daemon, args):
    def handle(request):
        if gone.is_set():
            answer(request)
        elif "/logs/" in request.target:
            request.connection.chunked(b"first ", end=False)
            asked.set()
        elif "wait=" in request.target or args[0] == "show":
            asked.set()
        else:
            request.connection.json(record(status="Running"), 201 if request.method == "POST" else 200)

    def answer(request):
        if "/logs/" in request.target:
            assert log_offset(request) == 6
            request.connection.chunked(b"second")
        else:
            request.connection.json(record())

    asked, gone = threading.Event(), threading.Event()
    daemon.handle = handle
    process = start(daemon, *args)
    assert asked.wait(LIMIT)
    if args[0] in ("logs", "run"):
        assert process.stdout.read(6) == b"first "
    gone.set()
    refuse_all(daemon)
    assert next_line(process) == silence_of(daemon)
    daemon.listen()
    assert next_line(process) == "amlctl: amlagentd answers again\n"
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, without_silence(err)) == (0, b""), err
    assert out == {"logs": b"second", "run": b"second", "wait": f"{RUN} Completed\n".encode()}.get(args[0], out)
    assert b"amlagentd" not in out


@pytest.mark.parametrize("args", [("status",), ("logs", "-f", RUN), ("wait", RUN), ("run", "a.py"), ("cancel", RUN)])
def test_one_who_waits_for_a_daemon_that_hangs_is_told(daemon, args):
    """Not even /healthz is answered: as when it is stopped."""
    def handle(request):
        if args[0] in ("logs", "wait") and request.target == f"/v1/runs/{RUN}":
            request.connection.json(record(status="Running"))
        else:
            goes_on.wait(LIMIT)
            with contextlib.suppress(OSError):
                if "/logs/" in request.target:
                    request.connection.bytes(b"log")
                else:
                    request.connection.json(record())

    goes_on = threading.Event()
    daemon.handle, daemon.lives = handle, False
    process = start(daemon, *args)
    assert next_line(process) == silence_of(daemon)
    goes_on.set()
    assert next_line(process) == "amlctl: amlagentd answers again\n"
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


@pytest.mark.parametrize("args", [("show", RUN), ("wait", RUN), ("run", "a.py"), ("cancel", RUN)])
def test_a_long_answer_is_no_silence(daemon, args):
    """It is asked whether it lives, and does; nobody is bothered."""
    def handle(request):
        if request.target == "/healthz":
            request.connection.json({"status": "ok"})
            lives.set()
            return
        if not request.target.startswith("/v1/runs/" + RUN) or "wait=" in request.target or args[0] in ("show", "cancel"):
            assert lives.wait(LIMIT)
        if "/logs/" in request.target:
            request.connection.bytes(b"")
        else:
            ended = args[0] in ("show", "cancel") or "wait=" in request.target
            request.connection.json(record(status="Completed" if ended else "Running"))

    lives = threading.Event()
    daemon.handle, daemon.lives = handle, False
    for _ in range(5):  # the machine may be busy, and /healthz late: the best of five
        lives.clear()
        process = start(daemon, *args)
        _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0 and lives.is_set(), err
        if b"amlagentd" not in err:
            return
    raise AssertionError(err)


def test_a_reading_command_gives_a_silent_daemon_up(daemon):
    never = threading.Event()
    daemon.handle, daemon.lives = lambda request: never.wait(2 * LIMIT), False
    process = start(daemon, "list")
    out, err = process.communicate(timeout=2 * LIMIT)
    never.set()
    assert (process.returncode, out) == (125, b""), err
    assert err.decode().startswith(silence_of(daemon)), err
    assert f"amlagentd at {daemon.path} has not answered within 45 s".encode() in err.splitlines()[1], err


def test_a_daemon_that_dies_while_the_wait_is_explained_ends_nothing(daemon):
    """The connection that asks what a run waits for breaks first: the log's goes on by itself."""
    def handle(request):
        if request.method == "POST":
            request.connection.json(record(status="Queued"), 201)
        elif "/logs/" in request.target:
            if asked.is_set():
                request.connection.bytes(b"log")
        elif "wait=" in request.target:
            request.connection.json(record())
        else:
            asked.set()
            request.connection.cut()
            daemon.requests[1].connection.cut()

    asked = threading.Event()
    daemon.handle = handle
    done = amlctl(daemon, "--no-autostart", "run", "a.py")
    assert (done.returncode, done.stdout) == (0, b"log"), done


def test_a_mended_connection_that_carried_nothing_is_mended_again(daemon):
    """A quiet run's log: two restarts of the daemon, further apart than one is waited for, and no byte between."""
    def handle(request):
        if "/logs/" not in request.target:
            request.connection.json(record(status="Running"))
            return
        streams.append(request.connection)
        if len(streams) == 3:
            request.connection.bytes(b"end")
            return
        request.connection.head(200, "Transfer-Encoding: chunked")
        time.sleep(31 if len(streams) == 2 else 0.1)
        request.connection.cut()

    streams = []
    daemon.handle = handle
    done = amlctl(daemon, "--no-autostart", "logs", "-f", RUN)
    assert (done.returncode, done.stdout) == (0, b"end"), done


def test_an_answer_in_single_bytes_is_read(daemon):
    def answer(request):
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            request.connection.raw(bytes([byte]))
            time.sleep(0.001)

    serve_run(daemon, answer)
    assert amlctl(daemon, "run", "a.py").stdout == b"abc"


def test_large_logs_pass_whole(daemon):
    piece = os.urandom(1 << 15)

    def answer(request):
        request.connection.head(200, "Transfer-Encoding: chunked")
        for _ in range(2048):
            request.connection.chunk(piece)
        request.connection.raw(b"0\r\n\r\n")

    serve_run(daemon, answer)
    done = amlctl(daemon, "run", "a.py")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(piece * 2048).digest()


def start_streaming(daemon, *args, **options):
    serve_run(daemon, lambda request: (request.connection.chunked(b"going\n", end=False), time.sleep(20)))
    process = subprocess.Popen(command(daemon, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment(), **options)
    assert process.stdout.readline() == b"going\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_detaches_and_says_so(daemon, number):
    process = start_streaming(daemon, "run", "a.py")
    process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert f"run {RUN} goes on: `amlctl logs -f {RUN}`" in err.decode()
    assert f"`amlctl cancel {RUN}`" in err.decode()
    assert not [r for r in daemon.requests if r.target.endswith("/cancel")]


def test_an_ignored_interrupt_stays_ignored(daemon):
    process = start_streaming(daemon, "run", "a.py",
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.kill()
    process.communicate()


def test_a_reader_that_leaves_ends_it_quietly(daemon):
    def answer(request):
        request.connection.head(200, "Transfer-Encoding: chunked")
        for _ in range(100):
            request.connection.chunk(b"x" * 65536)

    serve_run(daemon, answer)
    for ignored in (False, True):
        process = subprocess.Popen(command(daemon, "run", "a.py"), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment(), restore_signals=not ignored)
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=LIMIT) in (141, -signal.SIGPIPE)
        assert without_silence(err).decode() == f"amlctl: run {RUN}\n"


def test_a_full_disk_behind_stdout_is_said(daemon):
    serve_run(daemon, lambda request: request.connection.bytes(b"x" * 100000))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command(daemon, "run", "a.py"), stdout=full, stderr=subprocess.PIPE,
                              env=environment(), timeout=LIMIT)
    assert done.returncode == 125 and b"No space left on device" in done.stderr


def test_a_terminal_is_told_what_the_run_waits_for(daemon):
    def handle(request):
        if request.method == "POST":
            request.connection.json(record(status="Queued"), 201)
        elif "/logs/" in request.target:
            # The log, and two looks at the record: what the first said is on the terminal by then.
            while len([r for r in daemon.requests if r.method == "GET"]) < 3:
                time.sleep(0.02)
            request.connection.chunked(b"output\n")
        else:
            done = "wait=" in request.target
            request.connection.json(record(status="Completed" if done else "Queued"))

    daemon.handle = handle
    status, out = on_terminal(daemon, "run", "a.py")
    assert status == 0
    assert "amlctl: waiting in the queue ...\r\033[Koutput\n" in out


# answers that are wrong

def test_errors_of_the_api_are_shown_in_one_line(daemon):
    daemon.handle = lambda request: request.connection.error(400, "BadRequest", "script: no such file", "script")
    done = amlctl(daemon, "run", "a.py")
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"amlctl: script: no such file\n"


@pytest.mark.parametrize("answer,message", [
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", b"HTTP status 500"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\noops", b"not JSON"),
    (b"SSH-2.0-OpenSSH_9\r\n", b"does not speak HTTP/1.1"),
])
def test_answers_that_make_no_sense_are_said_so(daemon, answer, message):
    daemon.handle = lambda request: (request.connection.raw(answer), request.connection.cut())
    done = amlctl(daemon, "show", RUN)
    assert done.returncode == 125 and message in done.stderr


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


def test_a_reading_request_that_is_cut_is_sent_again(daemon):
    def handle(request):
        if len(daemon.requests) < 4:
            request.connection.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            request.connection.cut()
        else:
            request.connection.json(record())

    daemon.handle = handle
    assert json.loads(amlctl(daemon, "show", RUN, "-o", "json").stdout) == record()


# reading commands

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


# files, download, snapshot

ODD = [b"outputs/a.txt", b"outputs/sub/b c.bin", b"outputs/sub2/x", b"logs/new\nline", b"user_logs/\xff'\"\xc3\xa9",
       b"outputs/empty", b"outputs/%41"]


def serve_artifacts(daemon, contents, extra=None):
    def handle(request):
        if request.target.endswith("/artifacts"):
            request.connection.json([{
                "path": name.decode(errors="replace"), "href": f"/v1/runs/{RUN}/artifacts/{quote(name)}",
                "size": len(data), "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
                "modified_utc": "2026-11-22T20:00:00.250000Z"} for name, data in sorted(contents.items())])
        elif not (extra and extra(request)):
            names = {f"/v1/runs/{RUN}/artifacts/{quote(n)}": n for n in contents}
            request.connection.bytes(contents[names[request.target]])

    daemon.handle = handle


CONTENTS = {name: bytes([i]) * i * 1000 for i, name in enumerate(ODD)}


def test_all_artifacts_come_back_under_their_names(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "-o", str(tmp_path / "new/out"))
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "new/out") == CONTENTS
    assert b"downloaded 7 files" in done.stderr and done.stdout == b""
    assert os.stat(tmp_path / "new/out/outputs/a.txt").st_mtime == 1795377600.25
    listed = amlctl(daemon, "files", RUN).stdout.decode().splitlines()
    assert len(listed) == 8 and listed[1].endswith("logs/new\\nline") and listed[-1].endswith("user_logs/\\377'\"é")


@pytest.mark.parametrize("names,expected", [
    (["outputs/a.txt"], [b"outputs/a.txt"]),
    (["outputs/sub"], [b"outputs/sub/b c.bin"]),
    (["outputs/sub/"], [b"outputs/sub/b c.bin"]),
    (["outputs/s"], [b"outputs/sub/b c.bin", b"outputs/sub2/x"]),
    (["logs", b"user_logs/\xff"], [b"logs/new\nline", b"user_logs/\xff'\"\xc3\xa9"]),
])
def test_names_choose_artifacts(daemon, tmp_path, names, expected):
    serve_artifacts(daemon, CONTENTS)
    assert amlctl(daemon, "download", RUN, *names, "-o", str(tmp_path / "out")).returncode == 0
    assert sorted(files_of(tmp_path / "out")) == expected


def test_a_name_that_is_none_downloads_nothing(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "outputs/a.txt", "outputs/none", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"outputs/none" in done.stderr
    assert not (tmp_path / "out").exists()


def test_damaged_bytes_are_not_kept(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS, lambda r: r.connection.bytes(b"wrong") or True)
    done = amlctl(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"damaged" in done.stderr
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize("digest, run_is_there, status", [
    (None, True, 0), (None, False, 125), ("sha256:" + hashlib.sha256(b"x").hexdigest(), True, 125)])
def test_a_file_of_a_run_that_ends_may_be_no_artifact(daemon, tmp_path, digest, run_is_there, status):
    """Listed while the run went on; at its end what it has not changed is none."""
    def handle(request):
        name = request.target.rpartition("/artifacts/")[2]
        if request.target.endswith("/artifacts"):
            request.connection.json([
                {"path": path, "href": f"/v1/runs/{RUN}/artifacts/{path}", "size": 1, "digest": digest,
                 "modified_utc": None} for path in ("logs/a", "logs/b", "logs/c")])
        elif request.target == f"/v1/runs/{RUN}" and run_is_there:
            request.connection.json(record())
        elif name in ("logs/a", "logs/c"):
            request.connection.bytes(b"x")
        else:
            request.connection.error(404, "NotFound", f'nothing of the name "{request.target}"')

    daemon.handle = handle
    done = amlctl(daemon, "download", "latest", "-o", str(tmp_path / "out"))
    assert done.returncode == status, done
    if status:
        assert b"nothing of the name" in done.stderr and files_of(tmp_path / "out") == {b"logs/a": b"x"}
    else:
        assert files_of(tmp_path / "out") == {b"logs/a": b"x", b"logs/c": b"x"}
        assert b"logs/b is no artifact of the run" in done.stderr and b"downloaded 2 files" in done.stderr


def test_a_download_that_is_cut_begins_anew(daemon, tmp_path):
    def cut_twice(request):
        if len(daemon.requests) > 3:
            return False
        request.connection.head(200, "Content-Length: 5000")
        request.connection.raw(b"half")
        request.connection.cut()
        return True

    serve_artifacts(daemon, CONTENTS, cut_twice)
    assert amlctl(daemon, "download", RUN, "outputs/%41", "-o", str(tmp_path / "out")).returncode == 0
    assert files_of(tmp_path / "out") == {b"outputs/%41": CONTENTS[b"outputs/%41"]}


@pytest.mark.parametrize("name", [b"../evil", b"/etc/evil", b"a/../../evil", b"a//b"])
def test_nothing_is_written_outside_of_the_folder(daemon, tmp_path, name):
    serve_artifacts(daemon, {name: b"x"})
    done = amlctl(daemon, "download", RUN, "-o", str(tmp_path / "deep/out"))
    assert done.returncode == 125 and b"refusing" in done.stderr
    assert files_of(tmp_path / "deep") == {}


def test_links_in_the_folder_are_not_followed(daemon, tmp_path):
    (tmp_path / "out/outputs").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "out/outputs/sub").symlink_to(tmp_path / "outside")
    (tmp_path / "out/outputs/a.txt").symlink_to(tmp_path / "outside/kept")
    (tmp_path / "outside/kept").write_text("kept")
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "outputs/sub", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"outputs/sub is in the way" in done.stderr
    assert amlctl(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out")).returncode == 0
    assert files_of(tmp_path / "outside") == {b"kept": b"kept"}
    assert not (tmp_path / "out/outputs/a.txt").is_symlink()


def test_an_interrupted_download_leaves_no_part(daemon, tmp_path):
    def stall(request):
        request.connection.head(200, "Content-Length: 5000")
        request.connection.raw(b"half")
        time.sleep(20)
        return True

    serve_artifacts(daemon, CONTENTS, stall)
    process = subprocess.Popen(command(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out")),
                               stderr=subprocess.PIPE, env=environment())
    while not list((tmp_path / "out").glob("outputs/.amlctl-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 130
    assert without_silence(process.stderr.read()) == b"amlctl: interrupted\n"
    assert files_of(tmp_path / "out") == {}


def tar_of(folder):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(folder, ".")
    return data.getvalue()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub/link").symlink_to("../run.sh")
    (folder / "sub/big").write_bytes(os.urandom(300000))
    return folder


def serve_snapshot(daemon, answer):
    daemon.handle = lambda r: answer(r) if r.target.endswith("/snapshot") else r.connection.json(record())


def test_a_snapshot_is_laid_out_whole(daemon, tmp_path, source):
    serve_snapshot(daemon, lambda r: r.connection.bytes(tar_of(source)))
    done = amlctl(daemon, "snapshot", "latest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree_of(tmp_path / RUN) == tree_of(source)
    assert os.readlink(tmp_path / RUN / "sub/link") == "../run.sh"
    assert os.access(tmp_path / RUN / "run.sh", os.X_OK)


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("fault", ["cut", "error", "garbage"])
def test_a_failed_snapshot_leaves_nothing(daemon, tmp_path, source, fault, exists):
    data = tar_of(source)

    def answer(request):
        if fault == "error":
            request.connection.error(404, "NotFound", "no snapshot")
        elif fault == "garbage":
            request.connection.bytes(b"no tar at all" * 1000)
        else:
            request.connection.head(200, f"Content-Length: {len(data)}")
            request.connection.raw(data[:-1000])
            request.connection.cut()

    serve_snapshot(daemon, answer)
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    done = amlctl(daemon, "snapshot", RUN, "-o", str(out))
    assert done.returncode == 125 and done.stderr
    assert list(out.iterdir()) == [] if exists else not out.exists()


def test_a_snapshot_does_not_mix_with_other_files(daemon, tmp_path, source):
    serve_snapshot(daemon, lambda r: r.connection.bytes(tar_of(source)))
    before = tree_of(source)
    done = amlctl(daemon, "snapshot", RUN, "-o", str(source))
    assert done.returncode == 125 and b"not empty" in done.stderr
    assert tree_of(source) == before


# usage

COMMANDS = ["run", "list", "show", "logs", "wait", "cancel", "hold", "release", "files", "download", "snapshot", "tag",
            "share", "delete", "status", "drain", "resume", "version"]


def alone(*args, **options):
    return subprocess.run([AMLCTL, *args], capture_output=True, text=True, timeout=LIMIT,
                          env=options.pop("env", environment()), **options)


@pytest.mark.parametrize("args,message", [
    ([], "which command?"),
    (["lits"], 'did you mean "list"?'),
    (["metrics"], "not in this version"),
    (["run"], "which SCRIPT?"),
    (["run", "--gpus", "one", "a.py"], '--gpus: "one" must be a whole number'),
    (["run", "--memory=much", "a.py"], '--memory: "much" is no size; write 512M, 8G, or bytes'),
    (["run", "--priority", "1.5", "a.py"], '"1.5" must be a whole number'),
    (["run", "--after", "afternotok:x", "a.py"], '"afternotok" is no condition'),
    (["run", "--after", "x,", "a.py"], "--after: which RUN?"),
    (["run", "--environment", "x", "a.py"], "--environment is not in this version"),
    (["run", "--experimnet", "x", "a.py"], "did you mean --experiment?"),
    (["run", "--command", "x", "a.py"], "--command stands in place of SCRIPT"),
    (["run", "--tag", "x", "a.py"], '--tag: "x" must be KEY=VALUE'),
    (["run", "--set-env", "=x", "a.py"], "must be KEY=VALUE"),
    (["run", "--max-run-duration", "soon", "a.py"], "is no duration"),
    (["run", "--cpus", "0", "a.py"], "whole number from 1"),
    (["run", "-e"], "option --experiment needs a value"),
    (["run", "--detach=yes", "a.py"], "--detach takes no value"),
    (["list", "-Z"], "unknown option -Z"),
    (["list", "x"], '"x" is one too many'),
    (["show"], "needs RUN"),
    (["show", "a", "-o", "xml"], "must be json or table"),
    (["hold"], "needs RUN"),
    (["list", "-a", "--user", "ana"], "exclude each other"),
    (["tag", "a"], "which KEY=VALUE?"),
    (["tag", "a", "b"], '"b" must be KEY=VALUE'),
])
def test_wrong_usage_is_told_and_exits_with_2(args, message):
    done = alone(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("amlctl: ") and message in done.stderr.splitlines()[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    texts = [alone(*args) for args in (["help", name], [name, "--help"], [name, "-h"])]
    assert {t.returncode for t in texts} == {0} and len({t.stdout for t in texts}) == 1
    assert texts[0].stdout.startswith(f"usage: amlctl {name} ") and not texts[0].stderr
    assert max(map(len, texts[0].stdout.splitlines())) <= 88
    assert f"  {name} " in alone("--help").stdout


def test_the_man_page_has_every_command_and_option():
    page = (ROOT / "docs/man/amlctl.1").read_text().replace("\\-", "-")
    for name in COMMANDS:
        assert f".SS {name}" in page or f".SS amlctl {name}" in page, name
        for option in re.findall(r"--[a-z][a-z-]+", alone("help", name).stdout):
            assert option in page, (name, option)


def test_global_options_stand_before_or_after_the_command(daemon):
    daemon.handle = lambda request: request.connection.json(record())
    for args in (["--socket", daemon.path, "show", "x"], ["show", "--socket", daemon.path, "x"],
                 ["show", "x", "--socket=" + daemon.path]):
        assert alone(*args).returncode == 0
    assert alone("show", "x", env=environment(AMLAGENT_SOCKET=daemon.path)).returncode == 0
    done = alone("--state-dir", "/nonexistent", "--no-autostart", "show", "x",
                 env=environment(AMLAGENT_SOCKET=daemon.path))
    assert done.returncode == 125 and "/nonexistent/amlagentd.sock" in done.stderr


# autostart

FAKE_AMLAGENTD = f"""#!/usr/bin/env python3
import argparse, os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fake_daemon import FakeDaemon, record
parser = argparse.ArgumentParser()
parser.add_argument("--user", action="store_true")
for name in ("socket", "state-dir", "config", "idle-exit", "ready-fd"):
    parser.add_argument("--" + name)
args = parser.parse_args()
assert args.user and args.idle_exit == "900" and os.getsid(0) == os.getpid() and os.getcwd() == "/"
if os.path.exists(args.state_dir + "/refuse"):
    print("first line\\nthe state folder is of a newer version", file=sys.stderr)
    sys.exit(1)
with open(args.state_dir + "/starts", "a") as starts:
    starts.write(" ".join(os.listdir("/proc/self/fd")) + "\\n")
time.sleep(0.3)
daemon = FakeDaemon(args.socket)
daemon.handle = lambda request: request.connection.json([record()])
with open(os.path.dirname(sys.argv[0]) + "/pids", "a") as pids:
    pids.write(str(os.getpid()) + "\\n")
os.write(int(args.ready_fd), b"READY\\n")
os.close(int(args.ready_fd))
time.sleep({2 * LIMIT})
"""


@pytest.fixture
def installed(tmp_path):
    """amlctl beside a daemon that can be started."""
    (tmp_path / "bin").mkdir()
    shutil.copy(AMLCTL, tmp_path / "bin/amlctl")
    (tmp_path / "bin/amlagentd").write_text(FAKE_AMLAGENTD)
    (tmp_path / "bin/amlagentd").chmod(0o755)
    yield tmp_path
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for pid in (tmp_path / "bin/pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_ten_at_once_start_one_daemon(installed):
    state = installed / "state dir"
    args = [str(installed / "bin/amlctl"), "--state-dir", "state dir", "list"]
    many = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=installed)
            for _ in range(10)]
    for process in many:
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0 and RUN.encode() in out, err
        assert without_silence(err) == b""
    assert len((state / "starts").read_text().splitlines()) == 1
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "amlagentd.log").stat().st_mode & 0o777 == 0o600


def test_a_daemon_inherits_no_descriptors(installed):
    state = installed / "state"
    read, write = os.pipe()
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "list"], pass_fds=[write],
                          capture_output=True, env=environment(), timeout=LIMIT)
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert select.select([read], [], [], 20)[0] and os.read(read, 1) == b"", "the daemon, which goes on, has it"
    os.close(read)


def test_a_daemon_that_does_not_start_is_quoted(installed):
    state = installed / "state"
    state.mkdir(mode=0o700)
    (state / "amlagentd.log").write_text("an older line\n")
    (state / "refuse").touch()
    started = time.monotonic()
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "list"],
                          capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 125 and time.monotonic() - started < 9, "a start has ten seconds"
    assert done.stderr == "amlctl: amlagentd did not start: the state folder is of a newer version\n"


def test_no_daemon_is_started_when_told_so(installed):
    state = installed / "state"
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "--no-autostart", "list"],
                          capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 125 and "amlagentd --user" in done.stderr
    assert not state.exists()
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "version"],
                          capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 0 and "none answers" in done.stdout and not state.exists()
