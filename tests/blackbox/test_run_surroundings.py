# SPDX-License-Identifier: MIT
"""What a script finds: the environment of its run, and the folder that it works in."""

import contextlib
import json
import os

import pytest
from harness import GATE_MODULE, PYTHON, Gate, tree_of, wait_for
from script_runs import DUMP, dump, only_run

# -- environment ----------------------------------------------------------------------------------


def test_the_environment_of_the_submitter_is_inherited(shared):
    seen = dump(shared, env={"LEARNING": "0.1", "EMPTY": "", "ODD": "a=b\n c"})
    assert (seen["env"]["LEARNING"], seen["env"]["EMPTY"], seen["env"]["ODD"]) == ("0.1", "", "a=b\n c")


def test_the_environment_of_the_daemon_is_not_inherited(make_daemon):
    daemon = make_daemon(start=False)
    daemon.env["ONLY_DAEMON"] = "1"
    daemon.start()
    del daemon.env["ONLY_DAEMON"]
    assert "ONLY_DAEMON" not in dump(daemon)["env"]


def test_clean_env_leaves_the_environment_of_the_submitter_behind(shared):
    seen = dump(shared, "--clean-env", "--python", PYTHON, "--set-env", "KEPT=1", env={"LEFT": "1"})["env"]
    assert "LEFT" not in seen and seen["KEPT"] == "1" and seen["AZUREML_RUN_ID"]


def test_set_env_sets_and_overrides(shared):
    seen = dump(
        shared, "--set-env", "A=1", "--set-env", "B=x=y z", "--set-env", "C=", "--set-env", "A=2", env={"B": "old"}
    )["env"]
    assert (seen["A"], seen["B"], seen["C"]) == ("2", "x=y z", "")


@pytest.mark.parametrize("bad", ["=value", "", "NUL_IS_NOT_TESTABLE_BUT_NO_EQUALS"])
def test_set_env_that_is_none_is_refused(shared, bad):
    done = shared.amlctl("run", "--set-env", bad, "main.py", cwd=shared.source())
    assert done.returncode in (2, 125) and b"set-env" in done.stderr, done


def test_an_environment_that_is_not_utf_8_is_named_not_mangled(shared):
    done = shared.amlctl("run", "main.py", b"caf\xe9", cwd=shared.source())
    assert done.returncode in (2, 125) and b"UTF-8" in done.stderr, done


def test_azureml_variables_tell_the_script_who_it_is(shared):
    source = shared.source(DUMP)
    seen = dump(shared, "-e", "whoami", source=source)["env"]
    run = only_run(shared, "whoami")["run_id"]
    assert seen["AZUREML_RUN_ID"] == run
    for name in ("EXPERIMENT_ID", "ARM_SUBSCRIPTION", "ARM_RESOURCEGROUP", "ARM_WORKSPACE_NAME", "ARM_PROJECT_NAME"):
        assert f"AZUREML_{name}" in seen, name
    assert seen["AZUREML_ARM_PROJECT_NAME"] == "whoami"


def test_azureml_variables_of_the_submitter_are_not_believed(shared):
    seen = dump(shared, "--set-env", "AZUREML_RUN_ID=fake", env={"AZUREML_EXPERIMENT_ID": "fake"})["env"]
    assert "fake" not in (seen["AZUREML_RUN_ID"], seen["AZUREML_EXPERIMENT_ID"])


def test_python_is_unbuffered_unless_the_user_wants_otherwise(shared):
    assert dump(shared)["env"]["PYTHONUNBUFFERED"] == "1"
    assert dump(shared, "--set-env", "PYTHONUNBUFFERED=")["env"]["PYTHONUNBUFFERED"] == ""
    assert dump(shared, env={"PYTHONUNBUFFERED": "x"})["env"]["PYTHONUNBUFFERED"] == "x"


def test_standard_input_is_empty(shared):
    assert dump(shared, input=b"not for the script\n")["stdin"] == ""


def test_signals_and_descriptors_are_as_a_shell_would_leave_them(shared):
    source = shared.source(
        "import os, signal\n"
        "print([s for s in range(1, 32) if s not in (9, 19) and signal.getsignal(s) is signal.SIG_IGN"
        " and s not in (signal.SIGPIPE, signal.SIGXFSZ)])\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1], oct(os.umask(0)))\n"
    )
    done = shared.amlctl("run", "main.py", cwd=source)
    assert done.stdout == b"[]\nset()\n[0, 1, 2] 0o22\n", done


