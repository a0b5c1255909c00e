# SPDX-License-Identifier: MIT
"""What the chaos tests hold in their hands: the table of fail points, a build that has them, and a daemon in it.

common/fail_point.h is the manual of the points; here it is read, so that a point that is added there has to be
proved here.
"""

import contextlib
import fcntl
import functools
import http.client
import os
import re
import select
import shutil
import signal
import subprocess
from collections import namedtuple
from pathlib import Path

import harness
from harness import ENDED, REPO

PROGRAMS = ("amlagentd", "amlagent-supervisor", "amlagent-git-info")
TABLE = REPO / "common/fail_point.h"

Point = namedtuple("Point", "name by_supervisor")


@functools.cache
def points():
    """{name: Point}, in the order of the header's table."""
    text = TABLE.read_text()
    table = text[text.index("#define FAIL_POINTS(X)") : text.index("#define FAIL_POINT_ENUM")]
    found, by_supervisor = {}, False
    for comment, name in re.findall(r'/\*(.*?)\*/|X\(\w+,\s*"([^"]+)"\)', table, re.S):
        if comment:
            by_supervisor = by_supervisor or "amlagent-supervisor" in comment
        else:
            found[name] = Point(name, by_supervisor)
    assert found and by_supervisor, f"{TABLE} has no table that this understands"
    return found


# -- the build ------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder):
    """One process at a time (pytest-xdist has several)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def command(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout.decode(errors='replace')[-5000:]}"


@functools.cache
def build_dir():
    """The build with fail points: $AMLAGENT_CHAOS_BUILD_DIR as it is, else build-chaos/, brought up to date."""
    given = os.environ.get("AMLAGENT_CHAOS_BUILD_DIR")
    folder = Path(given).resolve() if given else REPO / "build-chaos"
    if not given:
        with locked(REPO):
            if not (folder / "build.ninja").exists():
                shutil.rmtree(folder, ignore_errors=True)
                command("meson", "setup", folder, REPO, "-Dfail_points=true", "-Dtests=false")
            command("ninja", "-C", folder, *PROGRAMS)
    for name in PROGRAMS:
        assert os.access(folder / name, os.X_OK), f"{folder / name} is not there"
    assert b"AMLAGENT_FAIL" in (folder / "amlagentd").read_bytes(), f"{folder} was made without -Dfail_points=true"
    return folder


# -- the daemon -----------------------------------------------------------------------------------


class Died(Exception):
    """The daemon is dead; args[0] is what waitpid said of it (negative: the signal)."""


class ChaosDaemon(harness.Daemon):
    """A throw-away daemon of that build, with its points set as the test wants. Many of them at once, from threads."""

    def __init__(self, grace=1, **config):
        super().__init__(config={"stop_grace_seconds": grace, "max_running_runs": 1, **config})
        self.passed_log = self.root / "passed"

    def launch(self, fail=None):
        """Start it with these points set (None: and none noted). Died when it dies before it takes requests."""
        assert self.process is None
        reader, writer = os.pipe()
        words = ["setpriv", "--pdeathsig", "TERM", "--", str(build_dir() / "amlagentd"), "--user"]
        words += ["--state-dir", str(self.state), "--socket", self.socket, "--config", str(self.config)]
        words += ["--ready-fd", str(writer)]
        env = dict(self.env)
        if fail is not None:
            env |= {"AMLAGENT_FAIL": fail, "AMLAGENT_FAIL_LOG": str(self.passed_log)}
        try:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                                pass_fds=[writer], cwd="/", start_new_session=True)  # fmt: skip
            os.close(writer)
            writer = -1
            assert select.select([reader], [], [], 20)[0], f"amlagentd is not ready: {self.last_words()}"
            if not os.read(reader, 16):
                self.bury()
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)

    def bury(self):
        """It has gone, or is about to."""
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"amlagentd does not answer and lives: {self.last_words()}") from None
        self.process = None
        raise Died(status)

    def ask(self, method, path, body=None, timeout=30):
        """The answer; Died when there is none because the daemon died."""
        try:
            return self.api(method, path, body, timeout=timeout)
        except (OSError, http.client.HTTPException):
            self.bury()

    def passed(self):
        """The points that were passed while they were set, in their order."""
        return self.passed_log.read_text().split() if self.passed_log.exists() else []

    def processes_of_runs(self):
        """Of the script, or its supervisor: by command line, environment or working directory."""
        return harness.processes_below(self.state / "runs")

    def wait_ended(self, run, timeout=40):
        """The record, once it is terminal."""

        def look():
            answer = self.ask("GET", f"/v1/runs/{run}?wait=10")
            assert answer.status == 200, answer
            return answer.json if answer.json["status"] in ENDED else None

        return harness.wait_for(look, f"{run} ends", timeout)


DEATH_OF = {"kill": -signal.SIGKILL, "kill-after": -signal.SIGKILL, "abort": -signal.SIGABRT}
