# SPDX-License-Identifier: MIT
"""amlctl in front of a daemon that says what a test tells it to (fake_daemon.py): how it is started, and what for."""

import os
import re
import subprocess

import harness
from fake_daemon import record
from harness import AMLCTL, without_silence

RUN = "exp_1_00000001"
LIMIT = 60


def environment(**extra):
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "ASAN_OPTIONS", "UBSAN_OPTIONS") if k in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **extra}


def command(daemon, *args):
    return [AMLCTL, "--socket", daemon.path, *args]


def amlctl(daemon, *args, env=None, **options):
    options.setdefault("timeout", LIMIT)
    done = subprocess.run(command(daemon, *args), capture_output=True, env=env or environment(),
                          stdin=subprocess.DEVNULL, **options)
    done.stderr = without_silence(done.stderr)
    return done


def on_terminal(daemon, *args, width=None):
    """stdout and stderr on a terminal: the status, and all that came."""
    def start(**files):
        return subprocess.Popen(command(daemon, *args), env=environment(TERM="xterm"), start_new_session=True, **files)

    status, out = harness.on_terminal(start, width)
    return status, without_silence(out).replace(b"\r\n", b"\n").decode(errors="replace")


def log_offset(request):
    return int(re.search(r"offset=(\d+)", request.target).group(1))


def serve_run(daemon, log, final=None, post=None):
    """The whole life of one run: `log(request)` answers for the log."""
    def handle(request):
        if request.method == "POST":
            request.connection.json(post or record(status="Queued"), 201)
        elif "/logs/" in request.target:
            log(request)
        else:
            request.connection.json(final or record())
    daemon.handle = handle


def submitted(daemon, *args, env=None, cwd=None):
    """What `amlctl run -d` has sent, and how it ended."""
    serve_run(daemon, lambda request: request.connection.bytes(b""))
    done = amlctl(daemon, "run", "-d", *args, env=env, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == RUN + "\n"
    return daemon.requests[0].json, done
