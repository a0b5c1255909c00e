# SPDX-License-Identifier: MIT
"""A daemon that amlctl starts: one, alone, and with words when it does not come up."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from client import LIMIT, RUN, environment
from harness import AMLCTL, PYTHON, without_silence

FAKE_AMLAGENTD = f"""#!{PYTHON}
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
    assert done.returncode == 125 and time.monotonic() - started < 25, "a start has 25 seconds"
    said = done.stderr.splitlines()  # on a busy machine also what it is waited for
    assert len(said) <= 2 and said[-1] == "amlctl: amlagentd did not start: the state folder is of a newer version"


def test_no_daemon_is_started_when_told_so(installed):
    state = installed / "state"
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "--no-autostart", "list"],
                          capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 125 and "amlagentd --user" in done.stderr
    assert not state.exists()
    done = subprocess.run([str(installed / "bin/amlctl"), "--state-dir", str(state), "version"],
                          capture_output=True, text=True, env=environment(), timeout=LIMIT)
    assert done.returncode == 0 and "none answers" in done.stdout and not state.exists()