def holds(path, secret):
    """Is it a file with the secret in it? What ended runs leave is being removed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                return secret.encode() in file.read()
    return False


def test_secrets_of_the_environment_are_kept_nowhere(daemon):
    secret = "hunter2-" + os.urandom(8).hex()
    gate = Gate(daemon.root, "secret.gate")
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": f"import os\nassert os.environ['TOKEN']\n{gate.code}"})
    run = daemon.ok("run", "-d", "main.py", cwd=source, env={"TOKEN": secret}).strip()
    daemon.running(run)

    def holders():
        found = []
        for base, _, names in os.walk(daemon.state):
            for name in names:
                path = os.path.join(base, name)
                if holds(path, secret):
                    found.append(path)
        return found

    def open_to_others(path):
        if os.stat(path).st_mode & 0o044 == 0:
            return False
        parents = []
        while path != str(daemon.root):
            path = os.path.dirname(path)
            parents.append(path)
        return all(os.stat(parent).st_mode & 0o011 for parent in parents)

    for path in holders():
        assert path.startswith(str(daemon.state / "runs" / run)), path
        assert not open_to_others(path), f"{path} is readable by others"
    assert secret not in daemon.ok("show", run, "-o", "json") + daemon.ok("list", "-o", "json")
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"
    for where in (["show", run], ["show", run, "-o", "json"], ["list"], ["list", "-o", "json"]):
        assert secret not in daemon.ok(*where)
    wait_for(lambda: not holders(), f"nothing under the state folder holds the secret: {holders()}")
    assert secret not in daemon.last_words()


def test_secrets_are_gone_also_after_a_run_that_failed_or_could_not_start(daemon):
    secret = "hunter3-" + os.urandom(8).hex()
    environment = {"PATH": "/usr/bin:/bin", "TOKEN": secret}
    for request in (
        {"files": "raise SystemExit(3)"},
        {"files": "", "environment": {"python": {"interpreter_path": "/nowhere"}}},
    ):
        record = daemon.finish(submit_environment=environment, **request)
        assert record["status"] == "Failed"
        assert secret not in json.dumps(record)

    def holders():
        return [
            path for base, _, names in os.walk(daemon.state) for path in (os.path.join(base, n) for n in names)
            if holds(path, secret)
        ]  # fmt: skip

    wait_for(lambda: not holders(), f"nobody holds the secret: {holders()}")


# -- the working directory ------------------------------------------------------------------------


def test_the_script_runs_in_a_copy_with_outputs_and_logs(shared):
    source = shared.source({"main.py": DUMP, "data/a.txt": "a"})
    seen = dump(shared, source=source)
    assert seen["cwd"] != str(source) and seen["cwd"].startswith(str(shared.state))
    assert {"main.py", "data", "outputs", "logs"} <= set(seen["here"])


def test_the_source_folder_is_never_written(shared):
    source = shared.source(
        {"main.py": "import os, helper\nopen('data.txt', 'r+').write('SPOILED')\nopen('new.txt', 'w').close()\n"
                    "os.remove('gone.txt')\nos.chmod('x.sh', 0)\nopen('outputs/o', 'w').close()\n",
         "helper.py": "", "data.txt": "precious", "gone.txt": "here", "x.sh": ("#!/bin/sh\n", 0o755)}
    )  # fmt: skip
    before, times = tree_of(source), {p: os.stat(p).st_mtime_ns for p in source.iterdir()}
    for _ in range(2):
        done = shared.amlctl("run", "main.py", cwd=source)
        assert done.returncode == 0, done
    assert tree_of(source) == before
    assert {p: os.stat(p).st_mtime_ns for p in source.iterdir()} == times
    target = shared.root / "restored"
    shared.ok("snapshot", "latest", "-o", target)
    assert tree_of(target) == before, "the stored bytes were written through"


def test_a_source_folder_that_cannot_be_written_is_fine(shared):
    source = shared.source({"main.py": ("print(open('d/x').read())", 0o444), "d/x": ("x", 0o444)})
    os.chmod(source / "d", 0o555)
    os.chmod(source, 0o555)
    try:
        done = shared.amlctl("run", "main.py", cwd=source)
        assert (done.returncode, done.stdout) == (0, b"x\n"), done
    finally:
        os.chmod(source, 0o755)
        os.chmod(source / "d", 0o755)
