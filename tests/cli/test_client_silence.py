# SPDX-License-Identifier: MIT
"""A daemon that is gone, hangs or takes its time: who waits for it is told, and goes on when it answers again."""

import contextlib
import subprocess
import threading

import pytest
from client import LIMIT, RUN, command, environment, log_offset
from fake_daemon import record
from harness import without_silence


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
            lives.set()
            request.connection.json({"status": "ok"})  # who asks is content with its first byte, and may be gone
            return
        of_the_run = request.target.startswith("/v1/runs/" + RUN)
        if not of_the_run or "wait=" in request.target or args[0] in ("show", "cancel"):
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
