# SPDX-License-Identifier: MIT
"""completions/: what bash and zsh offer, against what `amlctl --help` says there is."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from client import LIMIT, environment
from fake_daemon import record
from harness import AMLCTL

FOLDER = Path(__file__).resolve().parents[2] / "completions"
STATES = {"NotStarted", "Queued", "Preparing", "Starting", "Running", "Finalizing", "CancelRequested", "Completed",
          "Failed", "Canceled"}

BASH = """
source {script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_amlctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

# The functions of zsh's completion that the script uses, so that what it hands them can be seen.
ZSH = """
emulate -R zsh; setopt extended_glob
compdef() {{ : }}
_describe() {{ local -a all; all=("${{(@P)@[-1]}}"); print -rl -- "${{all[@]%%:*}}" }}
_files() {{ [[ $1 == -/ ]] && print -rl -- *(N-/) || print -rl -- *(N) }}
_users() {{ print -r root }}
_message() {{ : }}
compset() {{ local cut=${{words[CURRENT]##${{~2}}}}; [[ $cut != $words[CURRENT] ]] && words[CURRENT]=$cut }}
compadd() {{ local -a all; [[ $@[-2] == -a ]] && all=("${{(@P)@[-1]}}") || all=("$@"); print -rl -- "$all[@]" }}
words=("$@"); CURRENT=$#
source {script}
_amlctl
"""


def run_shell(argv, cwd=None, env=None):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, cwd=cwd,
                          env=env or environment())
    assert done.returncode == 0 and not done.stderr, done
    return [line for line in done.stdout.splitlines() if line]


class Bash:
    name = "bash"

    def offers(self, *words, **options):
        """readline's words: parted at "=" and ":"."""
        parted = [part for word in words for part in (re.findall(r"[=:]|[^=:]+", word) or [""])]
        code = BASH.format(script=shlex.quote(str(FOLDER / "amlctl.bash")))
        return set(run_shell(["bash", "-c", code, "bash", AMLCTL, *parted], **options))


class Zsh:
    name = "zsh"

    def offers(self, *words, **options):
        last = re.split(r"[=,:]", words[-1])[-1]
        code = ZSH.format(script=shlex.quote(str(FOLDER / "_amlctl")))
        shown = run_shell(["zsh", "-fc", code, "zsh", AMLCTL, *words], **options)
        return {word for word in shown if word.startswith(last)}


@pytest.fixture(params=[Bash, Zsh], ids=["bash", "zsh"])
def shell(request):
    if not shutil.which(request.param.name):
        pytest.skip(f"{request.param.name} is not there")
    return request.param()


def help_text(*words):
    return subprocess.run([AMLCTL, *words, "--help"], capture_output=True, text=True, timeout=LIMIT, check=True).stdout


def help_commands():
    return set(re.findall(r"^  ([a-z]+)  ", help_text().split("Options")[0], re.M))


def help_options(*words):
    heads = re.findall(r"^ {2,8}((?:-\w, )?--\S+)", help_text(*words), re.M)
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", " ".join(heads)))


def test_every_command_is_offered(shell):
    assert len(help_commands()) > 15
    assert shell.offers("") == help_commands() | {"help"}
    assert shell.offers("help", "") == help_commands() | {"help"}
    assert shell.offers("li") == {"list"}


def test_every_option_of_every_command_is_offered(shell):
    for name in help_commands():
        offered, there = shell.offers(name, "-"), help_options(name)
        assert offered == there, (name, offered ^ there)
    assert help_options() - {"-h"} <= shell.offers("-")
    assert shell.offers("list", "--exp") == {"--experiment"}


