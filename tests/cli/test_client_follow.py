# SPDX-License-Identifier: MIT
"""A run that is followed: its log whole and in order, its end as the exit status, and what ends amlctl before."""

import hashlib
import os
import signal
import subprocess
import threading
import time

import pytest
from client import LIMIT, RUN, amlctl, command, environment, log_offset, on_terminal, serve_run
from fake_daemon import record
from harness import wait_for, without_silence


def test_stdout_is_the_log_and_the_status_is_the_scripts(daemon):
    log = bytes(range(256)) * 1000
    serve_run(daemon, lambda request: request.connection.chunked(log[:7], log[7:70000], log[70000:]),
              record(status="Failed", exit_code=7,
                     error={"code": "UserError", "message": "exit code 7; the log ends with:\nlast line"}))
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


def test_a_terminal_is_told_what_the_run_waits_for(daemon):
    def handle(request):
        if request.method == "POST":
            request.connection.json(record(status="Queued"), 201)
        elif "/logs/" in request.target:
            # The log, and two looks at the record: what the first said is on the terminal by then.
            wait_for(lambda: len([r for r in daemon.requests if r.method == "GET"]) >= 3, "it looks twice")
            request.connection.chunked(b"output\n")
        else:
            done = "wait=" in request.target
            request.connection.json(record(status="Completed" if done else "Queued"))

    daemon.handle = handle
    status, out = on_terminal(daemon, "run", "a.py")
    assert status == 0
    assert "amlctl: waiting in the queue ...\r\033[Koutput\n" in out


# connections that break

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
    wait_for(lambda: state["cut"] and not os.path.exists(daemon.path), "the daemon is away")
    time.sleep(0.4)
    daemon.listen()
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (0, b"first second"), err


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


# what ends it

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
