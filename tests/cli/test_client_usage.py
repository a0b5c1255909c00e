# SPDX-License-Identifier: MIT
"""Wrong usage, help and the manual page, without a daemon."""

import re
import subprocess
from pathlib import Path

import pytest
from client import LIMIT, environment
from fake_daemon import record
from harness import AMLCTL

ROOT = Path(__file__).resolve().parents[2]
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