def test_values_are_offered_by_their_kind(shell, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.py").touch()
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml/mine.runconfig").touch()
    assert shell.offers("list", "--status", "") == STATES
    assert shell.offers("list", "--status=Can") == {"CancelRequested", "Canceled"}
    assert {o.split(",")[-1] for o in shell.offers("list", "--status", "Failed,Q")} == {"Queued"}
    assert shell.offers("show", "x", "-o", "") == {"json", "table"}
    hidden = {".azureml"}
    assert shell.offers("run", "-C", "", cwd=tmp_path) - hidden == {"folder"}
    assert shell.offers("run", "--python", "", cwd=tmp_path) - hidden == {"folder", "file.py"}
    assert shell.offers("run", "", cwd=tmp_path) - hidden == {"folder", "file.py"}
    assert "mine" in shell.offers("run", "-c", "", cwd=tmp_path)
    assert shell.offers("run", "--cpus", "") == set()
    assert "root" in shell.offers("list", "--user", "ro")


def test_what_follows_the_script_is_the_scripts(shell, tmp_path):
    (tmp_path / "--odd").touch()
    assert shell.offers("run", "a.py", "--", cwd=tmp_path) <= {"--odd"}
    assert "--share" in shell.offers("run", "--set-env", "A=b", "--", cwd=tmp_path)


def test_runs_are_offered_from_the_daemon(shell, daemon):
    daemon.handle = lambda request: request.connection.json([record("exp_2_b", "Running"), record("exp_1_a")])
    for command in ("show", "cancel", "hold", "logs", "share"):
        assert shell.offers("--socket", daemon.path, command, "exp") == {"exp_2_b", "exp_1_a"}
        assert "latest" in shell.offers("--socket=" + daemon.path, command, "")
    assert any("status=Queued" in r.target for r in daemon.requests)
    assert {o.split(":")[-1] for o in shell.offers("--socket", daemon.path, "run", "--after", "afterany:exp_1")} \
        == {"exp_1_a"}
    assert {"afterok:", "afterany:"} <= shell.offers("--socket", daemon.path, "run", "--after", "a")
    assert shell.offers("--socket", daemon.path, "list", "-e", "e") == {"exp"}


def test_an_older_run_is_offered_once_its_experiment_is_typed(shell, daemon):
    """Of the newest runs of all there is a bounded list; the word tells which experiment is to be asked for."""
    def handle(request):
        if "experiment_name=old_exp&" in request.target + "&":
            request.connection.json([record("old_exp_1790000000_12345678", experiment_name="old_exp")])
        else:
            request.connection.json([record(f"new_{1790000000 + i}_0000000a") for i in range(500)])

    daemon.handle = handle
    for word in ("old_exp_1", "old_exp_1790000000", "old_exp_1790000000_", "old_exp_1790000000_1234567"):
        assert shell.offers("--socket", daemon.path, "show", word) == {"old_exp_1790000000_12345678"}, word
    assert {o.split(":")[-1] for o in shell.offers("--socket", daemon.path, "run", "--after", "afterany:old_exp_17")} \
        == {"old_exp_1790000000_12345678"}
    assert len(shell.offers("--socket", daemon.path, "show", "new_")) == 500
    assert all("limit=1000" in r.target for r in daemon.requests)


def test_files_and_logs_of_a_run_are_offered(shell, daemon):
    def handle(request):
        if "artifacts" in request.target:
            request.connection.json([{"path": "outputs/a b.bin", "href": "/v1/runs/x/artifacts/outputs/a%20b.bin",
                                      "size": 1, "digest": None, "modified_utc": "2026-11-22T20:00:00.000000Z"}])
        else:
            request.connection.json(record(log_files={"user_logs/std_log.txt": "/v1/x"}))

    daemon.handle = handle
    assert shell.offers("--socket", daemon.path, "download", "x", "out") == {"outputs/a b.bin"}
    assert shell.offers("--socket", daemon.path, "logs", "x", "") == {"user_logs/std_log.txt"}


def test_without_a_daemon_none_is_started_and_nothing_is_offered(shell, tmp_path):
    assert shell.offers("--state-dir", str(tmp_path), "show", "x") == set()
    assert os.listdir(tmp_path) == []


def test_zsh_itself_takes_the_script(tmp_path):
    """The real completion system, on a terminal of its own."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not there")
    script = f"""
        export PATH={shlex.quote(os.path.dirname(AMLCTL))}:$PATH OURS={shlex.quote(str(FOLDER))} TERM=dumb
        zmodload zsh/zpty; zpty z zsh -f
        zpty -w z 'PS1=; fpath=($OURS $fpath); autoload -U compinit'
        zpty -w z 'compinit -u -d {tmp_path}/dump'
        zpty -w z 'compinit_is_done=1; print READY'
        zpty -r z text '*READY*READY*'
        zpty -w -n z $'amlctl rele\\t'
        zpty -r z text '*release*' && print -r -- "$text"
        zpty -d z
    """
    shown = run_shell(["zsh", "-fc", script])
    assert shown[-1].endswith("amlctl release")
